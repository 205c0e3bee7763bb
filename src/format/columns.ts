// Cuts the records of an engine's file into a column, and puts records together of their columns: a few MiB at a time,
// in memory. The worker threads run these functions, and so does the main thread where there are none.

import { columnsOf, type Region, strideOf, tailSize, widthOf } from './regions.ts'

/** Records of a region, from the start of `bytes` on. */
export interface CutJob {
  kind: 'cut-column'
  bytes: Uint8Array
  region: Region
  /** At most so many. */
  records: number
  /** Null: they are only looked at. */
  column: string | null
  /**
   * What other columns have in the fields of each record is copied into these, which have room for all records that fit
   * into `bytes`.
   */
  beside?: readonly { column: string; bytes: Uint8Array }[]
}

/** What a `CutJob` gives. The column's bytes lie at the start of `bytes`. */
export interface Cut {
  /** Whole records, and their bytes in the file. */
  records: number
  read: number
  /** Bytes of the column. */
  written: number
  /** Bytes that the next record needs; 0 when there is none that is known of. */
  needed: number
  /** The next record makes no sense. */
  invalid: boolean
}

/** Moves what `column` has of each record to the front. What is written never comes before what is still to be read. */
export function cutColumn({ bytes, region, records, column, beside = [] }: Omit<CutJob, 'kind'>): Cut {
  const { tail } = region
  const stride = strideOf(region)
  const wanted = placesOf(region, column)
  const others = beside.map((other) => ({ places: placesOf(region, other.column), target: other.bytes, to: 0 }))
  const withTail = tail !== undefined && tail.column === column
  let from = 0
  let to = 0
  let n = 0
  for (; n < records; n++) {
    let needed = stride
    if (from + stride > bytes.length) return { records: n, read: from, written: to, needed, invalid: false }
    if (tail !== undefined) {
      // Read before what moves to the front overwrites the fields.
      const size = tailSize(tail, bytes, from)
      if (size < 0) return { records: n, read: from, written: to, needed: 0, invalid: true }
      needed += size
      if (from + needed > bytes.length) return { records: n, read: from, written: to, needed, invalid: false }
    }
    // Before what moves to the front overwrites them, too.
    for (const other of others) {
      for (const { offset, size } of other.places) {
        copy(bytes, from + offset, other.target, other.to, size)
        other.to += size
      }
    }
    for (const { offset, size } of wanted) {
      if (to !== from + offset) bytes.copyWithin(to, from + offset, from + offset + size)
      to += size
    }
    if (withTail) {
      if (to !== from + stride) bytes.copyWithin(to, from + stride, from + needed)
      to += needed - stride
    }
    from += needed
  }
  return { records: n, read: from, written: to, needed: 0, invalid: false }
}

/** Where in the fields of a record a column is. */
function placesOf({ fields }: Region, column: string | null): { offset: number; size: number }[] {
  const places: { offset: number; size: number }[] = []
  let offset = 0
  for (const field of fields) {
    if (field.column === column) places.push({ offset, size: field.size })
    offset += field.size
  }
  return places
}

/** Bytes of the columns of a region, in the order of `columnsOf`, that begin with the same record. */
export interface JoinJob {
  kind: 'join-columns'
  region: Region
  /** At most so many. */
  records: number
  columns: readonly Uint8Array[]
  /** Where the records go. */
  file: Uint8Array
}

/** What a `JoinJob` gives. */
export interface Joined {
  /** Whole records, and their bytes in `file`. */
  records: number
  written: number
  /** Bytes of each column that are in them. */
  taken: number[]
  /**
   * Why it were not more: a column has fewer bytes than its next record needs, or `file` has (`column` -1). Null: they
   * are all there.
   */
  lacks: { column: number; bytes: number } | null
  /** The next record makes no sense. */
  invalid: boolean
}

export function joinColumns(job: Omit<JoinJob, 'kind'>): Joined {
  return job.region.tail === undefined ? joinFields(job) : joinRecords(job)
}

/** Without tails it is known how many records fit, and each field is copied for all of them in one loop. */
function joinFields({ region, records, columns, file }: Omit<JoinJob, 'kind'>): Joined {
  const names = columnsOf(region)
  const stride = strideOf(region)
  const needs = names.map((name) => widthOf(region, name))
  let count = records
  let lacks: Joined['lacks'] = null
  const limit = (column: number, length: number, bytes: number): void => {
    if (count * bytes <= length) return
    count = Math.floor(length / bytes)
    lacks = { column, bytes }
  }
  limit(-1, file.length, stride)
  for (const [column, bytes] of needs.entries()) limit(column, columns[column]!.length, bytes)

  const starts = needs.map(() => 0)
  let offset = 0
  for (const { column, size } of region.fields) {
    const n = names.indexOf(column)
    scatter(columns[n]!, starts[n]!, needs[n]!, file, offset, stride, size, count)
    starts[n]! += size
    offset += size
  }
  return { records: count, written: count * stride, taken: needs.map((need) => need * count), lacks, invalid: false }
}

/** Below this a loop over the bytes is faster than a call that copies them. */
const LOOP_BYTES_MAX = 24

function scatter(
  source: Uint8Array,
  from: number,
  sourceStride: number,
  target: Uint8Array,
  to: number,
  targetStride: number,
  size: number,
  count: number,
): void {
  if (size === sourceStride && size === targetStride) {
    target.set(source.subarray(from, from + size * count), to)
    return
  }
  for (let n = 0, a = from, b = to; n < count; n++, a += sourceStride, b += targetStride) {
    if (size > LOOP_BYTES_MAX) target.set(source.subarray(a, a + size), b)
    else for (let i = 0; i < size; i++) target[b + i] = source[a + i]!
  }
}

function joinRecords({ region, records, columns, file }: Omit<JoinJob, 'kind'>): Joined {
  const names = columnsOf(region)
  const tail = region.tail!
  const stride = strideOf(region)
  const tailColumn = names.indexOf(tail.column)
  const fields = region.fields.map(({ column, size }) => ({ column: names.indexOf(column), size }))
  const needs = names.map((name) => widthOf(region, name))
  const taken = names.map(() => 0)
  let written = 0
  const joined = (records: number, lacks: Joined['lacks'], invalid = false): Joined => {
    return { records, written, taken, lacks, invalid }
  }
  for (let n = 0; n < records; n++) {
    if (written + stride > file.length) return joined(n, { column: -1, bytes: stride })
    for (let column = 0; column < needs.length; column++) {
      const bytes = needs[column]!
      if (taken[column]! + bytes > columns[column]!.length) return joined(n, { column, bytes })
    }
    let to = written
    const at = taken.slice()
    for (const { column, size } of fields) {
      copy(columns[column]!, at[column]!, file, to, size)
      at[column]! += size
      to += size
    }
    const size = tailSize(tail, file, written)
    if (size < 0) return joined(n, null, true)
    if (at[tailColumn]! + size > columns[tailColumn]!.length) {
      return joined(n, { column: tailColumn, bytes: needs[tailColumn]! + size })
    }
    if (to + size > file.length) return joined(n, { column: -1, bytes: stride + size })
    copy(columns[tailColumn]!, at[tailColumn]!, file, to, size)
    for (let column = 0; column < needs.length; column++) taken[column]! += needs[column]!
    taken[tailColumn]! += size
    written = to + size
  }
  return joined(records, null)
}

function copy(source: Uint8Array, from: number, target: Uint8Array, to: number, size: number): void {
  if (size > LOOP_BYTES_MAX) target.set(source.subarray(from, from + size), to)
  else for (let i = 0; i < size; i++) target[to + i] = source[from + i]!
}
