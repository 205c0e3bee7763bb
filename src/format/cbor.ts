// The head of a CBOR item (RFC 8949, 3), in the one form that dag-cbor allows: the shortest.
//
//    0   major type (3 bits), argument or its width (5 bits)
//    1   argument, big-endian: 0, 1, 2, 4 or 8 bytes

export const MAJOR = { unsigned: 0, negative: 1, bytes: 2, text: 3, list: 4, map: 5, tag: 6, simple: 7 } as const

/** The tag of a link in dag-cbor. */
export const TAG_LINK = 42

/** A place in a block being decoded, and the argument that does not fit a number. */
export interface Cursor {
  readonly bytes: Uint8Array
  at: number
  /** Set by `readHead` when it gives `Infinity`: an argument above 2^53 - 1. */
  big: bigint
}

/** Bytes that `writeHead` takes. `value` is at most 2^53 - 1. */
export function headBytes(value: number): number {
  if (value < 24) return 1
  if (value < 0x100) return 2
  if (value < 0x10000) return 3
  return value < 0x100000000 ? 5 : 9
}

/** Writes a head at `at`; gives the position after it. */
export function writeHead(out: Uint8Array, at: number, major: number, value: number): number {
  const type = major << 5
  if (value < 24) {
    out[at] = type | value
    return at + 1
  }
  const width = headBytes(value) - 1
  out[at] = type | (width === 1 ? 24 : width === 2 ? 25 : width === 4 ? 26 : 27)
  let rest = value
  for (let i = width; i > 0; i--) {
    out[at + i] = rest % 256
    rest = Math.floor(rest / 256)
  }
  return at + width + 1
}

/**
 * Reads the argument of a head whose major type must be `major`, moving the cursor. Throws an `Error` with the reason:
 * the end of the block, another type, a form that is not the shortest, an indefinite length.
 */
export function readHead(cursor: Cursor, major: number): number {
  const { bytes, at } = cursor
  const first = bytes[at]
  if (first === undefined) throw new Error('it ends too early')
  if (first >>> 5 !== major) throw new Error(`byte ${at} begins another type than expected`)
  const info = first & 31
  if (info < 24) {
    cursor.at = at + 1
    return info
  }
  if (info > 27) throw new Error(`byte ${at} has no definite length`)
  const width = 1 << (info - 24)
  if (at + width >= bytes.length) throw new Error('it ends too early')
  cursor.at = at + 1 + width
  let value = 0
  for (let i = 1; i <= width; i++) value = value * 256 + bytes[at + i]!
  if (value > Number.MAX_SAFE_INTEGER) {
    cursor.big = new DataView(bytes.buffer, bytes.byteOffset + at + 1, 8).getBigUint64(0)
    return Number.POSITIVE_INFINITY
  }
  if (headBytes(value) !== width + 1) throw new Error(`byte ${at} begins a number that is not in its shortest form`)
  return value
}
