// Reads and decompresses many blocks of one pack, in worker threads if there are any.

import { createYielder } from '../event-loop.ts'
import { CHECK_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import { borrowBuffer, type Frames } from '../workers/decompress.ts'
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
 * Decompresses blocks, in worker threads where that is faster, and passes each to `take`, which must copy what it
 * keeps. A block that cannot be decompressed is passed as null. Blocks are *not* checked against their digests.
 */
export async function decompressBlocks(
  { index, entries, start, storedBytes, rawBytes, stored }: PackedBlocks,
  take: (i: number, block: Uint8Array | null) => void,
): Promise<void> {
  const buffer = await borrowBuffer(storedBytes, rawBytes)
  try {
    const bytes = await stored(buffer?.stored ?? null)
    if (buffer !== null && (await buffer.decompress(framesOf(index, entries, start)))) {
      let at = 0
      for (const [i, entry] of entries.entries()) {
        take(i, buffer.raw.subarray(at, at + index.rawLength(entry)))
        at += index.rawLength(entry)
      }
      return
    }
    await alone(async () => {
      const turn = createYielder()
      for (const [i, entry] of entries.entries()) {
        const from = index.offset(entry) - start
        take(i, decompressOrNull(index, entry, bytes.subarray(from, from + index.storedLength(entry))))
        const turning = turn()
        if (turning !== undefined) await turning
      }
    })
  } finally {
    buffer?.release()
  }
}

let busy: Promise<unknown> = Promise.resolve()

/**
 * Runs one task at a time on the main thread. Several tasks would each take a step in the same turn of the event loop.
 */
async function alone(work: () => Promise<void>): Promise<void> {
  const working = busy.then(work)
  busy = working.catch(() => undefined)
  await working
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
