import { vi } from 'vitest'
import { clock } from '../../src/clock.ts'
import { createRandom, type Random } from '../support/random.ts'

/*
 * What else makes two runs differ: random names, the clock, pauses. A test that wants the same run for the same seed
 * replaces a module at its top (`vi.mock` works only there) and calls `startOver`, which replaces the clock:
 *
 *   vi.mock('node:crypto', async (original) => ({ ...(await original<object>()), randomBytes }))
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

const unseeded = createRandom(Date.now())

/** From here on time and chance are those of `seed`; `pauseUntil` holds a pause until a time in ms. */
export function startOver(seed: number, pauseUntil: (atMs: number) => Promise<void>): { setTime(ms: number): void } {
  const random = createRandom(seed)
  const now: World = { random, nowMs: 0, pause: (ms) => pauseUntil(now.nowMs + ms) }
  world = now
  // The image's files get their times from the global date.
  vi.useFakeTimers({ toFake: ['Date'], now: START_MS })
  vi.spyOn(clock, 'now').mockImplementation(() => new Date(START_MS + now.nowMs))
  vi.spyOn(clock, 'nowMs').mockImplementation(() => START_MS + now.nowMs)
  vi.spyOn(clock, 'monotonicMs').mockImplementation(() => now.nowMs)
  vi.spyOn(clock, 'random').mockImplementation(() => random.below(2 ** 31) / 2 ** 31)
  vi.spyOn(clock, 'sleep').mockImplementation(async (ms, options) => {
    options?.signal?.throwIfAborted()
    await now.pause(ms)
    options?.signal?.throwIfAborted()
  })
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
