import { DIGEST_BYTES } from '../format/limits.ts'
import { createDigestTable, type DigestPlace } from './digest-table.ts'

/**
 * Digest → number, no object per entry. 32 bytes for the digest, 4 for the value and 5 to 8 for the slot of each entry; what is there
 * already is not copied as it grows.
 */
export interface DigestMap {
  readonly size: number
  /** The value, or -1. */
  get(digest: Uint8Array, at: number): number
  /** Keeps the first value given for a digest; answers whether it was new. `value` is an integer from 0 to 2^32 - 1. */
  add(digest: Uint8Array, at: number, value: number): boolean
}

/** Entries of one page. */
const PAGE = 1024

export function createDigestMap(): DigestMap {
  const digests: Uint8Array[] = []
  const values: Uint32Array[] = []
  let size = 0
  const place: DigestPlace = { bytes: new Uint8Array(0), at: 0 }
  const slots = createDigestTable((entry) => {
    place.bytes = digests[Math.floor(entry / PAGE)]!
    place.at = (entry % PAGE) * DIGEST_BYTES
    return place
  })

  return {
    get size() {
      return size
    },
    get(digest, at) {
      const entry = slots.find(digest, at)
      return entry === -1 ? -1 : values[Math.floor(entry / PAGE)]![entry % PAGE]!
    },
    add(digest, at, value) {
      if (!slots.add(digest, at, size)) return false
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
