// Executes planned reads: fills a part of a blob from packs, verifies chunks, and replaces bad ones by good copies.

import { type ChunkRun, disagrees } from '../blocks/blob-dag.ts'
import { BadBlock, type BlockSource, type DamageContext, isBadCopy } from '../blocks/block-source.ts'
import { decompressBlocks } from '../blocks/decompress-blocks.ts'
import { readParts } from '../blocks/read-parts.ts'
import { clock } from '../clock.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import type { Piece, Read } from './plan-reads.ts'

/** Memory for a part of a blob. Its first byte is the blob's byte `from`. */
export interface Target {
  bytes: Uint8Array
  from: number
}

/** Fills `target` with what `read` covers. Nothing is verified yet. */
export async function executeRead(
  source: BlockSource,
  read: Read,
  target: Target,
  damageContext: DamageContext,
): Promise<void> {
  try {
    if (read.packNumber === -1) throw new BadBlock('in no pack')
    if (read.compressed) await readCompressed(source, read, target)
    else
      await readParts(
        source.packs[read.packNumber]!.file,
        read.pieces.map((piece) => placeOf(piece, target)),
      )
  } catch (error) {
    if (!isBadCopy(error)) throw error
    // One chunk at a time, so that only chunks that are really bad are looked up elsewhere.
    for (const piece of read.pieces) {
      let position = piece.position
      for (let i = piece.first; i < piece.last; i++) {
        put(target, position, await readChunk(source, piece.run, i, position, damageContext))
        position += piece.run.lengths[i]!
      }
    }
  }
}

function placeOf({ offset, start, length }: Piece, { bytes, from }: Target): { target: Uint8Array; position: number } {
  return { target: bytes.subarray(start - from, start - from + length), position: offset }
}

/** Copies a chunk to its place; of one that reaches beyond the target, what is in it. */
function put({ bytes, from }: Target, position: number, chunk: Uint8Array): void {
  const skipped = Math.max(from - position, 0)
  const end = Math.min(chunk.length, from + bytes.length - position)
  bytes.set(skipped === 0 && end === chunk.length ? chunk : chunk.subarray(skipped, end), position + skipped - from)
}

async function readCompressed(source: BlockSource, read: Read, target: Target): Promise<void> {
  const index = source.indexes[read.packNumber]!
  const { file } = source.packs[read.packNumber]!
  const entries: number[] = []
  const positions: number[] = []
  for (const { run, first, last, position } of read.pieces) {
    for (let at = position, i = first; i < last; i++) {
      entries.push(index.find(run.digests, i * DIGEST_BYTES))
      positions.push(at)
      at += run.lengths[i]!
    }
  }
  await decompressBlocks(
    {
      index,
      entries,
      start: read.offset,
      storedBytes: read.bytes,
      rawBytes: read.length,
      async stored(room) {
        const bytes = room ?? Buffer.allocUnsafeSlow(read.bytes)
        await file.read(bytes, read.offset)
        return bytes
      },
    },
    (i, block) => {
      if (block === null) throw new BadBlock('not what was written')
      put(target, positions[i]!, block)
    },
  )
}

/** The main thread hashes so much before the event loop turns: a millisecond of small chunks. */
const STEP_BYTES = 512 * 1024

/** How far a blob's bytes were verified, and why no further; null: to the end. */
export interface Verified {
  end: number
  error: unknown
}

/**
 * Checks chunks [first, last) of a run against their digests; replaces a bad one by a good copy from elsewhere. A chunk
 * that reaches beyond the target cannot be checked there, and is read again.
 */
export async function verifyChunks(
  source: BlockSource,
  run: ChunkRun,
  first: number,
  last: number,
  target: Target,
  damageContext: DamageContext,
): Promise<Verified> {
  const { bytes, from } = target
  let position = run.offset
  for (let i = 0; i < first; i++) position += run.lengths[i]!
  let sinceTurn = 0
  for (let i = first; i < last; i++) {
    const length = run.lengths[i]!
    const at = position - from
    const isWhole = at >= 0 && at + length <= bytes.length
    const isGood = isWhole && digestsEqual(blake3(bytes.subarray(at, at + length)), 0, run.digests, i * DIGEST_BYTES)
    if (!isGood) {
      try {
        put(target, position, await readChunk(source, run, i, position, damageContext))
      } catch (error) {
        return { end: position, error }
      }
    }
    position += length
    sinceTurn += length
    if (sinceTurn < STEP_BYTES || i + 1 === last) continue
    sinceTurn = 0
    await clock.nextTurn()
  }
  return { end: position, error: null }
}

/**
 * Reads one chunk from any good copy, and verifies it. Damage names its place in the blob; `position` null: it has
 * many.
 */
export async function readChunk(
  source: BlockSource,
  run: ChunkRun,
  i: number,
  position: number | null,
  damageContext: DamageContext,
): Promise<Uint8Array> {
  const length = run.lengths[i]!
  const context =
    position === null ? damageContext : { ...damageContext, details: { ...damageContext.details, position, length } }
  const bytes = await source.read(run.digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES), context)
  if (bytes.length !== length) throw disagrees(context, `a chunk of ${bytes.length} bytes is listed as ${length}`)
  return bytes
}
