// Splits the file of a vector engine into columns; `load/join-columns.ts` joins them again. Such a file has a record for each element: its
// links, its vector and its label. One new element changes the links of many others, and so a few bytes in every chunk
// of the file. In columns (all links, all vectors, all labels) only the links change, and they are a tenth of the
// bytes.
//
// A file is a sequence of regions, a region is a sequence of records, and a record has fields of fixed size and perhaps
// a tail. Each field and tail belongs to one column. A column holds its bytes in the order of the file. The split is
// lossless if the regions add up to the file, which is checked before anything is stored.
//
// `format/columns.ts` moves the bytes, in the worker threads once they are up. This file reads the parts and passes them on.

import type { Cut } from '../format/columns.ts'
import { columnsOf, type Region, strideOf } from '../format/regions.ts'
import type { BlobInput, Chunking } from '../index.ts'
import { oneAhead } from '../load/join-columns.ts'
import type { FileBytes } from '../local/saved-file.ts'
import { columnStepBytes, cutInPool, expectColumns } from '../workers/columns.ts'
import { borrowShared } from '../workers/shared-parts.ts'

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
