// Retries of requests that may be sent twice. Waits grow, and are random from 0 on ("full jitter", AWS Architecture
// Blog, 2015), so that many clients do not come back together.

import { clock } from '../../clock.ts'
import { HoldfastError } from '../../errors.ts'
import { isRefusal, ObjectError } from './client.ts'

const TRIES = 8
const WAIT_MS = 50
const WAIT_MS_MAX = 5_000

/** Waits before try number `tries` + 1. */
export async function backOff(tries: number): Promise<void> {
  await clock.sleep(Math.floor(clock.random() * Math.min(WAIT_MS_MAX, WAIT_MS * 2 ** tries)))
}

/** Sends a request until it is answered. Refusals and failed conditions are thrown at once. */
async function retried<T>(request: () => Promise<T>, tries = TRIES): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await request()
    } catch (error) {
      if (!(error instanceof ObjectError) || isRefusal(error) || error.status === 412 || tried >= tries) throw error
      await backOff(tried)
    }
  }
}

/** What callers see of a request that failed for good. */
export function requestFailed(error: unknown, what: string, location: string): unknown {
  if (!(error instanceof ObjectError)) return error
  const { status, code, message } = error
  const answer = status === 0 ? `no answer (${message})` : `${status} ${code}${message === '' ? '' : `: ${message}`}`
  return new HoldfastError('IO_FAILED', `${location}: ${what} failed: ${answer}`, {
    details: { location, status, code },
    cause: error,
  })
}

/** A request with retries, whose failure is told as `IO_FAILED`. */
export async function attemptRequest<T>(location: string, what: string, request: () => Promise<T>): Promise<T> {
  try {
    return await retried(request)
  } catch (error) {
    throw requestFailed(error, what, location)
  }
}
