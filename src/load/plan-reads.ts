// Plans the reads that fill a part of a blob: chunks that are neighbours in a pack become one read, in the order of the
// pack.

import type { ChunkRun } from '../blocks/blob-dag.ts'
import { type BlockSource, entryOf, packNumberOf } from '../blocks/block-source.ts'
import type { ReadSizes } from '../blocks/read-sizes.ts'
import { COMPRESSION } from '../format/compression.ts'
import { DIGEST_BYTES } from '../format/limits.ts'

/** Chunks that are adjacent both in a pack and in the blob. */
export interface Piece {
  /** -1: in no pack. */
  packNumber: number
  /** In the pack. Of plain chunks only the wanted bytes are read; compressed ones are read whole. */
  offset: number
  bytes: number
  compressed: boolean
  /** The chunks of `run` it covers: [first, last). */
  run: ChunkRun
  first: number
  last: number
  /** Where the first chunk starts in the blob. */
  position: number
  /** Where the bytes that are read start in the blob, and how many blob bytes they give. */
  start: number
  length: number
}

/** One read of a pack, and the pieces that are in it. */
export interface Read {
  packNumber: number
  offset: number
  bytes: number
  compressed: boolean
  pieces: Piece[]
  /** Bytes of the pieces in the pack, and in the blob. */
  useful: number
  length: number
}

/**
 * One read of plain chunks fills this many places at most: with the gaps between them half of what one system call
 * takes (IOV_MAX).
 */
const PLACES_MAX = 512

/** A part of a blob: bytes [from, to). */
export interface Extent {
  from: number
  to: number
}

/**
 * The pieces that give the wanted bytes of chunks [first, last) of a run, in the order of the blob, none of them larger
 * than `bytesMax`.
 */
export function findPieces(
  source: BlockSource,
  run: ChunkRun,
  first: number,
  last: number,
  wanted: Extent,
  bytesMax: number,
): Piece[] {
  const pieces: Piece[] = []
  let position = run.offset
  for (let i = 0; i < first; i++) position += run.lengths[i]!
  let current: Piece | null = null
  for (let i = first; i < last; i++) {
    const chunkLength = run.lengths[i]!
    const found = source.find(run.digests, i * DIGEST_BYTES)
    // A copy of another length is a bad copy: `readChunk` asks the others, and tells when it is the list that is wrong.
    const fits = found !== -1 && source.indexes[packNumberOf(found)]!.rawLength(entryOf(found)) === chunkLength
    const place = fits ? found : -1
    const packNumber = fits ? packNumberOf(place) : -1
    const index = source.indexes[packNumber]
    const entry = fits ? entryOf(place) : -1
    const compressed = index !== undefined && index.compression(entry) !== COMPRESSION.none
    // Of a chunk that reaches beyond what is wanted, the rest need not be read, unless it has to be decompressed.
    const before = compressed ? 0 : Math.max(wanted.from - position, 0)
    const after = compressed ? 0 : Math.max(position + chunkLength - wanted.to, 0)
    const length = chunkLength - before - after
    const offset = (index?.offset(entry) ?? 0) + before
    const bytes = compressed ? index.storedLength(entry) : length
    // Compressed data may expand a thousandfold.
    const max = Math.min(bytesMax, source.reads.bytesMax)
    const joins =
      current !== null &&
      packNumber !== -1 &&
      current.packNumber === packNumber &&
      current.compressed === compressed &&
      current.offset + current.bytes === offset &&
      current.bytes + bytes <= max &&
      current.length + length <= max
    if (joins) {
      current!.bytes += bytes
      current!.length += length
      current!.last = i + 1
    } else {
      const start = position + before
      current = { packNumber, offset, bytes, compressed, run, first: i, last: i + 1, position, start, length }
      pieces.push(current)
    }
    position += chunkLength
  }
  return pieces
}

/**
 * Pieces near each other in a pack are read together, in the order of the pack, whatever their order in the blob. One
 * system call puts plain ones into their places, and what lies between them aside: after 1 % changed all over, that is
 * a few reads of 2 MiB where there would be thousands of 64 KiB. Compressed ones are read into a buffer, from which
 * they are decompressed.
 */
export function planReads(pieces: readonly Piece[], sizes: ReadSizes): Read[] {
  const reads: Read[] = []
  let current: Read | undefined
  for (const piece of [...pieces].sort((a, b) => a.packNumber - b.packNumber || a.offset - b.offset)) {
    if (current !== undefined && joins(current, piece, sizes)) {
      current.bytes = Math.max(current.bytes, piece.offset + piece.bytes - current.offset)
      current.useful += piece.bytes
      current.length += piece.length
      current.pieces.push(piece)
    } else {
      const { packNumber, offset, bytes, compressed, length } = piece
      current = { packNumber, offset, bytes, compressed, pieces: [piece], useful: bytes, length }
      reads.push(current)
    }
  }
  return reads
}

function joins(read: Read, piece: Piece, { bytesMax, gapMax }: ReadSizes): boolean {
  if (piece.packNumber === -1 || read.packNumber !== piece.packNumber || read.compressed !== piece.compressed) {
    return false
  }
  const bytes = Math.max(read.bytes, piece.offset + piece.bytes - read.offset)
  const gap = piece.offset - (read.offset + read.bytes)
  // A read that covers distant pieces must not read much more than they need.
  if (gap > gapMax || bytes > 2 * (read.useful + piece.bytes)) return false
  // Bytes go to one place. A chunk that the blob has twice is read twice, or decompressed once and copied twice.
  if (!piece.compressed) return gap >= 0 && bytes <= bytesMax && read.pieces.length < PLACES_MAX
  // Compressed data may expand: so much a worker, or without one the event loop, is busy with at a time.
  return bytes <= bytesMax && read.length + piece.length <= bytesMax
}
