// Joins the columns of an engine's file again. `format/columns.ts` moves the bytes, in the worker threads once they are
// up; this file reads the columns and passes the parts on.

import type { Joined } from '../format/columns.ts'
import { columnsOf, type Region, strideOf } from '../format/regions.ts'
import { columnStepBytes, expectColumns, joinInPool } from '../workers/columns.ts'
import { borrowShared } from '../workers/shared-parts.ts'
import type { SnapshotBlob } from './blob.ts'
import { type ColumnReader, createColumnReader } from './column-reader.ts'

/** The file again, of its columns. The memory is used again: a part is good until the next one is asked for. */
export async function* joinColumns(
  saved: { blob(column: string): SnapshotBlob },
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
export async function* oneAhead<T>(parts: AsyncGenerator<T>): AsyncGenerator<T> {
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
