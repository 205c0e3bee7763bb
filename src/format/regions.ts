// What an engine's file looks like inside, as plain data that threads can be given.

interface Field {
  column: string
  /** Bytes. */
  size: number
}

export interface Region {
  /** Records. */
  count: number
  /** At least a byte in all. */
  fields: readonly Field[]
  /** What follows the fields of each record. */
  tail?: Tail
}

/** Bytes whose length is told by a number in the fields before them. */
interface Tail {
  column: string
  /** Where in the fields the number is, signed and little-endian, and how many bytes it has. */
  at: number
  width: 2 | 4
  /** Bytes of the tail for each of it. */
  times: number
  /** A length that is no multiple of it makes no sense. */
  multipleOf: number
}

/** How many bytes follow the fields that begin at `from`; -1 when they make no sense. */
export function tailSize({ at, width, times, multipleOf }: Tail, bytes: Uint8Array, from: number): number {
  const i = from + at
  const low = bytes[i]! | (bytes[i + 1]! << 8)
  const number = width === 2 ? (low << 16) >> 16 : low | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
  const size = times * number
  return size < 0 || size % multipleOf !== 0 ? -1 : size
}

/** Bytes of the fields of a record. */
export function strideOf({ fields }: Pick<Region, 'fields'>): number {
  return fields.reduce((sum, { size }) => sum + size, 0)
}

/** The columns of a region, in the order in which its records have them first. */
export function columnsOf({ fields, tail }: Region): string[] {
  return [...new Set([...fields.map(({ column }) => column), ...(tail === undefined ? [] : [tail.column])])]
}
