// Plans the reads for a run of chunks: neighbours in a pack become one read. Then executes and verifies them.

import { type ChunkRun, disagrees } from '../blocks/blob-dag.ts'
import {
  BadBlock,
  type BlockSource,
  type DamageContext,
  entryOf,
  isBadCopy,
  packNumberOf,
} from '../blocks/block-source.ts'
import { decompressBlocks } from '../blocks/decompress-blocks.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { COMPRESSION } from '../format/compression.ts'
import { DIGEST_BYTES } from '../format/limits.ts'

/** Chunks that are adjacent both in a pack and in the blob. */
export interface Piece {
  /** -1: in no pack. */
  packNumber: number
  /** In the pack. */
  offset: number
  bytes: number
  compressed: boolean
  /** The chunks of `run` it covers: [first, last). */
  run: ChunkRun
  first: number
  last: number
  /** Where the first chunk goes in the blob, and how many blob bytes follow. */
  position: number
  length: number
}

/** One read of a pack, and the pieces that are in it. */
interface Read {
  packNumber: number
  offset: number
  bytes: number
  compressed: boolean
  pieces: Piece[]
  /** Bytes of the pieces in the pack, and their decompressed size. */
  useful: number
  length: number
}

/** Larger reads gain nothing on page cache or NVMe (measured: 1 to 8 MiB alike, several in flight) and verify later. */
const READ_BYTES_MAX = 2 * 1024 * 1024

/** Of compressed chunks, in bytes that they give: so much a worker, or without one the event loop, is busy with at a time. */
const COMPRESSED_READ_BYTES_MAX = 2 * 1024 * 1024

/** Reading this many unneeded bytes costs less than another read. */
const GAP_BYTES_MAX = 128 * 1024

/** The pieces that make up chunks [first, last) of a run, in the order of the blob, none of them larger than `bytesMax`. */
export function findPieces(source: BlockSource, run: ChunkRun, first: number, last: number, bytesMax: number): Piece[] {
  const pieces: Piece[] = []
  let position = run.offset
  for (let i = 0; i < first; i++) position += run.lengths[i]!
  let current: Piece | null = null
  for (let i = first; i < last; i++) {
    const length = run.lengths[i]!
    const found = source.find(run.digests, i * DIGEST_BYTES)
    // A copy of another length is a bad copy: `readChunk` asks the others, and tells when it is the list that is wrong.
    const fits = found !== -1 && source.indexes[packNumberOf(found)]!.rawLength(entryOf(found)) === length
    const place = fits ? found : -1
    const packNumber = fits ? packNumberOf(place) : -1
    const index = source.indexes[packNumber]
    const entry = fits ? entryOf(place) : -1
    const offset = index?.offset(entry) ?? 0
    const bytes = index?.storedLength(entry) ?? 0
    const compressed = index !== undefined && index.compression(entry) !== COMPRESSION.none
    // Compressed data may expand a thousandfold.
    const max = Math.min(bytesMax, compressed ? COMPRESSED_READ_BYTES_MAX : READ_BYTES_MAX)
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
      current = { packNumber, offset, bytes, compressed, run, first: i, last: i + 1, position, length }
      pieces.push(current)
    }
    position += length
  }
  return pieces
}

/**
 * Compressed pieces near each other in a pack are read together, in the order of the pack, whatever their order in the blob: there is a
 * buffer between them and their place anyhow, and threads want more than a chunk at a time. All others are read straight into their places: after 1 %
 * changed all over, a thousand such reads for 64 MiB were a fifth slower than a dozen, and a dozen with a copy twice as slow (measured, on a
 * warm page cache and on a dropped one).
 */
export function planReads(pieces: readonly Piece[]): Read[] {
  const reads: Read[] = []
  let current: Read | undefined
  for (const piece of [...pieces].sort((a, b) => a.packNumber - b.packNumber || a.offset - b.offset)) {
    if (current !== undefined && joins(current, piece)) {
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

function joins(read: Read, piece: Piece): boolean {
  if (!read.compressed || !piece.compressed || read.packNumber !== piece.packNumber) return false
  const bytes = Math.max(read.bytes, piece.offset + piece.bytes - read.offset)
  const gap = piece.offset - (read.offset + read.bytes)
  return (
    bytes <= COMPRESSED_READ_BYTES_MAX &&
    read.length + piece.length <= COMPRESSED_READ_BYTES_MAX &&
    gap <= GAP_BYTES_MAX &&
    // A read that covers distant pieces must not read much more than they need.
    bytes <= 2 * (read.useful + piece.bytes)
  )
}

/** Fills `target` (whose byte 0 is the blob's byte `base`) with what `read` covers. Nothing is verified yet. */
export async function executeRead(
  source: BlockSource,
  read: Read,
  target: Uint8Array,
  base: number,
  damageContext: DamageContext,
): Promise<void> {
  const placeOf = ({ position, length }: Piece): Uint8Array =>
    target.subarray(position - base, position - base + length)
  try {
    if (read.packNumber === -1) throw new BadBlock('in no pack')
    if (read.compressed) await readCompressed(source, read, placeOf)
    else await source.packs[read.packNumber]!.file.read(placeOf(read.pieces[0]!), read.offset)
  } catch (error) {
    if (!isBadCopy(error)) throw error
    // One chunk at a time, so that only chunks that are really bad are looked up elsewhere.
    for (const piece of read.pieces) {
      let at = 0
      for (let i = piece.first; i < piece.last; i++) {
        placeOf(piece).set(await readChunk(source, piece.run, i, damageContext), at)
        at += piece.run.lengths[i]!
      }
    }
  }
}

async function readCompressed(source: BlockSource, read: Read, placeOf: (piece: Piece) => Uint8Array): Promise<void> {
  const index = source.indexes[read.packNumber]!
  const { file } = source.packs[read.packNumber]!
  const entries: number[] = []
  const places: Uint8Array[] = []
  for (const piece of read.pieces) {
    const place = placeOf(piece)
    for (let at = 0, i = piece.first; i < piece.last; i++) {
      entries.push(index.find(piece.run.digests, i * DIGEST_BYTES))
      places.push(place.subarray(at, at + piece.run.lengths[i]!))
      at += piece.run.lengths[i]!
    }
  }
  await decompressBlocks(
    {
      index,
      entries,
      start: read.offset,
      storedBytes: read.bytes,
      rawBytes: read.length,
      async stored(target) {
        const bytes = target ?? Buffer.allocUnsafeSlow(read.bytes)
        await file.read(bytes, read.offset)
        return bytes
      },
    },
    (i, block) => {
      if (block === null) throw new BadBlock('not what was written')
      places[i]!.set(block)
    },
  )
}

/**
 * Checks chunks [first, last) of a run, lying in `target` from `at` on, against their digests; replaces a bad one by a good copy
 * from elsewhere, or throws.
 */
export async function verifyChunks(
  source: BlockSource,
  run: ChunkRun,
  first: number,
  last: number,
  target: Uint8Array,
  at: number,
  damageContext: DamageContext,
): Promise<void> {
  let position = at
  for (let i = first; i < last; i++) {
    const length = run.lengths[i]!
    const bytes = target.subarray(position, position + length)
    if (!digestsEqual(blake3(bytes), 0, run.digests, i * DIGEST_BYTES)) {
      bytes.set(await readChunk(source, run, i, damageContext))
    }
    position += length
  }
}

/** Reads one chunk from any good copy, and verifies it. */
export async function readChunk(
  source: BlockSource,
  run: ChunkRun,
  i: number,
  damageContext: DamageContext,
): Promise<Uint8Array> {
  const bytes = await source.read(run.digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES), damageContext)
  if (bytes.length !== run.lengths[i]) {
    throw disagrees(damageContext, `a chunk of ${bytes.length} bytes is listed as ${run.lengths[i]}`)
  }
  return bytes
}
