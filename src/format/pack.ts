// A pack:
//
//    header   64 bytes
//    data     the stored bytes of blocks, back to back
//    index    fan-out (1,024), then entries (56 each) ascending by digest
//    footer   64 bytes
//
// Header:                                           Footer:
//    0   magic 89 "HFPACK" 0a (8)                      0   index offset (8)
//    8   version (2)                                   8   index length (8)
//   10   multihash code (2)                           16   blocks (4)
//   12   zero (4)                                     20   zero (4)
//   16   store id (16)                                24   BLAKE3(header ‖ index) (32): the pack's name
//   32   HEAD revision that will name it (8)          56   magic 0a "KCAPFH" 89 (8)
//   40   nonce (16)
//   56   zero (8)
//
// Entry:
//    0   digest (32)
//   32   offset of the stored bytes (4)
//   36   stored length (4)
//   40   raw length (4)
//   44   codec, compression, kind, zero (1 each)
//   48   first 8 bytes of BLAKE3 over the stored bytes, zero when uncompressed (8)
//
// All integers little-endian.

import { HoldfastError } from '../errors.ts'
import { blake3, digestsEqual } from './blake3.ts'
import { CODEC_DAG_CBOR, CODEC_RAW, HASH_BLAKE3 } from './cid.ts'
import { COMPRESSION } from './compression.ts'
import { toHex } from './hex.ts'
import {
  BLOCK_BYTES_MAX,
  CHECK_BYTES,
  COUNTER_MAX,
  DIGEST_BYTES,
  ENTRY_BYTES,
  FANOUT_BYTES,
  FOOTER_BYTES,
  FORMAT_VERSION,
  HEADER_BYTES,
  NONCE_BYTES,
  PACK_BYTES_MAX,
  STORE_ID_BYTES,
} from './limits.ts'
import {
  CHECK_AT,
  CODEC_AT,
  COMPRESSION_AT,
  entryAt,
  KIND_AT,
  measuringEntries,
  OFFSET_AT,
  RAW_AT,
  STEP_BLOCKS,
  STORED_AT,
  viewOf,
  ZERO_AT,
} from './pack-entries.ts'
import { atOnce, type Steps } from './steps.ts'

/** What a block is, so that a pack can be understood without its HEAD. */
export const KIND = { chunk: 0, node: 1, segments: 2, manifest: 3, commit: 4 } as const
export type Kind = (typeof KIND)[keyof typeof KIND]

const headerMagic = Uint8Array.of(0x89, 0x48, 0x46, 0x50, 0x41, 0x43, 0x4b, 0x0a)
export const footerMagic = Uint8Array.of(0x0a, 0x4b, 0x43, 0x41, 0x50, 0x46, 0x48, 0x89)

export interface PackHeader {
  /** 16 bytes. */
  storeId: Uint8Array
  /** The HEAD revision that will first name this pack. */
  revision: number
  /** 16 random bytes: the same blocks written twice give two names. */
  nonce: Uint8Array
}

/** A pack's index, read in place. Entries are numbered from 0, ascending by digest. */
export interface PackIndex {
  readonly blocks: number
  /** Fan-out and entries. */
  readonly bytes: Uint8Array
  /** As writers MUST make it, which readers need not insist on: see `measuringEntries`. */
  readonly isRegular: boolean
  /** The entry of the digest that is the 32 bytes of `digest` at `at`, or -1. Allocates nothing. */
  find(digest: Uint8Array, at: number): number
  /** Where the stored bytes begin in the file. */
  offset(i: number): number
  /** Bytes in the file. */
  storedLength(i: number): number
  /** Bytes once decompressed. */
  rawLength(i: number): number
  codec(i: number): number
  compression(i: number): number
  kind(i: number): number
  /** A view of the 8 bytes that BLAKE3 over the stored bytes begins with; zero when uncompressed. */
  check(i: number): Uint8Array
  /** A view of the 32 bytes. */
  digest(i: number): Uint8Array
  /** Where they begin in `bytes`. */
  digestAt(i: number): number
}

export function encodePackHeader(header: PackHeader): Uint8Array {
  const { storeId, revision, nonce } = header
  if (storeId.length !== STORE_ID_BYTES || nonce.length !== NONCE_BYTES || !isCount(revision)) {
    throw new Error('bug: a pack header with a wrong store id, nonce or revision')
  }
  const bytes = new Uint8Array(HEADER_BYTES)
  const view = viewOf(bytes)
  bytes.set(headerMagic, 0)
  view.setUint16(8, FORMAT_VERSION, true)
  view.setUint16(10, HASH_BLAKE3, true)
  bytes.set(storeId, 16)
  setUint64(view, 32, revision)
  bytes.set(nonce, 40)
  return bytes
}

/**
 * The header of a pack. By itself it has no checksum: only `parsePackIndex` vouches for it. Throws `PACK_DAMAGED`, or
 * `VERSION_UNSUPPORTED` for a newer pack.
 */
export function parsePackHeader(bytes: Uint8Array, where: string): PackHeader {
  if (bytes.length !== HEADER_BYTES) throw damaged(where, `its header has ${bytes.length} bytes`)
  if (!startsWith(bytes, 0, headerMagic)) throw damaged(where, 'it does not begin like a pack')
  const view = viewOf(bytes)
  const version = view.getUint16(8, true)
  if (version > FORMAT_VERSION) {
    throw new HoldfastError('VERSION_UNSUPPORTED', `a pack of version ${version} needs a newer holdfast (${where})`, {
      details: { where, version },
    })
  }
  const revision = getUint64(view, 32)
  if (version !== FORMAT_VERSION) throw damaged(where, `its version is ${version}`)
  if (view.getUint16(10, true) !== HASH_BLAKE3) throw damaged(where, 'its digests are not BLAKE3')
  if (!isZero(bytes, 12, 16) || !isZero(bytes, 56, 64)) throw damaged(where, 'its header has bytes that must be zero')
  if (revision > COUNTER_MAX) throw damaged(where, 'its revision is too large')
  return { storeId: bytes.slice(16, 32), revision, nonce: bytes.slice(40, 56) }
}

/**
 * Where the index of a pack of `fileBytes` bytes lies, from the file's last 64 bytes. Checked against the file's
 * length, so that the caller may allocate `indexBytes`. Throws `PACK_DAMAGED`.
 */
export function parsePackFooter(
  bytes: Uint8Array,
  fileBytes: number,
  where: string,
): { indexOffset: number; indexBytes: number; blocks: number } {
  if (bytes.length !== FOOTER_BYTES) throw damaged(where, `its footer has ${bytes.length} bytes`)
  if (!startsWith(bytes, 56, footerMagic)) throw damaged(where, 'it does not end like a pack')
  const view = viewOf(bytes)
  const indexOffset = getUint64(view, 0)
  const indexBytes = getUint64(view, 8)
  const blocks = view.getUint32(16, true)
  if (fileBytes > PACK_BYTES_MAX) throw damaged(where, `it has ${fileBytes} bytes`)
  if (indexOffset < HEADER_BYTES || indexOffset + indexBytes + FOOTER_BYTES !== fileBytes) {
    throw damaged(where, `its footer does not describe a file of ${fileBytes} bytes`)
  }
  if (indexBytes !== FANOUT_BYTES + ENTRY_BYTES * blocks) {
    throw damaged(where, `its index of ${indexBytes} bytes is not one of ${blocks} blocks`)
  }
  if (!isZero(bytes, 20, 24)) throw damaged(where, 'its footer has bytes that must be zero')
  return { indexOffset, indexBytes, blocks }
}

export interface PackParts {
  /** Of the file, without its extension: 64 hex digits. */
  name: string
  /** First 64 bytes. Best in front of the index in one buffer: then nothing is copied. */
  header: Uint8Array
  /** Between data and footer. Kept, not copied. */
  index: Uint8Array
  /** Last 64 bytes. */
  footer: Uint8Array
  /** Length of the file. */
  fileBytes: number
  /** The store's, 16 bytes. */
  storeId: Uint8Array
  /** For errors: the path. */
  where: string
}

/**
 * The index of a pack, once everything that a reader must check has been. Throws `PACK_DAMAGED`, `VERSION_UNSUPPORTED`.
 */
export function parsePackIndex(parts: PackParts): PackIndex {
  return atOnce(parsingPackIndex(parts))
}

/** As `parsePackIndex`. */
export function* parsingPackIndex(parts: PackParts): Steps<PackIndex> {
  const { name, header, index, footer, fileBytes, storeId, where } = parts
  const { indexOffset, indexBytes, blocks } = parsePackFooter(footer, fileBytes, where)
  if (index.length !== indexBytes) throw damaged(where, `its index has ${index.length} bytes, not ${indexBytes}`)
  if (header.length !== HEADER_BYTES) throw damaged(where, `its header has ${header.length} bytes`)
  const digest = blake3(joined(header, index))
  // The checksum comes before the header's fields: a flipped bit in its version is damage, not a newer pack.
  if (!digestsEqual(digest, 0, footer, 24)) throw damaged(where, 'the digest of its header and index differs')
  if (toHex(digest) !== name) throw damaged(where, `its name should be ${toHex(digest)}`)
  const { storeId: owner } = parsePackHeader(header, where)
  if (Buffer.compare(owner, storeId) !== 0) {
    throw damaged(where, `it belongs to store ${toHex(owner)}, not ${toHex(storeId)}`)
  }
  const wrong = yield* checkingIndex(index, blocks, indexOffset)
  if (wrong !== null) throw damaged(where, wrong)
  const { storedBytes, isRegular } = yield* measuringEntries(index, blocks, indexOffset)
  // Blocks do not overlap: otherwise a small pack could stand for any number of bytes to read and to decompress.
  if (storedBytes > indexOffset - HEADER_BYTES) {
    throw damaged(
      where,
      `its blocks overlap: they have ${storedBytes} bytes, and its data ${indexOffset - HEADER_BYTES}`,
    )
  }
  return indexOver(index, blocks, isRegular)
}

/** Both as one, without a copy where they lie side by side: an index may have megabytes. */
function joined(header: Uint8Array, index: Uint8Array): Uint8Array {
  if (header.buffer === index.buffer && header.byteOffset + header.length === index.byteOffset) {
    return new Uint8Array(header.buffer, header.byteOffset, header.length + index.length)
  }
  const both = new Uint8Array(header.length + index.length)
  both.set(header, 0)
  both.set(index, header.length)
  return both
}

/** What is wrong with an index; null when nothing is. Asserted on both ways. */
export function* checkingIndex(index: Uint8Array, blocks: number, indexOffset: number): Steps<string | null> {
  const view = viewOf(index)
  for (let from = 0; from < blocks; from += STEP_BLOCKS) {
    if (from > 0) yield
    const wrong = wrongEntries(index, view, from, Math.min(from + STEP_BLOCKS, blocks), indexOffset)
    if (wrong !== null) return wrong
  }
  for (let byte = blocks === 0 ? 0 : index[entryAt(blocks - 1)]!; byte < 256; byte++) {
    if (view.getUint32(byte * 4, true) !== blocks) return 'its fan-out is not that of its entries'
  }
  return null
}

function wrongEntries(index: Uint8Array, view: DataView, from: number, to: number, indexOffset: number): string | null {
  let byte = from === 0 ? 0 : index[entryAt(from - 1)]!
  for (let i = from; i < to; i++) {
    const at = entryAt(i)
    if (i > 0 && compareDigests(index, at - ENTRY_BYTES, index, at) >= 0) return 'its digests are not ascending'
    for (; byte < index[at]!; byte++) {
      if (view.getUint32(byte * 4, true) !== i) return 'its fan-out is not that of its entries'
    }
    const offset = view.getUint32(at + OFFSET_AT, true)
    const storedLength = view.getUint32(at + STORED_AT, true)
    const rawLength = view.getUint32(at + RAW_AT, true)
    const codec = index[at + CODEC_AT]!
    const compression = index[at + COMPRESSION_AT]!
    if (offset < HEADER_BYTES || offset + storedLength > indexOffset) return `block ${i} lies outside its data`
    if (rawLength > BLOCK_BYTES_MAX) return `block ${i} has ${rawLength} bytes`
    // A reader allocates this much, and the file may be a hole.
    if (storedLength > BLOCK_BYTES_MAX) return `block ${i} has ${storedLength} stored bytes`
    if (codec !== CODEC_RAW && codec !== CODEC_DAG_CBOR) return `block ${i} has codec ${codec}`
    if (index[at + KIND_AT]! > KIND.commit) return `block ${i} is of kind ${index[at + KIND_AT]}`
    if (index[at + ZERO_AT] !== 0) return `block ${i} has a byte that must be zero`
    if (compression === COMPRESSION.none) {
      if (storedLength !== rawLength) return `block ${i} has ${storedLength} bytes, not ${rawLength}`
      if (!isZero(index, at + CHECK_AT, at + ENTRY_BYTES)) return `block ${i} has a check without compression`
    } else if (compression !== COMPRESSION.zstd) return `block ${i} has compression ${compression}`
  }
  return null
}

/** The entries have been checked. */
export function indexOver(bytes: Uint8Array, blocks: number, isRegular: boolean): PackIndex {
  const view = viewOf(bytes)
  return {
    blocks,
    bytes,
    isRegular,
    find: (digest, at) => search(bytes, view, ENTRY_BYTES, digest, at),
    offset: (i) => view.getUint32(entryAt(i) + OFFSET_AT, true),
    storedLength: (i) => view.getUint32(entryAt(i) + STORED_AT, true),
    rawLength: (i) => view.getUint32(entryAt(i) + RAW_AT, true),
    codec: (i) => bytes[entryAt(i) + CODEC_AT]!,
    compression: (i) => bytes[entryAt(i) + COMPRESSION_AT]!,
    kind: (i) => bytes[entryAt(i) + KIND_AT]!,
    check: (i) => bytes.subarray(entryAt(i) + CHECK_AT, entryAt(i) + CHECK_AT + CHECK_BYTES),
    digest: (i) => bytes.subarray(entryAt(i), entryAt(i) + DIGEST_BYTES),
    digestAt: entryAt,
  }
}

/**
 * The entry of a digest, or -1: the fan-out, then a binary search among entries of `entryBytes` that begin with their
 * digests.
 */
export function search(bytes: Uint8Array, view: DataView, entryBytes: number, digest: Uint8Array, at: number): number {
  const first = digest[at]!
  let low = first === 0 ? 0 : view.getUint32((first - 1) * 4, true)
  let high = view.getUint32(first * 4, true)
  while (low < high) {
    const middle = (low + high) >>> 1
    const order = compareDigests(bytes, FANOUT_BYTES + middle * entryBytes, digest, at)
    if (order === 0) return middle
    if (order < 0) low = middle + 1
    else high = middle
  }
  return -1
}

export function compareDigests(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): number {
  for (let i = 0; i < DIGEST_BYTES; i++) {
    const difference = a[aAt + i]! - b[bAt + i]!
    if (difference !== 0) return difference
  }
  return 0
}

export function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true)
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true)
}

/** Exact up to 2^53 - 1; beyond it, some number beyond it. */
function getUint64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true)
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] !== 0) return false
  return true
}

function startsWith(bytes: Uint8Array, at: number, expected: Uint8Array): boolean {
  return Buffer.compare(bytes.subarray(at, at + expected.length), expected) === 0
}

function damaged(where: string, reason: string): HoldfastError {
  return new HoldfastError('PACK_DAMAGED', `a pack is damaged (${where}): ${reason}`, { details: { where, reason } })
}
