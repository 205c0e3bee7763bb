// The journal of a store, and what snapshots, rollbacks and fallbacks make of it.

import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { destroyStore, memory, openStore, setAside } from '../../src/open.ts'
import type { Store } from '../../src/store.ts'
import type { Journal } from '../../src/store-journal/options.ts'
import { scratch } from '../support/scratch.ts'

const text = (value: string): Uint8Array => Buffer.from(value)

function directory(): string {
  return join(scratch(), 'store')
}

async function openAt(path: string): Promise<Store> {
  const store = await openStore(path, { onWarning: () => undefined })
  onTestFinished(() => store.close())
  return store
}

async function append(journal: Journal, ...values: string[]): Promise<number> {
  await Promise.all(values.map((value) => journal.append(text(value)).durable))
  return journal.last
}

async function entries(journal: Journal, after?: number): Promise<string[]> {
  const all: string[] = []
  for await (const { data } of journal.read(after === undefined ? {} : { after }))
    all.push(Buffer.from(data).toString())
  return all
}

/** A snapshot that holds these entries. */
async function save(store: Store, covers: number, state: string): Promise<number> {
  return (await store.persist({ blobs: { state: text(state) }, covers })).sequence
}

test('entries after the current snapshot come back, and those that it covers do not', async () => {
  const path = directory()
  const store = await openAt(path)
  const journal = await store.openJournal()
  expect(await append(journal, 'a', 'b')).toBe(2)
  await save(store, 2, 'ab')
  await append(journal, 'c')
  expect(await entries(journal)).toEqual(['c'])
  expect(await entries(journal, 0)).toEqual(['a', 'b', 'c'])
  await store.close()
  const again = await openAt(path)
  const reopened = await again.openJournal()
  expect(await entries(reopened)).toEqual(['c'])
  expect(await append(reopened, 'd')).toBe(4)
  expect((await again.load())?.covers).toBe(2)
})

test('entries are read one by one or many at a time, and a reading may be left', async () => {
  const store = await openAt(directory())
  const journal = await store.openJournal()
  const values = Array.from({ length: 30_000 }, (_, i) => `${i}`)
  for (const value of values) journal.append(text(value))
  await journal.flush()
  const batches: string[][] = []
  for await (const batch of journal.readBatches({ after: 3 }))
    batches.push(batch.map(({ data }) => `${Buffer.from(data)}`))
  expect(batches.length).toBeLessThan(20)
  expect(batches.flat()).toEqual(values.slice(3))
  expect(await entries(journal, 3)).toEqual(values.slice(3))
  let last = 0
  for await (const { sequence } of journal.read({ after: 20_000 })) {
    last = sequence
    if (sequence === 25_000) break
  }
  expect(last).toBe(25_000)
  // Calls of next that do not wait for each other keep the order.
  const iterator = journal.read({ after: 0 })[Symbol.asyncIterator]()
  const some = await Promise.all(Array.from({ length: 10_000 }, () => iterator.next()))
  expect(some.map(({ value }) => value!.sequence)).toEqual(values.slice(0, 10_000).map((_, i) => i + 1))
  await iterator.return!()
  expect(await iterator.next()).toMatchObject({ done: true })
  await expect(journal.read({ after: -1 })[Symbol.asyncIterator]().next()).rejects.toThrow(RangeError)
})

test('a snapshot of the same content covers more entries without being made again', async () => {
  const store = await openAt(directory())
  const journal = await store.openJournal()
  await append(journal, 'a')
  const sequence = await save(store, 1, 'state')
  await append(journal, 'b')
  expect(await save(store, 2, 'state')).toBe(sequence)
  expect(await store.snapshots()).toMatchObject([{ sequence, covers: 2 }])
  expect(await entries(journal)).toEqual([])
})

test('a journal takes so much that no snapshot covers, warns at half of it, and goes on after a snapshot', async () => {
  const path = directory()
  const warnings: string[] = []
  const options = { maxJournalBytes: 1024 * 1024 }
  const store = await openStore(path, { onWarning: ({ code }) => warnings.push(code) })
  onTestFinished(() => store.close())
  await expect(store.openJournal({ maxJournalBytes: 1000 })).rejects.toThrow(RangeError)
  const journal = await store.openJournal(options)
  const entry = new Uint8Array(250_000)
  await journal.append(entry).durable
  expect(warnings).toEqual([])
  for (let i = 0; i < 3; i++) await journal.append(entry).durable
  expect(warnings).toEqual(['JOURNAL_GROWS'])
  const full = expect.objectContaining({ code: 'JOURNAL_FULL', details: expect.objectContaining(options) })
  expect(() => journal.append(entry)).toThrow(full)
  expect(() => journal.assertTakes(entry.length)).toThrow(full)
  // A small one still fits.
  await journal.append(text('small')).durable
  expect(journal.last).toBe(5)
  await journal.close()

  const again = await store.openJournal(options)
  expect(() => again.append(entry)).toThrow(full)
  await save(store, 2, 'two')
  await again.append(entry).durable
  await save(store, again.last, 'all')
  expect(again.uncoveredBytes).toBe(0)
  for (let i = 0; i < 4; i++) await again.append(entry).durable
  expect(() => again.append(entry)).toThrow(full)
  await save(store, again.last, 'all of it')
  await again.close()
  const covered = await store.openJournal(options)
  expect(covered.uncoveredBytes).toBe(0)
  for (let i = 0; i < 4; i++) await covered.append(entry).durable
})

test('entries that wait for the disk count towards the limit', async () => {
  const store = await openAt(directory())
  const journal = await store.openJournal({ maxJournalBytes: 1024 * 1024 })
  for (let i = 0; i < 4; i++) journal.append(new Uint8Array(250_000))
  expect(() => journal.append(new Uint8Array(250_000))).toThrow(expect.objectContaining({ code: 'JOURNAL_FULL' }))
  await journal.flush()
})

test('wrong options are refused', async () => {
  const store = await openAt(directory())
  for (const maxPendingBytes of [0, Number.NaN, '5' as never]) {
    await expect(store.openJournal({ maxPendingBytes })).rejects.toThrow(RangeError)
  }
  for (const changes of [-1, 1.5, '2' as never])
    await expect(store.openJournal({ changes })).rejects.toThrow(RangeError)
  await expect(store.openJournal({ maxJournalbytes: 1 } as never)).rejects.toThrow('did you mean maxJournalBytes')
  await expect(store.persist({ blobs: { a: text('a') }, covers: 1 })).rejects.toThrow('none open')
})

test('the first entry counts from its append on: a snapshot that comes before HEAD names the journal has to say so', async () => {
  const store = await openAt(directory())
  const journal = await store.openJournal()
  await store.persist({ blobs: { state: text('') } })
  const { durable } = journal.append(text('a'))
  await expect(store.persist({ blobs: { state: text('a') } })).rejects.toMatchObject({ code: 'COVERS_REQUIRED' })
  await durable
})

describe('in a store with a journal', () => {
  test('only its owner persists, and says what the snapshot covers', async () => {
    const path = directory()
    const store = await openAt(path)
    const journal = await store.openJournal()
    const blobs = { state: text('a') }
    await expect((await openAt(path)).persist({ blobs, covers: 0 })).rejects.toMatchObject({ code: 'COVERS_REQUIRED' })
    await append(journal, 'a')
    await expect(store.persist({ blobs })).rejects.toMatchObject({ code: 'COVERS_REQUIRED' })
    await expect(store.persist({ blobs, covers: 2 })).rejects.toThrow(RangeError)
    await store.persist({ blobs, covers: 1 })
    await expect(store.persist({ blobs, covers: 0 })).rejects.toThrow(RangeError)
    await journal.close()
    await expect(store.persist({ blobs, covers: 1 })).rejects.toMatchObject({ code: 'COVERS_REQUIRED' })
    const other = await openAt(path)
    await expect(other.persist({ blobs })).rejects.toMatchObject({ code: 'COVERS_REQUIRED' })
    await other.tag('fine')
  })

  test('nobody else opens the journal, rolls back, repairs, or takes the store away while it is open', async () => {
    const path = directory()
    const store = await openAt(path)
    const journal = await store.openJournal()
    await append(journal, 'a')
    await save(store, 1, 'a')
    await save(store, 1, 'b')
    const other = await openAt(path)
    const locked = { code: 'JOURNAL_LOCKED' }
    await expect(store.openJournal()).rejects.toMatchObject(locked)
    await expect(other.openJournal()).rejects.toMatchObject(locked)
    for (const each of [store, other]) {
      await expect(each.rollback(1)).rejects.toMatchObject(locked)
      await expect(each.repair()).rejects.toMatchObject(locked)
    }
    await expect(setAside(path, { reason: 'test' })).rejects.toMatchObject(locked)
    await expect(destroyStore(path)).rejects.toMatchObject(locked)
    await journal.close()
    await other.rollback(1)
    await (await other.openJournal()).close()
    await store.close()
    await other.close()
    expect(await destroyStore(path)).toBe(true)
    expect(existsSync(path)).toBe(false)
  })
})

describe('a rollback', () => {
  test('steps over entries only when they are in a snapshot, or are to be discarded', async () => {
    const store = await openAt(directory())
    const journal = await store.openJournal()
    await append(journal, 'a')
    await save(store, 1, 'a')
    await append(journal, 'b')
    await save(store, 2, 'ab')
    await append(journal, 'c')
    await journal.close()
    await expect(store.rollback(1)).rejects.toMatchObject({ code: 'ENTRIES_UNSAVED', details: { first: 3, last: 3 } })
    await store.rollback(1, { discard: true })
    const reopened = await store.openJournal()
    expect(await entries(reopened)).toEqual([])
    expect(await append(reopened, 'd')).toBe(4)
    // From the snapshot that was rolled back to, what was stepped over is left out.
    expect(await entries(reopened, 1)).toEqual(['d'])
    expect(await entries(reopened, 0)).toEqual(['a', 'd'])
  })

  test('that is undone brings back the line that it stepped over, and no entry of the other', async () => {
    const store = await openAt(directory())
    const journal = await store.openJournal()
    await append(journal, 'a')
    const first = await save(store, 1, 'a')
    await append(journal, 'b')
    const second = await save(store, 2, 'ab')
    await journal.close()
    await store.rollback(first)
    const other = await store.openJournal()
    await append(other, 'x')
    await save(store, 3, 'ax')
    await other.close()
    await store.rollback(second)
    const undone = await store.openJournal()
    expect(await append(undone, 'c')).toBe(4)
    expect(await entries(undone)).toEqual(['c'])
    // Of the line a, b, c.
    expect(await entries(undone, 1)).toEqual(['b', 'c'])
  })
})

test('falling back to one of the three newest snapshots loses no entry, and further back is a gap', async () => {
  const path = directory()
  const store = await openAt(path)
  // Each opening begins a segment, so there is something to delete.
  for (let i = 1; i <= 8; i++) {
    const journal = await store.openJournal()
    await append(journal, `${i}`)
    await save(store, i, `state ${i}`)
    await journal.close()
  }
  const files = readdirSync(join(path, 'journal'))
  expect(files.length).toBeLessThan(8)
  const journal = await store.openJournal()
  expect(await entries(journal, 6)).toEqual(['7', '8'])
  expect(await entries(journal, 5)).toEqual(['6', '7', '8'])
  await expect(entries(journal, 0)).rejects.toMatchObject({ code: 'JOURNAL_GAP' })
  const left: [number, boolean][] = []
  for await (const { sequence, afterLoss } of journal.read({ after: 0, acceptLoss: true })) {
    left.push([sequence, afterLoss])
  }
  expect(left.at(0)![0]).toBeGreaterThan(1)
  expect(left.at(-1)![0]).toBe(8)
  expect(left.every(([, afterLoss]) => afterLoss)).toBe(true)
  const wrong = { acceptLos: true } as never
  await expect(journal.read(wrong)[Symbol.asyncIterator]().next()).rejects.toThrow('did you mean acceptLoss')
})

test('an entry that was left out is in no later reading, once a snapshot says so', async () => {
  const path = directory()
  const store = await openAt(path)
  const journal = await store.openJournal()
  await append(journal, 'a', 'b', 'c', 'd')
  await save(store, 1, 'a')
  for (const wrong of [0, 5, 1.5, '2']) expect(() => journal.skip(wrong as number)).toThrow(RangeError)
  journal.skip(3)
  journal.skip(2)
  expect(await entries(journal)).toEqual(['d'])
  await save(store, 2, 'a and not b')
  // The journal as a process that was killed leaves it knows of what the snapshot covers.
  await store.close()
  const again = await openAt(path)
  const second = await again.openJournal()
  expect(await entries(second)).toEqual(['c', 'd'])
  expect(await entries(second, 0)).toEqual(['a', 'c', 'd'])
  second.skip(3)
  // The same content, which covers the same.
  await save(again, 4, 'a and d')
  await again.close()
  const third = await (await openAt(path)).openJournal()
  expect(await entries(third, 0)).toEqual(['a', 'd'])
})

test('an old HEAD that was put back is not gone on from', async () => {
  const path = directory()
  const store = await openAt(path)
  const journal = await store.openJournal()
  await append(journal, 'a')
  await journal.close()
  const old = readFileSync(join(path, 'HEAD.json'))
  const second = await store.openJournal()
  await append(second, 'b')
  await store.close()
  writeFileSync(join(path, 'HEAD.json'), old)
  await expect((await openAt(path)).openJournal()).rejects.toMatchObject({ code: 'STORE_ROLLED_BACK' })
})

test('entries are not forgotten when HEAD names no journal any more', async () => {
  const path = directory()
  const store = await openAt(path)
  await store.persist({ blobs: { state: text('before') } })
  const old = readFileSync(join(path, 'HEAD.json'))
  await append(await store.openJournal(), 'a')
  await store.close()
  writeFileSync(join(path, 'HEAD.json'), old)
  await expect((await openAt(path)).openJournal()).rejects.toMatchObject({ code: 'JOURNAL_DAMAGED' })
})

test('a HEAD that is rebuilt applies no entry twice, and forgets none', async () => {
  for (const lost of [['HEAD.json'], ['HEAD.json', 'HEAD.prev.json']]) {
    const path = directory()
    const store = await openAt(path)
    const journal = await store.openJournal()
    await append(journal, 'a')
    await save(store, 1, 'a')
    await append(journal, 'b')
    await save(store, 2, 'ab')
    await append(journal, 'c')
    await store.close()
    for (const name of lost) rmSync(join(path, name))
    const again = await openAt(path)
    await again.repair()
    const snapshot = (await again.load())!
    expect(await snapshot.blob('state').text()).toBe('ab')
    expect(await entries(await again.openJournal())).toEqual(['c'])
  }
})

test('a journal that is damaged is started over, and nothing of the old one is replayed or lost', async () => {
  const path = directory()
  const store = await openAt(path)
  const journal = await store.openJournal()
  await append(journal, 'a', 'b')
  await save(store, 2, 'ab')
  await append(journal, 'c')
  await journal.close()
  const [name] = readdirSync(join(path, 'journal'))
  const bytes = readFileSync(join(path, 'journal', name!))
  writeFileSync(join(path, 'journal', name!), bytes.subarray(0, 4096))
  await expect(store.openJournal()).rejects.toMatchObject({ code: 'JOURNAL_DAMAGED' })
  const fresh = await store.openJournal({ startOver: true })
  expect(await entries(fresh)).toEqual([])
  // The snapshot covers entries of another journal.
  expect((await store.load())?.covers).toBeUndefined()
  expect(await append(fresh, 'x')).toBe(1)
  expect(await entries(fresh)).toEqual(['x'])
  await fresh.close()
  const aside = readdirSync(join(path, 'quarantine')).filter((each) => !each.endsWith('.json'))
  expect(readdirSync(join(path, 'quarantine', aside[0]!))).toEqual([name])
  const again = await store.openJournal()
  expect(await entries(again)).toEqual(['x'])
  await save(store, 1, 'abx')
  expect((await store.load())?.covers).toBe(1)
  await again.close()
  await store.close()
  expect(await destroyStore(path)).toBe(true)
  expect(existsSync(path)).toBe(false)
})

test('a load that leaves out entries of the journal warns, once', async () => {
  const path = directory()
  const store = await openAt(path)
  await store.persist({ blobs: { state: text('') } })
  const journal = await store.openJournal()
  await append(journal, 'a', 'b')
  const warnings: unknown[] = []
  const another = async (): Promise<Store> => {
    warnings.length = 0
    const opened = await openStore(path, { readOnly: true, onWarning: (warning) => warnings.push(warning) })
    onTestFinished(() => opened.close())
    return opened
  }
  const early = await another()
  await (await early.load())!.dispose()
  await (await early.load())!.dispose()
  expect(warnings).toMatchObject([{ code: 'JOURNAL_AHEAD', details: { covers: 0, first: 1 } }])
  await save(store, 2, 'ab')
  await (await (await another()).load())!.dispose()
  expect(warnings).toEqual([])
  await append(journal, 'c')
  await (await another()).restore(() => 'engine')
  expect(warnings).toMatchObject([{ code: 'JOURNAL_AHEAD', details: { covers: 2, first: 3 } }])
  // An older one was asked for.
  await (await (await another()).load({ at: 1 }))!.dispose()
  expect(warnings).toEqual([])
  // The owner replays.
  const own: string[] = []
  await journal.close()
  const owner = await openStore(path, { onWarning: ({ code }) => own.push(code) })
  onTestFinished(() => owner.close())
  await owner.openJournal()
  await (await owner.load())!.dispose()
  expect(own).toEqual([])
})

describe('verify looks at the journal', () => {
  async function withJournal(): Promise<{ path: string; store: Store; segment: string }> {
    const path = directory()
    const store = await openAt(path)
    const journal = await store.openJournal()
    // A reading begins at one of some frames, 256 KiB from each other.
    await append(journal, 'a'.repeat(300_000))
    await save(store, 1, 'a')
    for (const value of ['b', 'c', 'd']) await append(journal, value)
    await save(store, 3, 'abc')
    await journal.close()
    return { path, store, segment: join(path, 'journal', readdirSync(join(path, 'journal'))[0]!) }
  }

  function flip(path: string, at: number): void {
    const bytes = readFileSync(path)
    bytes[at]! ^= 1
    writeFileSync(path, bytes)
  }

  test('and finds damage, also in what a start does not read', async () => {
    const { store, segment } = await withJournal()
    expect(await store.verify()).toMatchObject({ ok: true, journal: 'checked', problems: [] })
    // The frame of entry 1.
    flip(segment, 4096 + 130)
    const report = await store.verify({ level: 'quick' })
    expect(report).toMatchObject({
      ok: false,
      journal: 'checked',
      problems: [{ code: 'JOURNAL_DAMAGED', what: 'journal' }],
    })
    expect(report.problems[0]!.message).toContain('lost are entries 1')
    expect(report.advice).toContain('the journal')
    const journal = await store.openJournal()
    expect(await entries(journal)).toEqual(['d'])
    await journal.close()
  })

  test('while its owner writes, and never calls that damage', async () => {
    const { path, store, segment } = await withJournal()
    const journal = await store.openJournal()
    const reader = await openStore(path, { readOnly: true })
    onTestFinished(() => reader.close())
    const other = await openAt(path)
    const before = journal.append(text('e'))
    for (const each of [store, other, reader]) expect(await each.verify()).toMatchObject({ ok: true, problems: [] })
    await before.durable
    flip(segment, 4096 + 130)
    for (const each of [store, other]) expect(await each.verify()).toMatchObject({ ok: true, journal: 'skipped' })
    expect(await reader.verify()).toMatchObject({ ok: false, journal: 'checked' })
    await journal.close()
    expect(await other.verify()).toMatchObject({ ok: false, journal: 'checked' })
  })

  test('and so does scrub, as the last step of a round', async () => {
    const { store, segment } = await withJournal()
    expect(await store.scrub()).toMatchObject({ ok: true, journal: 'checked', cursor: null })
    flip(segment, 4096 + 130)
    expect(await store.scrub()).toMatchObject({ ok: false, problems: [{ code: 'JOURNAL_DAMAGED', what: 'journal' }] })
    let slices = 0
    let report = await store.scrub({ maxBytes: 1, cursor: null })
    for (; report.cursor !== null; slices++) {
      expect(report.journal).toBe(null)
      report = await store.scrub({ maxBytes: 1 })
    }
    expect(slices).toBeGreaterThan(0)
    expect(report).toMatchObject({ ok: false, journal: 'checked', checked: { blocks: 0 } })
  })

  test('and says when there is none', async () => {
    const store = await openAt(directory())
    await store.persist({ blobs: { a: text('a') } })
    expect(await store.verify()).toMatchObject({ ok: true, journal: 'none' })
  })
})

test('a store in memory has a journal too, as long as the store object lives', async () => {
  const store = memory()
  const journal = await store.openJournal()
  await append(journal, 'a', 'b')
  await expect(store.openJournal()).rejects.toMatchObject({ code: 'JOURNAL_LOCKED' })
  await expect(store.persist({ blobs: { state: text('a') } })).rejects.toMatchObject({ code: 'COVERS_REQUIRED' })
  const first = await save(store, 1, 'a')
  expect(await entries(journal)).toEqual(['b'])
  await save(store, 2, 'ab')
  await append(journal, 'c')
  await journal.close()
  await expect(store.rollback(first)).rejects.toMatchObject({ code: 'ENTRIES_UNSAVED' })
  expect(await store.verify()).toMatchObject({ ok: true, journal: 'checked' })
  await store.rollback(first, { discard: true })
  const again = await store.openJournal()
  expect(await entries(again)).toEqual([])
  expect(await append(again, 'd')).toBe(4)
  expect(await entries(again)).toEqual(['d'])
  await again.close()
  const fresh = await store.openJournal({ startOver: true })
  expect(await entries(fresh)).toEqual([])
  expect(await append(fresh, 'x')).toBe(1)
  await store.close()
})

test('a read-only store reads its journal, also beside the owner, and changes nothing', async () => {
  const path = directory()
  const readOnly = async (): Promise<[Store, Journal]> => {
    const reader = await openStore(path, { readOnly: true })
    onTestFinished(() => reader.close())
    return [reader, await reader.openJournal()]
  }
  // There is no store yet.
  expect(await entries((await readOnly())[1])).toEqual([])
  const store = await openAt(path)
  await store.persist({ blobs: { a: text('a') } })
  expect(await entries((await readOnly())[1])).toEqual([])
  const owner = await store.openJournal()
  await append(owner, 'a', 'b')
  const [reader, journal] = await readOnly()
  expect(journal).toMatchObject({ readOnly: true, last: 2, durableUpTo: 2, error: null })
  expect(owner.readOnly).toBe(false)
  expect(await entries(journal)).toEqual(['a', 'b'])
  await save(store, 1, 'a')
  await append(owner, 'c')
  // What was there at the opening; the next one sees more.
  expect(await entries(journal, 0)).toEqual(['a', 'b'])
  expect(await entries((await readOnly())[1])).toEqual(['b', 'c'])
  const refused = expect.objectContaining({ code: 'READ_ONLY' })
  expect(() => journal.append(text('x'))).toThrow(refused)
  expect(() => journal.assertTakes(1)).toThrow(refused)
  await expect(journal.rollback(1)).rejects.toMatchObject({ code: 'READ_ONLY' })
  await expect(journal.durable(3)).rejects.toThrow(RangeError)
  await journal.durable(2)
  await expect(reader.openJournal({ startOver: true })).rejects.toMatchObject({ code: 'READ_ONLY' })
  await journal.close()
  await store.close()
  expect(await entries((await readOnly())[1])).toEqual(['b', 'c'])
})

test('a read-only opening writes nothing again, and damage is told', async () => {
  const path = directory()
  const store = await openAt(path)
  const owner = await store.openJournal()
  await append(owner, 'a')
  await append(owner, 'b')
  // As a killed owner leaves it, without a seal.
  const copy = directory()
  cpSync(path, copy, { recursive: true })
  await store.close()
  const files = (): string[] => [...readdirSync(copy), ...readdirSync(join(copy, 'journal'))].sort()
  const before = [files(), readFileSync(join(copy, 'HEAD.json'), 'utf8')]
  const reader = await openStore(copy, { readOnly: true })
  onTestFinished(() => reader.close())
  expect(await entries(await reader.openJournal())).toEqual(['a', 'b'])
  expect([files(), readFileSync(join(copy, 'HEAD.json'), 'utf8')]).toEqual(before)
  const segment = join(copy, 'journal', readdirSync(join(copy, 'journal'))[0]!)
  const bytes = readFileSync(segment)
  bytes[4096 + 130]! ^= 1
  writeFileSync(segment, bytes)
  await expect(reader.openJournal()).rejects.toMatchObject({ code: 'JOURNAL_DAMAGED' })
})

test('a version of entries is a number', async () => {
  const path = directory()
  await expect((await openAt(path)).openJournal({ changes: -1 })).rejects.toThrow(RangeError)
})

test('closing the store closes the journal', async () => {
  const path = directory()
  const store = await openAt(path)
  const journal = await store.openJournal()
  const { durable } = journal.append(text('a'))
  await store.close()
  await durable
  expect(() => journal.append(text('b'))).toThrow(expect.objectContaining({ code: 'STORE_CLOSED' }))
  expect(await entries(await (await openAt(path)).openJournal())).toEqual(['a'])
})
