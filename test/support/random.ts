// The one source of numbers that look random and are not: the same for the same seed, on every machine.

export interface Random {
  /** An integer, 0 <= n < `limit`. */
  below(limit: number): number
  /** True with this probability, 0 to 1. */
  chance(probability: number): boolean
  pick<T>(items: readonly T[]): T
  bytes(length: number): Uint8Array
}

/** mulberry32 (Tommy Ettinger, public domain): 32 bits of state, enough for choosing faults. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
  const random: Random = {
    below: (limit) => Math.floor((next() / 2 ** 32) * limit),
    chance: (probability) => next() / 2 ** 32 < probability,
    pick: (items) => items[random.below(items.length)]!,
    bytes(length) {
      const bytes = new Uint8Array(length)
      for (let at = 0; at < length; at++) bytes[at] = next()
      return bytes
    },
  }
  return random
}

/** Bytes that do not repeat: xorshift32, four bytes a step, for megabytes of them. */
export function noise(length: number, seed: number): Uint8Array<ArrayBuffer> {
  // Of signed numbers, which the engine keeps as integers.
  const words = new Int32Array(Math.ceil(length / 4))
  let x = Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995 || 1
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    words[i] = x
  }
  return new Uint8Array(words.buffer, 0, length)
}
