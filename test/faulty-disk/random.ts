/** Numbers that look random and are the same for the same seed, on every machine. */
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
