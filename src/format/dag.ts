// A node is dag-cbor, a list of [length, link]:
//
//    81..97, 98 nn, 99 nn nn     list of 1 to 1,024 children
//    then for each child:
//    82                          list of 2
//    01..1b                      length: bytes below the child, 1 to 9 bytes
//    d8 2a                       tag 42, a link
//    58 25                       37 bytes:
//    00                          (for historical reasons)
//    01 55|71 1e 20              CIDv1, raw or dag-cbor, BLAKE3, 32 bytes
//    …                           digest (32)

import { HoldfastError } from '../errors.ts'
import { blake3 } from './blake3.ts'
import { type Cursor, headBytes, MAJOR, readHead, writeHead } from './cbor.ts'
import { type BlockId, CODEC_DAG_CBOR, CODEC_RAW, type Codec, HASH_BLAKE3 } from './cid.ts'
import {
  BLOB_BYTES_MAX,
  BLOCK_BYTES_MAX,
  DAG_DEPTH_MAX,
  DIGEST_BYTES,
  NODE_CHILDREN_MAX,
  NODE_CHILDREN_MIN,
} from './limits.ts'

/** A node ends after a child whose digest, its first four bytes big-endian, is below this: 256 children on average. */
const NODE_END_BELOW = 0x01555555

/** Bytes of a link: tag, head of the byte string, zero, CID. */
const LINK_BYTES = 4 + 1 + 4 + DIGEST_BYTES

/** Receives each node once, children before parents. The block and its digest are the receiver's to keep. */
type NodeSink = (block: Uint8Array, digest: Uint8Array) => void

interface DagBuilder {
  /** Adds a chunk of `length` bytes, whose digest is the 32 bytes of `digests` at `at` (copied). */
  push(length: number, digests: Uint8Array, at: number): void
  /** Ends the blob. A blob of one chunk has that chunk as its root. At least one chunk must have been pushed. */
  finish(): { root: BlockId; size: number; chunks: number }
}

/** The children of a node, in order. */
export interface NodeChildren {
  count: number
  /** Of every child. */
  codec: Codec
  /** Bytes below each child. */
  lengths: Float64Array
  /** 32 bytes a child. */
  digests: Uint8Array
  /** Sum of `lengths`. */
  total: number
}

/** Children that wait for their node to end. No object per child: a blob may have millions. */
interface Level {
  codec: Codec
  count: number
  lengths: Float64Array
  digests: Uint8Array
  total: number
  /** Nodes that have left this level. */
  nodes: number
}

/** Builds the nodes above the chunks of one blob as they come. Memory does not grow with the blob. */
export function createDagBuilder(sink: NodeSink): DagBuilder {
  const levels: Level[] = []
  let size = 0
  let chunks = 0
  let finished = false

  function add(depth: number, length: number, digests: Uint8Array, at: number): void {
    if (depth === DAG_DEPTH_MAX) throw new Error('bug: a DAG deeper than the format allows')
    levels[depth] ??= createLevel(depth === 0 ? CODEC_RAW : CODEC_DAG_CBOR)
    const level = levels[depth]!
    if (level.count === level.lengths.length) widen(level)
    const to = level.count * DIGEST_BYTES
    for (let i = 0; i < DIGEST_BYTES; i++) level.digests[to + i] = digests[at + i]!
    level.lengths[level.count] = length
    level.total += length
    level.count++
    if (level.count === NODE_CHILDREN_MAX || (level.count >= NODE_CHILDREN_MIN && endsNode(level.digests, to))) {
      endNode(depth)
    }
  }

  function endNode(depth: number): void {
    const level = levels[depth]!
    const block = encodeNode(level)
    const digest = blake3(block)
    const total = level.total
    level.count = 0
    level.total = 0
    level.nodes++
    sink(block, digest)
    add(depth + 1, total, digest, 0)
  }

  return {
    push(length, digests, at) {
      if (finished) throw new Error('bug: a chunk after the end of its blob')
      // Only an empty blob has an empty chunk, and no other.
      if (!Number.isInteger(length) || length < 0 || (chunks > 0 && (length === 0 || size === 0))) {
        throw new Error(`bug: a chunk of ${length} bytes`)
      }
      size += length
      if (size > BLOB_BYTES_MAX) {
        throw new HoldfastError('LIMIT_EXCEEDED', `a blob is at most ${BLOB_BYTES_MAX} bytes`, {
          details: { limit: 'blobBytes', max: BLOB_BYTES_MAX, actual: size },
        })
      }
      chunks++
      add(0, length, digests, at)
    },
    finish() {
      if (finished || chunks === 0) throw new Error('bug: a blob must have a chunk, and ends once')
      finished = true
      // Only a single chunk is its own root; a single node is.
      for (let depth = 0; ; depth++) {
        const level = levels[depth]!
        if (level.nodes === 0 && level.count === 1) {
          return { root: { codec: level.codec, digest: level.digests.slice(0, DIGEST_BYTES) }, size, chunks }
        }
        if (level.count > 0) endNode(depth)
      }
    },
  }
}

function createLevel(codec: Codec): Level {
  return {
    codec,
    count: 0,
    // Most blobs are small.
    lengths: new Float64Array(16),
    digests: new Uint8Array(16 * DIGEST_BYTES),
    total: 0,
    nodes: 0,
  }
}

function widen(level: Level): void {
  const lengths = new Float64Array(2 * level.lengths.length)
  const digests = new Uint8Array(2 * level.digests.length)
  lengths.set(level.lengths)
  digests.set(level.digests)
  level.lengths = lengths
  level.digests = digests
}

function endsNode(digests: Uint8Array, at: number): boolean {
  const first = digests[at]! * 0x1000000 + (digests[at + 1]! << 16) + (digests[at + 2]! << 8) + digests[at + 3]!
  return first < NODE_END_BELOW
}

function encodeNode(level: Level): Uint8Array {
  const { count, lengths, digests, codec } = level
  let bytes = headBytes(count)
  for (let i = 0; i < count; i++) bytes += 1 + headBytes(lengths[i]!) + LINK_BYTES
  const block = new Uint8Array(bytes)
  let at = writeHead(block, 0, MAJOR.list, count)
  for (let i = 0; i < count; i++) {
    block[at++] = 0x82
    at = writeHead(block, at, MAJOR.unsigned, lengths[i]!)
    block[at] = 0xd8
    block[at + 1] = 0x2a
    block[at + 2] = 0x58
    block[at + 3] = 0x25
    // block[at + 4] is zero
    block[at + 5] = 1
    block[at + 6] = codec
    block[at + 7] = HASH_BLAKE3
    block[at + 8] = DIGEST_BYTES
    at += LINK_BYTES
    for (let j = 0; j < DIGEST_BYTES; j++) block[at - DIGEST_BYTES + j] = digests[i * DIGEST_BYTES + j]!
  }
  return block
}

/**
 * The children of a node whose digest has been checked. Anything but the one canonical form is refused, with
 * `SNAPSHOT_DAMAGED`; `where` says in the error what is damaged. Left to the caller, who knows the tree: that a root
 * has two children or more, that `total` is what the parent says, and that the depth is at most `DAG_DEPTH_MAX`.
 */
export function decodeNode(block: Uint8Array, where: string): NodeChildren {
  try {
    return readNode(block)
  } catch (cause) {
    throw damaged(where, cause instanceof Error ? cause.message : String(cause))
  }
}

function readNode(block: Uint8Array): NodeChildren {
  const cursor: Cursor = { bytes: block, at: 0, big: 0n }
  const count = readHead(cursor, MAJOR.list)
  if (count < 1 || count > NODE_CHILDREN_MAX) throw new Error(`it has ${count} children`)
  const lengths = new Float64Array(count)
  const digests = new Uint8Array(count * DIGEST_BYTES)
  let codec: Codec = CODEC_RAW
  let total = 0
  for (let i = 0; i < count; i++) {
    if (block[cursor.at] !== 0x82) throw new Error(`child ${i} is no pair`)
    cursor.at++
    const length = readHead(cursor, MAJOR.unsigned)
    const at = cursor.at
    if (at + LINK_BYTES > block.length) throw new Error('it ends too early')
    const childCodec = block[at + 6]
    if (!isLink(block, at) || (childCodec !== CODEC_RAW && childCodec !== CODEC_DAG_CBOR)) {
      throw new Error(`child ${i} is no link of this format`)
    }
    if (i === 0) codec = childCodec
    else if (codec !== childCodec) throw new Error('its children are not all alike')
    if (length < 1 || length > (codec === CODEC_RAW ? BLOCK_BYTES_MAX : BLOB_BYTES_MAX)) {
      throw new Error(`child ${i} has ${length} bytes`)
    }
    lengths[i] = length
    total += length
    for (let j = 0; j < DIGEST_BYTES; j++) digests[i * DIGEST_BYTES + j] = block[at + 9 + j]!
    cursor.at = at + LINK_BYTES
  }
  if (cursor.at !== block.length) throw new Error(`${block.length - cursor.at} bytes follow it`)
  if (total > BLOB_BYTES_MAX) throw new Error(`it has ${total} bytes below it`)
  return { count, codec, lengths, digests, total }
}

/** Whether the bytes at `at` are those of a link, whatever its codec and digest. */
function isLink(block: Uint8Array, at: number): boolean {
  return (
    block[at] === 0xd8 &&
    block[at + 1] === 0x2a &&
    block[at + 2] === 0x58 &&
    block[at + 3] === 0x25 &&
    block[at + 4] === 0 &&
    block[at + 5] === 1 &&
    block[at + 7] === HASH_BLAKE3 &&
    block[at + 8] === DIGEST_BYTES
  )
}

function damaged(where: string, reason: string): HoldfastError {
  return new HoldfastError('SNAPSHOT_DAMAGED', `a DAG node is damaged (${where}): ${reason}`, {
    details: { where, reason },
  })
}
