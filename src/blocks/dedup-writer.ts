// Stores each block once: it writes the blocks that the store does not have, and records which packs the snapshot
// needs.

import { CODEC_RAW, type Codec } from '../format/cid.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import { KIND, type Kind } from '../format/pack.ts'
import { type BlockSource, entryOf, packNumberOf, placeOf } from './block-source.ts'
import { createDigestMap, type DigestMap } from './digest-map.ts'
import type { Frame, PackWriter } from './pack-writer.ts'

interface DedupWriterOptions {
  /** Blocks that the store has. */
  source: BlockSource
  /** HEAD's pack ids by name. */
  ids: ReadonlyMap<string, number>
  /**
   * Hex digests of known bad blocks, by pack name: they are written again. An empty set means all blocks of the pack.
   * It is consulted for each block, because a persist may find more bad blocks.
   */
  damaged: readonly ReadonlyMap<string, ReadonlySet<string>>[]
  writer: PackWriter
}

/** Writes the blocks that the store does not have, and records which packs the snapshot needs. */
export interface DedupWriter {
  /** Writes a chunk that `reuse` refused. `frame` is its compressed form, which is written instead. */
  chunk(bytes: Uint8Array, digest: Uint8Array, frame?: Frame | null): void
  block(bytes: Uint8Array, digest: Uint8Array, codec: Codec, kind: Kind): void
  /** Digests of the blocks, apart from chunks, that the store had and that were reused since the last call. */
  takeReusedBlocks(): Uint8Array[]
  /** Digests of the blocks, apart from chunks, that were written. */
  readonly writtenBlocks: readonly Uint8Array[]
  /** Whether the store has the block. `length` is its size in bytes, if known. */
  has(digests: Uint8Array, at: number, length?: number): boolean
  /** Reuses the stored copy of a chunk of `length` bytes. Returns false if the chunk must be written. */
  reuse(digests: Uint8Array, at: number, length: number): boolean
  /**
   * Reuses the stored copy of a block of any kind, which another store has, too. Returns false if it must be copied.
   */
  reuseBlock(digest: Uint8Array, length: number, kind: Kind): boolean
  /** Notes that a block of another store is about to be appended to the pack that is being written. */
  noteCopied(digest: Uint8Array, kind: Kind): void
  /** Reuses the stored copy of a block of whatever length. False: there is none that is not known to be bad. */
  keep(digests: Uint8Array, at: number): boolean
  /** Counts bytes of chunks that were kept. */
  noteReused(bytes: number): void
  /** Starts to write the buffered blocks. Waits for the previous write. */
  flush(): Promise<void>
  /** Waits for the last flush. */
  written(): Promise<void>
  /** Waits for all writes. */
  drain(): Promise<void>
  /** The id of the needed pack, reused or newly written, that holds the block, or -1. */
  packOf(digest: Uint8Array): number
  /** The pack that this persist wrote the block into, or -1. */
  ownPack(digest: Uint8Array): number
  /** Notes that blocks were copied from `packs` into new packs. `moved` gives the new pack of each. */
  moved(packs: Iterable<number>, moved: DigestMap): void
  /** Ids of the packs, old or newly written, that hold the blocks. */
  needed(): Set<number>
  /** For a known pack, one byte for each block: 1 if the snapshot needs it. */
  marks(packNumber: number): Uint8Array
  /** Total size of the reused chunks, in bytes. */
  readonly reusedBytes: number
}

/**
 * Up to this many bytes are written as new before all indexes are read to look for them. A block that is stored twice
 * is harmless, and a small change must not read every index of a large store.
 */
const UNSEARCHED_BYTES_MAX = 4 * 1024 * 1024

export function createDedupWriter({ source, ids, damaged, writer }: DedupWriterOptions): DedupWriter {
  /** Blocks that this persist wrote: digest → pack id. */
  const own = createDigestMap()
  const marks: Uint8Array[] = []
  const needed = new Set<number>()
  const reusedBlocks: Uint8Array[] = []
  const writtenBlocks: Uint8Array[] = []
  let reusedBytes = 0
  let relocated: DigestMap | null = null
  let writing: Promise<void> = Promise.resolve()
  let searchedAll = false

  function idOf(packNumber: number): number {
    return ids.get(source.packs[packNumber]!.name)!
  }

  /**
   * A copy of `length` bytes in a pack of the store that is not known to be bad, or -1. Without a length any will do.
   */
  function known(digests: Uint8Array, at: number, length: number | null): number {
    const place = source.find(digests, at)
    if (place === -1) return -1
    const hex = damaged.every(({ size }) => size === 0)
      ? null
      : Buffer.from(digests.subarray(at, at + DIGEST_BYTES)).toString('hex')
    if (isGood(packNumberOf(place), entryOf(place), length, hex)) return place
    for (const [packNumber, index] of source.indexes.entries()) {
      const entry = index.find(digests, at)
      if (entry !== -1 && isGood(packNumber, entry, length, hex)) return placeOf(packNumber, entry)
    }
    return -1
  }

  function isGood(packNumber: number, entry: number, length: number | null, hex: string | null): boolean {
    const index = source.indexes[packNumber]!
    // Nobody may have read it. An index that is not as writers make it may be wrong about this block, too.
    if (!index.isRegular || (length !== null && index.rawLength(entry) !== length)) return false
    return hex === null || !isDamaged(packNumber, hex)
  }

  function isDamaged(packNumber: number, hex: string): boolean {
    const { name } = source.packs[packNumber]!
    return damaged.some((packs) => {
      const bad = packs.get(name)
      return bad !== undefined && (bad.size === 0 || bad.has(hex))
    })
  }

  function reuse(digests: Uint8Array, at: number, length: number | null): boolean {
    if (own.get(digests, at) !== -1) return true
    const place = known(digests, at, length)
    if (place === -1) return false
    const packNumber = packNumberOf(place)
    needed.add(idOf(packNumber))
    marksOf(packNumber)[entryOf(place)] = 1
    return true
  }

  /**
   * The pack whose copy is reused, while that is good, or -1. A search may find another copy by now, in a pack that the
   * snapshot does not need: more indexes have been read since.
   */
  function reusedIn(digest: Uint8Array): number {
    const hex = Buffer.from(digest).toString('hex')
    for (const [packNumber, marked] of marks.entries()) {
      if (marked === undefined || !needed.has(idOf(packNumber))) continue
      const entry = source.indexes[packNumber]!.find(digest, 0)
      if (entry !== -1 && marked[entry] === 1 && isGood(packNumber, entry, null, hex)) return idOf(packNumber)
    }
    return -1
  }

  function write(bytes: Uint8Array, digest: Uint8Array, codec: Codec, kind: Kind, frame: Frame | null): void {
    const id = writer.packId
    writer.append(bytes, digest, codec, kind, frame)
    own.add(digest, 0, id)
    needed.add(id)
  }

  function marksOf(packNumber: number): Uint8Array {
    marks[packNumber] ??= new Uint8Array(source.indexes[packNumber]!.blocks)
    return marks[packNumber]
  }

  return {
    chunk: (bytes, digest, frame = null) => write(bytes, digest, CODEC_RAW, KIND.chunk, frame),
    block(bytes, digest, codec, kind) {
      const isOwn = own.get(digest, 0) !== -1
      if (reuse(digest, 0, bytes.length)) {
        if (!isOwn) reusedBlocks.push(digest)
        return
      }
      write(bytes, digest, codec, kind, null)
      writtenBlocks.push(digest)
    },
    takeReusedBlocks: () => reusedBlocks.splice(0),
    writtenBlocks,
    has: (digests, at, length) => own.get(digests, at) !== -1 || known(digests, at, length ?? null) !== -1,
    reuse(digests, at, length) {
      if (!reuse(digests, at, length)) return false
      // Only chunks count as reused bytes.
      reusedBytes += length
      return true
    },
    reuseBlock(digest, length, kind) {
      const isOwn = own.get(digest, 0) !== -1
      if (!reuse(digest, 0, length)) return false
      if (kind === KIND.chunk) reusedBytes += length
      else if (!isOwn) reusedBlocks.push(digest)
      return true
    },
    noteCopied(digest, kind) {
      own.add(digest, 0, writer.packId)
      needed.add(writer.packId)
      if (kind !== KIND.chunk) writtenBlocks.push(digest)
    },
    keep: (digests, at) => reuse(digests, at, null),
    noteReused(bytes) {
      reusedBytes += bytes
    },
    async flush() {
      await writing
      if (!searchedAll && writer.bytes > UNSEARCHED_BYTES_MAX) {
        searchedAll = true
        await source.loadAllIndexes()
        await source.expectLookups(Number.POSITIVE_INFINITY)
      }
      await writer.rollOver()
      writing = writer.flush()
      writing.catch(() => {})
    },
    written: () => writing,
    async drain() {
      await writing
    },
    packOf(digest) {
      const now = relocated?.get(digest, 0) ?? -1
      if (now !== -1) return now
      const written = own.get(digest, 0)
      return written === -1 ? reusedIn(digest) : written
    },
    ownPack: (digest) => own.get(digest, 0),
    moved(packs, moved) {
      relocated = moved
      for (const id of packs) needed.delete(id)
    },
    needed: () => needed,
    marks: marksOf,
    get reusedBytes() {
      return reusedBytes
    },
  }
}
