// How a live engine starts: read-only, beside its owner, and from a snapshot that does not fit.

import { expect, onTestFinished, test } from 'vitest'
import { type LiveEngine, type OpenEngineOptions, openEngine } from '../../src/engines/live.ts'
import { type OpenOptions, openStore } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'
import { type Change, type Ledger, ledger } from './ledger.ts'

async function open(
  path: string,
  options: Partial<OpenEngineOptions<Ledger, Change>> & OpenOptions = {},
  adapter = ledger,
): Promise<LiveEngine<Ledger, Change>> {
  const live = await openEngine<Ledger, Change>(path, adapter, {
    create: () => ({ applied: [] }),
    apply: (engine, { add }) => engine.applied.push(add),
    everyMs: 1_000_000,
    ...options,
  })
  onTestFinished(() => live.close())
  return live
}

test('a read-only engine has what its owner has made durable, and neither changes nor saves', async () => {
  const path = scratch()
  const warnings: string[] = []
  const owner = await open(path)
  for (const add of [1, 2]) await owner.change({ add })
  await owner.save()
  await owner.change({ add: 3 }, { watermark: 'three' })
  const live = await open(path, { readOnly: true, onWarning: ({ code }) => warnings.push(code) })
  expect(live.engine.applied).toEqual([1, 2, 3])
  expect(live).toMatchObject({ last: 3, watermark: 'three', replayed: { entries: 1 } })
  expect(live.lag()).toMatchObject({ entries: 1, changes: 0, stopped: true, journalError: null })
  expect(live.lag().ageMs).toBeGreaterThanOrEqual(0)
  await live.durable(3)
  for (const refused of [live.change({ add: 4 }), live.save(), live.rollback(1)]) {
    await expect(refused).rejects.toMatchObject({ code: 'READ_ONLY' })
  }
  await owner.change({ add: 4 })
  expect(live.engine.applied).toEqual([1, 2, 3])
  expect((await open(path, { readOnly: true })).engine.applied).toEqual([1, 2, 3, 4])
  await owner.close()
  const store = await openStore(path, { readOnly: true })
  onTestFinished(() => store.close())
  const given = await openEngine<Ledger, Change>(store, ledger, {
    create: () => ({ applied: [] }),
    apply: () => undefined,
  })
  expect(given.engine.applied).toEqual([1, 2, 3, 4])
  await given.close()
  expect(await store.snapshots()).not.toEqual([])
  // It replays, so there is nothing to warn of.
  expect(warnings).toEqual([])
})

test('read-only engines start while the owner changes, saves and deletes segments', async () => {
  const path = scratch()
  const owner = await open(path, { keepLast: 1 })
  let isRunning = true
  let count = 0
  const running = (async () => {
    while (isRunning) {
      await Promise.all(Array.from({ length: 20 }, () => owner.change({ add: ++count })))
      await owner.save()
    }
  })()
  for (let starts = 0; starts < 15; starts++) {
    const least = owner.last === 0 ? 0 : count - 20
    const live = await open(path, { readOnly: true })
    const { applied } = live.engine
    expect(applied).toEqual(applied.map((_, i) => i + 1))
    expect(applied.length).toBeGreaterThanOrEqual(least)
    await live.close()
  }
  isRunning = false
  await running
})

test('a snapshot of other options is refused with the number of changes after it, and left when the caller starts over', async () => {
  const path = scratch()
  const first = await open(path)
  await first.change({ add: 1 })
  await first.save()
  // As after a kill, two changes are in the journal alone.
  for (const add of [2, 3]) await first.change({ add })
  const copy = scratch()
  const { cpSync } = await import('node:fs')
  cpSync(path, copy, { recursive: true })
  const other = { ...ledger, options: { fields: ['text'] } }
  await expect(open(copy, {}, other)).rejects.toMatchObject({ code: 'ENGINE_MISMATCH', details: { entries: 2 } })
  // Nothing was changed.
  const readOnly = await open(copy, { readOnly: true })
  expect(readOnly.engine.applied).toEqual([1, 2, 3])
  const live = await open(copy, { startOver: true }, other)
  expect(live).toMatchObject({ last: 0, watermark: undefined, replayed: { entries: 0 } })
  expect(live.engine.applied).toEqual([])
  await live.change({ add: 10 })
  await live.save()
  await live.close()
  expect((await open(copy, {}, other)).engine.applied).toEqual([10])
})
