import { setImmediate } from 'node:timers/promises'
import { CHECK_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import { borrowBuffer, type Frames } from '../workers/decompress.ts'
import { BadBlock, decompressStored } from './block-source.ts'

/** Compressed blocks of one pack that lie near each other. */
export interface PackedBlocks {
  index: PackIndex
  entries: readonly number[]
  /** The part of the pack that they lie in, and how much they give. */
  start: number
  storedBytes: number
  rawBytes: number
  /** Gives that part: in `target`, or where there is none in memory of its own. */
  stored(target: Uint8Array | null): Promise<Uint8Array>
}

/** So much is decompressed on the main thread before the event loop turns: half a millisecond. */
const STEP_BYTES = 128 * 1024

/**
 * Decompresses blocks, in worker threads where that pays, and gives each to `take`, which must copy what it keeps; null for one that is
 * not what was written. What is given is *not* checked against its digest.
 */
export async function decompressBlocks(
  { index, entries, start, storedBytes, rawBytes, stored }: PackedBlocks,
  take: (i: number, block: Uint8Array | null) => void,
): Promise<void> {
  const slot = await borrowBuffer(storedBytes, rawBytes)
  try {
    const bytes = await stored(slot?.stored ?? null)
    if (slot !== null && (await slot.decompress(framesOf(index, entries, start)))) {
      let at = 0
      for (const [i, entry] of entries.entries()) {
        take(i, slot.raw.subarray(at, at + index.rawLength(entry)))
        at += index.rawLength(entry)
      }
      return
    }
    await alone(async () => {
      let sinceTurn = 0
      for (const [i, entry] of entries.entries()) {
        const from = index.offset(entry) - start
        take(i, unpackOrNull(index, entry, bytes.subarray(from, from + index.storedLength(entry))))
        sinceTurn += index.rawLength(entry)
        if (sinceTurn < STEP_BYTES) continue
        sinceTurn = 0
        await setImmediate()
      }
    })
  } finally {
    slot?.release()
  }
}

let busy: Promise<unknown> = Promise.resolve()

/** On the main thread one at a time: several would each take their step in the same turn of the event loop. */
async function alone(work: () => Promise<void>): Promise<void> {
  const working = busy.then(work)
  busy = working.catch(() => undefined)
  await working
}

function unpackOrNull(index: PackIndex, entry: number, stored: Uint8Array): Uint8Array | null {
  try {
    return decompressStored(index, entry, stored)
  } catch (error) {
    if (error instanceof BadBlock) return null
    throw error
  }
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
