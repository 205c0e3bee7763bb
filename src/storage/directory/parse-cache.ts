// Caches parsed files, so that the same bytes are not parsed again.

/** A cache of parsed content by its bytes. Every operation reads the store's own files, which are mostly unchanged. */
export interface Parsed<T> {
  parse(bytes: Uint8Array, where: string): T
  /** Adds the known content of these bytes. */
  know(bytes: Uint8Array, value: T): void
}

/** HEAD and the previous HEAD. */
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
