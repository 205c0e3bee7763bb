// What an engine's file looks like inside, as plain data: threads can be given it, and it is recorded with a snapshot,
// so that the file can be put together again without the adapter.

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

/** Bytes that the fields of a record have of a column. */
export function widthOf({ fields }: Region, column: string): number {
  return fields.reduce((sum, field) => sum + (field.column === column ? field.size : 0), 0)
}

/** The columns of a region, in the order in which its records have them first. */
export function columnsOf({ fields, tail }: Region): string[] {
  return [...new Set([...fields.map(({ column }) => column), ...(tail === undefined ? [] : [tail.column])])]
}

/** A record of more bytes than this is no record of an engine. */
const RECORD_BYTES_MAX = 16 * 1024 * 1024
const REGIONS_MAX = 1000

/**
 * The regions as a snapshot's metadata has them.
 *
 * @returns null when they are none that a file of `size` bytes can have
 */
export function parseRegions(value: unknown, size: number): Region[] | null {
  if (!Array.isArray(value) || value.length === 0 || value.length > REGIONS_MAX) return null
  return value.every((region) => isRegion(region, size)) ? (value as Region[]) : null
}

function isRegion(value: unknown, size: number): boolean {
  const { count, fields, tail } = (value ?? {}) as Partial<Region>
  if (!isCount(count) || !Array.isArray(fields) || fields.length === 0) return false
  if (!fields.every((field) => typeof field?.column === 'string' && isCount(field.size) && field.size > 0)) return false
  const stride = strideOf({ fields })
  if (stride > RECORD_BYTES_MAX || count * stride > size) return false
  if (tail === undefined) return true
  const { column, at, width, times, multipleOf } = tail
  if (typeof column !== 'string' || !isCount(at) || !(width === 2 || width === 4)) return false
  return at + width <= stride && isCount(times) && isCount(multipleOf) && multipleOf > 0
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
