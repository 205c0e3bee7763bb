// Writes an inverted index as a row for each document, so that a document that is added, changed or removed is one row
// more, another one, or one less. `read-posting-rows.ts` reads them, and makes lists of them again. Integers are LEB128:
// seven bits a byte, the lowest first.
//
//    row        size of what follows, id, document, cell, …
//    id         2 n for the integer n below 2^52; or 2 m + 1, and m bytes of JSON text
//    document   m, and m bytes of JSON text; m is 0 if there is none
//    cell       one for each field: how many postings, and these, sorted by term; empty ones at the end are left out
//    posting    a byte: slot * 16 + shared, each up to 14, and 15 for what follows as an integer: slot - 15, shared - 15
//               m, and the m bytes of the term's UTF-8 that follow the first `shared`, which are those of the term before
//
// A slot is a small number that is kept with a posting: its score, or how often the term occurs.

import { STEPS, type Turn } from '../event-loop.ts'
import { listsByDocument } from './postings.ts'
import { sortedPositions } from './term-order.ts'

/** Greatest integer that an id is written as. */
export const INTEGER_ID_MAX = 2 ** 52 - 1

/** A field of a nibble that says that an integer follows. */
export const ESCAPE = 15

/** Bytes gathered into one part. */
const PART = 128 * 1024

/** Bytes that a posting takes beside those of its term, at most; and a row beside its texts and postings. */
const POSTING_BYTES_MAX = 32
const INTEGER_BYTES_MAX = 8

/** An inverted index, as columns. A list has the documents of one term in one slot, as numbers of rows, ascending. */
export interface InvertedIndex {
  /** Well-formed, field after field; those of a field differ. */
  terms: readonly string[]
  /** Where the terms of each field begin, and the end of the last. */
  fieldStart: readonly number[]
  /** Where the lists of each term begin, and the end of the last. */
  termStart: readonly number[]
  /** Of each list. */
  slots: readonly number[]
  /** Where the documents of each list begin, and the end of the last. */
  listStart: readonly number[]
  documents: Uint32Array
}

/** What a row says beside its postings. */
export interface RowTexts {
  id: string | number | boolean
  /** JSON text; empty if there is none. */
  document: string
}

/** The bytes of a row for each of `rows`, some rows at a time. */
export async function* encodeRows(
  index: InvertedIndex,
  rows: readonly RowTexts[],
  turn: Turn,
): AsyncGenerator<Uint8Array> {
  const sorted = await sortedTerms(index, turn)
  const { start, lists } = await listsByDocument(await listsOf(sorted, index, turn), index, rows.length, turn)
  const text = await utf8Of(index.terms, sorted, turn)
  const termOf = await termsOfLists(index, turn)
  const write = createRowWriter(index, text, termOf)
  let looked = 0
  for (let row = 0; row < rows.length; row++) {
    const from = start[row]!
    const to = start[row + 1]!
    write.row(rows[row]!, lists, from, to)
    if (write.length >= PART) yield write.take()
    if (to + row - looked < STEPS / 8) continue
    looked = to + row
    await turn()
  }
  if (write.length > 0) yield write.take()
}

/** Positions of terms: field after field, those of each sorted. */
async function sortedTerms({ terms, fieldStart }: InvertedIndex, turn: Turn): Promise<Uint32Array> {
  const sorted = new Uint32Array(terms.length)
  for (let field = 0; field + 1 < fieldStart.length; field++) {
    const from = fieldStart[field]!
    const positions = await sortedPositions(terms.slice(from, fieldStart[field + 1]), turn)
    for (let n = 0; n < positions.length; n++) sorted[from + n] = from + positions[n]!
  }
  return sorted
}

/** Numbers of lists, in the order of the terms. */
async function listsOf(order: Uint32Array, { termStart, slots }: InvertedIndex, turn: Turn): Promise<Uint32Array> {
  const lists = new Uint32Array(slots.length)
  let filled = 0
  for (let n = 0; n < order.length; n++) {
    const term = order[n]!
    for (let list = termStart[term]!; list < termStart[term + 1]!; list++) lists[filled++] = list
    if (n % STEPS === 0) await turn()
  }
  return lists
}

async function termsOfLists({ termStart, slots }: InvertedIndex, turn: Turn): Promise<Uint32Array> {
  const terms = new Uint32Array(slots.length)
  for (let term = 0; term + 1 < termStart.length; term++) {
    terms.fill(term, termStart[term], termStart[term + 1])
    if (term % STEPS === 0) await turn()
  }
  return terms
}

/** The UTF-8 of terms: that of term `n` is `bytes[start[n], end[n])`. */
interface TermBytes {
  bytes: Uint8Array
  start: Uint32Array
  end: Uint32Array
}

/** In the order of `order`, in which they are used: neighbours lie together. */
async function utf8Of(terms: readonly string[], order: Uint32Array, turn: Turn): Promise<TermBytes> {
  let bytes = Buffer.allocUnsafe(16 * terms.length + PART)
  const start = new Uint32Array(terms.length)
  const end = new Uint32Array(terms.length)
  let at = 0
  for (let n = 0; n < order.length; n++) {
    const term = order[n]!
    const text = terms[term]!
    if (at + 3 * text.length > bytes.length) {
      const longer = Buffer.allocUnsafe(2 * bytes.length + 3 * text.length)
      longer.set(bytes.subarray(0, at))
      bytes = longer
    }
    start[term] = at
    at = writeUtf8(bytes, at, text)
    end[term] = at
    if (n % (STEPS / 8) === 0) await turn()
  }
  return { bytes, start, end }
}

/** Short texts are mostly ASCII, and a call into the runtime costs more than they. */
function writeUtf8(bytes: Buffer, from: number, text: string): number {
  for (let n = 0; n < text.length; n++) {
    const unit = text.charCodeAt(n)
    if (unit >= 0x80) return from + n + bytes.write(text.slice(n), from + n, 'utf8')
    bytes[from + n] = unit
  }
  return from + text.length
}

interface RowWriter {
  /** Appends the row with the postings that `lists[from, to)` are. */
  row(texts: RowTexts, lists: Uint32Array, from: number, to: number): void
  /** Bytes that can be taken. */
  readonly length: number
  take(): Uint8Array
}

function createRowWriter(index: InvertedIndex, text: TermBytes, termOf: Uint32Array): RowWriter {
  const { fieldStart, slots } = index
  const fields = fieldStart.length - 1
  let out = Buffer.allocUnsafe(2 * PART)
  let at = 0

  function room(bytes: number): void {
    if (at + bytes <= out.length) return
    const longer = Buffer.allocUnsafe(2 * out.length + bytes)
    longer.set(out.subarray(0, at))
    out = longer
  }

  function integer(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      out[at++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    out[at++] = rest
  }

  /** @param isId the length is doubled, plus one */
  function jsonText(json: string, isId: boolean): void {
    const length = Buffer.byteLength(json)
    room(INTEGER_BYTES_MAX + length)
    integer(isId ? 2 * length + 1 : length)
    at = writeUtf8(out, at, json)
  }

  /** The postings `lists[from, to)` are those of one field. */
  function cell(lists: Uint32Array, from: number, to: number): void {
    const { bytes, start, end } = text
    room(INTEGER_BYTES_MAX)
    integer(to - from)
    let before = 0
    let beforeEnd = 0
    for (let n = from; n < to; n++) {
      const list = lists[n]!
      const term = termOf[list]!
      const first = start[term]!
      const last = end[term]!
      const slot = slots[list]!
      const most = Math.min(beforeEnd - before, last - first)
      let shared = 0
      while (shared < most && bytes[before + shared] === bytes[first + shared]) shared += 1
      const rest = last - first - shared
      room(POSTING_BYTES_MAX + rest)
      out[at++] = Math.min(slot, ESCAPE) * 16 + Math.min(shared, ESCAPE)
      if (slot >= ESCAPE) integer(slot - ESCAPE)
      if (shared >= ESCAPE) integer(shared - ESCAPE)
      if (rest < 0x80) out[at++] = rest
      else integer(rest)
      for (let from = first + shared; from < last; from++) out[at++] = bytes[from]!
      before = first
      beforeEnd = last
    }
  }

  return {
    row({ id, document }, lists, from, to) {
      const rowAt = at
      // Its size goes before it when it is known.
      room(2 * INTEGER_BYTES_MAX)
      at += INTEGER_BYTES_MAX
      if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id <= INTEGER_ID_MAX) integer(2 * id)
      else jsonText(JSON.stringify(id), true)
      jsonText(document, false)
      let next = from
      for (let field = 0; field < fields && next < to; field++) {
        const first = next
        while (next < to && termOf[lists[next]!]! < fieldStart[field + 1]!) next += 1
        cell(lists, first, next)
      }
      const end = at
      at = rowAt
      integer(end - rowAt - INTEGER_BYTES_MAX)
      out.copyWithin(at, rowAt + INTEGER_BYTES_MAX, end)
      at += end - rowAt - INTEGER_BYTES_MAX
    },
    get length() {
      return at
    },
    take() {
      const taken = out.subarray(0, at)
      out = Buffer.allocUnsafe(2 * PART)
      at = 0
      return taken
    },
  }
}
