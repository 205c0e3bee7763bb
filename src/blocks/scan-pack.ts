// Reads all blocks of a pack in their order in the file, and verifies them.

import { blake3, digestsEqual } from '../format/blake3.ts'
import { COMPRESSION } from '../format/compression.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import type { PackFile } from '../storage/port.ts'
import { findWrong } from '../workers/check.ts'
import { decompressBlocks, type PackedBlocks } from './decompress-blocks.ts'

/** The state of a block. It takes one byte, so that a pack full of bad blocks needs no more memory than any other. */
export const BLOCK = { good: 0, wrong: 1, unreadable: 2 } as const
export type BlockState = (typeof BLOCK)[keyof typeof BLOCK]

/** Blocks of a pack that were read and checked in one step. */
interface ScanStep {
  /** The number of blocks checked so far, in their order in the file. */
  done: number
  blocks: number
  /** Their stored bytes. */
  bytes: number
  /** The bad blocks, by entry of the pack's index. */
  bad: ReadonlyMap<number, BlockState>
  /** Why the first unreadable block could not be read. */
  failure: unknown
}

/** Two steps are in memory at a time, or two blocks if those are larger. */
const STEP_BYTES = 4 * 1024 * 1024
/** Limits a step over blocks of few or no bytes. */
const STEP_BLOCKS = 16_384

/**
 * Memory of the scan before, for the next one. A worker's view of shared memory lives until the worker collects its
 * garbage.
 */
let spare: WeakRef<[Uint8Array, Uint8Array]> | null = null

function takeBuffers(): [Uint8Array, Uint8Array] {
  const buffers = spare?.deref() ?? [new Uint8Array(0), new Uint8Array(0)]
  spare = null
  return buffers
}

/** Reads every block from number `from` on, in their order in the file. Reading is one step ahead of checking. */
export async function* scanPack(file: PackFile, index: PackIndex, from = 0): AsyncGenerator<ScanStep> {
  const order = entriesByOffset(index)
  // One buffer is read into while the other is checked, by a worker where that is faster.
  const buffers = takeBuffers()
  function readStep(first: number): Promise<StepRead> | null {
    if (first >= order.length) return null
    buffers.reverse()
    const extent = stepFrom(index, order, first)
    const bytes = extent.last === order.length ? extent.bytes : Math.max(extent.bytes, STEP_BYTES)
    if (buffers[0].length < extent.bytes) buffers[0] = new Uint8Array(new SharedArrayBuffer(bytes))
    return readExtent(file, index, order, extent, buffers[0].subarray(0, extent.bytes))
  }

  let ahead = readStep(from)
  try {
    while (ahead !== null) {
      const read: StepRead = await ahead
      ahead = readStep(read.last)
      yield await checkStep(index, order, read)
    }
  } finally {
    // A caller that leaves early closes the file, so the running read must end first.
    await ahead
    spare = new WeakRef(buffers)
  }
}

/** Blocks [first, last) of the order, and where they lie in the file. */
interface Extent {
  first: number
  last: number
  start: number
  bytes: number
}

function stepFrom(index: PackIndex, order: Uint32Array, first: number): Extent {
  const start = index.offset(order[first]!)
  let end = start
  let last = first
  while (last < order.length) {
    const entry = order[last]!
    const entryEnd = index.offset(entry) + index.storedLength(entry)
    if (last > first && (entryEnd - start > STEP_BYTES || last - first === STEP_BLOCKS)) break
    end = Math.max(end, entryEnd)
    last += 1
  }
  return { first, last, start, bytes: end - start }
}

interface StepRead {
  first: number
  last: number
  start: number
  bytes: Uint8Array
  unreadable: ReadonlySet<number>
  failure: unknown
}

/** Never rejects: a failure is recorded for the blocks that it concerns. */
async function readExtent(
  file: PackFile,
  index: PackIndex,
  order: Uint32Array,
  { first, last, start }: Extent,
  bytes: Uint8Array,
): Promise<StepRead> {
  const unreadable = new Set<number>()
  let failure: unknown = null
  try {
    await file.read(bytes, start)
  } catch {
    // A bad sector must not hide its neighbours: after a failed read, each block is read alone.
    for (const entry of order.subarray(first, last)) {
      const at = index.offset(entry) - start
      try {
        await file.read(bytes.subarray(at, at + index.storedLength(entry)), start + at)
      } catch (error) {
        unreadable.add(entry)
        failure ??= error
      }
    }
  }
  return { first, last, start, bytes, unreadable, failure }
}

async function checkStep(index: PackIndex, order: Uint32Array, read: StepRead): Promise<ScanStep> {
  const { first, last, start, bytes, unreadable, failure } = read
  const bad = new Map<number, BlockState>()
  const plain: number[] = []
  const compressed: number[] = []
  let checkedBytes = 0
  function check(entry: number, block: Uint8Array | null): void {
    const isAsWritten = block !== null && digestsEqual(blake3(block), 0, index.bytes, index.digestAt(entry))
    if (!isAsWritten) bad.set(entry, BLOCK.wrong)
  }
  for (const entry of order.subarray(first, last)) {
    checkedBytes += index.storedLength(entry)
    if (unreadable.has(entry)) bad.set(entry, BLOCK.unreadable)
    else if (index.compression(entry) !== COMPRESSION.none) compressed.push(entry)
    else plain.push(entry)
  }
  for (const entry of await wrongPlain(index, plain, start, bytes)) bad.set(entry, BLOCK.wrong)
  async function checkBatches(queue: Iterator<number[], undefined>): Promise<void> {
    for (let next = queue.next(); !next.done; next = queue.next()) await checkBatch(next.value)
  }

  async function checkBatch(entries: readonly number[]): Promise<void> {
    const from = index.offset(entries[0]!)
    const to = entries.reduce((end, entry) => Math.max(end, index.offset(entry) + index.storedLength(entry)), from)
    const rawBytes = entries.reduce((sum, entry) => sum + index.rawLength(entry), 0)
    const part = bytes.subarray(from - start, to - start)
    async function stored(target: Uint8Array | null): Promise<Uint8Array> {
      target?.set(part)
      return target ?? part
    }
    const blocks: PackedBlocks = { index, entries, start: from, storedBytes: to - from, rawBytes, stored }
    await decompressBlocks(blocks, (i, block) => check(entries[i]!, block))
  }

  // A few at a time: a step of 4 MiB may hold thousands of frames that decompress to 16 MiB each.
  const queue = batches(index, compressed)[Symbol.iterator]()
  await Promise.all(Array.from({ length: BATCHES_AT_ONCE }, () => checkBatches(queue)))
  return { done: last, blocks: last - first, bytes: checkedBytes, bad, failure }
}

/** Which of these blocks, which are not compressed, are not what was written. */
async function wrongPlain(
  index: PackIndex,
  entries: readonly number[],
  start: number,
  bytes: Uint8Array,
): Promise<number[]> {
  const parts = new Uint32Array(2 * entries.length)
  const digests = new Uint8Array(DIGEST_BYTES * entries.length)
  for (const [n, entry] of entries.entries()) {
    const at = index.offset(entry) - start
    parts.set([at, at + index.storedLength(entry)], 2 * n)
    digests.set(index.digest(entry), DIGEST_BYTES * n)
  }
  // Shared memory is never lost.
  const wrong = (await findWrong({ bytes }, parts, digests))!
  return Array.from(wrong, (n) => entries[n]!)
}

/** Decompressed bytes of the blocks of one batch. */
const BATCH_BYTES = 1024 * 1024
/** So many batches are decompressed at a time: enough for the worker threads. */
const BATCHES_AT_ONCE = 4
/** Limits a batch of blocks that decompress to few or no bytes. */
const BATCH_BLOCKS = 4096

function batches(index: PackIndex, entries: readonly number[]): number[][] {
  const found: number[][] = []
  let bytes = 0
  for (const entry of entries) {
    const batch = found.at(-1)
    if (batch !== undefined && batch.length < BATCH_BLOCKS && bytes + index.rawLength(entry) <= BATCH_BYTES) {
      batch.push(entry)
      bytes += index.rawLength(entry)
    } else {
      found.push([entry])
      bytes = index.rawLength(entry)
    }
  }
  return found
}

/** Entry numbers in the order of the blocks in the file. */
export function entriesByOffset(index: PackIndex): Uint32Array {
  const offsets = Uint32Array.from({ length: index.blocks }, (_, entry) => index.offset(entry))
  return Uint32Array.from(offsets.keys()).sort((a, b) => offsets[a]! - offsets[b]! || a - b)
}
