// Looks blocks up by digest in the indexes of some packs, and reads them, verified.

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

/**
 * The blocks of some packs, looked up by digest. A block's place is one number, `packNumber * 2^32 + entry`: its pack's
 * position in `packs` and its row in that pack's index. Indexes are read as they are needed, in the order of the packs
 * given, so that a small blob in a large store costs one of them.
 */
export interface BlockSource {
  /** Those whose index has been read, in that order. */
  readonly packs: readonly OpenPack[]
  readonly indexes: readonly PackIndex[]
  /** Nodes decoded lately, by digest as latin1, least recently used first. `blob-dag.ts` fills it. */
  readonly nodes: Map<string, NodeChildren>
  /** The block's place in the packs read so far, or -1. */
  find(digest: Uint8Array, at: number): number
  /** Reads indexes until `count` digests from `digests` are all found, or no index is left. */
  loadIndexesFor(digests: Uint8Array, count: number): Promise<void>
  /** Reads all indexes that are left. */
  loadAllIndexes(): Promise<void>
  /** Hints that about `lookups` blocks will be looked up, so that a table pays. */
  expectLookups(lookups: number): Promise<void>
  /**
   * The bytes of one block, checked against its digest. A bad copy is replaced by a good one from
   * another pack if there is one.
   */
  read(digest: Uint8Array, damageContext: DamageContext): Promise<Uint8Array>
  /** The bytes at a place, decompressed, *not* checked against the digest. */
  readPlace(place: number): Promise<Uint8Array>
  /** As `read`, when the copy at `tried` is known to be bad. */
  readElsewhere(digest: Uint8Array, tried: number, damageContext: DamageContext, cause: unknown): Promise<Uint8Array>
}

/** What a bad block means to the user: which snapshot or blob it belongs to. */
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
  /** Packs that should be here and could not be opened: blamed when a block is nowhere. */
  failures?: readonly unknown[] | undefined
  /** Opens the packs that this snapshot does not need but that may hold another copy of a block. */
  others?: (() => Promise<BlockSource | null>) | undefined
  /** Told of each block whose copy in a pack was bad, and why. */
  onBadBlock?: ((pack: string, digest: Uint8Array, error: unknown) => void) | undefined
}

/**
 * To put a block into a table costs as much as so many searches in an index, while nothing else is done: for a blob that lies in two packs it
 * kept the first read waiting for 25 to 60 ms (measured, 512 MiB).
 */
const SEARCHES_WORTH_A_BLOCK = 4

/** Some milliseconds. */
const TABULATED_AT_ONCE = 16_384

/** Opens a pack when its index is needed. */
export type PackOpener = () => Promise<OpenPack>

/** Over packs whose indexes are all read now. */
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

/** Over packs that are opened, and their indexes read, as look-ups need them. */
export function lazyBlockSource(openers: readonly PackOpener[], options: BlockSourceOptions = {}): BlockSource {
  const indexes: PackIndex[] = []
  const readable: OpenPack[] = []
  const failures = [...(options.failures ?? [])]
  const left = [...openers]
  let reading: Promise<unknown> | null = null
  let table: MergedIndex | null = null
  let tabulating = false
  let last = 0
  let expected = 0

  /** Reads the next index; one at a time, whoever asks. */
  async function readNext(): Promise<void> {
    if (reading !== null) {
      await reading
      return
    }
    const open = left.shift()
    if (open === undefined) return
    reading = readIndex(open)
    try {
      await reading
    } finally {
      reading = null
    }
  }

  async function readIndex(open: PackOpener): Promise<void> {
    try {
      const pack = await open()
      const index = await pack.index()
      indexes.push(index)
      readable.push(pack)
      if (table !== null) table.add(indexes.length - 1, index, 0, index.blocks)
      else await tabulate()
    } catch (error) {
      // Whoever asks next asks the disk again: a pack that cannot be read for a moment must not count as one without the block.
      if (!isDamage(error)) {
        left.unshift(open)
        throw error
      }
      failures.push(error)
    }
  }

  /** One table over all indexes read so far, in steps, so that the event loop is not held up by a million blocks. */
  async function tabulate(): Promise<void> {
    if (table !== null || tabulating || indexes.length < 2) return
    const blocks = indexes.reduce((sum, index) => sum + index.blocks, 0)
    // On average half of the indexes are searched.
    if ((expected * indexes.length) / 2 < SEARCHES_WORTH_A_BLOCK * blocks) return
    tabulating = true
    const building = createMergedIndex(blocks)
    // Indexes may be read meanwhile: the loop takes them in too.
    for (let packNumber = 0; packNumber < indexes.length; packNumber++) {
      const index = indexes[packNumber]!
      let entry = 0
      do {
        building.add(packNumber, index, entry, Math.min(entry + TABULATED_AT_ONCE, index.blocks))
        entry += TABULATED_AT_ONCE
        await clock.nextTurn()
      } while (entry < index.blocks)
    }
    table = building
  }

  async function locate(digests: Uint8Array, count: number): Promise<void> {
    for (let i = 0; i < count && (left.length > 0 || reading !== null); i++) {
      const at = i * DIGEST_BYTES
      while (find(digests, at) === -1 && (left.length > 0 || reading !== null)) await readNext()
    }
  }

  async function locateAll(): Promise<void> {
    while (left.length > 0 || reading !== null) await readNext()
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

  /** Every pack but the one tried, then whatever `others` can offer. */
  async function readElsewhere(
    digest: Uint8Array,
    tried: number,
    damageContext: DamageContext,
    cause: unknown,
  ): Promise<Uint8Array> {
    let reason = cause
    // What cannot be read may be whole: that is for the disk's owner to find out, and no reason to call it damaged.
    let unread = isHoldfastError(cause, 'IO_FAILED') ? cause : null
    await locateAll()
    for (let packNumber = 0; packNumber < indexes.length; packNumber++) {
      if (tried !== -1 && packNumber === packNumberOf(tried)) continue
      const entry = indexes[packNumber]!.find(digest, 0)
      if (entry === -1) continue
      try {
        return check(await readPlace(placeOf(packNumber, entry)), digest)
      } catch (error) {
        if (!isBadCopy(error)) throw error
        reason ??= error
        if (isHoldfastError(error, 'IO_FAILED')) unread ??= error
        options.onBadBlock?.(readable[packNumber]!.name, digest, error)
      }
    }
    const others = await options.others?.()
    const place = others?.find(digest, 0) ?? -1
    try {
      if (others && place !== -1) return await others.read(digest, damageContext)
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
        return check(await readPlace(place), digest)
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

/** Internal: the stored bytes of one block are not what its pack says. Never leaves this layer. */
export class BadBlock extends Error {}

/** Whether another copy of the block may serve: this one is wrong, or the disk does not give it. */
export function isBadCopy(error: unknown): boolean {
  return isDamage(error) || error instanceof BadBlock || isHoldfastError(error, 'IO_FAILED')
}

function check(bytes: Uint8Array, digest: Uint8Array): Uint8Array {
  if (!digestsEqual(blake3(bytes), 0, digest, 0)) throw new BadBlock('the bytes do not match their digest')
  return bytes
}

/** Stored bytes → block bytes. Compressed bytes are checked before a decompressor sees them. */
export function decompressStored(index: PackIndex, entry: number, stored: Uint8Array): Uint8Array {
  const compression = index.compression(entry)
  if (compression === COMPRESSION.none) return stored
  const check = index.check(entry)
  const found = blake3(stored)
  for (let i = 0; i < check.length; i++) {
    if (found[i] !== check[i]) throw new BadBlock('the compressed bytes do not match their check')
  }
  try {
    return decompressBlock(stored, index.rawLength(entry))
  } catch (cause) {
    if (isHoldfastError(cause)) throw cause
    throw new BadBlock('the compressed bytes do not decompress', { cause })
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
