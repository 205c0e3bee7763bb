// Long work on the main thread turns the event loop every few ms, and pauses to keep to its share of it.

import { expect, test, vi } from 'vitest'
import { clock } from '../src/clock.ts'
import { createPacer, createYielder, type Turn } from '../src/event-loop.ts'

/** Does `steps` of `stepMs` each, in simulated time. */
async function work(turn: Turn, steps: number, stepMs: number, now: { ms: number }): Promise<void> {
  for (let n = 0; n < steps; n++) {
    now.ms += stepMs
    await turn()
  }
}

function simulated(): { now: { ms: number }; sleeps: number[]; turns: () => number } {
  const now = { ms: 0 }
  const sleeps: number[] = []
  vi.spyOn(clock, 'monotonicMs').mockImplementation(() => now.ms)
  vi.spyOn(clock, 'sleep').mockImplementation(async (ms) => {
    sleeps.push(ms)
    now.ms += ms
  })
  const nextTurn = vi.spyOn(clock, 'nextTurn')
  return { now, sleeps, turns: () => nextTurn.mock.calls.length }
}

test('work that takes all of the thread turns the event loop every 5 ms, and never pauses', async () => {
  const { now, sleeps, turns } = simulated()
  await work(createYielder(), 100, 1, now)
  expect(turns()).toBe(20)
  expect(sleeps).toEqual([])
})

test('work that takes a quarter pauses three times as long as it works, in turns of 5 ms', async () => {
  const { now, sleeps } = simulated()
  await work(
    createPacer(() => 0.25),
    100,
    1,
    now,
  )
  expect(sleeps).toEqual(Array.from({ length: 20 }, () => 15))
})

test('the share is asked for at every turn', async () => {
  const { now, sleeps } = simulated()
  let share = 0.5
  const turn = createPacer(() => share)
  await work(turn, 5, 1, now)
  share = 1
  await work(turn, 5, 1, now)
  expect(sleeps).toEqual([5])
})

test('a wait between two steps is not paid for with a pause of its length', async () => {
  const { now, sleeps } = simulated()
  await work(
    createPacer(() => 0.5),
    1,
    10_000,
    now,
  )
  expect(sleeps).toEqual([20])
})

test('an aborted signal is thrown in the turn', async () => {
  const { now } = simulated()
  const reason = new Error('enough')
  await expect(work(createYielder(AbortSignal.abort(reason)), 10, 1, now)).rejects.toBe(reason)
})
