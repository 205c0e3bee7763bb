// Comparing, joining and splitting of bytes.

export { noise } from './random.ts'

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
