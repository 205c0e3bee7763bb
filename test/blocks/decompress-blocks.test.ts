import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { decompressBlocks, type PackedBlocks } from '../../src/blocks/decompress-blocks.ts'
import { blake3 } from '../../src/format/blake3.ts'
import { compressBlock } from '../../src/format/compress.ts'
import { COMPRESSION, prepareCompression } from '../../src/format/compression.ts'
import type { PackIndex } from '../../src/format/pack.ts'
import { sharedPool } from '../../src/workers/pool.ts'
import { eventually } from '../support/eventually.ts'

// Who decompresses: threads where they are up, the main thread until then.

const BLOCKS = 64
const blocks = Array.from({ length: BLOCKS }, (_, i) => Buffer.from(`block ${i} of some `.repeat(1000)))
let frames: Uint8Array[]

beforeEach(async () => {
  expect(prepareCompression()).toEqual({ ready: true })
  frames = blocks.map((block) => compressBlock(block)!)
  sharedPool()!.startUp()
  await eventually(() => expect(sharedPool()!.isUp).toBe(true))
})

afterEach(() => {
  vi.restoreAllMocks()
})

/** As they lie in a pack, one after the other. */
function packed(): PackedBlocks & { bytes: Buffer } {
  const offsets: number[] = []
  let at = 0
  for (const frame of frames) {
    offsets.push(at)
    at += frame.length
  }
  const bytes = Buffer.concat(frames)
  const checks = frames.map((frame) => blake3(frame).slice(0, 8))
  const index = {
    offset: (i: number) => offsets[i]!,
    storedLength: (i: number) => frames[i]!.length,
    rawLength: (i: number) => blocks[i]!.length,
    compression: () => COMPRESSION.zstd,
    check: (i: number) => checks[i]!,
  } as Partial<PackIndex> as PackIndex
  return {
    bytes,
    index,
    entries: blocks.map((_, i) => i),
    start: 0,
    storedBytes: bytes.length,
    rawBytes: blocks.reduce((sum, block) => sum + block.length, 0),
    async stored(room) {
      if (room === null) return bytes
      room.set(bytes)
      return room
    },
  }
}

/** Each block, and which of them a thread decompressed; `upAfter`: threads are up once so many blocks were taken. */
async function decompress(given: PackedBlocks, upAfter: number) {
  const taken: (Buffer | null)[] = []
  const byThread: number[] = []
  const isUp = vi.spyOn(sharedPool()!, 'isUp', 'get').mockImplementation(() => taken.length >= upAfter)
  const give = vi.spyOn(sharedPool()!, 'give')
  await decompressBlocks(given, (i, block) => {
    expect(i).toBe(taken.length)
    if (block?.buffer instanceof SharedArrayBuffer) byThread.push(i)
    taken.push(block === null ? null : Buffer.from(block))
  })
  isUp.mockRestore()
  return { taken, byThread, jobs: give.mock.calls.length }
}

test('threads decompress where they are up', async () => {
  const { taken, byThread, jobs } = await decompress(packed(), 0)
  expect(taken).toEqual(blocks)
  expect(byThread).toHaveLength(BLOCKS)
  expect(jobs).toBe(1)
})

test('what the main thread began with goes to threads that come up meanwhile', async () => {
  const { taken, byThread, jobs } = await decompress(packed(), 5)
  expect(taken).toEqual(blocks)
  expect(byThread).toEqual(Array.from({ length: BLOCKS - 5 }, (_, i) => i + 5))
  expect(jobs).toBe(1)
})

test('the rest stays here where it is too little for a thread', async () => {
  const { taken, byThread, jobs } = await decompress(packed(), BLOCKS - 2)
  expect(taken).toEqual(blocks)
  expect(byThread).toEqual([])
  expect(jobs).toBe(0)
})

test('a bad frame in the rest comes back to the main thread, which names it', async () => {
  const given = packed()
  given.bytes[given.index.offset(40) + 20]! ^= 1
  const { taken, byThread, jobs } = await decompress(given, 5)
  expect(taken[40]).toBe(null)
  expect(taken.toSpliced(40, 1)).toEqual(blocks.toSpliced(40, 1))
  expect(byThread).toEqual([])
  expect(jobs).toBe(1)
})
