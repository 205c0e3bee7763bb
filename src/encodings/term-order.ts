// Encodes the order of children in a radix tree of terms. The set of terms determines the tree, except for the order in
// which each node keeps its children. The encoding is small, so it may change in many places when terms are added.
// Nodes with several children are visited depth-first. For each child, the encoding has its position among the node's
// sorted children as a variable-length integer; a term that ends at the node sorts first. The number of children
// follows from the terms.

import { createYielder, STEPS, type Turn } from '../event-loop.ts'
import { HoldfastError } from '../index.ts'
import { sortedByKey } from './postings.ts'

/** Nodes of a tree between two looks at the clock. */
const WALK_STEPS = 256

/** Terms are sorted in runs of this length without yielding, and the runs are then merged. */
const RUN = 4096

/** Fewer terms are sorted faster by comparing them. */
const COMPARED = 1024

/** The positions of `terms` in the order of their UTF-16 code units. Lets the event loop turn. */
export async function sortedPositions(terms: readonly string[], turn: Turn = createYielder()): Promise<Uint32Array> {
  const count = terms.length
  if (count < COMPARED)
    return await merged(
      terms,
      Uint32Array.from({ length: count }, (_, n) => n),
      turn,
    )
  // By their beginnings as numbers first, which takes no comparisons. Those that begin alike lie together then.
  const beginnings = new Uint32Array(count)
  for (let n = 0; n < count; n++) {
    beginnings[n] = beginningOf(terms[n]!)
    if (n % STEPS === 0) await turn()
  }
  const sorted = await sortedByKey(beginnings, turn)
  for (let from = 0; from < count; ) {
    const beginning = beginnings[sorted[from]!]!
    let to = from + 1
    while (to < count && beginnings[sorted[to]!] === beginning) to += 1
    if (to - from > 1) sorted.set(await merged(terms, sorted.subarray(from, to), turn), from)
    from = to
  }
  return sorted
}

/** The first four code units as one number in the same order. A unit from 255 on, and all after it, count as 255: so they are compared. */
function beginningOf(term: string): number {
  let beginning = 0
  for (let n = 0; n < 4; n++) {
    const unit = n < term.length ? term.charCodeAt(n) : 0
    if (unit >= 0xff) return ((beginning << (8 * (4 - n))) | (0xffffffff >>> (8 * n))) >>> 0
    beginning = (beginning << 8) | unit
  }
  return beginning >>> 0
}

/** `positions`, in the order of their terms: a merge sort, a few thousand at a time. */
async function merged(terms: readonly string[], positions: Uint32Array, turn: Turn): Promise<Uint32Array> {
  const count = positions.length
  let from = new Uint32Array(count)
  for (let start = 0; start < count; start += RUN) {
    const run = Array.from(positions.subarray(start, start + RUN))
    from.set(
      run.sort((a, b) => (terms[a]! < terms[b]! ? -1 : 1)),
      start,
    )
    const turning = turn()
    if (turning !== undefined) await turning
  }
  let into = new Uint32Array(count <= RUN ? 0 : count)
  for (let width = RUN; width < count; width *= 2) {
    for (let start = 0; start < count; start += 2 * width) {
      const middle = Math.min(start + width, count)
      const end = Math.min(start + 2 * width, count)
      let left = start
      let right = middle
      for (let at = start; at < end; at++) {
        const takeLeft = left < middle && (right >= end || terms[from[left]!]! < terms[from[right]!]!)
        into[at] = takeLeft ? from[left++]! : from[right++]!
        if (at % STEPS === 0) await turn()
      }
    }
    const sorted = into
    into = from
    from = sorted
  }
  return from
}

/**
 * `terms`: in an order that builds the tree when they are inserted one after another, depth first; `sorted`: their `sortedPositions`.
 */
export async function encodeTermOrder(
  terms: readonly string[],
  sorted: Uint32Array,
  turn: Turn = createYielder(),
): Promise<Uint8Array> {
  const text = Array.from(sorted, (position) => terms[position]!)
  const bytes = new ByteList()
  await walk(text, turn, (starts) => {
    // All of a child's terms stand together, so any one of them tells where the child stands.
    const places = starts.map((start) => sorted[start]!)
    const order = places.map((_, child) => child).sort((a, b) => places[a]! - places[b]!)
    for (const child of order) bytes.pushInteger(child)
    return order
  })
  return bytes.take()
}

/** The terms, in any order, in the one that was encoded. */
export async function decodeTermOrder(terms: readonly string[], bytes: Uint8Array): Promise<string[]> {
  const sorted = Array.from(await sortedPositions(terms), (position) => terms[position]!)
  let at = 0
  const ordered: string[] = []
  await walk(
    sorted,
    createYielder(),
    (starts) => {
      const order: number[] = []
      const seen = new Set<number>()
      for (let i = 0; i < starts.length; i++) {
        let child = 0
        let scale = 1
        for (;;) {
          const byte = bytes[at++]
          if (byte === undefined) throw notAnOrder('it ends too early')
          child += (byte & 0x7f) * scale
          scale *= 128
          if (byte < 0x80) break
        }
        if (child >= starts.length || seen.has(child)) throw notAnOrder('it is no permutation')
        seen.add(child)
        order.push(child)
      }
      return order
    },
    (term) => ordered.push(term),
  )
  if (at !== bytes.length) throw notAnOrder(`${bytes.length - at} bytes are left over`)
  return ordered
}

function notAnOrder(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `the order of terms does not fit the terms: ${why}`, {
    details: { what: 'termOrder', saved: why, wanted: 'an order of the terms' },
  })
}

/**
 * Visits the nodes of the tree that have several children, depth first in the order that `choose` gives for each. Not recursive: terms may
 * be prefixes of each other a thousand times.
 */
async function walk(
  sorted: readonly string[],
  turn: Turn,
  choose: (starts: number[]) => number[],
  leaf?: (term: string) => void,
): Promise<void> {
  const stack: [from: number, to: number, depth: number][] = [[0, sorted.length, 0]]
  for (let step = 1; ; step++) {
    if (step % WALK_STEPS === 0) await turn()
    const range = stack.pop()
    if (range === undefined) return
    const [from, to, above] = range
    if (to - from === 0) continue
    if (to - from === 1) {
      leaf?.(sorted[from]!)
      continue
    }
    const depth = commonPrefix(sorted[from]!, sorted[to - 1]!, above)
    const starts = childrenOf(sorted, from, to, depth)
    const order = choose(starts)
    for (let i = order.length - 1; i >= 0; i--) {
      const child = order[i]!
      stack.push([starts[child]!, starts[child + 1] ?? to, depth])
    }
  }
}

/** Where each child's terms begin. */
function childrenOf(sorted: readonly string[], from: number, to: number, depth: number): number[] {
  const starts: number[] = []
  let before = -2
  for (let at = from; at < to; at++) {
    const text = sorted[at]!
    const unit = text.length === depth ? -1 : text.charCodeAt(depth)
    if (unit !== before) starts.push(at)
    before = unit
  }
  return starts
}

function commonPrefix(a: string, b: string, from: number): number {
  let at = from
  while (at < a.length && at < b.length && a.charCodeAt(at) === b.charCodeAt(at)) at += 1
  return at
}

class ByteList {
  #bytes = new Uint8Array(1024)
  #length = 0

  pushInteger(value: number): void {
    if (this.#length + 8 > this.#bytes.length) {
      const longer = new Uint8Array(this.#bytes.length * 2)
      longer.set(this.#bytes)
      this.#bytes = longer
    }
    let rest = value
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80
      rest = Math.floor(rest / 128)
    }
    this.#bytes[this.#length++] = rest
  }

  take(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }
}
