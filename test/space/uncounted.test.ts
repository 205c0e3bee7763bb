// What statistics say where a part of the store cannot be read: the rest is counted, and nothing that may be needed is
// called garbage.

import { beforeAll, expect, test } from 'vitest'
import { fixed, type Stats, type Store } from '../../src/index.ts'
import type { Call } from '../faulty-disk/disk.ts'
import type { DirectoryImage } from '../faulty-disk/image.ts'
import { noise } from '../support/bytes.ts'
import { build, headOf, visit, withFiles } from '../support/lab.ts'
import { recordBytesOf } from './brute.ts'

const OPTIONS = { keepLast: 20, compression: 'none' } as const
const chunking = fixed(4096)
let image: DirectoryImage
/** Of the first snapshot, which the second one needs, too. */
let first: string
let second: string
let whole: Stats

beforeAll(async () => {
  image = await build(async (store) => {
    await store.persist({ blobs: { a: noise(50_000, 1) }, chunking })
    await store.persist({ blobs: { a: noise(50_000, 1), c: noise(400_000, 2) }, chunking })
  }, OPTIONS)
  const { packs } = headOf(image)
  expect(packs).toHaveLength(2)
  first = packs.find(({ bytes }) => bytes < 100_000)!.name
  second = packs.find(({ bytes }) => bytes > 100_000)!.name
  whole = (await visit(image, (store) => store.stats())).result
})

/** The answer of `use` where calls for these files fail. */
async function refusing<T>(
  error: string,
  fails: (call: Call) => boolean,
  use: (store: Store) => Promise<T>,
): Promise<T> {
  const { result } = await visit(image, async (store, disk) => {
    disk.onCall = (call) => (fails(call) ? { error } : undefined)
    return await use(store)
  })
  return result
}

function expectParts(stats: Stats): void {
  const { packBytes, liveBytes, recordBytes, garbageBytes, overheadBytes, uncountedBytes } = stats
  expect(liveBytes + recordBytes + garbageBytes + overheadBytes + uncountedBytes).toBe(packBytes)
}

test.each(['EACCES', 'EIO'])('a pack whose opening fails with %s is named, and the rest is counted', async (code) => {
  const fails = ({ name, path }: Call) => name === 'open' && path.includes(first)
  const stats = await refusing(code, fails, (store) => store.stats())
  expectParts(stats)
  expect(stats.packBytes).toBe(whole.packBytes)
  expect(stats.uncounted).toEqual([
    expect.objectContaining({ what: 'pack', pack: first, code: 'IO_FAILED', message: expect.stringContaining(code) }),
  ])
  // The manifest of the first snapshot is in that pack.
  expect(stats.snapshots).toMatchObject([
    { sequence: 2, unread: true, damaged: false },
    { sequence: 1, unread: true, damaged: false, addedBytes: 0 },
  ])
  // What of the second pack can be reached is counted: its blob has 400,000 bytes.
  expect(stats.packs.find(({ pack }) => pack === second)!.liveBytes).toBeGreaterThan(400_000)
  expect(stats.garbageBytes).toBe(0)
})

test('a read that fails in the middle of a pack is no damage', async () => {
  let reads = 0
  const fails = ({ name, path }: Call) => name === 'read' && path.includes(first) && ++reads > 3
  const stats = await refusing('EIO', fails, (store) => store.stats())
  expectParts(stats)
  expect(stats.garbageBytes).toBe(0)
  expect(stats.snapshots).toMatchObject([
    { unread: true, damaged: false },
    { unread: true, damaged: false },
  ])
})

test('a pack that is gone is damage, and what its snapshots may need is no garbage', async () => {
  const lost = withFiles(image, { [`packs/${second}.pack`]: null })
  const { result } = await visit(lost, (store) => store.stats())
  expectParts(result)
  expect(result).toMatchObject({
    garbageBytes: 0,
    uncounted: [{ what: 'pack', pack: second, code: 'PACK_MISSING' }],
    recordBytes: recordBytesOf(lost),
    // Nothing is missing of the first one.
    snapshots: [{ damaged: true }, { damaged: false, unread: false, addedBytes: whole.snapshots[1]!.addedBytes }],
  })
})

test.each([
  ['the root of a blob', noise(600_000, 1)],
  ['a part of a blob, whose root is there', Buffer.concat([noise(600_000, 1), noise(400_000, 2)])],
])('every snapshot that shares what is lost is told, however many share it: %s', async (_what, shared) => {
  const many = await build(async (store) => {
    await store.persist({ blobs: { first: noise(600_000, 1) }, chunking })
    for (let i = 0; i < 4; i++) await store.persist({ blobs: { shared }, metadata: { i }, chunking })
  }, OPTIONS)
  const lost = headOf(many).packs.find(({ bytes }) => bytes > 500_000)!
  const { result } = await visit(withFiles(many, { [`packs/${lost.name}.pack`]: null }), (store) => store.stats())
  expect(result.snapshots.map(({ damaged }) => damaged)).toEqual([true, true, true, true, true])
})

test.each([
  ['quarantine', 'readdir', 'quarantine'],
  ['journal', 'readdir', 'journal'],
  ['files', 'readdir', 'files'],
  ['retired', 'readdir', 'packs'],
] as const)('%s that cannot be listed are not counted, and said', async (what, name, folder) => {
  const made = withFiles(image, { [`${folder}/x`]: new Uint8Array(3) })
  const { result } = await visit(made, async (store, disk) => {
    disk.onCall = (call) => (call.name === name && call.path.endsWith(`/${folder}`) ? { error: 'EACCES' } : undefined)
    return await store.stats()
  })
  expect(result.uncounted.map((each) => each.what)).toContain(what)
  expect(result.liveBytes).toBe(whole.liveBytes)
})

test('a report is made, says what is not counted, and has no path on it', async () => {
  const fails = ({ name, path }: Call) => name === 'open' && path.includes(first)
  const { html, uncounted, unread } = await refusing('EACCES', fails, (store) => store.report())
  expect({ unread, count: uncounted.length }).toEqual({ unread: [2, 1], count: 1 })
  expect(html).toContain('Not counted, because it could not be read (IO_FAILED): 1 pack')
  expect(html).not.toContain(`packs/`)
})

test('forget says that it does not know what is freed', async () => {
  const fails = ({ name, path }: Call) => name === 'open' && path.includes(first)
  const answer = await refusing('EIO', fails, (store) => store.forget(1, { dryRun: true }))
  expect(answer).toMatchObject({ dropped: [1], freesBytes: null })
})
