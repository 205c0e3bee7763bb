// Builds the index and the footer of a pack that is being written.

import { blake3 } from './blake3.ts'
import { toHex } from './hex.ts'
import {
  CHECK_BYTES,
  DIGEST_BYTES,
  ENTRY_BYTES,
  FANOUT_BYTES,
  FOOTER_BYTES,
  HEADER_BYTES,
  PACK_BYTES_MAX,
} from './limits.ts'
import { checkingIndex, compareDigests, footerMagic, indexOver, type PackIndex, setUint64 } from './pack.ts'
import {
  CHECK_AT,
  CODEC_AT,
  COMPRESSION_AT,
  KIND_AT,
  measuringEntries,
  OFFSET_AT,
  RAW_AT,
  STORED_AT,
  viewOf,
} from './pack-entries.ts'
import { sortingKeys } from './sort-keys.ts'
import { atOnce, type Steps } from './steps.ts'

// Makes the index and the footer of a pack, whose bytes `pack.ts` describes.

/** The index entry of a block to add. */
interface NewEntry {
  /** The block's digest is the 32 bytes of `digest` at `digestAt`, by default 0. */
  digest: Uint8Array
  digestAt?: number
  /** From the start of the file, in bytes. */
  offset: number
  storedLength: number
  rawLength: number
  codec: number
  compression: number
  kind: number
  /** The first 8 bytes of BLAKE3 over the stored bytes of a compressed block, else null. */
  check: Uint8Array | null
}

export interface PackIndexBuilder {
  /** Blocks added. */
  readonly count: number
  /** Adds a block. Its digest is copied. */
  add(entry: NewEntry): void
  /**
   * Sorts the entries and seals the pack. `trailer` is what follows the data, index and footer, in one buffer; `name`
   * is the pack's. `indexOffset`: where the data ends. No digest may have been added twice. The builder is empty then,
   * for another pack: its memory, megabytes by now, serves again.
   */
  finish(header: Uint8Array, indexOffset: number): SealedIndex
  /** As `finish`. */
  finishing(header: Uint8Array, indexOffset: number): Steps<SealedIndex>
}

interface SealedIndex {
  trailer: Uint8Array
  name: string
  index: PackIndex
}

/** Takes a few milliseconds. */
const STEP_BLOCKS = 4096

export function createPackIndex(): PackIndexBuilder {
  let entries = new Uint8Array(64 * ENTRY_BYTES)
  let view = viewOf(entries)
  let count = 0

  function* finishing(header: Uint8Array, indexOffset: number): Steps<SealedIndex> {
    const indexBytes = FANOUT_BYTES + count * ENTRY_BYTES
    const fileBytes = indexOffset + indexBytes + FOOTER_BYTES
    if (header.length !== HEADER_BYTES || fileBytes > PACK_BYTES_MAX) {
      throw new Error(`bug: a pack of ${fileBytes} bytes with a header of ${header.length}`)
    }
    // Header, index and footer side by side: the digest over the first two needs no copy, and the last two are
    // written as they lie.
    const sealed = new Uint8Array(HEADER_BYTES + indexBytes + FOOTER_BYTES)
    sealed.set(header, 0)
    const index = sealed.subarray(HEADER_BYTES, HEADER_BYTES + indexBytes)
    const order = yield* sortingOrder(entries, count)
    if (count > STEP_BLOCKS) yield
    for (let i = 0; i < count; i++) {
      if (i % STEP_BLOCKS === 0 && i > 0) yield
      const from = order[i]! * ENTRY_BYTES
      index.set(entries.subarray(from, from + ENTRY_BYTES), FANOUT_BYTES + i * ENTRY_BYTES)
    }
    writeFanout(index, count)
    const wrong = yield* checkingIndex(index, count, indexOffset)
    if (wrong !== null) throw new Error(`bug: a pack index is wrong: ${wrong}`)
    const { isRegular } = yield* measuringEntries(index, count, indexOffset)
    const digest = blake3(sealed.subarray(0, HEADER_BYTES + indexBytes))
    const footer = sealed.subarray(HEADER_BYTES + indexBytes)
    const footerView = viewOf(footer)
    setUint64(footerView, 0, indexOffset)
    setUint64(footerView, 8, indexBytes)
    footerView.setUint32(16, count, true)
    footer.set(digest, 24)
    footer.set(footerMagic, 56)
    const blocks = count
    entries.fill(0, 0, blocks * ENTRY_BYTES)
    count = 0
    return { trailer: sealed.subarray(HEADER_BYTES), name: toHex(digest), index: indexOver(index, blocks, isRegular) }
  }

  return {
    get count() {
      return count
    },
    add({ digest, digestAt = 0, offset, storedLength, rawLength, codec, compression, kind, check }) {
      const at = count * ENTRY_BYTES
      if (at === entries.length) {
        const grown = new Uint8Array(2 * at)
        grown.set(entries)
        entries = grown
        view = viewOf(entries)
      }
      for (let i = 0; i < DIGEST_BYTES; i++) entries[at + i] = digest[digestAt + i]!
      view.setUint32(at + OFFSET_AT, offset, true)
      view.setUint32(at + STORED_AT, storedLength, true)
      view.setUint32(at + RAW_AT, rawLength, true)
      entries[at + CODEC_AT] = codec
      entries[at + COMPRESSION_AT] = compression
      entries[at + KIND_AT] = kind
      if (check !== null) {
        if (check.length !== CHECK_BYTES) throw new Error(`bug: a check of ${check.length} bytes`)
        entries.set(check, at + CHECK_AT)
      }
      count++
    },
    finish: (header, indexOffset) => atOnce(finishing(header, indexOffset)),
    finishing,
  }
}

/**
 * Entry numbers ascending by digest. Keys are floats, sorted natively: the leading bits of the digest, then as many
 * bits as the number takes. Digests that agree in those bits are put right afterwards.
 */
function* sortingOrder(entries: Uint8Array, count: number): Steps<Uint32Array> {
  const numberBits = Math.ceil(Math.log2(count + 1))
  const prefixBits = Math.min(32, 53 - numberBits)
  const scale = 2 ** numberBits
  const view = viewOf(entries)
  const unsorted = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    unsorted[i] = (view.getUint32(i * ENTRY_BYTES) >>> (32 - prefixBits)) * scale + i
  }
  const keys = yield* sortingKeys(unsorted)
  const order = new Uint32Array(count)
  for (let i = 0; i < count; i++) {
    if (i % STEP_BLOCKS === STEP_BLOCKS - 1) yield
    const number = keys[i]! % scale
    let to = i
    while (to > 0 && compareDigests(entries, order[to - 1]! * ENTRY_BYTES, entries, number * ENTRY_BYTES) > 0) {
      order[to] = order[to - 1]!
      to--
    }
    order[to] = number
  }
  return order
}

function writeFanout(index: Uint8Array, blocks: number): void {
  const view = viewOf(index)
  let i = 0
  for (let byte = 0; byte < 256; byte++) {
    while (i < blocks && index[FANOUT_BYTES + i * ENTRY_BYTES]! <= byte) i++
    view.setUint32(byte * 4, i, true)
  }
}
