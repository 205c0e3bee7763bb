// A hash table from digests to numbers that holds no copy of the digests. It must stay small: a store has millions of
// blocks.

import { DIGEST_BYTES } from '../format/limits.ts'

/** Where the digest of an entry lies: the 32 bytes of `bytes` at `at`. */
export interface DigestPlace {
  bytes: Uint8Array
  at: number
}

/**
 * Maps digests to entry numbers: a flat open-addressing table of the numbers alone, 5 to 8 bytes an entry. The owner of
 * the entries has their digests, so the table does not copy them. Digests are uniform, so their first bytes serve as
 * the hash.
 */
interface DigestTable {
  /** The number of the entry, or -1. */
  find(digest: Uint8Array, at: number): number
  /** Keeps the first entry of a digest. Returns whether the digest was new. */
  add(digest: Uint8Array, at: number, entry: number): boolean
  /** Gives a digest that was added another entry, which has the same digest. */
  replace(digest: Uint8Array, at: number, entry: number): void
}

/**
 * The table is split into shards that grow one at a time. So growing causes no long pause and never needs a second copy
 * of the whole.
 */
const SHARD_BITS = 6
const SHARDS = 2 ** SHARD_BITS
const HASH_BITS = 32 - SHARD_BITS
const SHARD_BUCKETS_MIN = 16
/** Above this load factor, probe sequences get long. */
const LOAD_MAX = 0.75
const GROWTH = 1.5

/**
 * @param placeOf gives the place of an added entry's digest; may return the same object each time
 * @param expected entries
 */
export function createDigestTable(placeOf: (entry: number) => DigestPlace, expected = 0): DigestTable {
  // Leaves room for shards that get more than their share.
  const firstBuckets = Math.max(SHARD_BUCKETS_MIN, Math.ceil((expected / SHARDS / LOAD_MAX) * 1.05))
  /** Entry number + 1; 0 is a free bucket. */
  const shards: Uint32Array[] = []
  const counts = new Uint32Array(SHARDS)

  function bucketOf(buckets: Uint32Array, digest: Uint8Array, at: number): number {
    let bucket = Math.floor(((hashOf(digest, at) & (2 ** HASH_BITS - 1)) / 2 ** HASH_BITS) * buckets.length)
    for (;;) {
      const found = buckets[bucket]!
      if (found === 0 || isAt(placeOf(found - 1), digest, at)) return bucket
      bucket = bucket + 1 === buckets.length ? 0 : bucket + 1
    }
  }

  function grown(buckets: Uint32Array): Uint32Array {
    const wider = new Uint32Array(Math.ceil(buckets.length * GROWTH))
    for (const found of buckets) {
      if (found === 0) continue
      const { bytes, at } = placeOf(found - 1)
      wider[bucketOf(wider, bytes, at)] = found
    }
    return wider
  }

  return {
    find(digest, at) {
      const buckets = shards[hashOf(digest, at) >>> HASH_BITS]
      return buckets === undefined ? -1 : buckets[bucketOf(buckets, digest, at)]! - 1
    },
    add(digest, at, entry) {
      const shard = hashOf(digest, at) >>> HASH_BITS
      let buckets = shards[shard]
      buckets ??= new Uint32Array(firstBuckets)
      if (counts[shard]! + 1 > buckets.length * LOAD_MAX) buckets = grown(buckets)
      shards[shard] = buckets
      const bucket = bucketOf(buckets, digest, at)
      if (buckets[bucket] !== 0) return false
      buckets[bucket] = entry + 1
      counts[shard]! += 1
      return true
    },
    replace(digest, at, entry) {
      const buckets = shards[hashOf(digest, at) >>> HASH_BITS]!
      buckets[bucketOf(buckets, digest, at)] = entry + 1
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
