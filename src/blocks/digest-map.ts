// A map from digests to numbers that keeps its own copy of the digests.

import { DIGEST_BYTES } from '../format/limits.ts'
import { createDigestTable, type DigestPlace } from './digest-table.ts'

/**
 * A map from digests to numbers without an object for each entry. An entry takes 32 bytes for the digest, 4 for the
 * value and 5 to 8 for its bucket. Entries are not copied when the map grows.
 */
export interface DigestMap {
  readonly size: number
  /** The value, or -1. */
  get(digest: Uint8Array, at: number): number
  /**
   * Keeps the first value given for a digest. Returns whether the digest was new. `value` is an integer from 0 to 2^32
   * - 1.
   */
  add(digest: Uint8Array, at: number, value: number): boolean
}

/** Entries of one page. */
const PAGE = 1024

export function createDigestMap(): DigestMap {
  const digests: Uint8Array[] = []
  const values: Uint32Array[] = []
  let size = 0
  const place: DigestPlace = { bytes: new Uint8Array(0), at: 0 }
  const table = createDigestTable((entry) => {
    place.bytes = digests[Math.floor(entry / PAGE)]!
    place.at = (entry % PAGE) * DIGEST_BYTES
    return place
  })

  return {
    get size() {
      return size
    },
    get(digest, at) {
      const entry = table.find(digest, at)
      return entry === -1 ? -1 : values[Math.floor(entry / PAGE)]![entry % PAGE]!
    },
    add(digest, at, value) {
      if (!table.add(digest, at, size)) return false
      if (size % PAGE === 0) {
        digests.push(Buffer.allocUnsafeSlow(PAGE * DIGEST_BYTES))
        values.push(new Uint32Array(PAGE))
      }
      const page = digests.at(-1)!
      const to = (size % PAGE) * DIGEST_BYTES
      for (let i = 0; i < DIGEST_BYTES; i++) page[to + i] = digest[at + i]!
      values.at(-1)![size % PAGE] = value
      size += 1
      return true
    },
  }
}
