// Reads and decompresses many blocks of one pack, in worker threads if there are any.

import { clock } from '../clock.ts'
import { createYielder } from '../event-loop.ts'
import { CHECK_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import { borrowBuffer, type Frames, type SharedBuffer, watchWorkers } from '../workers/decompress.ts'
import { decompressOrNull } from './block-source.ts'

/** Compressed blocks of one pack that lie near each other. */
export interface PackedBlocks {
  index: PackIndex
  entries: readonly number[]
  /** The part of the pack that holds them, and their decompressed size. */
  start: number
  storedBytes: number
  rawBytes: number
  /** Reads that part into `target`, or into new memory if `target` is null. */
  stored(target: Uint8Array | null): Promise<Uint8Array>
}

/**
 * The main thread decompresses this many bytes before it yields to the event loop: half a millisecond, and several with
 * code that has not run before, which is why it looks at the clock, too.
 */
const STEP_BYTES = 128 * 1024

/**
 * Decompresses blocks, in worker threads where that is faster, and passes each to `take`, which must copy what it
 * keeps. A block that cannot be decompressed is passed as null. Blocks are *not* checked against their digests.
 */
export async function decompressBlocks(blocks: PackedBlocks, take: Take): Promise<void> {
  const buffer = await borrowBuffer(blocks.storedBytes, blocks.rawBytes)
  try {
    const bytes = await blocks.stored(buffer?.stored ?? null)
    if (buffer !== null && (await decompressInto(buffer, blocks, 0, take))) return
    const left = await decompressHere(blocks, bytes, take, buffer === null)
    if (left < blocks.entries.length && !(await moveToWorkers(blocks, bytes, left, take))) {
      await decompressHere(blocks, bytes, take, false, left)
    }
  } finally {
    buffer?.release()
  }
}

type Take = (i: number, block: Uint8Array | null) => void

/** The blocks from `first` on; false: none of them, because a frame is damaged or the worker died. */
async function decompressInto(
  buffer: SharedBuffer,
  { index, entries, start }: PackedBlocks,
  first: number,
  take: Take,
): Promise<boolean> {
  const left = first === 0 ? entries : entries.slice(first)
  if (!(await buffer.decompress(framesOf(index, left, start)))) return false
  let at = 0
  for (const [i, entry] of left.entries()) {
    take(first + i, buffer.raw.subarray(at, at + index.rawLength(entry)))
    at += index.rawLength(entry)
  }
  return true
}

/**
 * On the main thread, from `first` on. Gives the first block that is left: with `mayStop`, that is where the workers
 * came up and enough is left for them.
 */
async function decompressHere(
  { index, entries, start, rawBytes }: PackedBlocks,
  bytes: Uint8Array,
  take: Take,
  mayStop: boolean,
  first = 0,
): Promise<number> {
  let done = 0
  return await alone(async () => {
    const workersTake = watchWorkers()
    const turn = createYielder()
    let sinceTurn = 0
    for (let i = first; i < entries.length; i++) {
      if (mayStop && workersTake(rawBytes - done)) return i
      const entry = entries[i]!
      const from = index.offset(entry) - start
      take(i, decompressOrNull(index, entry, bytes.subarray(from, from + index.storedLength(entry))))
      done += index.rawLength(entry)
      sinceTurn += index.rawLength(entry)
      const turning = sinceTurn < STEP_BYTES ? turn() : clock.nextTurn()
      if (turning === undefined) continue
      sinceTurn = 0
      await turning
    }
    return entries.length
  })
}

/** The blocks from `first` on, whose stored bytes were read already. False: no worker can take them. */
async function moveToWorkers(blocks: PackedBlocks, bytes: Uint8Array, first: number, take: Take): Promise<boolean> {
  let rawBytes = 0
  for (let i = first; i < blocks.entries.length; i++) rawBytes += blocks.index.rawLength(blocks.entries[i]!)
  const buffer = await borrowBuffer(blocks.storedBytes, rawBytes)
  if (buffer === null) return false
  try {
    buffer.stored.set(bytes)
    return await decompressInto(buffer, blocks, first, take)
  } finally {
    buffer.release()
  }
}

let busy: Promise<unknown> = Promise.resolve()

/**
 * Runs one task at a time on the main thread. Several tasks would each take a step in the same turn of the event loop.
 */
async function alone<T>(work: () => Promise<T>): Promise<T> {
  const working = busy.then(work)
  busy = working.catch(() => undefined)
  return await working
}

function framesOf(index: PackIndex, entries: readonly number[], start: number): Frames {
  const checks = new Uint8Array(entries.length * CHECK_BYTES)
  for (const [i, entry] of entries.entries()) checks.set(index.check(entry), i * CHECK_BYTES)
  return {
    offsets: Uint32Array.from(entries, (entry) => index.offset(entry) - start),
    lengths: Uint32Array.from(entries, (entry) => index.storedLength(entry)),
    rawLengths: Uint32Array.from(entries, (entry) => index.rawLength(entry)),
    checks,
  }
}
