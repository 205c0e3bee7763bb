/** Noise that is the same on every machine: xorshift32, four bytes a step. */
export function noise(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4))
  let x = (Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    words[i] = x
  }
  return new Uint8Array(words.buffer, 0, length)
}

/** Numbers that are the same on every machine. `below(n)` gives an integer from 0 to n - 1. */
export interface Random {
  below(n: number): number
  pick<T>(from: readonly T[]): T
}

/** mulberry32. */
export function random(seed: number): Random {
  let state = seed | 0
  function next(): number {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number): number => Math.floor(next() * n)
  return { below, pick: (from) => from[below(from.length)]! }
}

export async function collect(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const part of parts) all.push(part)
  return Buffer.concat(all)
}

/** For megabytes, of which `toEqual` would make a diff. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** `bytes` cut at `positions`, in order. */
export function* split(bytes: Uint8Array, positions: readonly number[]): Generator<Uint8Array> {
  let at = 0
  for (const position of [...positions.toSorted((a, b) => a - b), bytes.length]) {
    yield bytes.subarray(at, position)
    at = position
  }
}
