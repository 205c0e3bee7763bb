import { expect } from 'vitest'
import { type ErrorCode, type HoldfastError, isHoldfastError } from '../../src/errors.ts'

/** What `promise` rejects with, which must be a `HoldfastError` of this code. */
export async function rejects<Code extends ErrorCode>(
  promise: PromiseLike<unknown>,
  code: Code,
): Promise<HoldfastError<Code>> {
  const error = await failure(promise)
  if (!isHoldfastError(error)) throw error
  expect(error.code, error.message).toBe(code)
  return error as HoldfastError<Code>
}

/** What `promise` rejects with. */
export async function failure(promise: PromiseLike<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('expected a rejection, but it resolved')
}
