// Splits the file of a vector engine into columns, and joins them again. Such a file has a record for each element: its
// links, its vector and its label. One new element changes the links of many others, and so a few bytes in every chunk
// of the file. In columns (all links, all vectors, all labels) only the links change, and they are a tenth of the
// bytes.
//
// A file is a sequence of regions, a region is a sequence of records, and a record has fields of fixed size and perhaps
// a tail. Each field and tail belongs to one column. A column holds its bytes in the order of the file. The split is
// lossless if the regions add up to the file, which is checked before anything is stored.

import { createYielder } from '../event-loop.ts'
import type { BlobInput, Chunking } from '../index.ts'
import { type FileBytes, STEP_BYTES } from '../local/saved-file.ts'
import type { SavedEngine } from './engine-state.ts'
import { type Region, strideOf, type Tail, tailSize } from './regions.ts'

/** Where each region starts, and where the last one ends: what reading them once tells. */
export interface Measured {
  regions: readonly Region[]
  starts: readonly number[]
  /** The end of the last region; past the end of the file where the file is cut short. Null when a record makes no sense. */
  end: number | null
}

export async function measure(file: FileBytes, regions: readonly Region[]): Promise<Measured> {
  const starts: number[] = []
  let at = 0
  for (const region of regions) {
    starts.push(at)
    const stride = strideOf(region)
    if (region.tail === undefined) at += region.count * stride
    else {
      for await (const { end, invalid } of records(file, region, at)) {
        if (invalid) return { regions, starts, end: null }
        at = end
      }
    }
  }
  return { regions, starts, end: at }
}

interface Batch {
  bytes: Buffer
  /** Where each record starts in `bytes`, and after them where the last one ends. */
  offsets: readonly number[]
  /** Where the last record ends in the file. */
  end: number
  invalid: boolean
}

/** The records of a region with a tail, as many at a time as fit. The buffer is used again for the next ones. */
async function* records(file: FileBytes, region: Region, start: number): AsyncGenerator<Batch> {
  const stride = strideOf(region)
  let buffer = Buffer.allocUnsafe(STEP_BYTES)
  const yieldIfLong = createYielder()
  let position = start
  for (let done = 0; done < region.count; ) {
    const got = await file.read(buffer, position)
    const bytes = buffer.subarray(0, got)
    const offsets: number[] = [0]
    let at = 0
    let needed = 0
    let invalid = false
    while (done + offsets.length - 1 < region.count) {
      needed = at + stride
      if (needed > got) break
      const tail = region.tail === undefined ? 0 : tailSize(region.tail, bytes, at)
      if (tail < 0) {
        invalid = true
        break
      }
      needed += tail
      if (needed > got) break
      at = needed
      offsets.push(at)
    }
    const whole = offsets.length - 1
    if (whole > 0 || invalid) yield { bytes, offsets, end: position + at, invalid }
    else if (position + needed > file.size) {
      yield { bytes, offsets, end: position + needed, invalid: false }
      return
    } else buffer = Buffer.allocUnsafe(Math.max(needed, STEP_BYTES))
    if (invalid) return
    done += whole
    position += at
    await yieldIfLong()
  }
}

/** A blob for each column, in the order in which the file has them first. */
export function columnBlobs(
  file: FileBytes,
  measured: Measured,
  chunkings: Readonly<Record<string, Chunking>>,
): Record<string, BlobInput> {
  const names = new Set<string>()
  for (const { fields, tail } of measured.regions) {
    for (const { column } of fields) names.add(column)
    if (tail !== undefined) names.add(tail.column)
  }
  return Object.fromEntries(
    [...names].map((name) => {
      const chunking = chunkings[name]
      return [name, { source: columnBytes(file, measured, name), ...(chunking === undefined ? {} : { chunking }) }]
    }),
  )
}

/** The buffers are used again: a part is good until the next one is asked for. */
async function* columnBytes(file: FileBytes, { regions, starts }: Measured, column: string): AsyncGenerator<Buffer> {
  for (const [n, region] of regions.entries()) {
    const start = starts[n]!
    if (region.tail !== undefined) yield* fromRecords(file, region, start, column)
    else {
      let offset = 0
      for (const field of region.fields) {
        if (field.column === column) yield* fromStrides(file, region, start, offset, field.size)
        offset += field.size
      }
    }
  }
}

async function* fromStrides(
  file: FileBytes,
  region: Region,
  start: number,
  offset: number,
  size: number,
): AsyncGenerator<Buffer> {
  const stride = strideOf(region)
  const end = start + region.count * stride
  const step = Math.max(Math.floor(STEP_BYTES / stride), 1) * stride
  const buffer = Buffer.allocUnsafe(Math.min(step, end - start))
  const yieldIfLong = createYielder()
  for (let position = start; position < end; position += step) {
    const bytes = buffer.subarray(0, Math.min(step, end - position))
    if ((await file.read(bytes, position)) < bytes.length) throw new Error('bug: the file was measured to be longer')
    // Moved together where they are: what is written never comes before what is still to be read.
    let to = 0
    for (let from = offset; from < bytes.length; from += stride) {
      if (to !== from) bytes.copyWithin(to, from, from + size)
      to += size
    }
    yield bytes.subarray(0, to)
    await yieldIfLong()
  }
}

async function* fromRecords(file: FileBytes, region: Region, start: number, column: string): AsyncGenerator<Buffer> {
  const stride = strideOf(region)
  const wanted: [offset: number, size: number][] = []
  let offset = 0
  for (const field of region.fields) {
    if (field.column === column) wanted.push([offset, field.size])
    offset += field.size
  }
  const withTail = region.tail?.column === column
  if (wanted.length === 0 && !withTail) return
  for await (const { bytes, offsets } of records(file, region, start)) {
    let to = 0
    for (let n = 0; n + 1 < offsets.length; n++) {
      const from = offsets[n]!
      const end = offsets[n + 1]!
      // The tail's length was read from the fields before they are overwritten by what moves to the front.
      for (const [at, size] of wanted) {
        bytes.copyWithin(to, from + at, from + at + size)
        to += size
      }
      if (withTail) {
        bytes.copyWithin(to, from + stride, end)
        to += end - from - stride
      }
    }
    if (to > 0) yield bytes.subarray(0, to)
  }
}

/** The file again, of its columns. */
export async function* joinColumns(
  saved: Pick<SavedEngine, 'blob'>,
  regions: readonly Region[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const readers = new Map<string, ColumnReader>()
  function readerOf(column: string): ColumnReader {
    let reader = readers.get(column)
    if (reader === undefined) {
      reader = createReader(saved.blob(column).stream({ signal }))
      readers.set(column, reader)
    }
    return reader
  }
  try {
    for (const region of regions) yield* joinRegion(region, readerOf)
    // What is left over was never part of the file.
    for (const [column, reader] of readers) {
      if ((await reader.available(1)) > 0) throw new Error(`the column ${column} is longer than its file`)
    }
  } finally {
    for (const reader of readers.values()) await reader.close()
  }
}

async function* joinRegion(region: Region, readerOf: (column: string) => ColumnReader): AsyncGenerator<Buffer> {
  const { count, fields, tail } = region
  if (count === 0) return
  const stride = strideOf(region)
  const batch = Math.min(count, Math.max(1, Math.floor(STEP_BYTES / stride)))
  const buffer = Buffer.allocUnsafe(batch * stride)
  const yieldIfLong = createYielder()
  for (let done = 0; done < count; done += batch) {
    const now = Math.min(batch, count - done)
    let offset = 0
    for (const { column, size } of fields) {
      await readerOf(column).scatter(buffer, offset, size, stride, now)
      offset += size
    }
    if (tail === undefined) yield buffer.subarray(0, now * stride)
    else yield await withTails(buffer, now, stride, tail, readerOf(tail.column))
    await yieldIfLong()
  }
}

/** Records with their tails between them, as one piece: a write for each would take longer than everything else. */
async function withTails(
  records: Buffer,
  count: number,
  stride: number,
  tail: Tail,
  reader: ColumnReader,
): Promise<Buffer> {
  const sizes: number[] = []
  let total = count * stride
  for (let n = 0; n < count; n++) {
    const size = tailSize(tail, records, n * stride)
    if (size < 0) throw new Error(`the column ${tail.column} does not fit its records`)
    sizes.push(size)
    total += size
  }
  const joined = Buffer.allocUnsafe(total)
  let to = 0
  for (const [n, size] of sizes.entries()) {
    to += records.copy(joined, to, n * stride, (n + 1) * stride)
    if (size === 0) continue
    await reader.scatter(joined, to, size, size, 1)
    to += size
  }
  return joined
}

interface ColumnReader {
  /** Puts `count` runs of `size` bytes into `target` at `offset`, `stride` apart. */
  scatter(target: Buffer, offset: number, size: number, stride: number, count: number): Promise<void>
  /** How many bytes there are, up to `bytes`. */
  available(bytes: number): Promise<number>
  close(): Promise<void>
}

function createReader(stream: AsyncIterableIterator<Uint8Array>): ColumnReader {
  let part: Buffer = Buffer.alloc(0)
  let at = 0
  let ended = false

  /** Makes at least `bytes` lie in `part` in one piece, unless the stream ends. */
  async function available(bytes: number): Promise<number> {
    while (part.length - at < bytes && !ended) {
      const { value, done } = await stream.next()
      if (done === true) ended = true
      else {
        const next = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
        part = at === part.length ? next : Buffer.concat([part.subarray(at), next])
        at = 0
      }
    }
    return Math.min(part.length - at, bytes)
  }

  return {
    available,
    async scatter(target, offset, size, stride, count) {
      for (let n = 0; n < count; ) {
        if ((await available(size)) < size) throw new Error('a column is shorter than its file')
        const runs = Math.min(count - n, Math.max(1, Math.floor((part.length - at) / Math.max(size, 1))))
        for (let run = 0; run < runs; run++, n++) {
          part.copy(target, offset + n * stride, at, at + size)
          at += size
        }
      }
    },
    async close() {
      await stream.return?.()
    },
  }
}
