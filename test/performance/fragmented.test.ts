import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import type { Store } from '../../src/store.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'
import { storeOver } from '../support/store-over.ts'

// What a load asks of the disk after many small changes, beside what it asked before them.

const MIB = 1024 * 1024
const SIZE = 32 * MIB + 4321
const RECORD_BYTES = 1024

interface Cost {
  reads: number
  bytesRead: number
  /** Asked of one file at a time. */
  bytesInFlightMax: number
  /** Of all files. */
  readsInFlightMax: number
}

let cost: Cost
let path: string
let store: Store
let reading = 0
/** How much of what is asked for one call gives. */
let share = 1

const fs: FileSystem = {
  ...nodeFileSystem,
  async open(...args) {
    const file = await nodeFileSystem.open(...args)
    let inFlight = 0
    async function counted(length: number, read: () => Promise<number>): Promise<number> {
      inFlight += length
      reading += 1
      cost.reads += 1
      cost.readsInFlightMax = Math.max(cost.readsInFlightMax, reading)
      cost.bytesInFlightMax = Math.max(cost.bytesInFlightMax, inFlight)
      try {
        const bytes = await read()
        cost.bytesRead += bytes
        return bytes
      } finally {
        inFlight -= length
        reading -= 1
      }
    }
    return {
      ...file,
      read: (target, position) => counted(target.length, () => file.read(target, position)),
      readv: (views, position) =>
        counted(
          views.reduce((sum, { length }) => sum + length, 0),
          () => file.readv!(share === 1 ? views : views.slice(0, Math.ceil(views.length * share)), position),
        ),
    }
  },
}

function open(compression: 'none' | 'auto' = 'none'): Store {
  return storeOver(directoryStorage({ fs, path, readOnly: false, lock: 'os' }), fs, { compression })
}

/** One in a hundred of them has changed, all over. */
function changed(before: Uint8Array, write: (record: Uint8Array, seed: number) => void): Uint8Array {
  const after = before.slice()
  for (let at = 37 * RECORD_BYTES; at + RECORD_BYTES < SIZE; at += (63 + ((at * 7919) % 75)) * RECORD_BYTES) {
    write(after.subarray(at, at + RECORD_BYTES), at + 1)
  }
  return after
}

async function loaded(sequence: number, expected: Uint8Array): Promise<Cost> {
  let found: Uint8Array = new Uint8Array(0)
  const cost = await costOf(sequence, async (snapshot) => {
    found = await snapshot.blob('data').bytes()
  })
  expect(sameBytes(found, expected)).toBe(true)
  return cost
}

/** By a store that knows nothing yet, as after a restart. */
async function costOf(sequence: number, use: (snapshot: Snapshot) => Promise<unknown>): Promise<Cost> {
  const fresh = open()
  cost = { reads: 0, bytesRead: 0, bytesInFlightMax: 0, readsInFlightMax: 0 }
  const snapshot = await fresh.load({ at: sequence })
  await use(snapshot!)
  await snapshot!.dispose()
  await fresh.close()
  return cost
}

beforeEach(() => {
  cost = { reads: 0, bytesRead: 0, bytesInFlightMax: 0, readsInFlightMax: 0 }
  path = join(scratch(), 'store')
})

afterEach(async () => {
  await store.close()
})

test('a blob whose changes are all over is read in few reads that cover the gaps, and no byte is read twice', async () => {
  store = open()
  const before = noise(SIZE, 1)
  const after = changed(before, (record, seed) => record.set(noise(RECORD_BYTES, seed)))
  await store.persist({ blobs: { data: before } })
  await store.persist({ blobs: { data: after } })
  const fresh = await loaded(1, before)
  const fragmented = await loaded(2, after)
  expect(fresh.reads).toBeLessThanOrEqual(SIZE / (2 * MIB) + 30)
  expect(fragmented.reads).toBeLessThanOrEqual(2 * fresh.reads + 10)
  // The old version of each changed chunk is what lies in the gaps.
  expect(fragmented.bytesRead).toBeLessThan(SIZE * 1.25)
  expect(fragmented.readsInFlightMax).toBeLessThanOrEqual(26)
})

test('a read of many places that ends early is gone on with', async () => {
  store = open()
  const before = noise(SIZE, 1)
  const after = changed(before, (record, seed) => record.set(noise(RECORD_BYTES, seed)))
  await store.persist({ blobs: { data: before } })
  await store.persist({ blobs: { data: after } })
  share = 0.3
  try {
    // By what is missing of the read, not by the chunk.
    expect((await loaded(2, after)).reads).toBeLessThan(SIZE / 16_384 / 2)
  } finally {
    share = 1
  }
})

test('compressed chunks near each other in a pack are read together, wherever they are in the blob', async () => {
  store = open('auto')
  const before = noise(SIZE, 1).map((byte) => 0x61 + (byte & 7))
  const after = changed(before, (record, seed) => record.fill(0x61 + (seed & 7)))
  await store.persist({ blobs: { data: before } })
  await store.persist({ blobs: { data: after } })
  const fresh = await loaded(1, before)
  const fragmented = await loaded(2, after)
  expect(fresh.bytesRead).toBeLessThan(SIZE * 0.7)
  expect(fragmented.reads).toBeLessThanOrEqual(3 * fresh.reads + 12)
  expect(fragmented.bytesRead).toBeLessThan(fresh.bytesRead * 1.5)
})

test('little is read at a time, however large the blob: the rest of the processor is for the host', async () => {
  store = open()
  const data = noise(SIZE, 1)
  await store.persist({ blobs: { data } })
  // Three reads of chunks, and the nodes that come next.
  expect((await loaded(1, data)).bytesInFlightMax).toBeLessThanOrEqual(6.5 * MIB)
  const stream = await costOf(1, async (snapshot) => {
    for await (const part of snapshot.blob('data').stream()) expect(part.length).toBeLessThanOrEqual(4 * MIB)
  })
  // Two parts of up to 4 MiB.
  expect(stream.bytesInFlightMax).toBeLessThanOrEqual(8.5 * MIB)
})
