// A process that takes a lock again and again leaves others their turn, and waits for nobody when nobody waits.

import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { clock } from '../../src/clock.ts'
import { acquireFileLock, type FileLock } from '../../src/fs/file-lock.ts'
import { nodeFileSystem as fs } from '../../src/fs/node.ts'
import { createTurns } from '../../src/fs/turns.ts'
import { scratch } from '../support/scratch.ts'
import { startChild } from './children.ts'

const options = { mode: 0o600, waitMs: 0, hint: Buffer.from('pid 1 on tests') }

/** How often the clock was slept by in holds of 100 ms without a pause, for so long. */
async function pauses(wasAwaited: boolean, totalMs: number): Promise<number[]> {
  let nowMs = 1_000_000
  const slept: number[] = []
  const spies = [
    vi.spyOn(clock, 'monotonicMs').mockImplementation(() => nowMs),
    vi.spyOn(clock, 'sleep').mockImplementation(async (ms) => {
      slept.push(ms)
      nowMs += ms
    }),
  ]
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore()
  })
  const turns = createTurns()
  const forgetWaiters = async (): Promise<void> => undefined
  for (const endMs = nowMs + totalMs; nowMs < endMs; ) {
    await turns.before(10_000, undefined)
    nowMs += 100
    await turns.ending({ wasAwaited: Promise.resolve(wasAwaited), forgetWaiters } as FileLock)
    turns.ended()
  }
  return slept
}

test('it pauses for longer than a waiter takes to look again, after half a second at most', async () => {
  const slept = await pauses(true, 3_000)
  expect(slept.length).toBeGreaterThanOrEqual(4)
  for (const ms of slept) expect(ms).toBeGreaterThan(50)
})

test('it does not pause when nobody waits', async () => {
  expect(await pauses(false, 3_000)).toEqual([])
})

test('who waits says so in the file, and nothing is said once it has its turn', async () => {
  const path = join(scratch(), 'writer.lock')
  const first = await acquireFileLock(fs, path, options)
  expect(await first.wasAwaited).toBe(false)
  // It gives up, so that the mark stays.
  await acquireFileLock(fs, path, { ...options, waitMs: 300 }).catch(() => undefined)
  await first.release()
  const second = await acquireFileLock(fs, path, options)
  expect(await second.wasAwaited).toBe(true)
  await second.forgetWaiters()
  await second.release()
  const third = await acquireFileLock(fs, path, options)
  expect(await third.wasAwaited).toBe(false)
  const waiting = acquireFileLock(fs, path, { ...options, waitMs: 10_000 })
  setTimeout(() => void third.release(), 250)
  const fourth = await waiting
  expect(await fourth.wasAwaited).toBe(false)
  await fourth.release()
})

test('another process that holds it without a pause leaves room', async () => {
  const child = await startChild('busy', join(scratch(), 'writer.lock'))
  onTestFinished(() => child.kill())
  const startMs = performance.now()
  for (let i = 0; i < 5; i++) {
    const lock = await acquireFileLock(fs, child.path, { ...options, waitMs: 20_000 })
    await lock.release()
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  // By luck alone, each took five seconds.
  expect(performance.now() - startMs).toBeLessThan(12_000)
})
