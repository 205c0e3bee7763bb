// A live engine is rolled back while it is open.

import { expect, test } from 'vitest'
import type { EngineAdapter } from '../../src/engines/adapter.ts'
import { type LiveEngine, type OpenEngineOptions, openEngine } from '../../src/engines/live.ts'
import { memory, type Store } from '../../src/index.ts'
import { openOn, STORE } from '../explore/model.ts'
import { crashStates } from '../faulty-disk/crash-states.ts'
import { createDisk, type Process } from '../faulty-disk/disk.ts'
import type { Pending } from '../faulty-disk/names.ts'
import { randomFor, sample, share } from '../support/effort.ts'
import { type Change, disk, type Ledger, ledger } from './ledger.ts'

/** It cannot tell whether it changed, so only what is said of it does. */
const silent: EngineAdapter<Ledger> = { ...ledger, revision: () => undefined }

const plain: OpenEngineOptions<Ledger, Change> = {
  create: () => ({ applied: [] }),
  apply: (engine, { add }) => engine.applied.push(add),
  onError: () => undefined,
  everyMs: 1_000_000,
}

async function openOnProcess(process: Process): Promise<LiveEngine<Ledger, Change> & { store: Store }> {
  const store = openOn(process)
  const live = await openEngine<Ledger, Change>(store, silent, plain)
  return Object.defineProperty(live as LiveEngine<Ledger, Change> & { store: Store }, 'store', { value: store })
}

test('it goes on from the older snapshot, and nothing of the line that was left comes back', async () => {
  const made = disk()
  const killed = made.start()
  const live = await openOnProcess(killed)
  await live.change({ add: 1 }, { watermark: 'one' })
  await live.save()
  const first = (await live.store.snapshots())[0]!.sequence
  await live.change({ add: 2 }, { watermark: 'two' })
  await live.change({ add: 3 })
  await expect(live.store.rollback(first)).rejects.toMatchObject({ code: 'JOURNAL_LOCKED' })
  const before = live.engine
  // What was called before it is applied before it, and what is called after it after.
  const earlier = live.change({ add: 4 })
  const rolledBack = live.rollback(first, { message: 'back' })
  const later = live.change({ add: 5 })
  expect(await rolledBack).toMatchObject({ current: true, message: 'back' })
  expect(await Promise.all([earlier, later])).toEqual([{ sequence: 4 }, { sequence: 5 }])
  expect(before.applied).toEqual([1, 2, 3, 4])
  expect(live.engine.applied).toEqual([1, 5])
  expect(live.watermark).toBe('one')
  expect(live.lag()).toMatchObject({ entries: 1, failures: 0, stopped: false })
  killed.kill()
  const again = await openOnProcess(made.start())
  expect(again.engine.applied).toEqual([1, 5])
  await again.change({ add: 6 })
  await again.save()
  await again.close()
  const third = await openOnProcess(made.start())
  expect(third.engine.applied).toEqual([1, 5, 6])
  expect(third.replayed.entries).toBe(0)
  await third.close()
})

test('it saves first, so that it can be undone', async () => {
  const live = await openOnProcess(disk().start())
  await live.change({ add: 1 })
  await live.save()
  await live.change({ add: 2 })
  await live.rollback(1)
  const saved = (await live.store.snapshots()).find(({ sequence }) => sequence === 2)!
  expect(saved).toMatchObject({ covers: 2 })
  await live.change({ add: 3 })
  await live.rollback(2)
  expect(live.engine.applied).toEqual([1, 2])
  await live.change({ add: 4 })
  await live.close()
  expect(live.engine.applied).toEqual([1, 2, 4])
})

test('a HEAD that is lost afterwards does not bring back what was rolled back', async () => {
  const made = disk()
  const process = made.start()
  const live = await openOnProcess(process)
  await live.change({ add: 1 })
  await live.save()
  await live.change({ add: 2 })
  await live.rollback(1)
  await live.change({ add: 3 })
  await live.store.tag('rolled-back')
  process.kill()
  const next = made.start()
  for (const name of ['HEAD.json', 'HEAD.prev.json']) await next.fs.unlink(`${STORE}/${name}`)
  const store = openOn(next)
  await store.repair()
  const again = await openEngine<Ledger, Change>(store, silent, plain)
  expect(again.engine.applied).toEqual([1, 3])
  await again.close()
})

test('one that fails leaves the engine as it was', async () => {
  const made = disk()
  const killed = made.start()
  const live = await openOnProcess(killed)
  await live.change({ add: 1 })
  await live.save()
  await live.change({ add: 2 })
  await expect(live.rollback(9)).rejects.toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' })
  await expect(live.rollback(1, { mesage: 'x' } as never)).rejects.toThrow('did you mean message')
  // The swap of HEAD fails, and nothing is there of it.
  await live.change({ add: 3 })
  await live.save()
  made.onCall = ({ name }) => (name === 'link' || name === 'rename' ? { error: 'EIO' } : undefined)
  await expect(live.rollback(1)).rejects.toThrow()
  made.onCall = null
  expect(live.engine.applied).toEqual([1, 2, 3])
  await live.change({ add: 4 })
  // The save before it fails.
  made.onCall = ({ name, path }) => (name === 'write' && !path.endsWith('.log') ? { error: 'ENOSPC' } : undefined)
  await expect(live.rollback(1)).rejects.toMatchObject({ code: 'NO_SPACE' })
  made.onCall = null
  await live.save()
  expect(live.lag()).toMatchObject({ entries: 0, failures: 0, stopped: false })
  killed.kill()
  const again = await openOnProcess(made.start())
  expect(again.engine.applied).toEqual([1, 2, 3, 4])
  await again.close()
})

test('one whose outcome is unknown ends the engine, which has to be opened again', async () => {
  const made = disk()
  const killed = made.start()
  const live = await openOnProcess(killed)
  await live.change({ add: 1 })
  await live.save()
  await live.change({ add: 2 })
  await live.save()
  // HEAD is replaced, and cannot be made durable.
  let isRenamed = false
  made.onCall = ({ name, path }) => {
    if (name === 'rename') isRenamed = true
    return isRenamed && name === 'syncDirectory' && path === STORE ? { error: 'EIO' } : undefined
  }
  await expect(live.rollback(1)).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN' })
  made.onCall = null
  await expect(live.change({ add: 3 })).rejects.toMatchObject({ code: 'ENGINE_UNSOUND' })
  await expect(live.rollback(1)).rejects.toMatchObject({ code: 'ENGINE_UNSOUND' })
  await live.close()
  const again = await openOnProcess(made.start())
  expect(again.engine.applied).toEqual([1])
  await again.close()
})

test('a journal that failed is not rolled back', async () => {
  const made = disk()
  const store = openOn(made.start())
  const journal = await store.openJournal()
  await journal.append(Buffer.from('a')).durable
  await store.persist({ blobs: { state: Buffer.from('a') }, covers: 1 })
  await store.persist({ blobs: { state: Buffer.from('a, again') }, covers: 1 })
  made.onCall = ({ name }) => (name === 'dataSync' ? { error: 'EIO' } : undefined)
  await expect(journal.append(Buffer.from('b')).durable).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
  made.onCall = null
  await expect(journal.rollback(1, { discard: true })).rejects.toMatchObject({ code: 'JOURNAL_FAILED' })
  await store.close()
})

test('a journal without an adapter rolls back too, in memory as well', async () => {
  for (const store of [memory(), openOn(disk().start())]) {
    const journal = await store.openJournal()
    await journal.append(Buffer.from('a')).durable
    await store.persist({ blobs: { state: Buffer.from('a') }, covers: 1 })
    journal.append(Buffer.from('b'))
    await expect(journal.rollback(1)).resolves.toMatchObject({ sequence: 1 })
    await store.persist({ blobs: { state: Buffer.from('ab') }, covers: 2 })
    journal.append(Buffer.from('c'))
    await expect(journal.rollback(1)).rejects.toMatchObject({ code: 'ENTRIES_UNSAVED', details: { first: 3, last: 3 } })
    await expect(journal.rollback(1, { discard: true })).resolves.toMatchObject({ sequence: 3, covers: 3 })
    expect(journal.uncoveredBytes).toBe(0)
    await journal.append(Buffer.from('d')).durable
    const left: number[] = []
    for await (const { sequence } of journal.read({ after: 0 })) left.push(sequence)
    expect(left).toEqual([1, 4])
    await store.close()
  }
})

test('a power loss at any moment leaves the line before it or the one after it, with all that was acknowledged', async () => {
  const random = randomFor('live rollback power loss')
  const made = disk()
  const live = await openOnProcess(made.start())
  await live.change({ add: 1 })
  await live.save()
  for (const add of [2, 3]) await live.change({ add })
  const old = '1,2,3'
  let allowed = [old]
  const points: { pending: Pending; allowed: string[] }[] = []
  made.onChange = () => points.push({ pending: made.pending(), allowed })
  allowed = [old, '1']
  await live.rollback(1)
  allowed = ['1', '1,4']
  await live.change({ add: 4 })
  allowed = ['1,4', '1,2,3']
  // It is undone: the snapshot that the rollback saved is 2.
  await live.rollback(2)
  allowed = ['1,2,3', '1,2,3,5']
  await live.change({ add: 5 })
  allowed = ['1,2,3,5']
  await live.close()
  made.onChange = null
  made.kill()
  let states = 0
  for (const point of sample('live rollback power loss', points, 40)) {
    for (const image of crashStates(point.pending, { limit: share(8, 2), random }).states) {
      const crashed = createDisk(image)
      const again = await openOnProcess(crashed.start())
      expect(point.allowed).toContain(again.engine.applied.join())
      await again.change({ add: 9 })
      const expected = [...again.engine.applied]
      crashed.kill()
      const last = await openOnProcess(crashed.start())
      expect(last.engine.applied).toEqual(expected)
      crashed.kill()
      states += 1
    }
  }
  expect(states).toBeGreaterThan(50)
})
