import { HoldfastError, isDamage } from '../errors.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { COMPRESSION, decompressBlock } from '../format/compression.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import { createDigestMap, type DigestMap } from './digest-map.ts'
import type { OpenPack } from './packs.ts'

/**
 * The blocks of some packs, looked up by digest. A block's place is one number, `slot * 2^32 + entry`: its pack's
 * position in `packs` and its row in that pack's index.
 */
export interface BlockSource {
  readonly packs: readonly OpenPack[]
  readonly indexes: readonly PackIndex[]
  /** The block's place, or -1. */
  find(digest: Uint8Array, at: number): number
  /** Hints that about `lookups` blocks will be looked up, so that a table pays. */
  expect(lookups: number): void
  /**
   * The bytes of one block, checked against its digest. A bad copy is replaced by a good one from
   * another pack if there is one.
   */
  read(digest: Uint8Array, blame: Blame): Promise<Uint8Array>
  /** The bytes at a place, decompressed, *not* checked against the digest. */
  readPlace(place: number): Promise<Uint8Array>
  /** As `read`, when the copy at `tried` is known to be bad. */
  readElsewhere(digest: Uint8Array, tried: number, blame: Blame, cause: unknown): Promise<Uint8Array>
}

/** What a bad block means to the user: which snapshot or blob it belongs to. */
export interface Blame {
  code: 'SNAPSHOT_DAMAGED' | 'BLOB_DAMAGED'
  what: string
  details: Record<string, unknown>
}

const SLOT = 2 ** 32

export function slotOf(place: number): number {
  return Math.floor(place / SLOT)
}

export function entryOf(place: number): number {
  return place % SLOT
}

export function placeOf(slot: number, entry: number): number {
  return slot * SLOT + entry
}

export interface BlockSourceOptions {
  /** Packs that should be here and could not be opened: blamed when a block is nowhere. */
  failures?: readonly unknown[] | undefined
  /** Opens the packs that this snapshot does not need but that may hold another copy of a block. */
  others?: (() => Promise<BlockSource | null>) | undefined
  /** Told of each block whose copy in a pack was bad. */
  onBadBlock?: ((pack: string, digest: Uint8Array) => void) | undefined
}

/** Probing every pack's index costs this many searches before a table over all of them is cheaper. */
const PROBES_WORTH_A_TABLE = 20_000

export async function openBlockSource(
  packs: readonly OpenPack[],
  options: BlockSourceOptions = {},
): Promise<BlockSource> {
  const indexes: PackIndex[] = []
  const readable: OpenPack[] = []
  const failures = [...(options.failures ?? [])]
  for (const pack of packs) {
    try {
      indexes.push(await pack.index())
      readable.push(pack)
    } catch (error) {
      if (!isDamage(error)) throw error
      failures.push(error)
    }
  }

  let table: DigestMap | null = null
  let last = 0

  function find(digest: Uint8Array, at: number): number {
    if (table !== null) return table.get(digest, at)
    for (let i = 0; i < indexes.length; i++) {
      const slot = (last + i) % indexes.length
      const entry = indexes[slot]!.find(digest, at)
      if (entry !== -1) {
        last = slot
        return placeOf(slot, entry)
      }
    }
    return -1
  }

  async function readPlace(place: number): Promise<Uint8Array> {
    const slot = slotOf(place)
    const entry = entryOf(place)
    const index = indexes[slot]!
    const stored = Buffer.allocUnsafeSlow(index.storedLength(entry))
    await readable[slot]!.file.read(stored, index.offset(entry))
    return unpack(index, entry, stored)
  }

  /** Every pack but the one tried, then whatever `others` can offer. */
  async function readElsewhere(digest: Uint8Array, tried: number, blame: Blame, cause: unknown): Promise<Uint8Array> {
    let reason = cause
    for (let slot = 0; slot < indexes.length; slot++) {
      if (tried !== -1 && slot === slotOf(tried)) continue
      const entry = indexes[slot]!.find(digest, 0)
      if (entry === -1) continue
      try {
        return check(await readPlace(placeOf(slot, entry)), digest)
      } catch (error) {
        if (!isDamage(error) && !(error instanceof BadBlock)) throw error
        reason ??= error
        options.onBadBlock?.(readable[slot]!.name, digest)
      }
    }
    const others = await options.others?.()
    const place = others?.find(digest, 0) ?? -1
    if (others && place !== -1) return await others.read(digest, blame)
    throw missing(digest, blame, tried === -1 ? null : readable[slotOf(tried)]!.name, reason ?? failures[0])
  }

  return {
    packs: readable,
    indexes,
    find,
    expect(lookups) {
      if (table !== null || indexes.length < 2 || lookups * indexes.length < PROBES_WORTH_A_TABLE) return
      const blocks = indexes.reduce((sum, index) => sum + index.blocks, 0)
      table = createDigestMap(blocks)
      for (const [slot, index] of indexes.entries()) {
        for (let entry = 0; entry < index.blocks; entry++) {
          table.add(index.bytes, index.digestAt(entry), placeOf(slot, entry))
        }
      }
    },
    async read(digest, blame) {
      const place = find(digest, 0)
      if (place === -1) return await readElsewhere(digest, -1, blame, undefined)
      try {
        return check(await readPlace(place), digest)
      } catch (error) {
        if (!isDamage(error) && !(error instanceof BadBlock)) throw error
        options.onBadBlock?.(readable[slotOf(place)]!.name, digest)
        return await readElsewhere(digest, place, blame, error)
      }
    },
    readPlace,
    readElsewhere,
  }
}

/** Internal: the stored bytes of one block are not what its pack says. Never leaves this layer. */
export class BadBlock extends Error {}

function check(bytes: Uint8Array, digest: Uint8Array): Uint8Array {
  if (!digestsEqual(blake3(bytes), 0, digest, 0)) throw new BadBlock('the bytes do not match their digest')
  return bytes
}

/** Stored bytes → block bytes. Compressed bytes are checked before a decompressor sees them. */
export function unpack(index: PackIndex, entry: number, stored: Uint8Array): Uint8Array {
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
    throw new BadBlock('the compressed bytes do not decompress', { cause })
  }
}

function missing(digest: Uint8Array, blame: Blame, pack: string | null, cause: unknown): HoldfastError {
  const block = Buffer.from(digest.subarray(0, DIGEST_BYTES)).toString('hex')
  const found = pack === null ? 'is in no pack that can be read' : `is not what was written (pack ${pack})`
  const because = cause instanceof HoldfastError ? `: ${cause.message}` : ''
  return new HoldfastError(blame.code, `${blame.what} is damaged: block ${block.slice(0, 16)}… ${found}${because}`, {
    details: { ...blame.details, block, pack },
    cause,
  })
}
