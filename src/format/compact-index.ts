// A pack's index in memory: 40 bytes a block instead of the file's 56 where none is compressed, else 52.
//
//    fan-out (1,024), then entries ascending by digest
//    0   digest (32)
//   32   offset of the stored bytes (4)
//   36   raw length (25 bits), kind (3), codec: 1 for dag-cbor (1), compression: 1 for zstd (1)
//   40   stored length (4)         both only where a block of the pack is compressed
//   44   check (8)

import { CODEC_DAG_CBOR, CODEC_RAW } from './cid.ts'
import { COMPRESSION } from './compression.ts'
import { BLOCK_BYTES_MAX, CHECK_BYTES, DIGEST_BYTES, FANOUT_BYTES } from './limits.ts'
import { type PackIndex, search } from './pack.ts'
import type { Steps } from './steps.ts'

const OFFSET_AT = 32
const FACTS_AT = 36
const STORED_AT = 40
const CHECK_AT = 44
const ENTRY_PLAIN = 40
const ENTRY_COMPRESSED = 52
const LENGTH_BITS = 25
const LENGTH_MASK = 2 ** LENGTH_BITS - 1
const KIND_SHIFT = LENGTH_BITS
const KIND_BITS = 3
const KIND_MASK = 2 ** KIND_BITS - 1
const CODEC_SHIFT = KIND_SHIFT + KIND_BITS
const COMPRESSION_SHIFT = CODEC_SHIFT + 1

const noCheck = new Uint8Array(CHECK_BYTES)

const STEP_BLOCKS = 4096

/** The same index in a buffer of its own. */
export function* compactingIndex(index: PackIndex): Steps<PackIndex> {
  const { blocks } = index
  let compressed = false
  for (let i = 0; i < blocks; i++) if (index.compression(i) !== COMPRESSION.none) compressed = true
  const entryBytes = compressed ? ENTRY_COMPRESSED : ENTRY_PLAIN
  const bytes = new Uint8Array(FANOUT_BYTES + blocks * entryBytes)
  const view = new DataView(bytes.buffer)
  const copyDigest = digestCopier(index, bytes, entryBytes)
  bytes.set(index.bytes.subarray(0, FANOUT_BYTES))
  for (let i = 0; i < blocks; i++) {
    if (i % STEP_BLOCKS === STEP_BLOCKS - 1) yield
    const at = FANOUT_BYTES + i * entryBytes
    copyDigest(i)
    view.setUint32(at + OFFSET_AT, index.offset(i), true)
    view.setUint32(at + FACTS_AT, factsOf(index, i), true)
    if (compressed) {
      view.setUint32(at + STORED_AT, index.storedLength(i), true)
      bytes.set(index.check(i), at + CHECK_AT)
    }
  }
  return indexOver(bytes, index, compressed)
}

/**
 * Copies the digest of an entry. Words are copied where both sides have them aligned, which is four times as fast
 * (measured).
 */
function digestCopier(
  { bytes: from, digestAt }: PackIndex,
  to: Uint8Array<ArrayBuffer>,
  entryBytes: number,
): (i: number) => void {
  if (from.byteOffset % 4 !== 0 || from.byteLength % 4 !== 0) {
    return (i) => {
      const [source, target] = [digestAt(i), FANOUT_BYTES + i * entryBytes]
      for (let j = 0; j < DIGEST_BYTES; j++) to[target + j] = from[source + j]!
    }
  }
  const words = new Uint32Array(from.buffer, from.byteOffset, from.byteLength / 4)
  const toWords = new Uint32Array(to.buffer)
  return (i) => {
    const [source, target] = [digestAt(i) / 4, (FANOUT_BYTES + i * entryBytes) / 4]
    for (let j = 0; j < DIGEST_BYTES / 4; j++) toWords[target + j] = words[source + j]!
  }
}

function factsOf(index: PackIndex, i: number): number {
  const length = index.rawLength(i)
  const kind = index.kind(i)
  const codec = index.codec(i) === CODEC_DAG_CBOR ? 1 : 0
  const compression = index.compression(i) === COMPRESSION.none ? 0 : 1
  if (length > BLOCK_BYTES_MAX || kind >= 2 ** KIND_BITS)
    throw new Error(`bug: a block of ${length} bytes, kind ${kind}`)
  return length | (kind << KIND_SHIFT) | (codec << CODEC_SHIFT) | (compression << COMPRESSION_SHIFT)
}

function indexOver(bytes: Uint8Array<ArrayBuffer>, { blocks, isRegular }: PackIndex, compressed: boolean): PackIndex {
  const view = new DataView(bytes.buffer)
  const entryBytes = compressed ? ENTRY_COMPRESSED : ENTRY_PLAIN
  const entryAt = (i: number): number => FANOUT_BYTES + i * entryBytes
  const facts = (i: number): number => view.getUint32(entryAt(i) + FACTS_AT, true)
  // Not a remainder: of numbers above 2^31 that is a division of floats, which takes most of a look-up.
  const rawLength = (i: number): number => facts(i) & LENGTH_MASK
  return {
    blocks,
    bytes,
    isRegular,
    find: (digest, at) => search(bytes, view, entryBytes, digest, at),
    offset: (i) => view.getUint32(entryAt(i) + OFFSET_AT, true),
    storedLength: compressed ? (i) => view.getUint32(entryAt(i) + STORED_AT, true) : rawLength,
    rawLength,
    codec: (i) => ((facts(i) >>> CODEC_SHIFT) & 1 ? CODEC_DAG_CBOR : CODEC_RAW),
    compression: (i) => ((facts(i) >>> COMPRESSION_SHIFT) & 1 ? COMPRESSION.zstd : COMPRESSION.none),
    kind: (i) => (facts(i) >>> KIND_SHIFT) & KIND_MASK,
    check: compressed
      ? (i) => bytes.subarray(entryAt(i) + CHECK_AT, entryAt(i) + CHECK_AT + CHECK_BYTES)
      : () => noCheck,
    digest: (i) => bytes.subarray(entryAt(i), entryAt(i) + DIGEST_BYTES),
    digestAt: entryAt,
  }
}
