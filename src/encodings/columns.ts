// Splits the file of a vector engine into columns; `load/join-columns.ts` joins them again. Such a file has a record
// for each element: its links, its vector and its label. One new element changes the links of many others, and so a few
// bytes in every chunk of the file. In columns (all links, all vectors, all labels) only the links change, and they are
// a tenth of the bytes.
//
// A file is a sequence of regions, a region is a sequence of records, and a record has fields of fixed size and perhaps
// a tail. Each field and tail belongs to one column. A column holds its bytes in the order of the file. The split is
// lossless if the regions add up to the file, which is checked before anything is stored.
//
// The columns of one region are each a blob, and each is cut in a pass of its own over the file. Small ones are cut
// while the largest is, and kept in memory until they are asked for.
//
// `format/columns.ts` moves the bytes, in the worker threads once they are up. This file reads the parts and passes
// them on.

import type { Cut } from '../format/columns.ts'
import { columnsOf, type Region, strideOf, widthOf } from '../format/regions.ts'
import type { BlobInput, Chunking } from '../index.ts'
import { oneAhead } from '../load/join-columns.ts'
import type { FileBytes } from '../local/saved-file.ts'
import { columnStepBytes, cutInPool, expectColumns } from '../workers/columns.ts'
import { borrowShared } from '../workers/shared-parts.ts'

/** Where each region starts, and where the last one ends: what reading them once tells. */
export interface Measured {
  regions: readonly Region[]
  starts: readonly number[]
  /**
   * The end of the last region; past the end of the file where the file is cut short. Null when a record makes no
   * sense.
   */
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
      for await (const { cut, end } of cuts(file, region, at, null, null)) {
        if (cut.invalid) return { regions, starts, end: null }
        at = end
      }
    }
  }
  return { regions, starts, end: at }
}

/** A blob for each column. Those during which others are cut come first. */
export function columnBlobs(
  file: FileBytes,
  measured: Measured,
  chunkings: Readonly<Record<string, Chunking>>,
): Record<string, BlobInput> {
  const kept = planKept(measured.regions)
  const names = new Set([...kept.flatMap((plan) => plan?.during ?? []), ...measured.regions.flatMap(columnsOf)])
  return Object.fromEntries(
    [...names].map((name) => {
      const chunking = chunkings[name]
      return [
        name,
        { source: columnBytes(file, measured, name, kept), ...(chunking === undefined ? {} : { chunking }) },
      ]
    }),
  )
}

/** At most so many bytes of a file's columns are kept. */
const KEPT_BYTES_MAX = 16 * 1024 * 1024

/** Columns of a region that are cut during the pass of another. */
interface Kept {
  during: string
  columns: readonly string[]
  /** Their bytes, once that pass is over. */
  parts: Map<string, Uint8Array[]> | null
}

/** For each region. The largest column is the one that is not kept. */
function planKept(regions: readonly Region[]): (Kept | null)[] {
  let left = KEPT_BYTES_MAX
  return regions.map((region) => {
    const columns = [...new Set(region.fields.map(({ column }) => column))]
    columns.sort((a, b) => widthOf(region, a) - widthOf(region, b))
    const during = columns.pop()!
    const fitting = columns.filter((column) => {
      const bytes = region.count * widthOf(region, column)
      if (column === region.tail?.column || bytes > left) return false
      left -= bytes
      return true
    })
    return fitting.length === 0 ? null : { during, columns: fitting, parts: null }
  })
}

/** The memory is used again: a part is good until the next one is asked for. */
async function* columnBytes(
  file: FileBytes,
  { regions, starts }: Measured,
  column: string,
  kept: readonly (Kept | null)[],
): AsyncGenerator<Uint8Array> {
  for (const [n, region] of regions.entries()) {
    if (!columnsOf(region).includes(column)) continue
    const plan = kept[n]!
    const parts = plan?.parts?.get(column)
    if (parts !== undefined) {
      plan!.parts!.delete(column)
      yield* parts
      continue
    }
    const beside = plan?.during === column ? new Map(plan.columns.map((other) => [other, [] as Uint8Array[]])) : null
    for await (const { bytes, cut } of oneAhead(cuts(file, region, starts[n]!, column, beside))) {
      if (cut.written > 0) yield bytes.subarray(0, cut.written)
    }
    if (beside !== null) plan!.parts = beside
  }
}

/** Records that were read and cut. */
interface CutStep {
  bytes: Uint8Array
  cut: Cut
  /** Where they end in the file; past its end where it is cut short. */
  end: number
}

/** The records of a region, a few MiB at a time. What other columns have in them is added to `beside`. */
async function* cuts(
  file: FileBytes,
  region: Region,
  start: number,
  column: string | null,
  beside: Map<string, Uint8Array[]> | null,
): AsyncGenerator<CutStep> {
  const memory = borrowShared()
  try {
    let position = start
    let atLeast = strideOf(region)
    for (let left = region.count; left > 0; ) {
      const bytes = memory.take(Math.max(columnStepBytes(), atLeast))
      const got = await file.read(bytes, position)
      const others = [...(beside?.keys() ?? [])].map((other) => {
        const recordsMax = Math.min(left, Math.floor(got / strideOf(region)))
        return { column: other, bytes: new Uint8Array(new SharedArrayBuffer(recordsMax * widthOf(region, other))) }
      })
      const job = { bytes: bytes.subarray(0, got), region, records: left, column, beside: others }
      const cut = await cutInPool(job)
      // A worker died over it.
      if (cut === null) continue
      for (const other of others) {
        beside!.get(other.column)!.push(other.bytes.subarray(0, cut.records * widthOf(region, other.column)))
      }
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
