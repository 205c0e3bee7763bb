// The entries of a pack's index: where their fields are, and whether they place blocks as writers do. See `pack.ts`.

import { COMPRESSION } from './compression.ts'
import { ENTRY_BYTES, FANOUT_BYTES, HEADER_BYTES } from './limits.ts'
import type { Steps } from './steps.ts'

export const OFFSET_AT = 32
export const STORED_AT = 36
export const RAW_AT = 40
export const CODEC_AT = 44
export const COMPRESSION_AT = 45
export const KIND_AT = 46
export const ZERO_AT = 47
export const CHECK_AT = 48

/** How many entries are looked at in one step: a millisecond or two. */
export const STEP_BLOCKS = 4096

export function entryAt(i: number): number {
  return FANOUT_BYTES + i * ENTRY_BYTES
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * Sums up where entries, each checked by itself, say that blocks lie. They are regular if the blocks lie back to back
 * and fill the data, and those that are compressed are smaller for it. Of an index with one wrong length or place in
 * it, that does not hold.
 *
 * Blocks lie back to back if the places where they begin, and the end of the data, are the places where they end, and
 * the start of the data. Both sides are compared as sums of hashes, so that nothing is sorted.
 */
export function* measuringEntries(
  index: Uint8Array,
  blocks: number,
  indexOffset: number,
): Steps<{ storedBytes: number; isRegular: boolean }> {
  const view = viewOf(index)
  let storedBytes = 0
  let difference = (hashOf(indexOffset) - hashOf(HEADER_BYTES)) | 0
  let areSmaller = true
  for (let i = 0; i < blocks; i++) {
    if (i % STEP_BLOCKS === 0 && i > 0) yield
    const at = entryAt(i)
    const offset = view.getUint32(at + OFFSET_AT, true)
    const storedLength = view.getUint32(at + STORED_AT, true)
    storedBytes += storedLength
    difference = (difference + hashOf(offset) - hashOf(offset + storedLength)) | 0
    if (index[at + COMPRESSION_AT] !== COMPRESSION.none && storedLength >= view.getUint32(at + RAW_AT, true)) {
      areSmaller = false
    }
  }
  return { storedBytes, isRegular: difference === 0 && areSmaller }
}

/** The finaliser of MurmurHash3 (Appleby, public domain): every bit of the place changes half of the bits. */
function hashOf(place: number): number {
  let hash = place | 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
