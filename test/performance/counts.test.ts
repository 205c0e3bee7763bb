import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type * as Blake3 from '../../src/format/blake3.ts'
import { fixed } from '../../src/index.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import type { Store } from '../../src/store.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'
import { storeOver } from '../support/store-over.ts'
import { type Counts, countingDisk } from '../support/watched-disk.ts'

// What is asked of the disk and of the processor, counted instead of timed: a slowdown by design shows on every
// machine. The limits are what the design needs, with a little room; whoever has to raise one knows what it costs.

const hashed = vi.hoisted(() => ({ calls: 0, bytes: 0 }))

vi.mock('../../src/format/blake3.ts', async (original) => {
  const real = await original<typeof Blake3>()
  return {
    ...real,
    blake3(bytes: Uint8Array) {
      hashed.calls += 1
      hashed.bytes += bytes.length
      return real.blake3(bytes)
    },
  }
})

const MIB = 1024 * 1024
/** Not a multiple of anything. */
const SIZE = 24 * MIB + 4321

interface Cost extends Counts {
  hashes: number
  bytesHashed: number
  /** By `set` between typed arrays: how bytes are copied everywhere in the sources. */
  bytesCopied: number
}

const { fs, take } = countingDisk()
let path: string
let store: Store

function open(): Store {
  return storeOver(directoryStorage({ fs, path, readOnly: false, lock: 'os' }), fs, { compression: 'none' })
}

async function costOf(work: () => Promise<unknown>): Promise<Cost> {
  take()
  hashed.calls = 0
  hashed.bytes = 0
  let bytesCopied = 0
  const { set } = Uint8Array.prototype
  const spy = vi.spyOn(Object.getPrototypeOf(Uint8Array.prototype), 'set').mockImplementation(function (
    this: unknown,
    ...[from, at]: unknown[]
  ) {
    if (ArrayBuffer.isView(from)) bytesCopied += from.byteLength
    set.call(this as Uint8Array, from as Uint8Array, at as number)
  })
  try {
    await work()
  } finally {
    spy.mockRestore()
  }
  return { ...take(), hashes: hashed.calls, bytesHashed: hashed.bytes, bytesCopied }
}

beforeEach(() => {
  vi.stubEnv('HOLDFAST_WORKERS', '0')
  path = join(scratch(), 'store')
  store = open()
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await store.close()
})

/** What waits for the disk to have it. */
function fsyncs({ calls }: Counts): number {
  return (calls['file.sync'] ?? 0) + (calls['directory.sync'] ?? 0) + (calls.syncDirectory ?? 0)
}

function persist(blobs: Record<string, Uint8Array>): Promise<Cost> {
  return costOf(() => store.persist({ blobs }))
}

/** A start-up: nothing of the store is known yet. */
async function load(at: number, use: (snapshot: Snapshot) => Promise<unknown>): Promise<Cost> {
  return await costOf(async () => {
    const fresh = open()
    const snapshot = await fresh.load({ at })
    await use(snapshot!)
    await snapshot!.dispose()
    await fresh.close()
  })
}

describe('a blob of many segments', () => {
  const data = noise(SIZE, 1)
  const segments = Math.ceil(SIZE / (4 * MIB))

  test('is copied once, hashed twice and written once, in large writes, with four fsyncs', async () => {
    await persist({ small: noise(10, 2) })
    const cost = await persist({ data })
    expect(fsyncs(cost)).toBe(4)
    expect(cost.calls.rename).toBe(3)
    expect(cost.calls['file.write']).toBeLessThanOrEqual(2 * segments + 10)
    expect(cost.bytesWritten).toBeGreaterThan(SIZE)
    expect(cost.bytesWritten).toBeLessThan(SIZE * 1.01)
    // Its segments and its chunks.
    expect(cost.bytesHashed).toBeGreaterThan(2 * SIZE)
    expect(cost.bytesHashed).toBeLessThan(SIZE * 2.02)
    // The source into our buffers, and what a segment leaves uncut into the next.
    expect(cost.bytesCopied).toBeGreaterThan(SIZE)
    expect(cost.bytesCopied).toBeLessThan(SIZE * 1.04)
    expect(cost.bytesRead).toBeLessThan(10_000)
  })

  test('costs one hash and no fsync when nothing changed', async () => {
    await persist({ data })
    const cost = await persist({ data })
    expect(fsyncs(cost)).toBe(0)
    expect(cost.calls.rename ?? 0).toBe(0)
    // The lock file's hint to people.
    expect(cost.bytesWritten).toBeLessThanOrEqual(256)
    expect(cost.hashes).toBeLessThan(segments + 40)
    expect(cost.bytesHashed).toBeGreaterThanOrEqual(SIZE)
    expect(cost.bytesHashed).toBeLessThan(SIZE * 1.02)
    expect(cost.bytesCopied).toBeLessThan(SIZE * 0.05)
    // Nodes, segments, an index.
    expect(cost.bytesRead).toBeLessThan(SIZE * 0.01)
  })

  test('costs what changed when little changed', async () => {
    const bytes = data.slice()
    await persist({ data: bytes })
    bytes.set(noise(1000, 3), 5 * MIB)
    const cost = await persist({ data: bytes })
    expect(fsyncs(cost)).toBe(4)
    expect(cost.bytesWritten).toBeLessThan(150_000)
    expect(cost.bytesRead).toBeLessThan(SIZE * 0.01)
    // All of it once; the changed segment and the one after it again, whole and in chunks.
    expect(cost.bytesHashed).toBeLessThan(SIZE + 5 * 4 * MIB)
    expect(cost.bytesCopied).toBeLessThan(3 * 4 * MIB)
  })

  test('is loaded with few reads straight into its buffer and hashed once', async () => {
    await persist({ data })
    let found: Uint8Array = new Uint8Array(0)
    const cost = await load(1, async (snapshot) => {
      found = await snapshot.blob('data').bytes()
    })
    expect(sameBytes(found, data)).toBe(true)
    expect(fsyncs(cost)).toBe(0)
    expect(cost.bytesWritten).toBe(0)
    expect(cost.bytesRead).toBeGreaterThan(SIZE)
    expect(cost.bytesRead).toBeLessThan(SIZE * 1.01)
    expect(cost.calls['file.read']).toBeLessThanOrEqual(segments + 22)
    expect(cost.bytesHashed).toBeGreaterThan(SIZE)
    expect(cost.bytesHashed).toBeLessThan(SIZE * 1.01)
    expect(cost.bytesCopied).toBeLessThan(SIZE * 0.01)
  })

  test('costs one read and one hash as a file that is laid out already', async () => {
    await persist({ data })
    await load(1, (snapshot) => snapshot.blob('data').file())
    const cost = await load(1, (snapshot) => snapshot.blob('data').file())
    expect(fsyncs(cost)).toBe(0)
    expect(cost.bytesWritten).toBe(0)
    expect(cost.bytesRead).toBeLessThan(SIZE * 1.01)
    expect(cost.bytesHashed).toBeGreaterThan(SIZE)
    expect(cost.bytesHashed).toBeLessThan(SIZE * 1.01)
  })

  test('costs the host next to no hashing when there are threads', async () => {
    vi.unstubAllEnvs()
    const cost = await persist({ data })
    expect(cost.bytesHashed).toBeLessThan(SIZE * 0.02)
    const again = await persist({ data: data.slice() })
    expect(fsyncs(again)).toBe(0)
  })
})

test('a range costs its chunks and the nodes above it, whatever the size of the blob', async () => {
  const [small, large] = [noise(2 * MIB, 5), noise(SIZE, 6)]
  await persist({ small, large })
  for (const name of ['small', 'large']) {
    const start = MIB + 12_345
    const cost = await load(1, async (snapshot) => {
      for await (const part of snapshot.blob(name).stream({ start, end: start + 65_536 })) void part
    })
    expect(cost.bytesRead, name).toBeGreaterThan(65_536)
    expect(cost.bytesRead, name).toBeLessThan(400_000)
    expect(cost.bytesHashed, name).toBeLessThan(400_000)
    expect(cost.calls['file.read'], name).toBeLessThan(20)
  }
})

describe('a small persist into an open store that this process has written to', () => {
  /** In its steady state: one pack is written, one retired, one deleted. */
  async function steady(): Promise<void> {
    for (let seed = 50; seed < 57; seed++) await persist({ metadata: noise(10_000, seed) })
  }

  /** What goes through the thread pool, 30 us each, and what the disk has to have before it is answered. */
  function asked({ calls }: Cost): Record<string, number> {
    return Object.fromEntries(
      Object.entries(calls).filter(
        ([name]) => !['file.stat', 'file.closeSync', 'file.tryLock', 'directory.closeSync'].includes(name),
      ),
    )
  }

  test('asks for no more than this', async () => {
    await steady()
    const cost = await persist({ metadata: noise(10_000, 60) })
    expect(asked(cost)).toEqual({
      // Three looks at the store's directories, one at `tmp/` before it is swept; the lock, when taken, before each
      // HEAD is replaced, and after; each of two temps, once it is locked, and the second name of HEAD; a retired pack.
      lstat: 9 + 1 + 1,
      // Of the store's directory; of HEAD, before each is replaced.
      stat: 3,
      // `packs/`, `tmp/`, `files/`.
      readdir: 3,
      // The lock, STORE.json, both HEADs, two temps; the header of a retired pack, before it is deleted.
      open: 6 + 1,
      openDirectory: 2,
      // The hint in the lock file, STORE.json and both HEADs; HEAD twice again; that header.
      'file.read': 6 + 1,
      // The pack and HEAD.
      'file.write': 2,
      // The same two; `packs/`, the store.
      'file.sync': 2,
      'directory.sync': 2,
      // HEAD, to become the one before.
      link: 1,
      // The pack and both HEADs.
      rename: 3,
      // A pack that was retired by the persist before.
      unlink: 1,
    })
  })

  test('asks for no more than this when nothing changed', async () => {
    await steady()
    const cost = await persist({ metadata: noise(10_000, 56) })
    expect(asked(cost)).toEqual({
      lstat: 5,
      stat: 2,
      readdir: 3,
      open: 6,
      'file.read': 6,
      'file.close': 1,
    })
  })
})

test('a small persist costs the same whatever the store holds', async () => {
  const empty = await smallPersists()
  await store.close()
  path = join(scratch(), 'full')
  store = open()
  // So many blocks that their indexes are not read just in case.
  await store.persist({ blobs: { large: noise(SIZE, 7) }, chunking: fixed(512) })
  await store.tag('large')
  const full = await smallPersists()
  expect(fsyncs(full)).toBe(4)
  expect(fsyncs(empty)).toBe(4)
  expect(full.calls['file.write']).toBe(empty.calls['file.write'])
  expect(full.bytesWritten).toBeLessThan(empty.bytesWritten + 1000)
  expect(full.calls['file.read']).toBeLessThanOrEqual(empty.calls['file.read']! + 5)
  // HEAD has a snapshot and a pack more.
  expect(full.bytesRead).toBeLessThan(empty.bytesRead + 3000)
  expect(full.bytesHashed).toBeLessThan(empty.bytesHashed + 6000)

  /** The second of two, by a store that knows nothing of the first. */
  async function smallPersists(): Promise<Cost> {
    await persist({ metadata: noise(10_000, 8) })
    await store.close()
    store = open()
    return await persist({ metadata: noise(10_000, 9) })
  }
})

test('a small blob of a snapshot in many packs is loaded without a look at their indexes', async () => {
  await store.close()
  store = storeOver(directoryStorage({ fs, path, readOnly: false, lock: 'os' }), fs, { packBytesMax: MIB })
  const blobs = Array.from({ length: 12 }, (_, i) => [`blob-${i}`, noise(MIB + 1, 20 + i)] as const)
  await store.persist({ blobs: [...blobs, ['small', noise(1000, 19)] as const], chunking: fixed(512) })
  expect((await readdir(join(path, 'packs'))).length).toBeGreaterThanOrEqual(12)
  const cost = await load(1, (snapshot) => snapshot.blob('small').bytes())
  // The indexes have 1.4 MB.
  expect(cost.bytesRead).toBeLessThan(30_000)
  expect(cost.calls['file.read']).toBeLessThan(20)
  expect(cost.bytesHashed).toBeLessThan(30_000)
})
