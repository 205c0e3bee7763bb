// Writes an inverted index as a row for each document, so that a document that is added, changed or removed is one row
// more, another one, or one less. `read-posting-rows.ts` reads them, and makes lists of them again. Integers are
// LEB128: seven bits a byte, the lowest first.
//
//    row        size of what follows, id, document, cell, …
//    id         2 n for the integer n below 2^52; or 2 m + 1, and m bytes of JSON text
//    document   m, and m bytes of JSON text; m is 0 if there is none
//    cell       one for each field: how many postings, and these, sorted by term; empty ones at the end are left out
//    posting    a byte: slot * 16 + shared, each up to 14, and 15 for what follows as an integer: slot - 15,
//               shared - 15
//               m, and the m bytes of the term's UTF-8 that follow the first `shared`, which are those of the term
//               before
//
// A slot is a small number that is kept with a posting: its score, or how often the term occurs. UTF-8 is WTF-8 here,
// which has lone surrogates as well: a tokenizer may cut a text between the halves of a pair.

import { STEPS, type Turn } from '../event-loop.ts'
import type { PostingLists } from './postings.ts'
import { sortedPositions } from './term-order.ts'
import { ILL_FORMED } from './term-table.ts'

/** Greatest integer that an id is written as. */
export const INTEGER_ID_MAX = 2 ** 52 - 1

/** Greatest slot: it may be the index of an array. */
export const SLOT_MAX = 2 ** 32 - 2

/** A field of a nibble that says that an integer follows. */
export const ESCAPE = 15

/** Bytes gathered into one part. */
const PART = 128 * 1024

/** Bytes that a posting takes beside those of its term, at most; and a row beside its texts and postings. */
const POSTING_BYTES_MAX = 32
const INTEGER_BYTES_MAX = 8

/** An inverted index, as columns. A list has the documents of one term, as numbers of rows. */
export interface InvertedIndex extends PostingLists {
  terms: readonly string[]
  /** Positions of terms: field after field, those of each sorted. The terms of a field differ. */
  order: Uint32Array
  /** Where the terms of each field begin in `order`, and the end of the last. */
  fieldStart: readonly number[]
  /** Where the lists of each term begin, and the end of the last; without it, list `n` is that of term `n`. */
  termStart?: readonly number[]
  /** Of each list; or of each posting, in step with `documents`. Without it, each row says those of its postings. */
  slots?: { lists: ArrayLike<number> } | { postings: Uint32Array }
}

/** What a row says beside its postings. */
export interface RowTexts {
  id: string | number | boolean
  /** JSON text; empty if there is none. */
  document: string
}

/** The postings of one row: `[from, to)` of columns. */
export interface RowPostings {
  /** Positions in the `order` of the index, ascending. */
  terms: Uint32Array
  slots: Uint32Array
  from: number
  to: number
}

export interface Rows {
  count: number
  /** Row `n`. Null: it is left out, and has no postings. It may set the slots of its postings. */
  row(n: number, postings: RowPostings): RowTexts | null
}

/** The bytes of all rows, some rows at a time. */
export async function* encodeRows(index: InvertedIndex, rows: Rows, turn: Turn): AsyncGenerator<Uint8Array> {
  const { start, terms, slots } = await postingsByRow(index, rows.count, turn)
  const text = await utf8Of(index, turn)
  const write = createRowWriter(index.fieldStart, text)
  const postings: RowPostings = { terms, slots, from: 0, to: 0 }
  let looked = 0
  for (let n = 0; n < rows.count; n++) {
    postings.from = start[n]!
    postings.to = start[n + 1]!
    const texts = rows.row(n, postings)
    if (texts !== null) write.row(texts, postings)
    if (write.length >= PART) yield write.take()
    if (postings.to + ROW_STEPS * n - looked < STEPS / 8) continue
    looked = postings.to + ROW_STEPS * n
    const turning = turn()
    if (turning !== undefined) await turning
  }
  if (write.length > 0) yield write.take()
}

/** Steps of a row beside those of its postings. */
const ROW_STEPS = 16

/** The `order` of the terms of an index. */
export async function sortedTerms(
  { terms, fieldStart }: Pick<InvertedIndex, 'terms' | 'fieldStart'>,
  turn: Turn,
): Promise<Uint32Array> {
  const sorted = new Uint32Array(terms.length)
  for (let field = 0; field + 1 < fieldStart.length; field++) {
    const from = fieldStart[field]!
    const positions = await sortedPositions(terms.slice(from, fieldStart[field + 1]), turn)
    for (let n = 0; n < positions.length; n++) sorted[from + n] = from + positions[n]!
  }
  return sorted
}

/** A counting sort: those of row `n` are `[start[n], start[n + 1])`, in the order of the terms. */
async function postingsByRow(
  { order, termStart, listStart, documents, slots: given }: InvertedIndex,
  count: number,
  turn: Turn,
): Promise<{ start: Uint32Array; terms: Uint32Array; slots: Uint32Array }> {
  const start = new Uint32Array(count + 1)
  for (let n = 0; n < documents.length; n++) {
    start[documents[n]! + 1]! += 1
    if (n % (4 * STEPS) === 0) await turn()
  }
  for (let n = 0; n < count; n++) start[n + 1]! += start[n]!
  const next = start.slice()
  const terms = new Uint32Array(documents.length)
  const slots = new Uint32Array(documents.length)
  const ofLists = given !== undefined && 'lists' in given ? given.lists : null
  const ofPostings = given !== undefined && 'postings' in given ? given.postings : null
  let looked = 0
  let seen = 0
  for (let n = 0; n < order.length; n++) {
    const term = order[n]!
    const last = termStart === undefined ? term + 1 : termStart[term + 1]!
    for (let list = termStart === undefined ? term : termStart[term]!; list < last; list++) {
      const end = listStart[list + 1]!
      const slot = ofLists === null ? 0 : ofLists[list]!
      for (let at = listStart[list]!; at < end; at++) {
        const place = next[documents[at]!]!++
        terms[place] = n
        slots[place] = ofPostings === null ? slot : ofPostings[at]!
      }
      seen += end - listStart[list]! + 1
    }
    // Each step may be the first in its page of memory.
    if (seen - looked < STEPS / 2) continue
    looked = seen
    await turn()
  }
  return { start, terms, slots }
}

/** The UTF-8 of terms: that of term `n` is `bytes[starts[n], starts[n + 1])`. */
interface TermBytes {
  bytes: Uint8Array
  starts: Uint32Array
}

/** By position in `order`: neighbours lie together. */
async function utf8Of({ terms, order }: InvertedIndex, turn: Turn): Promise<TermBytes> {
  let bytes = Buffer.allocUnsafe(16 * terms.length + PART)
  const starts = new Uint32Array(order.length + 1)
  let at = 0
  for (let n = 0; n < order.length; n++) {
    const text = terms[order[n]!]!
    if (at + 3 * text.length > bytes.length) {
      const longer = Buffer.allocUnsafe(2 * bytes.length + 3 * text.length)
      longer.set(bytes.subarray(0, at))
      bytes = longer
    }
    at = writeUtf8(bytes, at, text)
    starts[n + 1] = at
    if (n % (STEPS / 8) === 0) await turn()
  }
  return { bytes, starts }
}

/** Short texts are mostly ASCII, and a call into the runtime costs more than they. */
function writeUtf8(bytes: Buffer, from: number, text: string): number {
  for (let n = 0; n < text.length; n++) {
    const unit = text.charCodeAt(n)
    if (unit >= 0x80) return writeOther(bytes, from + n, text.slice(n))
    bytes[from + n] = unit
  }
  return from + text.length
}

function writeOther(bytes: Buffer, from: number, text: string): number {
  if (!ILL_FORMED.test(text)) return from + bytes.write(text, from, 'utf8')
  let at = from
  for (const character of text) {
    const code = character.codePointAt(0)!
    if (code < 0xd800 || code > 0xdfff) at += bytes.write(character, at, 'utf8')
    else {
      bytes[at++] = 0xe0 | (code >>> 12)
      bytes[at++] = 0x80 | ((code >>> 6) & 0x3f)
      bytes[at++] = 0x80 | (code & 0x3f)
    }
  }
  return at
}

interface RowWriter {
  row(texts: RowTexts, postings: RowPostings): void
  /** Bytes that can be taken. */
  readonly length: number
  take(): Uint8Array
}

function createRowWriter(fieldStart: readonly number[], { bytes, starts }: TermBytes): RowWriter {
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

  /** The postings `[from, to)` are those of one field. */
  function cell({ terms, slots }: RowPostings, from: number, to: number): void {
    room(INTEGER_BYTES_MAX)
    integer(to - from)
    let before = 0
    let beforeEnd = 0
    for (let n = from; n < to; n++) {
      const term = terms[n]!
      const first = starts[term]!
      const last = starts[term + 1]!
      const slot = slots[n]!
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
    row({ id, document }, postings) {
      const { terms, from, to } = postings
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
        while (next < to && terms[next]! < fieldStart[field + 1]!) next += 1
        cell(postings, first, next)
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
