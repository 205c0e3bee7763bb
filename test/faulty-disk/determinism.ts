import { vi } from 'vitest'
import { createRandom, type Random } from '../support/random.ts'

/*
 * What else makes two runs differ: random names, the clock, pauses. A test that wants the same run for the same seed replaces both modules
 * at its top (`vi.mock` works only there) and calls `startOver`:
 *
 *   vi.mock('node:crypto', async (original) => ({ ...(await original<object>()), randomBytes }))
 *   vi.mock('node:timers/promises', async (original) => ({ ...(await original<object>()), setTimeout: pause }))
 */

interface World {
  random: Random
  nowMs: number
  /** Ends when the scheduler says that so much time has gone by. */
  pause: (ms: number) => Promise<void>
}

let world: World | null = null

export function randomBytes(length: number): Buffer {
  return Buffer.from((world?.random ?? unseeded).bytes(length))
}

export async function pause(ms: number, _value?: unknown, options?: { signal?: AbortSignal }): Promise<void> {
  options?.signal?.throwIfAborted()
  if (world === null) await new Promise((resolve) => setTimeout(resolve, ms))
  else await world.pause(ms)
  options?.signal?.throwIfAborted()
}

const unseeded = createRandom(Date.now())

/** From here on time and chance are those of `seed`; `pauseUntil` holds a pause until a time in ms. */
export function startOver(seed: number, pauseUntil: (atMs: number) => Promise<void>): { setTime(ms: number): void } {
  const random = createRandom(seed)
  const now: World = { random, nowMs: 0, pause: (ms) => pauseUntil(now.nowMs + ms) }
  world = now
  vi.useFakeTimers({ toFake: ['Date'], now: START_MS })
  vi.spyOn(performance, 'now').mockImplementation(() => now.nowMs)
  vi.spyOn(Math, 'random').mockImplementation(() => random.below(2 ** 31) / 2 ** 31)
  return {
    setTime(ms) {
      now.nowMs = ms
      vi.setSystemTime(START_MS + ms)
    },
  }
}

export function giveBack(): void {
  world = null
  vi.useRealTimers()
  vi.restoreAllMocks()
}

const START_MS = Date.UTC(2024, 0, 1)
