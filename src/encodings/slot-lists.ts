// Collects the postings of one field of rows, and makes lists of ids by term and slot of them.

import { STEPS, type Turn } from '../event-loop.ts'
import { textsOf } from './posting-columns.ts'
import type { Id, PostingSink } from './read-posting-rows.ts'
import { longer, TermTable } from './term-table.ts'

/**
 * The terms of one field in the order in which they come first, and for each its lists by slot: ids of rows, in their
 * order.
 */
export interface SlotListsOfTerms {
  terms: string[]
  lists: Id[][][]
}

interface SlotLists extends PostingSink {
  /** `ids` of the rows. `ENGINE_MISMATCH`: a term is no text. */
  done(ids: readonly Id[], turn: Turn): Promise<SlotListsOfTerms>
}

/** Items of a column that is new: each field has several, and may have no more than a posting. */
const START = 64

export function createSlotLists(): SlotLists {
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
      return { terms: await textsOf(table, turn), lists: bySlot }
    },
  }
}
