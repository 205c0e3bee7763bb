import { expect, test } from 'vitest'
import { toHex } from '../../src/format/hex.ts'
import { ENTRY_BYTES } from '../../src/format/limits.ts'
import { KIND } from '../../src/format/pack.ts'
import { fixed, memory, type Stats, type Store } from '../../src/index.ts'
import { PACK_OVERHEAD_BYTES } from '../../src/space/pack-use.ts'
import type { DirectoryImage } from '../faulty-disk/image.ts'
import { noise } from '../support/bytes.ts'
import { randomFor, share } from '../support/effort.ts'
import { blocksOf, build, fileOf, headOf, packsOf, persisted, visit, withFiles } from '../support/lab.ts'
import type { Random } from '../support/random.ts'
import { rejects } from '../support/rejects.ts'
import { bruteForce, bytesOf, recordBytesOf } from './brute.ts'

const STORES = share(60, 8)

/** A few snapshots of a few blobs, made of chunks that come again. */
async function grow(store: Store, random: Random): Promise<void> {
  const persists = 1 + random.below(6)
  for (let i = 0; i < persists; i++) {
    const blobs = Array.from(
      { length: 1 + random.below(3) },
      (_, b): [string, { source: Uint8Array; chunking: ReturnType<typeof fixed> }] => {
        const chunks = Array.from({ length: random.below(8) }, () => noise(512, random.below(12)))
        return [`blob ${b}`, { source: Buffer.concat(chunks), chunking: fixed(512) }]
      },
    )
    await store.persist({ blobs, metadata: { i: random.below(3) } })
    if (random.below(4) === 0) await store.rollback((await store.snapshots()).at(-1)!.sequence).catch(() => undefined)
  }
}

/** In packs, without commit records. */
function blockBytes(image: DirectoryImage): number {
  return packsOf(image)
    .flatMap((path) => blocksOf(image, path))
    .filter(({ kind }) => kind !== KIND.commit)
    .reduce((sum, { bytes }) => sum + bytes + ENTRY_BYTES, 0)
}

/** The parts of the packs make the whole. */
function expectParts(stats: Stats): void {
  const { packs, packBytes, liveBytes, recordBytes, garbageBytes, overheadBytes } = stats
  expect(liveBytes + recordBytes + garbageBytes + overheadBytes).toBe(packBytes)
  for (const field of ['liveBytes', 'recordBytes', 'garbageBytes'] as const) {
    expect(packs.reduce((sum, pack) => sum + pack[field], 0)).toBe(stats[field])
  }
}

test('the commit record of a kept snapshot is no garbage', async () => {
  const save = (store: Store, i: number) => store.persist({ blobs: { a: 'a', b: 'b' }, metadata: { i } })
  const image = await build((store) => save(store, 1), { keepLast: 20, compression: 'none' })
  const { result } = await visit(image, (store) => store.stats())
  expect(result.recordBytes).toBeGreaterThan(0)
  expect(result).toMatchObject({ garbageBytes: 0, recordBytes: recordBytesOf(image) })
  // That of a dropped one is.
  const { result: after } = await visit(image, async (store) => {
    await save(store, 2)
    await store.forget(1)
    return await store.stats()
  })
  expect(after.snapshots).toHaveLength(1)
  expect(after.garbageBytes).toBeGreaterThan(0)
})

test(`of ${STORES} random stores every number is that of a count by sets`, async () => {
  const random = randomFor('stats')
  for (let round = 0; round < STORES; round++) {
    const image = await build((store) => grow(store, random), { keepLast: 50, compression: 'none' })
    const { result } = await visit(image, (store) => store.stats(), { keepLast: 50 })
    const sequences = headOf(image).snapshots.map(({ sequence }) => sequence)
    expect(result.snapshots.map(({ sequence }) => sequence)).toEqual(sequences)
    for (const { sequence, addedBytes, freesBytes } of result.snapshots) {
      const older = sequences.filter((each) => each < sequence)
      const others = sequences.filter((each) => each !== sequence)
      expect(addedBytes).toBe(bytesOf(image, [sequence], older))
      expect(freesBytes).toBe(bytesOf(image, [sequence], others))
    }
    expect(result.liveBytes).toBe(bytesOf(image, sequences))
    expect(result.snapshots.reduce((sum, { addedBytes }) => sum + addedBytes, 0)).toBe(result.liveBytes)
    const files = packsOf(image).map((path) => fileOf(image, path).length)
    expect(result.packBytes).toBe(files.reduce((sum, bytes) => sum + bytes, 0) - result.retired.bytes)
    expectParts(result)
    expect(result.overheadBytes).toBe(result.packs.length * PACK_OVERHEAD_BYTES)
    if (result.retired.count === 0) expect(result.recordBytes).toBe(recordBytesOf(image))
    // What it says of one snapshot is what then really goes.
    const victim = result.snapshots.find(({ sequence }) => sequence !== result.current)
    if (victim === undefined) continue
    const clean = await visit(image, async (store) => {
      await store.gc({ complete: true })
      return await store.stats()
    })
    expect(clean.result).toMatchObject({ garbageBytes: 0, recordBytes: recordBytesOf(clean.image) })
    expectParts(clean.result)
    const { image: after } = await visit(clean.image, async (store) => {
      await store.forget(victim.sequence)
      await store.gc({ complete: true })
    })
    expect(blockBytes(clean.image) - blockBytes(after)).toBe(victim.freesBytes)
  }
})

test('a damaged snapshot is told, and the others have their numbers', async () => {
  const image = await build(persisted('a1', 'b1'), { keepLast: 20, compression: 'none' })
  const { packs, snapshots } = headOf(image)
  const { pack } = snapshots.find(({ sequence }) => sequence === 1)!
  const lost = withFiles(image, { [`packs/${packs.find(({ id }) => id === pack)!.name}.pack`]: null })
  const { result } = await visit(lost, (store) => store.stats())
  expect(result.snapshots).toMatchObject([
    { sequence: 2, damaged: false, addedBytes: bytesOf(image, [2], [1]) },
    { sequence: 1, damaged: true, addedBytes: 0 },
  ])
})

test('what lies beside the packs is weighed apart', async () => {
  const image = await build(persisted('a1'), { keepLast: 20 })
  const beside = withFiles(image, {
    'files/a': new Uint8Array(10),
    [`files/${'ab'.repeat(32)}.image`]: new Uint8Array(500),
    [`files/${'ab'.repeat(32)}.image.lock`]: new Uint8Array(0),
    // None of ours.
    'files/x.image': new Uint8Array(7),
    'quarantine/b/c': new Uint8Array(200),
    'quarantine/d': new Uint8Array(1),
    'journal/e': new Uint8Array(3000),
  })
  const { result } = await visit(beside, (store) => store.stats())
  expect(result).toMatchObject({
    files: { count: 2, bytes: 17 },
    images: { count: 2, bytes: 500 },
    quarantine: { count: 2, bytes: 201 },
    journal: { count: 1, bytes: 3000 },
  })
})

test('an empty store takes nothing', async () => {
  const nothing = { count: 0, bytes: 0 }
  expect(await memory().stats()).toEqual({
    revision: 0,
    current: null,
    snapshots: [],
    packs: [],
    packBytes: 0,
    liveBytes: 0,
    recordBytes: 0,
    garbageBytes: 0,
    overheadBytes: 0,
    uncountedBytes: 0,
    uncounted: [],
    retired: nothing,
    files: nothing,
    images: nothing,
    quarantine: nothing,
    journal: nothing,
  })
})

test(`diffs of ${STORES} random stores are those of a comparison chunk by chunk`, async () => {
  const random = randomFor('diff')
  for (let round = 0; round < STORES; round++) {
    const image = await build((store) => grow(store, random), { keepLast: 50, compression: 'none' })
    const { needs } = bruteForce(image)
    expect(needs.size).toBeGreaterThan(0)
    await visit(image, async (store) => {
      const infos = await store.snapshots()
      for (const from of infos) {
        for (const to of infos) {
          const result = await store.diff(from.sequence, to.sequence, { ranges: true })
          const before = await contentOf(store, from.sequence)
          const after = await contentOf(store, to.sequence)
          const known = new Set([...before.values()].flatMap(chunksIn))
          for (const [name, bytes] of after) {
            const line = result.blobs.find((blob) => blob.name === name)
            const previous = before.get(name)
            if (previous !== undefined && Buffer.compare(previous, bytes) === 0) {
              expect(line).toBeUndefined()
              continue
            }
            const fresh = chunksIn(bytes).map((chunk) => !known.has(chunk))
            const newBytes = fresh.filter(Boolean).length * 512
            expect(line).toMatchObject({
              change: previous === undefined ? 'added' : 'changed',
              newBytes,
              size: bytes.length,
            })
            expect(line!.sharedBytes).toBe(bytes.length - newBytes)
            const inRanges = fresh.map((_, i) =>
              line!.ranges!.some(({ start, end }) => start <= i * 512 && i * 512 < end),
            )
            expect(inRanges).toEqual(fresh)
          }
          const removed = [...before.keys()].filter((name) => !after.has(name)).sort()
          expect(result.blobs.filter(({ change }) => change === 'removed').map(({ name }) => name)).toEqual(removed)
        }
      }
    })
  }
})

async function contentOf(store: Store, at: number): Promise<Map<string, Uint8Array>> {
  await using snapshot = (await store.load({ at }))!
  const blobs = new Map<string, Uint8Array>()
  for (const name of snapshot.names) blobs.set(name, await snapshot.blob(name).bytes())
  return blobs
}

function chunksIn(bytes: Uint8Array): string[] {
  return Array.from({ length: Math.ceil(bytes.length / 512) }, (_, i) => toHex(bytes.subarray(i * 512, (i + 1) * 512)))
}

test('a diff of snapshots that there are not is an error', async () => {
  const store = memory()
  await rejects(store.diff(1, 2), 'SNAPSHOT_NOT_FOUND')
  await store.persist({ blobs: { a: 'a' } })
  await rejects(store.diff(1, 2), 'SNAPSHOT_NOT_FOUND')
  expect(await store.diff(1, 1)).toEqual({ from: 1, to: 1, blobs: [], unchanged: 1, sharedBytes: 1, newBytes: 0 })
})
