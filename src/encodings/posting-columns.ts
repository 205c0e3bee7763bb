// Collects the postings of one field of rows as columns, and sorts them by term.

import { STEPS, type Turn } from '../event-loop.ts'
import { notRows, type PostingSink } from './read-posting-rows.ts'
import { longer, TermTable } from './term-table.ts'

/** Some postings as columns, in step. */
interface Columns {
  /** Numbers of terms. */
  terms: Uint32Array
  slots: Uint32Array
  rows: Uint32Array
}

/** The postings of one field. */
export interface PostingColumns {
  /** In the order in which they come first. */
  terms: string[]
  /** Rows ascending. */
  byRow: Columns
  /** Those of term `n` are `[termStart[n], termStart[n + 1])`; rows ascending. */
  byTerm: Omit<Columns, 'terms'> & { termStart: Uint32Array }
}

interface PostingCollector extends PostingSink {
  /** `ENGINE_MISMATCH`: a term is no text. */
  done(turn: Turn): Promise<PostingColumns>
}

/** Items of a column that is new: each field has three, and may have no more than a posting. */
const START = 64

export function collectPostings(): PostingCollector {
  const table = new TermTable()
  let terms = new Uint32Array(START)
  let slots = new Uint32Array(START)
  let rows = new Uint32Array(START)
  let postings = 0
  let row = 0

  return {
    begin(of, count) {
      row = of
      table.keyLength = 0
      if (postings + count <= terms.length) return
      const length = 2 * (postings + count)
      terms = longer(terms, length)
      slots = longer(slots, length)
      rows = longer(rows, length)
    },
    posting(slot, shared, bytes, from, to) {
      if (shared > table.keyLength) return false
      terms[postings] = table.number(shared, bytes, from, to)
      slots[postings] = slot
      rows[postings++] = row
      return true
    },
    async done(turn) {
      const byRow = {
        terms: terms.subarray(0, postings),
        slots: slots.subarray(0, postings),
        rows: rows.subarray(0, postings),
      }
      return { terms: await textsOf(table, turn), byRow, byTerm: await sortedByTerm(byRow, table.count, turn) }
    },
  }
}

/** A counting sort. */
async function sortedByTerm(
  { terms, slots, rows }: Columns,
  termCount: number,
  turn: Turn,
): Promise<PostingColumns['byTerm']> {
  const termStart = new Uint32Array(termCount + 1)
  for (let at = 0; at < terms.length; at++) {
    termStart[terms[at]! + 1]! += 1
    if (at % (16 * STEPS) === 0) await turn()
  }
  for (let term = 0; term < termCount; term++) termStart[term + 1]! += termStart[term]!
  const next = termStart.slice()
  const sorted = { rows: new Uint32Array(terms.length), slots: new Uint32Array(terms.length), termStart }
  for (let at = 0; at < terms.length; at++) {
    const place = next[terms[at]!]!++
    sorted.rows[place] = rows[at]!
    sorted.slots[place] = slots[at]!
    if (at % (4 * STEPS) === 0) await turn()
  }
  return sorted
}

/** The terms of a table. `ENGINE_MISMATCH`: one is no text. */
export async function textsOf(table: TermTable, turn: Turn): Promise<string[]> {
  try {
    return await table.texts(turn)
  } catch (cause) {
    throw cause instanceof TypeError ? notRows('a term is no text') : cause
  }
}
