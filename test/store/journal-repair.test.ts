// What a repair makes of a journal: it is named again when HEAD was lost, and read again in spite of what it lost.

import { copyFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openStore } from '../../src/open.ts'
import type { Store } from '../../src/store.ts'
import type { Journal, JournalEntry } from '../../src/store-journal/options.ts'
import { scratch } from '../support/scratch.ts'

const PAGE = 4096
const text = (value: string): Uint8Array => Buffer.from(value)

interface Opened {
  path: string
  store: Store
}

async function openAt(path: string): Promise<Opened> {
  const store = await openStore(path, { onWarning: () => undefined })
  onTestFinished(() => store.close())
  return { path, store }
}

function fresh(): Promise<Opened> {
  return openAt(join(scratch(), 'store'))
}

/** One frame each. */
async function append(journal: Journal, ...values: string[]): Promise<void> {
  for (const value of values) await journal.append(text(value)).durable
}

async function session(store: Store, work: (journal: Journal) => Promise<void>): Promise<void> {
  const journal = await store.openJournal()
  await work(journal)
  await journal.close()
}

async function listOf(journal: Journal, after?: number): Promise<JournalEntry[]> {
  const all: JournalEntry[] = []
  for await (const entry of journal.read(after === undefined ? {} : { after })) all.push(entry)
  return all
}

/** As text, with a star behind what comes after a loss. */
async function entriesOf(store: Store, after?: number): Promise<string[]> {
  const journal = await store.openJournal()
  const all = (await listOf(journal, after)).map(
    ({ data, afterLoss }) => `${Buffer.from(data).toString()}${afterLoss ? '*' : ''}`,
  )
  await journal.close()
  return all
}

async function save(store: Store, covers: number, state: string): Promise<number> {
  return (await store.persist({ blobs: { state: text(state) }, covers })).sequence
}

async function stateOf(store: Store): Promise<string> {
  await using snapshot = await store.load({ required: true })
  return await snapshot!.blob('state').text()
}

function segments(path: string): string[] {
  return readdirSync(join(path, 'journal'))
    .sort()
    .map((name) => join(path, 'journal', name))
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path)
  bytes[at]! ^= 1
  writeFileSync(path, bytes)
}

function loseHeads(path: string): void {
  for (const name of ['HEAD.json', 'HEAD.prev.json']) rmSync(join(path, name), { force: true })
}

describe('a HEAD that was lost', () => {
  test('is rebuilt with the journal, whose entries are replayed and go on', async () => {
    const { path, store } = await fresh()
    await session(store, async (journal) => {
      await append(journal, 'a')
      await save(store, 1, 'a')
      await append(journal, 'b', 'c')
    })
    await session(store, (journal) => append(journal, 'd'))
    await store.close()
    loseHeads(path)
    const { store: again } = await openAt(path)
    const { actions } = await again.repair()
    expect(actions).toContainEqual(expect.objectContaining({ action: 'restore-journal' }))
    expect(await stateOf(again)).toBe('a')
    expect(await entriesOf(again)).toEqual(['b', 'c', 'd'])
    const journal = await again.openJournal()
    expect(journal.append(text('e')).sequence).toBe(5)
    await save(again, 5, 'abcde')
    await journal.close()
    expect(await again.verify()).toMatchObject({ ok: true, journal: 'checked' })
  })

  test('is made from HEAD.prev.json, which names an older segment, and no entry is forgotten', async () => {
    const { path, store } = await fresh()
    await session(store, (journal) => append(journal, 'a'))
    await session(store, (journal) => append(journal, 'b'))
    await session(store, (journal) => append(journal, 'c'))
    await store.close()
    rmSync(join(path, 'HEAD.json'))
    const { store: again } = await openAt(path)
    await again.repair()
    expect(await entriesOf(again)).toEqual(['a', 'b', 'c'])
  })

  test('is rebuilt on the line that the last rollback left, also when that was undone', async () => {
    for (const lost of [['HEAD.json', 'HEAD.prev.json'], ['HEAD.json']]) {
      for (const undone of [false, true]) {
        const { path, store } = await fresh()
        await session(store, async (journal) => {
          await append(journal, 'a')
          await save(store, 1, 'a')
          await append(journal, 'b')
          await save(store, 2, 'ab')
        })
        await store.rollback(1)
        await session(store, (journal) => append(journal, 'x'))
        if (undone) {
          await store.rollback(2, { discard: true })
          await session(store, (journal) => append(journal, 'c'))
        }
        await store.close()
        for (const name of lost) rmSync(join(path, name))
        const { store: again } = await openAt(path)
        await again.repair()
        const line = `${await stateOf(again)} ${(await entriesOf(again)).join('')}`
        expect(line).toBe(undone ? 'ab c' : 'a x')
      }
    }
  })

  test('that knows of a rollback which the journal does not know yet keeps it', async () => {
    const { path, store } = await fresh()
    await session(store, async (journal) => {
      await append(journal, 'a')
      await save(store, 1, 'a')
      await append(journal, 'b')
      await save(store, 2, 'ab')
    })
    await store.rollback(1)
    await store.tag('later')
    await store.close()
    rmSync(join(path, 'HEAD.json'))
    const { store: again } = await openAt(path)
    await again.repair()
    expect(await stateOf(again)).toBe('a')
    expect(await entriesOf(again)).toEqual([])
  })
})

describe('an old HEAD that was put back, and is gone on from', () => {
  test('leaves what a later one named in quarantine, and gives none of its sequences out again', async () => {
    const { path, store } = await fresh()
    await session(store, async (journal) => {
      await append(journal, 'a', 'b')
      await save(store, 1, 'a')
    })
    copyFileSync(join(path, 'HEAD.json'), join(path, 'old'))
    for (const value of ['c', 'd']) await session(store, (journal) => append(journal, value, value))
    await store.close()
    renameSync(join(path, 'old'), join(path, 'HEAD.json'))
    const later = segments(path).slice(1)
    expect(later).toHaveLength(2)
    const { store: again } = await openAt(path)
    await expect(again.openJournal()).rejects.toMatchObject({ code: 'STORE_ROLLED_BACK' })
    const before = readFileSync(join(path, 'HEAD.json'))
    const dry = await again.repair({ rolledBack: 'older', dryRun: true })
    expect(dry.actions.slice(-2)).toMatchObject(
      later.map((file) => ({ action: 'quarantine-segment', segment: basename(file, '.log') })),
    )
    expect(segments(path)).toHaveLength(3)
    expect(Buffer.compare(readFileSync(join(path, 'HEAD.json')), before)).toBe(0)
    const { quarantined } = await again.repair({ rolledBack: 'older' })
    expect(Object.keys(quarantined)).toEqual(expect.arrayContaining(later.map((file) => basename(file, '.log'))))
    for (const moved of Object.values(quarantined)) expect(existsSync(moved)).toBe(true)
    expect(await entriesOf(again)).toEqual(['b'])
    const journal = await again.openJournal()
    const { sequence, durable } = journal.append(text('e'))
    await durable
    expect(sequence).toBe(7)
    await journal.close()
    expect(await entriesOf(again)).toEqual(['b', 'e*'])
    expect(await again.repair({ rolledBack: 'older' })).toMatchObject({ ok: true, applied: false })
    expect((await again.verify()).ok).toBe(true)
  })

  test('and names no journal, leaves all of it in quarantine', async () => {
    const { path, store } = await fresh()
    await store.persist({ blobs: { state: text('before') } })
    copyFileSync(join(path, 'HEAD.json'), join(path, 'old'))
    await session(store, (journal) => append(journal, 'a'))
    await store.close()
    renameSync(join(path, 'old'), join(path, 'HEAD.json'))
    const { store: again } = await openAt(path)
    await expect(again.openJournal()).rejects.toMatchObject({ code: 'JOURNAL_DAMAGED' })
    await again.repair({ rolledBack: 'older' })
    expect(segments(path)).toEqual([])
    await session(again, (journal) => append(journal, 'x'))
    expect(await entriesOf(again)).toEqual(['x'])
  })

  test('is gone on from when the process dies between two steps', async () => {
    const { path, store } = await fresh()
    await session(store, (journal) => append(journal, 'a'))
    copyFileSync(join(path, 'HEAD.json'), join(path, 'old'))
    for (const value of ['b', 'c']) await session(store, (journal) => append(journal, value))
    await store.close()
    renameSync(join(path, 'old'), join(path, 'HEAD.json'))
    const { store: again } = await openAt(path)
    const [, second, third] = segments(path)
    const kept = readFileSync(third!)
    await again.repair({ rolledBack: 'older' })
    // One of the two was not moved yet.
    writeFileSync(third!, kept)
    await expect(again.openJournal()).rejects.toMatchObject({ code: 'STORE_ROLLED_BACK' })
    await again.repair({ rolledBack: 'older' })
    expect(segments(path)).not.toContain(second)
    await session(again, async (journal) => {
      expect(journal.append(text('d')).sequence).toBe(4)
      await journal.flush()
    })
    expect(await entriesOf(again)).toEqual(['a', 'd*'])
  })
})

test('an old HEAD that was put back names the newest segment again when told to', async () => {
  const { path, store } = await fresh()
  await session(store, (journal) => append(journal, 'a'))
  copyFileSync(join(path, 'HEAD.json'), join(path, 'old'))
  await session(store, (journal) => append(journal, 'b'))
  await store.close()
  renameSync(join(path, 'old'), join(path, 'HEAD.json'))
  const { store: again } = await openAt(path)
  await expect(again.openJournal()).rejects.toMatchObject({ code: 'STORE_ROLLED_BACK' })
  const { actions } = await again.repair({ rolledBack: 'newer' })
  expect(actions).toContainEqual(expect.objectContaining({ action: 'restore-journal' }))
  expect(await entriesOf(again)).toEqual(['a', 'b'])
})

describe("repair({ journal: 'skip' })", () => {
  /** Entries a to e, a frame each, of which the snapshot covers a. */
  async function five(): Promise<Opened & { segment: string }> {
    const { path, store } = await fresh()
    await session(store, async (journal) => {
      await append(journal, 'a')
      await save(store, 1, 'a')
      await append(journal, 'b', 'c', 'd', 'e')
    })
    return { path, store, segment: segments(path)[0]! }
  }

  /** Damages the frame of an entry, or undoes that. Seals may lie between frames, on a slow machine. */
  function flipEntry(segment: string, entry: number): void {
    const bytes = readFileSync(segment)
    for (let at = PAGE; at < bytes.length; at += PAGE) {
      const isEntries = bytes[at + 8] === 1 && bytes.readBigUInt64LE(at + 32) === BigInt(entry)
      if (!isEntries) continue
      flip(segment, at + 130)
      return
    }
    throw new Error(`no frame of entry ${entry}`)
  }

  test('records what is lost, and what comes after it is replayed and says so', async () => {
    const { path, store, segment } = await five()
    flipEntry(segment, 3)
    await expect(store.openJournal()).rejects.toMatchObject({
      code: 'JOURNAL_DAMAGED',
      details: { lost: [{ first: 3, last: 3 }], last: 5 },
    })
    const before = readFileSync(join(path, 'HEAD.json'))
    const dry = await store.repair({ journal: 'skip', dryRun: true })
    expect(dry.actions).toContainEqual({ action: 'skip-entries', entries: [[3, 3]], why: expect.any(String) })
    expect(Buffer.compare(readFileSync(join(path, 'HEAD.json')), before)).toBe(0)
    expect(await store.repair({ journal: 'skip' })).toMatchObject({ applied: true })
    expect(await entriesOf(store)).toEqual(['b', 'd*', 'e*'])
    // Nothing that comes after a snapshot behind the loss is missing.
    expect(await entriesOf(store, 3)).toEqual(['d', 'e'])
    expect(await store.verify()).toMatchObject({ ok: true, problems: [{ what: 'journal', recorded: true }] })
    expect(segments(path)).toContain(segment)
    await session(store, (journal) => append(journal, 'f'))
    expect(await entriesOf(store)).toEqual(['b', 'd*', 'e*', 'f*'])
    expect(await store.repair({ journal: 'skip' })).toMatchObject({ ok: true, applied: false })
    await session(store, (journal) => save(store, journal.last, 'abdef').then(() => undefined))
    // A start that falls back still needs it.
    expect(await entriesOf(store, 1)).toEqual(['b', 'd*', 'e*', 'f*'])
  })

  test('accepts no damage that comes later', async () => {
    const { store, segment } = await five()
    flipEntry(segment, 3)
    await store.repair({ journal: 'skip' })
    for (const entry of [2, 4]) {
      flipEntry(segment, entry)
      await expect(store.openJournal()).rejects.toMatchObject({
        code: 'JOURNAL_DAMAGED',
        details: { lost: [{ first: entry, last: entry }] },
      })
      flipEntry(segment, entry)
    }
    flipEntry(segment, 4)
    await store.repair({ journal: 'skip' })
    expect(await entriesOf(store)).toEqual(['b', 'e*'])
  })

  test('gives out no sequence again where the end of the journal is lost', async () => {
    for (const lose of [
      (segment: string) => rmSync(segment),
      (segment: string) => writeFileSync(segment, readFileSync(segment).subarray(0, 3 * PAGE)),
      (segment: string) => writeFileSync(segment, readFileSync(segment).subarray(0, PAGE)),
    ]) {
      const { path, store, segment } = await five()
      // So that HEAD has seen entries.
      await session(store, async (journal) => {
        await save(store, journal.last, 'abcde')
        await append(journal, 'f', 'g')
      })
      for (const other of segments(path).slice(1)) rmSync(other)
      lose(segment)
      await expect(store.openJournal()).rejects.toMatchObject({ code: 'JOURNAL_DAMAGED' })
      await store.repair({ journal: 'skip' })
      expect(await entriesOf(store)).toEqual([])
      const journal = await store.openJournal()
      const { sequence, durable } = journal.append(text('h'))
      await durable
      expect(sequence).toBeGreaterThan(7)
      await journal.close()
      expect(await entriesOf(store)).toEqual(['h*'])
      await session(store, async (opened) => {
        expect(opened.last).toBe(sequence)
        await save(store, sequence, 'abcdeh')
      })
      expect(await entriesOf(store)).toEqual([])
      expect((await store.verify()).ok).toBe(true)
    }
  })

  test('reads on past a segment that is gone, and past a header that is damaged', async () => {
    const { path, store } = await fresh()
    for (const value of ['a', 'b', 'c', 'd']) await session(store, (journal) => append(journal, value))
    const [, second, third] = segments(path)
    rmSync(second!)
    flip(third!, 60)
    await store.repair({ journal: 'skip' })
    const left = await entriesOf(store)
    expect(left[0]).toBe('a')
    expect(left.slice(-2)).toEqual(['c*', 'd*'])
    await session(store, (journal) => append(journal, 'e'))
    expect((await entriesOf(store)).at(-1)).toBe('e*')
  })

  test('is forgotten once no snapshot needs what was damaged', async () => {
    const { path, store, segment } = await five()
    flipEntry(segment, 3)
    await store.repair({ journal: 'skip' })
    for (let i = 6; i < 12; i++) {
      await session(store, async (journal) => {
        await append(journal, `${i}`)
        await save(store, journal.last, `${i}`)
      })
    }
    expect(segments(path)).not.toContain(segment)
    expect(readFileSync(join(path, 'HEAD.json'), 'utf8')).not.toContain('"lost"')
    expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
  })

  test('changes nothing where nothing is damaged, and takes no other word', async () => {
    const { store } = await five()
    expect(await store.repair({ journal: 'skip' })).toMatchObject({ ok: true, applied: false, actions: [] })
    await expect(store.repair({ journal: 'all' as 'skip' })).rejects.toThrow(TypeError)
  })
})
