/**
 * Deterministic noise that any language can make: x = (1664525 x + 1013904223) mod 2^32 from x = `seed`, one byte a
 * step, the top eight bits.
 */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let x = seed
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0
    bytes[i] = x >>> 24
  }
  return bytes
}

/** Every way to flip one bit, or all of a byte, in each byte of `bytes`. The same array each time: copy to keep. */
export function* flips(bytes: Uint8Array, masks: readonly number[] = [1, 0x20, 0x80, 0xff]): Generator<Uint8Array> {
  const flipped = bytes.slice()
  for (let i = 0; i < bytes.length; i++) {
    for (const mask of masks) {
      flipped[i] = bytes[i]! ^ mask
      yield flipped
    }
    flipped[i] = bytes[i]!
  }
}

/** Every proper prefix. */
export function* prefixes(bytes: Uint8Array): Generator<Uint8Array> {
  for (let length = 0; length < bytes.length; length++) yield bytes.slice(0, length)
}
