import { performance } from 'node:perf_hooks'
import { describe, expect, test } from 'vitest'
import { encodeHead } from '../../src/format/head.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { fixed, type Progress, type Store } from '../../src/index.ts'
import { insideOf } from '../../src/inside.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { effort, randomFor, share } from '../support/effort.ts'
import { createRandom } from '../support/random.ts'
import { storeOver } from '../support/store-over.ts'
import { type Watched, watch } from '../support/watched.ts'

const MIB = 1024 * 1024

async function measure({
  head,
}: Watched): Promise<{ packs: number; bytes: number; headBytes: number; retired: number }> {
  const now = await head()
  return {
    packs: now.packs.length,
    bytes: now.packs.reduce((sum, pack) => sum + pack.bytes, 0),
    headBytes: encodeHead(now).length,
    retired: now.retired.length,
  }
}

async function expectKept(store: Store, kept: ReadonlyMap<number, Uint8Array>): Promise<void> {
  for (const { sequence } of await store.snapshots()) {
    await using snapshot = (await store.load({ at: sequence }))!
    expect(sameBytes(await snapshot.blob('a').bytes(), kept.get(sequence)!), `snapshot ${sequence}`).toBe(true)
  }
}

/** What an open store does behind its persists. */
async function tidy(store: Store): Promise<void> {
  await insideOf(store, 'a test').housekeeping.now()
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!
}

const PERSISTS = effort === 1 ? 10_000 : share(5_000)

test(`${PERSISTS} persists leave a store as small as the first tenth of them did, and at full effort as fast`, async () => {
  const watched = watch(memoryStorage())
  const store = storeOver(watched.storage, nodeFileSystem, { compression: 'none' })
  const bytes = noise(10_000, 1)
  const r = createRandom(1)
  const times: number[] = []
  const greatest = { packs: 0, bytes: 0, headBytes: 0, retired: 0 }
  for (let i = 1; i <= PERSISTS; i++) {
    bytes.set(noise(200, i), r.below(bytes.length - 200))
    const startMs = performance.now()
    await store.persist({ blobs: { a: bytes }, metadata: { i } })
    times.push(performance.now() - startMs)
    if (i > PERSISTS / 10 && i % 50 === 0) {
      const now = await measure(watched)
      for (const key of ['packs', 'bytes', 'headBytes', 'retired'] as const)
        greatest[key] = Math.max(greatest[key], now[key])
    }
  }
  expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([PERSISTS, PERSISTS - 1, PERSISTS - 2])
  await using snapshot = (await store.load())!
  expect(sameBytes(await snapshot.blob('a').bytes(), bytes)).toBe(true)
  // Three snapshots of 10 kB, and small packs of as much that wait to be folded.
  expect(greatest.bytes).toBeLessThan(300_000)
  expect(greatest.packs).toBeLessThan(30)
  expect(greatest.headBytes).toBeLessThan(20_000)
  expect(greatest.retired).toBeLessThan(30)
  const swaps = watched.log.filter((step) => step === 'swapHead').length
  expect(swaps).toBeGreaterThanOrEqual(PERSISTS)
  // Some more are by what goes on behind the persists.
  expect(swaps).toBeLessThan(1.01 * PERSISTS)
  // Time is compared over many persists only: of few, a busy machine decides. Without folding it is tenfold.
  if (effort < 1) return
  const tenth = Math.floor(PERSISTS / 10)
  expect(median(times.slice(-tenth))).toBeLessThan(3 * median(times.slice(tenth, 2 * tenth)))
})

// At full effort, and in each third quick run.
describe.runIf(effort === 1 || randomFor('growth').below(3) === 0)('a large blob of which little changes', () => {
  test('is folded again and again, and stays below three times what is alive; all that is kept stays whole', async () => {
    const watched = watch(memoryStorage())
    const store = storeOver(watched.storage, nodeFileSystem, { compression: 'none', keepLast: 3 })
    const bytes = noise(8 * MIB, 1)
    const r = createRandom(2)
    const kept = new Map<number, Uint8Array>()
    let folds = 0
    let compactedBytes = 0
    for (let i = 1; i <= 70; i++) {
      // Two in a hundred of the chunks, in a few places.
      for (let j = 0; j < 16; j++) bytes.set(noise(100, 1000 * i + j), r.below(bytes.length - 100))
      const { sequence, bytes: counted } = await store.persist({ blobs: { a: bytes } })
      kept.set(sequence, bytes.slice())
      kept.delete(sequence - 4)
      if (i > 1) expect(counted.written).toBeLessThan(4 * MIB)
      if (counted.compacted > 0) {
        folds += 1
        compactedBytes += counted.compacted
        await expectKept(store, kept)
      }
      const live = 8 * MIB + 2 * Math.min(counted.written, 4 * MIB)
      expect((await measure(watched)).bytes, `after ${i} persists`).toBeLessThan(3 * live)
    }
    await expectKept(store, kept)
    expect(folds).toBeGreaterThan(3)
    expect((await measure(watched)).packs).toBeLessThan(40)
    // Housekeeping is paid for by what was written, not by what is there.
    expect(compactedBytes).toBeLessThan(6 * 70 * MIB)
  })

  test('is not moved for the sake of small changes', async () => {
    const watched = watch(memoryStorage())
    const store = storeOver(watched.storage, nodeFileSystem, { compression: 'none' })
    // Above the size from which a pack is left alone while most of it is alive.
    const base = noise(66 * MIB, 1)
    const log = noise(2 * MIB, 2)
    await store.persist({ blobs: { base } })
    const [first] = (await watched.head()).packs
    const progress: Progress[] = []
    for (let i = 0; i < 20; i++) {
      const { bytes } = await store.persist({
        blobs: { base, log: log.subarray(0, 100_000 * i) },
        onProgress: (p) => progress.push(p),
      })
      expect(bytes.compacted).toBeLessThan(5 * MIB)
    }
    const { packs } = await watched.head()
    expect(packs).toContainEqual(expect.objectContaining({ name: first!.name }))
    expect(packs.length).toBeLessThan(30)
    expect(progress.some(({ phase }) => phase === 'compacting')).toBe(true)
  })

  test('that is replaced leaves nothing behind, in packs of every size', async () => {
    const watched = watch(memoryStorage())
    const options = { compression: 'none', keepLast: 1, packBytesMax: MIB } as const
    const store = storeOver(watched.storage, nodeFileSystem, options)
    // Blobs that live on in the same packs as some that do not: what is moved fills several packs.
    const staying = Array.from({ length: 24 }, (_, i) => noise(100_000, i))
    for (let i = 0; i < 12; i++) {
      const passing = staying.map((_, j) => noise(300_000, 1000 + 100 * i + j))
      const blobs = staying.flatMap((bytes, j) => [[`s${j}`, bytes] as const, [`p${j}`, passing[j]!] as const])
      await store.persist({ blobs })
      expect((await measure(watched)).bytes).toBeLessThan(3 * 24 * 400_000)
      await using snapshot = (await store.load())!
      for (const [name, bytes] of blobs) expect(sameBytes(await snapshot.blob(name).bytes(), bytes)).toBe(true)
    }
  })

  test('of which most changes each time does not pile up', async () => {
    const watched = watch(memoryStorage())
    const store = storeOver(watched.storage, nodeFileSystem, { compression: 'none', keepLast: 1 })
    const pages = 4096
    const bytes = noise(pages * 4096, 1)
    const r = createRandom(4)
    for (let i = 1; i <= 10; i++) {
      for (let page = 0; page < pages; page++) if (r.below(10) < 6) bytes[page * 4096] = r.below(256)
      await store.persist({ blobs: { a: bytes }, chunking: fixed(4096) })
      await tidy(store)
      expect((await measure(watched)).bytes, `after ${i} persists`).toBeLessThan(3 * bytes.length)
    }
    await using snapshot = (await store.load())!
    expect(sameBytes(await snapshot.blob('a').bytes(), bytes)).toBe(true)
  })

  test('that only grows is written about once', async () => {
    const watched = watch(memoryStorage())
    const store = storeOver(watched.storage, nodeFileSystem, { compression: 'none' })
    const all = noise(20 * MIB, 1)
    let written = 0
    let folded = 0
    for (let end = MIB / 4; end <= all.length; end += MIB / 4) {
      const { bytes } = await store.persist({ blobs: { a: all.subarray(0, end) } })
      written += bytes.written
      folded += bytes.compacted
    }
    expect(written).toBeLessThan(1.4 * all.length)
    // Each byte is moved up by a tier a few times at most.
    expect(folded).toBeLessThan(5 * all.length)
    expect((await measure(watched)).bytes).toBeLessThan(1.5 * all.length)
    await using snapshot = (await store.load())!
    expect(sameBytes(await snapshot.blob('a').bytes(), all)).toBe(true)
  })
})

test('content of older snapshots that comes back to a store too large to be searched is kept, folded or not', async () => {
  const watched = watch(memoryStorage())
  const store = storeOver(watched.storage, nodeFileSystem, { compression: 'none', keepLast: 12 })
  // So many blocks that a persist does not look at all of them for a few new ones.
  const base = { source: noise(21_000 * 512, 1), chunking: fixed(512) }
  const kept = new Map<number, Uint8Array>()
  let folds = 0
  for (let i = 1; i <= 26; i++) {
    const small = noise(9000, i % 5)
    // Every fifth one is an older snapshot again, manifest and all.
    const { sequence, bytes } = await store.persist({ blobs: { base, a: small }, metadata: { i: i % 5 } })
    kept.set(sequence, small)
    if (bytes.compacted === 0 && i < 26) continue
    folds += 1
    await expectKept(store, kept)
    await using snapshot = (await store.load({ at: sequence - 5 }))!
    expect(sameBytes(await snapshot.blob('base').bytes(), base.source)).toBe(true)
  }
  expect(folds).toBeGreaterThan(1)
  expect((await watched.head()).packs.length).toBeLessThan(20)
  const { ok } = await store.verify()
  expect(ok).toBe(true)
})

test('tagged snapshots of long ago stay whole through every fold', async () => {
  const watched = watch(memoryStorage())
  const store = storeOver(watched.storage, nodeFileSystem, { compression: 'none', keepLast: 2 })
  const bytes = noise(2 * MIB, 1)
  const r = createRandom(3)
  const kept = new Map<number, Uint8Array>()
  for (let i = 1; i <= 121; i++) {
    bytes.set(noise(2000, i), r.below(bytes.length - 2000))
    const { sequence } = await store.persist({ blobs: { a: bytes } })
    kept.set(sequence, bytes.slice())
    if (i % 40 === 1) await store.tag(`at ${i}`)
    if (i % 30 === 0) await expectKept(store, kept)
  }
  expect((await store.snapshots()).length).toBe(5)
  await expectKept(store, kept)
  const { ok } = await store.verify()
  expect(ok).toBe(true)
})
