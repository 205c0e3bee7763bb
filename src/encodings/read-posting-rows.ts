// Reads the rows that `posting-rows.ts` writes and turns them into lists of documents by term. The bytes were verified, but
// somebody else may have made them: what is no row is `ENGINE_MISMATCH`, and memory stays in proportion to the bytes.

import { createYielder, STEPS, type Turn } from '../event-loop.ts'
import { HoldfastError } from '../index.ts'
import { ESCAPE, INTEGER_ID_MAX } from './posting-rows.ts'
import { longer, TermTable } from './term-table.ts'

type Id = string | number | boolean

/** What was read. */
export interface ReadRows {
  /** Of the rows. */
  ids: Id[]
  /** Of the rows that have a document, and its JSON text parsed. */
  documents: [id: Id, document: unknown][]
  fields: readonly ReadField[]
}

/** The terms of one field in the order in which they come first, and for each its lists by slot: ids of rows, in their order. */
export interface ReadField {
  terms: string[]
  lists: Id[][][]
}

/** Items of a column that is new: each field has several, and may have no more than a posting. */
const START = 64

/** A slot is the index of an array. */
const SLOT_MAX = 2 ** 32 - 2

/**
 * @param fields how many a row may have
 * @param size of the blob, in bytes
 */
export async function readRows(
  parts: AsyncIterable<Uint8Array>,
  { fields, size, signal }: { fields: number; size: number; signal?: AbortSignal | undefined },
): Promise<ReadRows> {
  const turn = createYielder(signal)
  const reader = createRowReader(fields)
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
  return await reader.done(turn)
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

interface RowReader {
  /** Reads the row in `bytes[at, end)`; gives `end`. */
  row(bytes: Buffer, at: number, end: number): number
  /** Whether enough was done since the last time to look at the clock. */
  isLong(): boolean
  done(turn: Turn): Promise<ReadRows>
}

function createRowReader(count: number): RowReader {
  const ids: Id[] = []
  const documents: [Id, unknown][] = []
  /** Made when a row has something of it. */
  const fields: FieldReader[] = []
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

  function fieldOf(n: number): FieldReader {
    const known = fields[n]
    if (known !== undefined) return known
    const field = createFieldReader()
    fields[n] = field
    return field
  }

  function cell(field: FieldReader, postings: number): void {
    // Each has two bytes, at least.
    if (postings > (end - at) / 2) throw notRows('the postings of a row')
    steps += postings
    field.begin(ids.length - 1, postings)
    for (let left = postings; left > 0; left--) {
      if (at + 1 >= end) throw notRows('a posting')
      const head = bytes[at++]!
      let slot = head >>> 4
      let shared = head & 15
      if (slot === ESCAPE) slot += integer()
      if (shared === ESCAPE) shared += integer()
      const rest = bytes[at]! < 0x80 ? bytes[at++]! : integer()
      if (rest > end - at || slot > SLOT_MAX) throw notRows('a posting')
      if (!field.posting(slot, shared, bytes, at, at + rest)) throw notRows('a term')
      at += rest
    }
  }

  return {
    row(rowBytes, from, to) {
      bytes = rowBytes
      at = from
      end = to
      integer()
      const id = rowId()
      ids.push(id)
      const length = integer()
      if (length > 0) documents.push([id, json(length)])
      for (let field = 0; at < end && field < count; field++) {
        const postings = integer()
        if (postings === 0) continue
        cell(fieldOf(field), postings)
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
    async done(turn) {
      const read: ReadField[] = []
      for (let field = 0; field < count; field++) {
        read.push((await fields[field]?.done(ids, turn)) ?? { terms: [], lists: [] })
      }
      return { ids, documents, fields: read }
    },
  }
}

interface FieldReader {
  /** So many postings of this row follow. */
  begin(row: number, postings: number): void
  /** False: the term before has no `shared` bytes. */
  posting(slot: number, shared: number, bytes: Uint8Array, from: number, to: number): boolean
  done(ids: readonly Id[], turn: Turn): Promise<ReadField>
}

function createFieldReader(): FieldReader {
  const table = new TermTable()
  // The lists of a term are a chain; numbers of lists, plus 1, and 0 for none.
  let firstList = new Uint32Array(START)
  let nextList = new Uint32Array(START)
  let slots = new Uint32Array(START)
  let counts = new Uint32Array(START)
  let lists = 0
  /** The list of each posting, and its row. */
  let listOfPosting = new Uint32Array(START)
  let rowOfPosting = new Uint32Array(START)
  let postings = 0
  let row = 0

  function addList(slot: number): number {
    if (lists === slots.length) {
      nextList = longer(nextList, 2 * lists)
      slots = longer(slots, 2 * lists)
      counts = longer(counts, 2 * lists)
    }
    slots[lists] = slot
    lists += 1
    return lists
  }

  /** Plus 1. */
  function listOf(term: number, slot: number): number {
    if (term === firstList.length) firstList = longer(firstList, 2 * term)
    let list = firstList[term]!
    if (list === 0) {
      list = addList(slot)
      firstList[term] = list
      return list
    }
    for (;;) {
      if (slots[list - 1] === slot) return list
      const next = nextList[list - 1]!
      if (next === 0) {
        const added = addList(slot)
        nextList[list - 1] = added
        return added
      }
      list = next
    }
  }

  async function idsOfLists(ids: readonly Id[], turn: Turn): Promise<Id[][]> {
    const all: Id[][] = []
    for (let list = 0; list < lists; list++) {
      // Of the length that it has: an array that grows takes half as much again.
      all.push(new Array<Id>(counts[list]!))
      if (list % STEPS === 0) await turn()
    }
    counts.fill(0)
    for (let at = 0; at < postings; at++) {
      const list = listOfPosting[at]!
      all[list]![counts[list]!++] = ids[rowOfPosting[at]!]!
      if (at % STEPS === 0) await turn()
    }
    return all
  }

  return {
    begin(of, count) {
      row = of
      table.keyLength = 0
      if (postings + count <= listOfPosting.length) return
      listOfPosting = longer(listOfPosting, 2 * (postings + count))
      rowOfPosting = longer(rowOfPosting, 2 * (postings + count))
    },
    posting(slot, shared, bytes, from, to) {
      if (shared > table.keyLength) return false
      const list = listOf(table.number(shared, bytes, from, to), slot) - 1
      counts[list]! += 1
      listOfPosting[postings] = list
      rowOfPosting[postings++] = row
      return true
    },
    async done(ids, turn) {
      const idsOf = await idsOfLists(ids, turn)
      const bySlot: Id[][][] = []
      for (let term = 0; term < table.count; term++) {
        const own: Id[][] = []
        for (let list = firstList[term]!; list !== 0; list = nextList[list - 1]!)
          own[slots[list - 1]!] = idsOf[list - 1]!
        bySlot.push(own)
        if (term % STEPS === 0) await turn()
      }
      try {
        return { terms: await table.texts(turn), lists: bySlot }
      } catch (cause) {
        throw cause instanceof TypeError ? notRows('a term is not UTF-8') : cause
      }
    },
  }
}

function notRows(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `a blob is not what this adapter writes: ${why}`, {
    details: { what: 'blob', saved: why, wanted: 'rows of postings' },
  })
}
