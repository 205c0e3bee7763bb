// How much of the main thread a save takes: a save in the background a quarter, one that somebody waits for all of it.

import { expect, onTestFinished, test, vi } from 'vitest'
import { persistEngine } from '../../src/engines/adapter.ts'
import { autosave } from '../../src/engines/autosave.ts'
import type { SaveContext } from '../../src/engines/engine-adapter.ts'
import { plain } from '../../src/engines/plain.ts'
import * as eventLoop from '../../src/event-loop.ts'
import { memory } from '../../src/index.ts'
import { eventually } from '../support/eventually.ts'

/** An adapter whose saves work until they are let go, and the shares of the thread that they were given. */
function paced() {
  const { mock } = vi.mocked(eventLoop.createPacer).mockClear()
  let letGo = (): void => undefined
  let n = 0
  const adapter = plain<object>({
    name: 'mine',
    revision: () => n,
    async save(_, { turn }: SaveContext) {
      await turn()
      await new Promise<void>((resolve) => {
        letGo = resolve
      })
      return String(n)
    },
    restore: async () => ({}),
  })
  /** That of the save: it is made before any other. */
  const share = (): number | undefined => mock.calls.at(0)?.[0]()
  return {
    adapter,
    share,
    forget: () => vi.mocked(eventLoop.createPacer).mockClear(),
    letGo: () => letGo(),
    alter: () => n++,
  }
}

vi.mock('../../src/event-loop.ts', { spy: true })

test('a save in the background takes a quarter, until a flush waits for it', async () => {
  const { adapter, share, letGo, alter } = paced()
  const saver = autosave(memory(), adapter, {}, { everyMs: 1, quietMs: 0 })
  onTestFinished(() => saver.close().catch(() => undefined))
  alter()
  saver.changed()
  await eventually(() => expect(share()).toBe(0.25))
  const flushed = saver.flush()
  expect(share()).toBe(1)
  await eventually(async () => {
    letGo()
    await Promise.race([flushed, new Promise((_, reject) => setImmediate(reject, new Error('not yet')))])
  })
})

test('persistEngine takes all of the thread, or the share that it is given', async () => {
  const { adapter, share, forget, letGo } = paced()
  for (const [options, wanted] of [
    [{}, 1],
    [{ cpuShare: 0.1 }, 0.1],
  ] as const) {
    forget()
    const saving = persistEngine(memory(), adapter, {}, options)
    await eventually(() => expect(share()).toBe(wanted))
    await new Promise(setImmediate)
    letGo()
    await saving
  }
})

test.each([0, -1, 1.5, Number.NaN, '0.5'])('a share of %s is refused before anything is done', async (share) => {
  const { adapter } = paced()
  const cpuShare = share as number
  expect(() => autosave(memory(), adapter, {}, { cpuShare })).toThrow(RangeError)
  await expect(persistEngine(memory(), adapter, {}, { cpuShare })).rejects.toThrow(/cpuShare is a part of the main/)
})
