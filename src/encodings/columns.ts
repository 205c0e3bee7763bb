// Splits the file of a vector engine into columns, and joins them again. Such a file has a record for each element: its
// links, its vector and its label. One new element changes the links of many others, and so a few bytes in every chunk
// of the file. In columns (all links, all vectors, all labels) only the links change, and they are a tenth of the
// bytes.
//
// A file is a sequence of regions, a region is a sequence of records, and a record has fields of fixed size and perhaps
// a tail. Each field and tail belongs to one column. A column holds its bytes in the order of the file. The split is
// lossless if the regions add up to the file, which is checked before anything is stored.
//
// `format/columns.ts` moves the bytes, in the worker threads once they are up. This file reads the parts and passes them on.

import type { Cut, Joined } from '../format/columns.ts'
import { columnsOf, type Region, strideOf } from '../format/regions.ts'
import type { BlobInput, Chunking } from '../index.ts'
import type { FileBytes } from '../local/saved-file.ts'
import { columnStepBytes, cutInPool, expectColumns, joinInPool } from '../workers/columns.ts'
import { borrowShared } from '../workers/shared-parts.ts'
import { type ColumnReader, createColumnReader } from './column-reader.ts'
import type { SavedEngine } from './engine-state.ts'

/** Where each region starts, and where the last one ends: what reading them once tells. */
export interface Measured {
  regions: readonly Region[]
  starts: readonly number[]
  /** The end of the last region; past the end of the file where the file is cut short. Null when a record makes no sense. */
  end: number | null
}

export async function measure(file: FileBytes, regions: readonly Region[]): Promise<Measured> {
  expectColumns(file.size)
  const starts: number[] = []
  let at = 0
  for (const region of regions) {
    starts.push(at)
    if (region.tail === undefined) at += region.count * strideOf(region)
    else {
      for await (const { cut, end } of cuts(file, region, at, null)) {
        if (cut.invalid) return { regions, starts, end: null }
        at = end
      }
    }
  }
  return { regions, starts, end: at }
}

/** A blob for each column, in the order in which the file has them first. */
export function columnBlobs(
  file: FileBytes,
  measured: Measured,
  chunkings: Readonly<Record<string, Chunking>>,
): Record<string, BlobInput> {
  const names = new Set(measured.regions.flatMap(columnsOf))
  return Object.fromEntries(
    [...names].map((name) => {
      const chunking = chunkings[name]
      return [name, { source: columnBytes(file, measured, name), ...(chunking === undefined ? {} : { chunking }) }]
    }),
  )
}

/** The memory is used again: a part is good until the next one is asked for. */
async function* columnBytes(
  file: FileBytes,
  { regions, starts }: Measured,
  column: string,
): AsyncGenerator<Uint8Array> {
  for (const [n, region] of regions.entries()) {
    if (!columnsOf(region).includes(column)) continue
    for await (const { bytes, cut } of oneAhead(cuts(file, region, starts[n]!, column))) {
      if (cut.written > 0) yield bytes.subarray(0, cut.written)
    }
  }
}

/** Records that were read and cut. */
interface CutStep {
  bytes: Uint8Array
  cut: Cut
  /** Where they end in the file; past its end where it is cut short. */
  end: number
}

/** The records of a region, a few MiB at a time. */
async function* cuts(file: FileBytes, region: Region, start: number, column: string | null): AsyncGenerator<CutStep> {
  const memory = borrowShared()
  try {
    let position = start
    let atLeast = strideOf(region)
    for (let left = region.count; left > 0; ) {
      const bytes = memory.take(Math.max(columnStepBytes(), atLeast))
      const got = await file.read(bytes, position)
      const cut = await cutInPool({ bytes: bytes.subarray(0, got), region, records: left, column })
      // A worker died over it.
      if (cut === null) continue
      left -= cut.records
      position += cut.read
      atLeast = cut.needed
      const isShort = left > 0 && position + cut.needed > file.size
      if (cut.records > 0 || cut.invalid || isShort) yield { bytes, cut, end: position + (isShort ? cut.needed : 0) }
      if (cut.invalid || isShort) return
    }
  } finally {
    memory.release()
  }
}

/** The file again, of its columns. The memory is used again: a part is good until the next one is asked for. */
export async function* joinColumns(
  saved: Pick<SavedEngine, 'blob'>,
  regions: readonly Region[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const readers = new Map<string, ColumnReader>()
  function readerOf(column: string): ColumnReader {
    const reader = readers.get(column) ?? createColumnReader(column, saved.blob(column), signal)
    readers.set(column, reader)
    return reader
  }
  const names = new Set(regions.flatMap(columnsOf))
  expectColumns([...names].reduce((sum, name) => sum + saved.blob(name).size, 0))
  try {
    for (const region of regions) yield* oneAhead(joinRegion(region, columnsOf(region).map(readerOf)))
    // What is left over was never part of the file.
    for (const [column, reader] of readers) {
      if (await reader.hasMore()) throw new Error(`the column ${column} is longer than its file`)
    }
  } finally {
    for (const reader of readers.values()) await reader.close()
  }
}

async function* joinRegion(region: Region, readers: readonly ColumnReader[]): AsyncGenerator<Uint8Array> {
  const [only] = readers
  if (region.tail === undefined && region.fields.length === 1) {
    yield* only!.pass(region.count * strideOf(region))
    return
  }
  const memory = borrowShared()
  let atLeast = 0
  try {
    for (let left = region.count; left > 0; ) {
      const file = memory.take(Math.max(Math.min(columnStepBytes(), left * strideOf(region)), atLeast))
      const columns = readers.map((reader) => reader.bytes)
      const joined = await joinInPool({ region, records: left, columns, file })
      if (joined.invalid) throw new Error(`the column ${region.tail?.column} does not fit its records`)
      for (const [n, reader] of readers.entries()) reader.take(joined.taken[n]!)
      left -= joined.records
      if (joined.records > 0) yield file.subarray(0, joined.written)
      atLeast = await supply(joined, readers)
    }
  } finally {
    memory.release()
  }
}

/** Gets what the next record needs: more of a column, or room for it, of which the bytes are returned. */
async function supply({ lacks }: Joined, readers: readonly ColumnReader[]): Promise<number> {
  if (lacks === null) return 0
  if (lacks.column === -1) return lacks.bytes
  await readers[lacks.column]!.fill(lacks.bytes)
  return 0
}

/** Asks for the next part while the last one is used. */
async function* oneAhead<T>(parts: AsyncGenerator<T>): AsyncGenerator<T> {
  let ahead = parts.next()
  ahead.catch(() => {})
  try {
    for (;;) {
      const { value, done } = await ahead
      if (done === true) return
      ahead = parts.next()
      ahead.catch(() => {})
      yield value
    }
  } finally {
    // Memory that is still written to is not given back.
    await ahead.catch(() => {})
    await parts.return(undefined)
  }
}
