// Looks blocks up by digest in the indexes of some packs. Reads and verifies them.

import { clock } from '../clock.ts'
import { HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { decompressBlock } from '../format/compress.ts'
import { COMPRESSION } from '../format/compression.ts'
import type { NodeChildren } from '../format/dag.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import { createMergedIndex, type MergedIndex } from './merged-index.ts'
import type { OpenPack } from './pack-cache.ts'
import { type ReadSizes, readSizesOf } from './read-sizes.ts'

/**
 * The blocks of some packs, looked up by digest. A block's place is one number, `packNumber * 2^32 + entry`: its pack's
 * position in `packs` and its row in that pack's index. Indexes are read when needed, in the order of the given packs,
 * so that a small blob in a large store costs one index.
 */
export interface BlockSource {
  /** The packs whose index has been read, in that order. */
  readonly packs: readonly OpenPack[]
  readonly indexes: readonly PackIndex[]
  /** How its packs are read. */
  readonly reads: ReadSizes
  /** A cache of decoded nodes, by digest as latin1, least recently used first. `blob-dag.ts` fills it. */
  readonly nodes: Map<string, NodeChildren>
  /** The block's place in the packs read so far, or -1. */
  find(digest: Uint8Array, at: number): number
  /**
   * Reads indexes until `count` digests from `digests` are all found, or no index is left. Rejects if one is not found,
   * and there is a pack that may have it and cannot be read.
   */
  loadIndexesFor(digests: Uint8Array, count: number): Promise<void>
  /** Reads all remaining indexes. Rejects, once all others are read, if one cannot be read and may be good. */
  loadAllIndexes(): Promise<void>
  /** Hints that about `lookups` blocks will be looked up, so that a table pays. */
  expectLookups(lookups: number): Promise<void>
  /**
   * Reads one block and checks it against its digest. If the copy is bad, tries copies in other packs.
   */
  read(digest: Uint8Array, damageContext: DamageContext): Promise<Uint8Array>
  /** Reads and decompresses the block at a place. It is *not* checked against its digest. */
  readPlace(place: number): Promise<Uint8Array>
  /** As `read`, when the copy at `tried` is known to be bad. */
  readElsewhere(digest: Uint8Array, tried: number, damageContext: DamageContext, cause: unknown): Promise<Uint8Array>
}

/** How to report a bad block to the user: which snapshot or blob it belongs to. */
export interface DamageContext {
  code: 'SNAPSHOT_DAMAGED' | 'BLOB_DAMAGED'
  what: string
  details: Record<string, unknown>
}

const PACK_STEP = 2 ** 32

export function packNumberOf(place: number): number {
  return Math.floor(place / PACK_STEP)
}

export function entryOf(place: number): number {
  return place % PACK_STEP
}

export function placeOf(packNumber: number, entry: number): number {
  return packNumber * PACK_STEP + entry
}

export interface BlockSourceOptions {
  /** Why packs could not be opened. They are the cause of the error when a block is not found. */
  failures?: readonly unknown[] | undefined
  /** Opens the packs that this snapshot does not need but that may hold another copy of a block. */
  others?: (() => Promise<BlockSource | null>) | undefined
  /** Default: as on a disk. */
  reads?: ReadSizes | undefined
  /** Takes over the table of an earlier source that is not used any more, and keeps its own there. */
  tables?: { last: MergedIndex | null } | undefined
  /** Called for each block that `read` has found to be good. */
  onGoodBlock?: ((digest: Uint8Array) => void) | undefined
  /** Called for each bad copy of a block, with the reason. */
  onBadBlock?: ((pack: string, digest: Uint8Array, error: unknown) => void) | undefined
}

/**
 * Adding a block to the table costs as much as this many searches in an index, and reads wait meanwhile. For a blob in
 * two packs, the table delayed the first read by 25 to 60 ms (measured, 512 MiB).
 */
const SEARCHES_WORTH_A_BLOCK = 4

/** Takes a few milliseconds. */
const TABULATED_AT_ONCE = 4096

/** One index is read first, then so many times as many. What is read and not needed is a part of what was needed. */
const INDEXES_GROWTH = 4

/** Opens a pack when its index is needed. */
export type PackOpener = () => Promise<OpenPack>

/** Opens a source and reads all indexes at once. */
export async function openBlockSource(
  packs: readonly OpenPack[],
  options: BlockSourceOptions = {},
): Promise<BlockSource> {
  const source = lazyBlockSource(
    packs.map((pack) => async () => pack),
    options,
  )
  await source.loadAllIndexes()
  return source
}

/** Opens a source that opens packs and reads their indexes when look-ups need them. */
export function lazyBlockSource(openers: readonly PackOpener[], options: BlockSourceOptions = {}): BlockSource {
  const indexes: PackIndex[] = []
  const readable: OpenPack[] = []
  const failures = [...(options.failures ?? [])]
  const left = [...openers]
  const reads = options.reads ?? readSizesOf({ far: false })
  let reading: Promise<unknown> | null = null
  /** So many indexes are read next. */
  let atOnce = 1
  let table: MergedIndex | null = null
  let tabulating = false
  let last = 0
  let expected = 0

  /**
   * Reads indexes in their order until `done`. Concurrent callers share each read. A pack that cannot be read now, or
   * by this version, is passed over: others may have the block. Answers the first error of those packs. The next call
   * tries them again, because such a pack must not count as one without the block.
   */
  async function readUntil(done: () => boolean): Promise<{ error: unknown } | null> {
    const tried = new Set<PackOpener>()
    let skipped: { error: unknown } | null = null
    while (!done()) {
      if (reading !== null) {
        await reading.catch(() => undefined)
        continue
      }
      const next = left.filter((each) => !tried.has(each)).slice(0, atOnce)
      if (next.length === 0) return skipped
      for (const open of next) tried.add(open)
      reading = readIndexes(next)
      try {
        await reading
      } catch (error) {
        skipped ??= { error }
      } finally {
        reading = null
      }
      // The first index often has all. Where a request takes long, more are then read together than one after the
      // other.
      atOnce = Math.min(atOnce * INDEXES_GROWTH, reads.indexesAtOnce)
    }
    return null
  }

  /**
   * Reads some indexes together, and adds them in their order. Rejects, once all are read, if one of the packs may be
   * good and cannot be read.
   */
  async function readIndexes(some: readonly PackOpener[]): Promise<void> {
    const read = await Promise.allSettled(
      some.map(async (open) => {
        const pack = await open()
        return { pack, index: await pack.index() }
      }),
    )
    let missed: { error: unknown } | null = null
    for (const [i, result] of read.entries()) {
      if (result.status === 'fulfilled') {
        const { pack, index } = result.value
        indexes.push(index)
        readable.push(pack)
        if (table !== null) table.add(indexes.length - 1, index, 0, index.blocks)
        else await tabulate()
      } else if (isDamage(result.reason)) {
        failures.push(result.reason)
      } else {
        missed ??= { error: result.reason }
        continue
      }
      left.splice(left.indexOf(some[i]!), 1)
    }
    if (missed !== null) throw missed.error
  }

  /** Builds one table over all indexes read so far, in steps, so that a million blocks do not block the event loop. */
  async function tabulate(): Promise<void> {
    if (table !== null || tabulating || indexes.length < 2) return
    const blocks = indexes.reduce((sum, index) => sum + index.blocks, 0)
    // A look-up searches half of the indexes on average.
    if ((expected * indexes.length) / 2 < SEARCHES_WORTH_A_BLOCK * blocks) return
    tabulating = true
    const kept = options.tables?.last ?? null
    const building = kept?.renumber(indexes) === true ? kept : createMergedIndex(blocks)
    // The loop includes indexes that are read meanwhile.
    for (let packNumber = 0; packNumber < indexes.length; packNumber++) {
      if (building.has(packNumber)) continue
      const index = indexes[packNumber]!
      let entry = 0
      do {
        building.add(packNumber, index, entry, Math.min(entry + TABULATED_AT_ONCE, index.blocks))
        entry += TABULATED_AT_ONCE
        await clock.nextTurn()
      } while (entry < index.blocks)
    }
    table = building
    if (options.tables !== undefined) options.tables.last = table
  }

  async function locate(digests: Uint8Array, count: number): Promise<void> {
    if (left.length === 0) return
    for (let i = 0; i < count; i++) {
      const at = i * DIGEST_BYTES
      if (find(digests, at) !== -1) continue
      const skipped = await readUntil(() => find(digests, at) !== -1)
      if (skipped !== null) throw skipped.error
    }
  }

  async function locateAll(): Promise<void> {
    const skipped = await readUntil(() => left.length === 0)
    if (skipped !== null) throw skipped.error
  }

  function find(digest: Uint8Array, at: number): number {
    if (table !== null) {
      const found = table.find(digest, at)
      return found === null ? -1 : placeOf(found.packNumber, found.entry)
    }
    for (let i = 0; i < indexes.length; i++) {
      const packNumber = (last + i) % indexes.length
      const entry = indexes[packNumber]!.find(digest, at)
      if (entry !== -1) {
        last = packNumber
        return placeOf(packNumber, entry)
      }
    }
    return -1
  }

  async function readPlace(place: number): Promise<Uint8Array> {
    const packNumber = packNumberOf(place)
    const entry = entryOf(place)
    const index = indexes[packNumber]!
    const stored = Buffer.allocUnsafeSlow(index.storedLength(entry))
    await readable[packNumber]!.file.read(stored, index.offset(entry))
    return decompressStored(index, entry, stored)
  }

  function good(bytes: Uint8Array, digest: Uint8Array): Uint8Array {
    const block = check(bytes, digest)
    options.onGoodBlock?.(digest)
    return block
  }

  /** Tries every pack but the one tried already, then the packs of `others`. */
  async function readElsewhere(
    digest: Uint8Array,
    tried: number,
    damageContext: DamageContext,
    cause: unknown,
  ): Promise<Uint8Array> {
    let reason = cause
    // A block that cannot be read may be intact. So a read error is reported as such, and not as damage.
    let unread: unknown = isHoldfastError(cause, 'IO_FAILED') ? cause : null
    await locateAll().catch((error: unknown) => {
      unread ??= error
    })
    for (let packNumber = 0; packNumber < indexes.length; packNumber++) {
      if (tried !== -1 && packNumber === packNumberOf(tried)) continue
      const entry = indexes[packNumber]!.find(digest, 0)
      if (entry === -1) continue
      try {
        return good(await readPlace(placeOf(packNumber, entry)), digest)
      } catch (error) {
        if (!isBadCopy(error)) throw error
        reason ??= error
        if (isHoldfastError(error, 'IO_FAILED')) unread ??= error
        options.onBadBlock?.(readable[packNumber]!.name, digest, error)
      }
    }
    try {
      const others = await options.others?.()
      await others?.loadIndexesFor(digest, 1)
      if (others && others.find(digest, 0) !== -1) return await others.read(digest, damageContext)
    } catch (error) {
      if (unread === null) throw error
    }
    if (unread !== null) throw unread
    throw missing(
      digest,
      damageContext,
      tried === -1 ? null : readable[packNumberOf(tried)]!.name,
      reason ?? failures[0],
    )
  }

  return {
    packs: readable,
    indexes,
    reads,
    nodes: new Map(),
    find,
    loadIndexesFor: locate,
    loadAllIndexes: locateAll,
    async expectLookups(lookups) {
      expected = Math.max(expected, lookups)
      await tabulate()
    },
    async read(digest, damageContext) {
      await locate(digest, 1)
      const place = find(digest, 0)
      if (place === -1) return await readElsewhere(digest, -1, damageContext, undefined)
      try {
        return good(await readPlace(place), digest)
      } catch (error) {
        if (!isBadCopy(error)) throw error
        options.onBadBlock?.(readable[packNumberOf(place)]!.name, digest, error)
        return await readElsewhere(digest, place, damageContext, error)
      }
    },
    readPlace,
    readElsewhere,
  }
}

/** Internal: the stored bytes of a block do not match its pack's index. Callers turn it into a `HoldfastError`. */
export class BadBlock extends Error {}

/** Whether the error concerns one copy of a block, which is bad or unreadable, so that another copy may be good. */
export function isBadCopy(error: unknown): boolean {
  return isDamage(error) || error instanceof BadBlock || isHoldfastError(error, 'IO_FAILED')
}

function check(bytes: Uint8Array, digest: Uint8Array): Uint8Array {
  if (!digestsEqual(blake3(bytes), 0, digest, 0)) throw new BadBlock('the bytes do not match their digest')
  return bytes
}

/** Stored bytes → block bytes. Throws `BadBlock`. */
export function decompressStored(index: PackIndex, entry: number, stored: Uint8Array): Uint8Array {
  const block = decompressOrNull(index, entry, stored)
  if (block === null) throw new BadBlock('the compressed bytes are not what was written')
  return block
}

/** Of a zstd frame: magic (4), header (2 at least), header of its last block (3). See RFC 8878, 3.1.1. */
const FRAME_BYTES_MIN = 9

/**
 * Stored bytes → block bytes, or null for a bad block: in a pack full of bad blocks, an error for each would take
 * longer than all the rest. Compressed bytes are checked before a decompressor sees them.
 */
export function decompressOrNull(index: PackIndex, entry: number, stored: Uint8Array): Uint8Array | null {
  if (index.compression(entry) === COMPRESSION.none) return stored
  if (stored.length < FRAME_BYTES_MIN) return null
  const check = index.check(entry)
  const found = blake3(stored)
  for (let i = 0; i < check.length; i++) if (found[i] !== check[i]) return null
  try {
    return decompressBlock(stored, index.rawLength(entry))
  } catch (cause) {
    if (isHoldfastError(cause)) throw cause
    return null
  }
}

function missing(digest: Uint8Array, damageContext: DamageContext, pack: string | null, cause: unknown): HoldfastError {
  const block = Buffer.from(digest.subarray(0, DIGEST_BYTES)).toString('hex')
  const found = pack === null ? 'is in no pack that can be read' : `is not what was written (pack ${pack})`
  const because = cause instanceof HoldfastError ? `: ${cause.message}` : ''
  return new HoldfastError(
    damageContext.code,
    `${damageContext.what} is damaged: block ${block.slice(0, 16)}… ${found}${because}`,
    {
      details: { ...damageContext.details, block, pack },
      cause,
    },
  )
}
