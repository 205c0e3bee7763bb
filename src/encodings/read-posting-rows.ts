// Reads the rows that `posting-rows.ts` writes, and gives each posting to what collects those of its field. The bytes
// were verified, but somebody else may have made them: what is no row is `ENGINE_MISMATCH`, and memory stays in
// proportion to the bytes.

import { createYielder, STEPS } from '../event-loop.ts'
import { HoldfastError } from '../index.ts'
import { ESCAPE, INTEGER_ID_MAX, SLOT_MAX } from './posting-rows.ts'

export type Id = string | number | boolean

/** Collects the postings of one field. */
export interface PostingSink {
  /** So many postings of this row follow, the rows ascending. */
  begin(row: number, postings: number): void
  /**
   * The term has the first `shared` bytes of the term before it in its row, and then `bytes[from, to)`. False: the term
   * before has not so many.
   */
  posting(slot: number, shared: number, bytes: Uint8Array, from: number, to: number): boolean
}

/** What was read. */
export interface ReadRows<Sink> {
  /** Of the rows. */
  ids: Id[]
  /** Of the rows that have a document, and its JSON text parsed. */
  documents: [row: number, document: unknown][]
  /** Undefined for a field of which no row has anything. */
  sinks: (Sink | undefined)[]
}

/**
 * @param fields how many a row may have
 * @param size of the blob, in bytes
 */
export async function readRows<Sink extends PostingSink>(
  parts: AsyncIterable<Uint8Array>,
  { fields, size, signal }: { fields: number; size: number; signal?: AbortSignal | undefined },
  createSink: () => Sink,
): Promise<ReadRows<Sink>> {
  const turn = createYielder(signal)
  const reader = createRowReader(fields, createSink)
  let pending: Uint8Array[] = []
  let length = 0
  // Bytes with which the next row is whole, as far as is known.
  let needed = 0
  for await (const part of parts) {
    pending.push(part)
    length += part.length
    if (length < needed) continue
    const bytes = pending.length === 1 ? bufferOf(part) : Buffer.concat(pending)
    let at = 0
    needed = 0
    while (at < bytes.length) {
      const end = rowEnd(bytes, at)
      if (end - at > size) throw notRows(`a row of ${end - at} bytes in a blob of ${size}`)
      if (end > bytes.length) {
        needed = end - at
        break
      }
      at = reader.row(bytes, at, end)
      const turning = reader.isLong() ? turn() : undefined
      if (turning !== undefined) await turning
    }
    pending = [bytes.subarray(at)]
    length = bytes.length - at
  }
  if (length > 0) throw notRows('the last row is cut short')
  return reader.read
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** Where the row at `at` ends; beyond `bytes` if it is not all there. */
function rowEnd(bytes: Uint8Array, at: number): number {
  let value = 0
  let scale = 1
  for (let next = at; next < bytes.length; next++) {
    value += (bytes[next]! & 0x7f) * scale
    if (bytes[next]! < 0x80) return next + 1 + value
    scale *= 0x80
    if (scale > INTEGER_ID_MAX) throw notRows('the size of a row')
  }
  return bytes.length + 1
}

interface RowReader<Sink> {
  /** Reads the row in `bytes[at, end)`; gives `end`. */
  row(bytes: Buffer, at: number, end: number): number
  /** Whether enough was done since the last time to look at the clock. */
  isLong(): boolean
  read: ReadRows<Sink>
}

function createRowReader<Sink extends PostingSink>(count: number, createSink: () => Sink): RowReader<Sink> {
  const ids: Id[] = []
  const documents: [number, unknown][] = []
  /** Made when a row has something of it. */
  const sinks: Sink[] = []
  let bytes: Buffer = Buffer.alloc(0)
  let at = 0
  let end = 0
  let steps = 0

  function integer(): number {
    let value = 0
    let scale = 1
    for (;;) {
      if (at >= end || scale > INTEGER_ID_MAX) throw notRows('an integer in a row')
      const byte = bytes[at++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
      scale *= 0x80
    }
  }

  function json(length: number): unknown {
    if (length > end - at) throw notRows('a text in a row')
    const text = bytes.toString('utf8', at, at + length)
    at += length
    try {
      return JSON.parse(text)
    } catch (cause) {
      throw notRows((cause as Error).message)
    }
  }

  function rowId(): Id {
    const head = integer()
    if (head % 2 === 0) return head / 2
    const id = json((head - 1) / 2)
    if (typeof id === 'string' || typeof id === 'number' || typeof id === 'boolean') return id
    throw notRows('the id of a row')
  }

  function sinkOf(field: number): Sink {
    const known = sinks[field]
    if (known !== undefined) return known
    const sink = createSink()
    sinks[field] = sink
    return sink
  }

  function cell(sink: Sink, postings: number): void {
    // Each has two bytes, at least.
    if (postings > (end - at) / 2) throw notRows('the postings of a row')
    steps += postings
    sink.begin(ids.length - 1, postings)
    for (let left = postings; left > 0; left--) {
      if (at + 1 >= end) throw notRows('a posting')
      const head = bytes[at++]!
      let slot = head >>> 4
      let shared = head & 15
      if (slot === ESCAPE) slot += integer()
      if (shared === ESCAPE) shared += integer()
      const rest = bytes[at]! < 0x80 ? bytes[at++]! : integer()
      if (rest > end - at || slot > SLOT_MAX) throw notRows('a posting')
      if (!sink.posting(slot, shared, bytes, at, at + rest)) throw notRows('a term')
      at += rest
    }
  }

  return {
    row(rowBytes, from, to) {
      bytes = rowBytes
      at = from
      end = to
      integer()
      ids.push(rowId())
      const length = integer()
      if (length > 0) documents.push([ids.length - 1, json(length)])
      for (let field = 0; at < end && field < count; field++) {
        const postings = integer()
        if (postings === 0) continue
        cell(sinkOf(field), postings)
      }
      if (at !== end) throw notRows('a row is longer than what it says')
      steps += 16
      return end
    },
    isLong() {
      if (steps < STEPS / 4) return false
      steps = 0
      return true
    },
    read: { ids, documents, sinks },
  }
}

/** `ENGINE_MISMATCH`. */
export function notRows(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `a blob is not what this adapter writes: ${why}`, {
    details: { what: 'blob', saved: why, wanted: 'rows of postings' },
  })
}
