// Posting lists (documents by term): finds an order of documents that they agree with, and sorts numbers.

import { createYielder, STEPS, type Turn } from '../event-loop.ts'

/** Posting lists as columns: list `i` is `documents[listStart[i] … listStart[i + 1])`. */
export interface PostingLists {
  /** Where each list begins, and the end of the last. */
  listStart: readonly number[]
  documents: Uint32Array
}

const DIGIT = 0x10000

/** Positions in `keys`, in the order of the keys; equal keys keep their order. A radix sort, two digits of 16 bits. */
export async function sortedByKey(keys: Uint32Array, turn: Turn = createYielder()): Promise<Uint32Array> {
  const start = Uint32Array.from({ length: keys.length }, (_, n) => n)
  return await sortByDigit(await sortByDigit(start, keys, 0, turn), keys, 16, turn)
}

async function sortByDigit(order: Uint32Array, keys: Uint32Array, shift: number, turn: Turn): Promise<Uint32Array> {
  const next = new Uint32Array(DIGIT + 1)
  for (let n = 0; n < order.length; n++) {
    next[((keys[order[n]!]! >>> shift) & 0xffff) + 1]! += 1
    if (n % (16 * STEPS) === 0) await turn()
  }
  // All have the digit 0, as the upper one below 65,536 documents.
  if (next[1] === order.length) return order
  for (let i = 0; i < DIGIT; i++) next[i + 1]! += next[i]!
  const sorted = new Uint32Array(order.length)
  for (let n = 0; n < order.length; n++) {
    const at = order[n]!
    sorted[next[(keys[at]! >>> shift) & 0xffff]!++] = at
    if (n % (16 * STEPS) === 0) await turn()
  }
  return sorted
}

/**
 * An order of the documents 0 … count - 1 with which every list agrees, if there is one: the order in which they were
 * indexed, as far as the lists tell. Where they leave it open, smaller numbers come first, so that equal lists give an
 * equal order. Null: the lists contradict each other. Lets the event loop turn.
 */
export async function documentOrder(
  count: number,
  columns: readonly PostingLists[],
  turn: Turn = createYielder(),
): Promise<Uint32Array | null> {
  const ascending = Uint32Array.from({ length: count }, (_, document) => document)
  let isAscending = true
  await forEachPair(columns, turn, (a, b) => {
    isAscending &&= a < b
  })
  if (isAscending) return ascending
  // Neighbours in a list are edges of a graph, kept as in a compressed sparse row: edges of `a` are `edges[edgeStart[a]
  // … edgeStart[a + 1])`.
  const edgeStart = new Uint32Array(count + 1)
  const before = new Uint32Array(count)
  await forEachPair(columns, turn, (a, b) => {
    edgeStart[a + 1]! += 1
    before[b]! += 1
  })
  for (let i = 0; i < count; i++) edgeStart[i + 1]! += edgeStart[i]!
  const next = edgeStart.slice()
  const edges = new Uint32Array(edgeStart[count]!)
  await forEachPair(columns, turn, (a, b) => {
    edges[next[a]!++] = b
  })
  const ready = createHeap(count)
  for (const document of ascending) if (before[document] === 0) ready.push(document)
  const order = new Uint32Array(count)
  let done = 0
  for (let document = ready.pop(); document !== -1; document = ready.pop()) {
    order[done++] = document
    for (let at = edgeStart[document]!; at < edgeStart[document + 1]!; at++) {
      const after = edges[at]!
      before[after]! -= 1
      if (before[after] === 0) ready.push(after)
    }
    if (done % STEPS === 0) await turn()
  }
  return done === count ? order : null
}

async function forEachPair(
  columns: readonly PostingLists[],
  turn: Turn,
  visit: (a: number, b: number) => void,
): Promise<void> {
  let looked = 0
  let seen = 0
  for (const { listStart, documents } of columns) {
    for (let list = 0; list + 1 < listStart.length; list++) {
      for (let at = listStart[list]! + 1; at < listStart[list + 1]!; at++) visit(documents[at - 1]!, documents[at]!)
      seen += listStart[list + 1]! - listStart[list]! + 1
      if (seen - looked < STEPS) continue
      looked = seen
      await turn()
    }
  }
}

/** The smallest of up to `capacity` numbers first; -1 when there is none. */
function createHeap(capacity: number): { push(value: number): void; pop(): number } {
  const heap = new Uint32Array(capacity)
  let size = 0
  return {
    push(value) {
      let at = size++
      while (at > 0) {
        const parent = (at - 1) >> 1
        if (heap[parent]! <= value) break
        heap[at] = heap[parent]!
        at = parent
      }
      heap[at] = value
    },
    pop() {
      if (size === 0) return -1
      const smallest = heap[0]!
      const last = heap[--size]!
      let at = 0
      for (;;) {
        let child = 2 * at + 1
        if (child >= size) break
        if (child + 1 < size && heap[child + 1]! < heap[child]!) child += 1
        if (heap[child]! >= last) break
        heap[at] = heap[child]!
        at = child
      }
      if (size > 0) heap[at] = last
      return smallest
    },
  }
}
