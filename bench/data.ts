import { KIB } from './measure.ts'

// Data that is the same on every machine and in every run.

/** A record of 256 floats. */
export const VECTOR_BYTES = KIB

/** xorshift32. */
export function random(seed: number): () => number {
  let x = (Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x >>> 0
  }
}

/** Float vectors with components in [-1, 1): what embeddings look like to a compressor, which gains next to nothing. */
export function vectors(bytes: number, seed = 1): Uint8Array<ArrayBuffer> {
  const buffer = Buffer.allocUnsafeSlow(bytes)
  const floats = new Float32Array(buffer.buffer, buffer.byteOffset, bytes >> 2)
  const next = random(seed)
  for (let i = 0; i < floats.length; i++) floats[i] = next() / 2 ** 31 - 1
  return new Uint8Array(buffer.buffer, buffer.byteOffset, bytes)
}

const SYLLABLES = 'ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo yu za ble cra dri flo gru'.split(' ')

export function vocabulary(words: number): string[] {
  const next = random(7)
  return Array.from({ length: words }, () => {
    let word = ''
    for (let n = 2 + (next() % 3); n > 0; n--) word += SYLLABLES[next() % SYLLABLES.length]
    return word
  })
}

/** The word of rank r with a probability like 1/r: Zipf's law. */
export function pickWord(words: readonly string[], next: () => number): string {
  return words[Math.floor(words.length ** (next() / 2 ** 32)) - 1]!
}

/** Lines of JSON documents, as a search engine's document store has them. */
export function jsonDocuments(bytes: number): Uint8Array<ArrayBuffer> {
  const words = vocabulary(50_000)
  const next = random(3)
  const buffer = Buffer.allocUnsafeSlow(bytes)
  let at = 0
  for (let id = 0; at < bytes; id++) {
    let body = ''
    for (let i = 0; i < 40; i++) body += `${pickWord(words, next)} `
    const line = `{"id":${id},"title":"${pickWord(words, next)} ${pickWord(words, next)}","price":${(next() % 100_000) / 100},"body":"${body}"}\n`
    at += buffer.write(line, at, 'latin1')
  }
  return new Uint8Array(buffer.buffer, buffer.byteOffset, bytes)
}

/**
 * Overwrites `fraction` of the bytes in place and answers how to undo it. `run`: in one place, as an append-mostly
 * engine does; `scattered`: records of 1 KiB picked at random over the whole, as updates of single vectors do.
 */
export function overwrite(
  bytes: Uint8Array,
  fraction: number,
  how: 'run' | 'scattered',
  seed = 9,
): { changedBytes: number; undo: () => void } {
  const next = random(seed)
  // Text stays text, and what does not compress stays so.
  const isText = bytes.subarray(0, KIB).every((byte) => byte < 0x80)
  const undos: { at: number; old: Uint8Array }[] = []
  function replace(at: number, length: number): void {
    const part = bytes.subarray(at, at + length)
    // Not `slice`, which is a view when `bytes` is a Buffer.
    undos.push({ at, old: Uint8Array.from(part) })
    for (let i = 0; i < part.length; i += 4) {
      const word = next()
      for (let j = 0; j < 4 && i + j < part.length; j++) {
        const byte = (word >>> (8 * j)) & 0xff
        part[i + j] = isText ? 0x61 + (byte % 26) : byte
      }
    }
  }
  let changedBytes = 0
  if (how === 'run') {
    changedBytes = Math.floor(bytes.length * fraction)
    if (changedBytes > 0) replace(Math.floor((bytes.length - changedBytes) / 3), changedBytes)
  } else {
    const records = Math.floor(bytes.length / VECTOR_BYTES)
    for (let record = 0; record < records; record++) {
      if (next() / 2 ** 32 >= fraction) continue
      replace(record * VECTOR_BYTES, VECTOR_BYTES)
      changedBytes += VECTOR_BYTES
    }
  }
  return {
    changedBytes,
    undo() {
      for (const { at, old } of undos.toReversed()) bytes.set(old, at)
    },
  }
}

/** `bytes` of incompressible data in pieces, without ever holding it; no two runs of `unlike` bytes are alike. */
export async function* stampedStream(bytes: number, unlike = KIB, seed = 5): AsyncGenerator<Uint8Array, void> {
  yield* readyStream(bytes, { unlike, seed })
}

/**
 * As `stampedStream`, with its memory taken at once. Of its records of 1 KiB the fraction `changed`, picked at random
 * over the whole, are others than without it. Each piece is overwritten by the next.
 */
export function readyStream(
  bytes: number,
  { unlike = KIB, seed = 5, changed = 0 } = {},
): AsyncGenerator<Uint8Array, void> {
  const piece = vectors(4 * 1024 * KIB, seed)
  const current = changed > 0 ? new Uint8Array(piece) : piece
  const view = new DataView(current.buffer, current.byteOffset, current.length)
  const other = vectors(VECTOR_BYTES, seed + 1)
  const next = random(9)

  return (async function* () {
    let stamp = 0
    for (let at = 0; at < bytes; at += current.length) {
      if (changed > 0) {
        current.set(piece)
        for (let i = 0; i < current.length; i += VECTOR_BYTES) if (next() / 2 ** 32 < changed) current.set(other, i)
      }
      for (let i = 0; i < current.length; i += unlike) view.setFloat64(i, stamp++, true)
      yield current.subarray(0, Math.min(current.length, bytes - at))
    }
  })()
}
