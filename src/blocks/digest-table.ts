import { DIGEST_BYTES } from '../format/limits.ts'

/** Where the digest of an entry lies: the 32 bytes of `bytes` at `at`. */
export interface DigestPlace {
  bytes: Uint8Array
  at: number
}

/**
 * Digest → number of an entry: a flat open-addressing table of the numbers alone, 5 to 8 bytes an entry. Whoever has the entries has the
 * digests too, so here there is no second copy of them. Digests are uniform, so their first bytes serve as the hash.
 */
interface DigestTable {
  /** The number of the entry, or -1. */
  find(digest: Uint8Array, at: number): number
  /** Keeps the first entry of a digest; answers whether it was new. */
  add(digest: Uint8Array, at: number, entry: number): boolean
}

/** Many tables that grow one at a time: no long pause for all of them, and never a second copy of the whole. */
const SHARD_BITS = 6
const SHARDS = 2 ** SHARD_BITS
const HASH_BITS = 32 - SHARD_BITS
const SHARD_SLOTS_MIN = 16
/** Beyond it the probes get long. */
const LOAD_MAX = 0.75
const GROWTH = 1.5

/**
 * @param placeOf of an entry that was added; may answer the same object each time
 * @param expected entries
 */
export function createDigestTable(placeOf: (entry: number) => DigestPlace, expected = 0): DigestTable {
  // A little room for those that get more than their share.
  const firstSlots = Math.max(SHARD_SLOTS_MIN, Math.ceil((expected / SHARDS / LOAD_MAX) * 1.05))
  /** Entry number + 1; 0 is a free slot. */
  const shards: Uint32Array[] = []
  const counts = new Uint32Array(SHARDS)

  function slotOf(slots: Uint32Array, digest: Uint8Array, at: number): number {
    let slot = Math.floor(((hashOf(digest, at) & (2 ** HASH_BITS - 1)) / 2 ** HASH_BITS) * slots.length)
    for (;;) {
      const found = slots[slot]!
      if (found === 0 || isAt(placeOf(found - 1), digest, at)) return slot
      slot = slot + 1 === slots.length ? 0 : slot + 1
    }
  }

  function grown(slots: Uint32Array): Uint32Array {
    const wider = new Uint32Array(Math.ceil(slots.length * GROWTH))
    for (const found of slots) {
      if (found === 0) continue
      const { bytes, at } = placeOf(found - 1)
      wider[slotOf(wider, bytes, at)] = found
    }
    return wider
  }

  return {
    find(digest, at) {
      const slots = shards[hashOf(digest, at) >>> HASH_BITS]
      return slots === undefined ? -1 : slots[slotOf(slots, digest, at)]! - 1
    },
    add(digest, at, entry) {
      const shard = hashOf(digest, at) >>> HASH_BITS
      let slots = shards[shard]
      slots ??= new Uint32Array(firstSlots)
      if (counts[shard]! + 1 > slots.length * LOAD_MAX) slots = grown(slots)
      shards[shard] = slots
      const slot = slotOf(slots, digest, at)
      if (slots[slot] !== 0) return false
      slots[slot] = entry + 1
      counts[shard]! += 1
      return true
    },
  }
}

function isAt(place: DigestPlace, digest: Uint8Array, at: number): boolean {
  const { bytes, at: from } = place
  for (let i = 0; i < DIGEST_BYTES; i++) if (bytes[from + i] !== digest[at + i]) return false
  return true
}

function hashOf(digest: Uint8Array, at: number): number {
  return digest[at]! | (digest[at + 1]! << 8) | (digest[at + 2]! << 16) | (digest[at + 3]! << 24)
}
