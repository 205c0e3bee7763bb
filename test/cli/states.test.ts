// Every verb on every kind of directory: the exit code says what a caller can do, and nothing is changed by what only
// looks or fails.

import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sealJson } from '../../src/format/json-file.ts'
import { openStore } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { effort, randomFor } from '../support/effort.ts'
import { mountTmpfs, remount } from '../support/mounted.ts'
import { makeScratch, scratch } from '../support/scratch.ts'
import { tree } from '../support/tree.ts'
import { done, holdfast } from './holdfast.ts'

/** All of them, with arguments that are right where there is a good store. */
function verbs(out: string): Record<string, string[]> {
  return {
    snapshots: ['snapshots'],
    show: ['show'],
    diff: ['diff', 'current~1'],
    stats: ['stats'],
    report: ['report', '-o', join(out, 'report.html')],
    cat: ['cat', 'small'],
    restore: ['restore', '-o', join(out, 'restored')],
    materialize: ['materialize', 'small'],
    persist: ['persist', 'small=-'],
    tag: ['tag', 'v1'],
    untag: ['untag', 'kept'],
    rollback: ['rollback', 'current~1'],
    forget: ['forget', 'tag:kept'],
    gc: ['gc'],
    copy: ['copy', join(out, 'copy')],
    verify: ['verify'],
    scrub: ['scrub'],
    repair: ['repair'],
    quarantine: ['quarantine'],
    doctor: ['doctor'],
  }
}

/** These do not touch a single file. A writer that is refused may have touched its lock. */
const READING = ['snapshots', 'show', 'diff', 'stats', 'report', 'quarantine', 'cat', 'restore', 'verify', 'scrub']

/** How verbs end, by their names: the exit code, and the code of the failure. 0: done. */
type Ends = Record<string, number | string>

/**
 * Runs the verbs of `expected`, each on a copy, and holds how they end. An ordinary run takes a sample of them, and
 * always `persist` and `repair`.
 */
async function expectEnds(path: string, expected: Ends, { copies = true } = {}): Promise<void> {
  const random = randomFor(path.length.toString() + Object.values(expected).join())
  const wanted = Object.entries(verbs(scratch())).filter(
    ([name]) => name in expected && (random.chance(Math.max(effort, 0.4)) || name === 'persist' || name === 'repair'),
  )
  const ends: Ends = {}
  async function judge([name, args]: [string, string[]]): Promise<void> {
    const at = copies ? join(scratch(), 'store') : path
    if (copies) cpSync(path, at, { recursive: true })
    const look = READING.includes(name) ? tree : contents
    const before = look(at)
    const json = name === 'cat' ? [] : ['--json']
    const { exit, failure } = await holdfast([...args, '-s', at, ...json, '--lock-wait', '200ms'], { input: 'new' })
    ends[name] = exit === 0 ? 0 : `${exit} ${failure.code ?? ''}`.trim()
    if (exit !== 0 || READING.includes(name)) expect(look(at), `${name} changed something`).toEqual(before)
  }
  // Each has a copy, or only reads, so that they can run side by side.
  await Promise.all(wanted.map(judge))
  expect(ends).toEqual(Object.fromEntries(wanted.map(([name]) => [name, expected[name]])))
}

function all(end: number | string): Ends {
  return Object.fromEntries(Object.keys(verbs('')).map((name) => [name, end]))
}

const directory = makeScratch()
const good = join(directory, 'store')

beforeAll(async () => {
  const store = await openStore(good)
  await store.persist({ blobs: { small: 'one', large: noise(300_000, 1) } })
  await store.tag('kept')
  await store.persist({ blobs: { small: 'two', large: noise(300_000, 2) } })
  await store.close()
})

afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** What is there, whenever it was written. */
function contents(path: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(tree(path))
      .filter(([name]) => name !== 'writer.lock')
      .map(([name, what]) => [name, what.replace(/ mode .*/, '')]),
  )
}

function damagedCopy(damage: (path: string) => void): string {
  const path = join(scratch(), 'store')
  cpSync(good, path, { recursive: true })
  damage(path)
  return path
}

function packs(path: string): string[] {
  return readdirSync(join(path, 'packs')).map((name) => join(path, 'packs', name))
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path)
  bytes[at]! ^= 1
  writeFileSync(path, bytes)
}

test('on a good store everything is done', async () => {
  await expectEnds(good, all(0))
})

test('where there is no directory, and in an empty one, there is no store', async () => {
  const parent = scratch()
  await expectEnds(parent, { ...all('15 STORE_NOT_FOUND'), cat: '15', doctor: 0 })
  const { exit } = await holdfast(['snapshots', '-s', join(parent, 'absent'), '--json'])
  expect(exit).toBe(15)
  expect(readdirSync(parent)).toEqual([])
})

test('in a directory of other files there is no store, and --init does not make one', async () => {
  const path = scratch()
  writeFileSync(join(path, 'notes.txt'), 'not a store')
  const { exit, failure } = await holdfast(['persist', '--init', 'a=-', '-s', path, '--json'], { input: 'x' })
  expect([exit, failure.code]).toEqual([14, 'NOT_A_STORE'])
  writeFileSync(join(path, 'HEAD.json'), JSON.stringify({ other: 'program', of: 'x'.repeat(200) }))
  // Whose HEAD.json it was cannot be known; that it is no store, a repair finds out.
  await expectEnds(path, {
    snapshots: '10 HEAD_DAMAGED',
    show: '10 HEAD_DAMAGED',
    tag: '10 HEAD_DAMAGED',
    verify: '10',
    repair: '14 NOT_A_STORE',
  })
})

test('a file in the place of the store is refused', async () => {
  const { exit, failure } = await holdfast(['snapshots', '-s', import.meta.filename, '--json'])
  expect([exit, failure.kind]).toEqual([15, 'input'])
})

describe('damage', () => {
  test('of blob bytes is found by what reads them, and each verb says so', async () => {
    const path = damagedCopy((copy) => {
      for (const pack of packs(copy)) flip(pack, 50_000)
    })
    await expectEnds(path, {
      snapshots: 0,
      show: 0,
      cat: 0,
      restore: '10 BLOB_DAMAGED',
      verify: '10',
      scrub: '10',
      persist: 0,
      tag: 0,
      doctor: 0,
      repair: '10 SNAPSHOT_DAMAGED',
    })
  })

  test('of HEAD.json is 10 for everything that needs it, and repair mends it', async () => {
    const path = damagedCopy((copy) => truncateSync(join(copy, 'HEAD.json'), 100))
    await expectEnds(path, {
      ...all('10 HEAD_DAMAGED'),
      cat: '10',
      verify: '10',
      scrub: '10 HEAD_DAMAGED',
      quarantine: 0,
      repair: 0,
      doctor: 0,
    })
    const planned = await done(['repair', '--dry-run', '-s', path, '--json'])
    expect(planned.document).toMatchObject({ dryRun: true, ok: false, applied: false })
    await done(['repair', '-s', path])
    await done(['verify', '-s', path])
  })

  test('that would cost a snapshot stops a repair, until it may be dropped', async () => {
    const path = damagedCopy((copy) => {
      const newest = packs(copy).at(-1)!
      rmSync(newest)
    })
    const before = contents(path)
    const { exit, failure } = await holdfast(['repair', '-s', path, '--json'])
    expect([exit, failure.code]).toEqual([10, 'SNAPSHOT_DAMAGED'])
    expect(failure.details.sequences.length).toBeGreaterThan(0)
    expect(failure.details.actions).toContainEqual(expect.objectContaining({ action: 'drop-snapshot' }))
    expect(contents(path)).toEqual(before)
    const repaired = await done(['repair', '--drop-incomplete', '-s', path, '--json'])
    expect(repaired.document).toMatchObject({ ok: false, applied: true })
    await done(['verify', '-s', path])
  })
})

test('a store of a newer version is 14', async () => {
  const path = damagedCopy((copy) => {
    writeFileSync(join(copy, 'HEAD.json'), sealJson({ format: 'holdfast-head', version: 99, requires: [] }))
  })
  const { exit, failure } = await holdfast(['snapshots', '-s', path, '--json'])
  expect([exit, failure.kind]).toEqual([14, 'unsupported'])
})

test('a store that another writer holds is 11 for writers, and readers do not notice', async () => {
  const path = damagedCopy(() => undefined)
  await using store = await openStore(path)
  let release = (): void => undefined
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  let taken = (): void => undefined
  const reading = new Promise<void>((resolve) => {
    taken = resolve
  })
  const persisting = store.persist({
    blobs: {
      small: (async function* () {
        taken()
        await held
        yield Buffer.from('three')
      })(),
    },
  })
  await reading
  const codes: Record<string, unknown> = {}
  const wanted = Object.entries(verbs(scratch())).filter(([name]) => name !== 'doctor' && name !== 'cat')
  await Promise.all(
    wanted.map(async ([name, args]) => {
      const { exit, failure } = await holdfast([...args, '-s', path, '--json', '--lock-wait', '100ms'], { input: 'x' })
      codes[name] = exit === 0 ? 0 : `${exit} ${failure.code}`
    }),
  )
  release()
  await persisting
  const busy = '11 STORE_LOCKED'
  expect(codes).toEqual({
    snapshots: 0,
    show: 0,
    diff: 0,
    stats: 0,
    report: 0,
    quarantine: 0,
    restore: 0,
    materialize: 0,
    copy: 0,
    verify: 0,
    scrub: 0,
    persist: busy,
    tag: busy,
    untag: busy,
    rollback: busy,
    forget: busy,
    gc: busy,
    // It looked, found nothing to do, and took no lock.
    repair: 0,
  })
})

test('on a read-only file system readers work, and writers are 13', async (context) => {
  const disk = mountTmpfs(context, 'size=32m')
  const path = join(disk, 'store')
  cpSync(good, path, { recursive: true })
  remount(disk, 'ro')
  const ends = {
    snapshots: 0,
    show: 0,
    cat: 0,
    restore: 0,
    verify: 0,
    scrub: 0,
    repair: 0,
    persist: '13 IO_FAILED',
    tag: '13 IO_FAILED',
    rollback: '13 IO_FAILED',
    materialize: '13 IO_FAILED',
    doctor: '13',
  }
  await expectEnds(path, ends, { copies: false })
})
