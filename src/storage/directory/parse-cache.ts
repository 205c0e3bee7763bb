// Remembers what the last bytes said, so that the same bytes are not parsed again.

/** What some bytes say, kept: the store's own files are read by every operation, and mostly say what they said before. */
export interface Parsed<T> {
  parse(bytes: Uint8Array, where: string): T
  /** What these bytes would be parsed to is known. */
  know(bytes: Uint8Array, value: T): void
}

/** HEAD and the one before. */
const KEPT = 2

export function createParsed<T>(parse: (bytes: Uint8Array, where: string) => T): Parsed<T> {
  const kept: { bytes: Uint8Array; value: T }[] = []

  function know(bytes: Uint8Array, value: T): void {
    kept.unshift({ bytes, value })
    kept.length = Math.min(kept.length, KEPT)
  }

  return {
    know,
    parse(bytes, where) {
      const known = kept.find((entry) => equal(entry.bytes, bytes))
      if (known !== undefined) return known.value
      const value = parse(bytes, where)
      know(bytes, value)
      return value
    },
  }
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
