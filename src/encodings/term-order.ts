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

/**
 * The first four code units as one number in the same order. A unit from 255 on, and all after it, count as 255: so
 * they are compared.
 */
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
 * `terms`: in an order that builds the tree when they are inserted one after another, depth first; `sorted`: their
 * `sortedPositions`.
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

/** Makes a radix tree of terms. */
export interface TreeBuilder<Node> {
  /** A node with several children below `parent`: `term` up to `end` leads to it, and to the parent up to `from`. */
  branch(parent: Node, term: string, from: number, end: number): Node
  /** Term number `n` ends below `parent`; at `parent` itself if `from` is its length. */
  leaf(parent: Node, term: string, n: number, from: number): void
}

/** Builds the tree whose order was encoded. `terms` differ, and come in any order. Lets the event loop turn. */
export async function buildTermTree<Node>(
  terms: readonly string[],
  bytes: Uint8Array,
  root: Node,
  { branch, leaf }: TreeBuilder<Node>,
  turn: Turn = createYielder(),
): Promise<void> {
  const sorted = await sortedPositions(terms, turn)
  const text = Array.from(sorted, (position) => terms[position]!)
  const readOrder = createOrderReader(bytes)
  const stack: { from: number; to: number; above: number; parent: Node }[] = []
  if (text.length > 0) stack.push({ from: 0, to: text.length, above: 0, parent: root })
  let step = 0
  for (let range = stack.pop(); range !== undefined; range = stack.pop()) {
    step += 1
    if (step % WALK_STEPS === 0) await turn()
    const { from, to, above, parent } = range
    const first = text[from]!
    if (to - from === 1) {
      leaf(parent, first, sorted[from]!, above)
      continue
    }
    const depth = commonPrefix(first, text[to - 1]!, above)
    const node = depth === above ? parent : branch(parent, first, above, depth)
    const starts = childrenOf(text, from, to, depth)
    const order = readOrder.next(starts.length)
    for (let i = order.length - 1; i >= 0; i--) {
      const child = order[i]!
      stack.push({ from: starts[child]!, to: starts[child + 1] ?? to, above: depth, parent: node })
    }
  }
  readOrder.end()
}

/** The terms, in any order, in the one that was encoded. */
export async function decodeTermOrder(terms: readonly string[], bytes: Uint8Array): Promise<string[]> {
  const ordered: string[] = []
  await buildTermTree(terms, bytes, null, { branch: () => null, leaf: (_parent, term) => ordered.push(term) })
  return ordered
}

function createOrderReader(bytes: Uint8Array): { next(count: number): number[]; end(): void } {
  let at = 0
  function integer(): number {
    let value = 0
    let scale = 1
    for (;;) {
      const byte = bytes[at++]
      if (byte === undefined) throw notAnOrder('it ends too early')
      value += (byte & 0x7f) * scale
      scale *= 128
      if (byte < 0x80) return value
    }
  }
  return {
    next(count) {
      const order: number[] = []
      const seen = new Uint8Array(count)
      while (order.length < count) {
        const child = integer()
        if (child >= count || seen[child] === 1) throw notAnOrder('it is no permutation')
        seen[child] = 1
        order.push(child)
      }
      return order
    },
    end() {
      if (at !== bytes.length) throw notAnOrder(`${bytes.length - at} bytes are left over`)
    },
  }
}

function notAnOrder(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `the order of terms does not fit the terms: ${why}`, {
    details: { what: 'termOrder', saved: why, wanted: 'an order of the terms' },
  })
}

/**
 * Visits the nodes of the tree that have several children, depth first in the order that `choose` gives for each. Not
 * recursive: terms may be prefixes of each other a thousand times.
 */
async function walk(sorted: readonly string[], turn: Turn, choose: (starts: number[]) => number[]): Promise<void> {
  const stack: [from: number, to: number, depth: number][] = [[0, sorted.length, 0]]
  for (let step = 1; ; step++) {
    if (step % WALK_STEPS === 0) await turn()
    const range = stack.pop()
    if (range === undefined) return
    const [from, to, above] = range
    if (to - from < 2) continue
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
