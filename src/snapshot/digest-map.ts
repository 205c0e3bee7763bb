import { DIGEST_BYTES } from '../format/limits.ts'

/**
 * Digest → where the block is: one flat open-addressing table, no object per block. 32 bytes for the digest, 8 for the
 * value and 4 to 16 for the slots of each entry. Digests are uniform, so their first bytes serve as the hash.
 */
export interface DigestMap {
  readonly size: number
  /** The value, or -1. */
  get(digest: Uint8Array, at: number): number
  /** Keeps the first value given for a digest; answers whether it was new. `value` is a non-negative safe integer. */
  add(digest: Uint8Array, at: number, value: number): boolean
}

export function createDigestMap(expected = 1024): DigestMap {
  let capacity = Math.max(256, expected)
  let digests = Buffer.allocUnsafeSlow(capacity * DIGEST_BYTES)
  let values = new Float64Array(capacity)
  let slots = new Int32Array(slotsFor(capacity)).fill(-1)
  let size = 0

  function slotOf(digest: Uint8Array, at: number): number {
    const mask = slots.length - 1
    let slot = prefix(digest, at) & mask
    for (;;) {
      const entry = slots[slot]!
      if (entry === -1 || matches(entry, digest, at)) return slot
      slot = (slot + 1) & mask
    }
  }

  function matches(entry: number, digest: Uint8Array, at: number): boolean {
    const start = entry * DIGEST_BYTES
    for (let i = 0; i < DIGEST_BYTES; i++) if (digests[start + i] !== digest[at + i]) return false
    return true
  }

  function grow(): void {
    capacity *= 2
    const more = Buffer.allocUnsafeSlow(capacity * DIGEST_BYTES)
    digests.copy(more)
    digests = more
    const wider = new Float64Array(capacity)
    wider.set(values)
    values = wider
    slots = new Int32Array(slotsFor(capacity)).fill(-1)
    for (let entry = 0; entry < size; entry++) slots[slotOf(digests, entry * DIGEST_BYTES)] = entry
  }

  return {
    get size() {
      return size
    },
    get(digest, at) {
      const entry = slots[slotOf(digest, at)]!
      return entry === -1 ? -1 : values[entry]!
    },
    add(digest, at, value) {
      if (size === capacity) grow()
      const slot = slotOf(digest, at)
      if (slots[slot] !== -1) return false
      digests.set(digest.subarray(at, at + DIGEST_BYTES), size * DIGEST_BYTES)
      values[size] = value
      slots[slot] = size
      size += 1
      return true
    },
  }
}

/** Twice the entries or more, a power of two: short probes. */
function slotsFor(capacity: number): number {
  return 2 ** Math.ceil(Math.log2(capacity * 2))
}

function prefix(digest: Uint8Array, at: number): number {
  return digest[at]! | (digest[at + 1]! << 8) | (digest[at + 2]! << 16) | (digest[at + 3]! << 24)
}
