// One text property of an Orama index: a radix tree from words to documents, and for each document its length and the
// frequency of each of its words. The tree and the frequencies mostly say the same, so a document's cell says it once:
//
//    null                               the document has nothing in this property
//    [length, word, …]                  its words, sorted; length null if there is none
//
// A word that does not simply occur once is followed by one of these:
//
//    3          it occurs three times: its frequency is 3 / length
//    [0.25]     its frequency is this
//    null       the tree has it, and there is no frequency
//    [0.25, 0]  there is a frequency, and the tree does not have it
//
// What follows from no document has lines of its own ("leftovers"):
//
//    [0, word]          a word of the tree in no document
//    [1, word, count]   tokenOccurrences has this instead of the number of documents; null: it has nothing
//    [3, word, count]   the same, where the count is NaN, as it gets for words like "constructor"
//    [2, word, [ids]]   the documents of this word, in an order that the documents' own does not give

import type { Turn } from '../event-loop.ts'
import { jsonTexts, NO_LINE } from './json-lines.ts'
import { setOwn } from './json-tree.ts'
import { byDocument, type PostingLists } from './postings.ts'
import { decodeTermOrder, encodeTermOrder, sortedPositions } from './term-order.ts'

export interface RadixNodeLike {
  w: string
  s: string
  k: string
  e: boolean
  d: ReadonlySet<number>
  c: ReadonlyMap<string, RadixNodeLike>
}

type Frequencies = Record<string, number>

/** What Orama keeps of a text property. */
interface TextProperty {
  frequencies: Record<string, Frequencies | undefined>
  fieldLengths: Record<string, number | undefined>
  tokenOccurrences: Record<string, unknown>
}

export interface CapturedText extends PostingLists, TextProperty {
  /** Depth first, in the order of the tree. */
  words: string[]
  sorted(): Promise<Uint32Array>
}

/** Copies what can change. Null when it is not the tree that we know, or knows documents beyond `count`. */
export function captureText(
  tree: RadixNodeLike,
  property: TextProperty,
  count: number,
  turn: Turn,
): CapturedText | null {
  const words: string[] = []
  const listStart: number[] = []
  const lists: ReadonlySet<number>[] = []
  let total = 0
  const stack: RadixNodeLike[] = [tree]
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.e) {
      words.push(node.w)
      listStart.push(total)
      lists.push(node.d)
      total += node.d.size
    } else if (node.d.size > 0 || (node.c.size < 2 && node !== tree)) return null
    const children = [...node.c]
    for (let i = children.length - 1; i >= 0; i--) {
      const [key, child] = children[i]!
      if (child.s === '' || child.k !== key || child.s[0] !== key || child.w !== node.w + child.s) return null
      stack.push(child)
    }
  }
  if (tree.w !== '' || tree.s !== '' || tree.k !== '') return null
  listStart.push(total)
  const documents = new Uint32Array(total)
  let at = 0
  for (const list of lists) {
    for (const document of list) {
      if (!Number.isInteger(document) || document < 0 || document >= count) return null
      documents[at++] = document
    }
  }
  let sorted: Promise<Uint32Array> | null = null
  return {
    words,
    sorted() {
      sorted ??= sortedPositions(words, turn)
      return sorted
    },
    listStart,
    documents,
    // A document's frequencies are made as it is inserted, and never changed after.
    frequencies: { ...property.frequencies },
    fieldLengths: { ...property.fieldLengths },
    tokenOccurrences: { ...property.tokenOccurrences },
  }
}

/** Gives the cell of one document after another, in the order of `rank`. */
export async function createCellWriter(
  text: CapturedText,
  rank: Uint32Array,
  turn: Turn,
): Promise<(document: number) => string> {
  const { words, documents, frequencies, fieldLengths } = text
  const keys = documents.map((document) => rank[document]!)
  // The words in order, so that those of each document come in order too.
  const sorted = await text.sorted()
  const { order, listOf } = await byDocument(sorted, text, keys, turn)
  const quoted = await jsonTexts(words, turn)
  let next = 0
  return (document) => {
    const length = fieldLengths[document]
    const own = frequencies[document]
    let items = ''
    let found = 0
    while (next < order.length && documents[order[next]!] === document) {
      const list = listOf[order[next++]!]!
      const word = words[list]!
      items += `,${quoted[list]!}`
      if (own === undefined || !Object.hasOwn(own, word)) {
        items += ',null'
        continue
      }
      found += 1
      const difference = differenceFromOnce(own[word]!, length)
      if (difference !== '') items += `,${difference}`
    }
    if (own !== undefined && Object.keys(own).length > found) items += onlyFrequencies(text, sorted, document, own)
    if (length === undefined && own === undefined && items === '') return 'null'
    return `[${length ?? 'null'}${items}]`
  }
}

function differenceFromOnce(frequency: number, length: number | undefined): string {
  if (length !== undefined) {
    const times = Math.round(frequency * length)
    if (times / length === frequency) return times === 1 ? '' : `${times}`
  }
  return `[${JSON.stringify(frequency)}]`
}

/** Frequencies of words that the tree does not know to be in this document. */
function onlyFrequencies(text: CapturedText, sorted: Uint32Array, document: number, own: Frequencies): string {
  const { words, listStart, documents } = text
  let items = ''
  for (const word of Object.keys(own).sort()) {
    const list = find(words, sorted, word)
    if (list !== -1 && documents.subarray(listStart[list]!, listStart[list + 1]!).includes(document)) continue
    items += `,${JSON.stringify(word)},[${JSON.stringify(own[word])},0]`
  }
  return items
}

function find(words: readonly string[], sorted: Uint32Array, word: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (words[sorted[middle]!]! < word) low = middle + 1
    else high = middle
  }
  const list = sorted[low]
  return list !== undefined && words[list] === word ? list : -1
}

/** Sorted by word, so that equal indexes have equal lines. */
export function* leftoverLines(text: CapturedText, sorted: Uint32Array, rank: Uint32Array): Generator<string> {
  const { words, listStart, documents, tokenOccurrences } = text
  const known = new Set<string>()
  for (const list of sorted) {
    const word = words[list]!
    known.add(word)
    yield NO_LINE
    const ids = documents.subarray(listStart[list]!, listStart[list + 1]!)
    const quoted = JSON.stringify(word)
    if (ids.length === 0) yield `[0,${quoted}]`
    const count = Object.hasOwn(tokenOccurrences, word) ? tokenOccurrences[word] : null
    if (count !== ids.length) yield occurrencesLine(word, count)
    if (ids.some((id, at) => at > 0 && rank[ids[at - 1]!]! > rank[id]!)) yield `[2,${quoted},[${ids.join()}]]`
  }
  for (const word of Object.keys(tokenOccurrences)
    .filter((each) => !known.has(each))
    .sort()) {
    yield occurrencesLine(word, tokenOccurrences[word])
  }
}

function occurrencesLine(word: string, count: unknown): string {
  if (typeof count === 'number' && !Number.isFinite(count)) return `[3,${JSON.stringify(word)},"${count}"]`
  return `[1,${JSON.stringify(word)},${JSON.stringify(count)}]`
}

export async function* wordOrder({ words, sorted }: CapturedText, turn: Turn): AsyncGenerator<Uint8Array> {
  yield await encodeTermOrder(words, await sorted(), turn)
}

// ---- restoring

export type Cell = null | [length: number | null, ...(string | number | null | number[])[]]

export interface RestoredText extends TextProperty {
  /** Documents by word. */
  lists: Map<string, number[]>
  /** Words of the tree that `tokenOccurrences` does not have. */
  absent: Set<string>
}

export function createText(): RestoredText {
  return { lists: new Map(), absent: new Set(), frequencies: {}, fieldLengths: {}, tokenOccurrences: {} }
}

export function addCell({ lists, frequencies, fieldLengths }: RestoredText, document: number, cell: Cell): void {
  if (cell === null) return
  const length = cell[0]
  const own: Frequencies = {}
  if (length !== null) fieldLengths[document] = length
  for (let at = 1; at < cell.length; at++) {
    const word = cell[at] as string
    const next = cell[at + 1]
    const differs = next !== undefined && typeof next !== 'string'
    if (differs) at += 1
    if (!differs) own[word] = 1 / (length as number)
    else if (typeof next === 'number') own[word] = next / (length as number)
    else if (next !== null) own[word] = next[0]!
    if (differs && next !== null && typeof next === 'object' && next.length > 1) continue
    const list = lists.get(word)
    if (list === undefined) lists.set(word, [document])
    else list.push(document)
  }
  if (length !== null || Object.keys(own).length > 0) frequencies[document] = own
}

export function addLeftover({ lists, absent, tokenOccurrences }: RestoredText, row: [number, string, unknown]): void {
  const [kind, word, value] = row
  if (kind === 0) lists.set(word, [])
  else if (kind === 1 && value === null) absent.add(word)
  else if (kind === 1) setOwn(tokenOccurrences, word, value)
  else if (kind === 3) setOwn(tokenOccurrences, word, Number(value))
  else lists.set(word, value as number[])
}

/** After all cells and leftovers. */
export function finishOccurrences({ lists, absent, tokenOccurrences }: RestoredText): void {
  for (const [word, list] of lists) {
    if (absent.has(word) || Object.hasOwn(tokenOccurrences, word)) continue
    setOwn(tokenOccurrences, word, list.length)
  }
}

/** A node of the tree as `RadixTree.fromJSON` takes it. */
interface RadixJson {
  w: string
  s: string
  k: string
  e: boolean
  d: number[]
  c: [key: string, node: RadixJson][]
}

/** The tree of all words, in the order that was saved. */
export async function radixJson({ lists }: RestoredText, order: Uint8Array): Promise<RadixJson> {
  const root: RadixJson = { w: '', s: '', k: '', e: false, d: [], c: [] }
  const path: RadixJson[] = [root]
  for (const word of await decodeTermOrder([...lists.keys()], order)) {
    let closed: RadixJson | null = null
    while (!word.startsWith(path.at(-1)!.w)) {
      closed = path.pop()!
    }
    let parent = path.at(-1)!
    if (closed !== null) {
      const common = commonPrefix(closed.w, word)
      if (common > parent.w.length) {
        // The word parts from the last child in the middle of its edge.
        const between = newNode(word.slice(0, common), parent)
        attach(closed, between)
        parent.c.pop()
        parent.c.push([between.k, between])
        between.c.push([closed.k, closed])
        path.push(between)
        parent = between
      }
    }
    const ids = lists.get(word)!
    if (word === parent.w) {
      parent.e = true
      parent.d = ids
      continue
    }
    const node = newNode(word, parent)
    node.e = true
    node.d = ids
    parent.c.push([node.k, node])
    path.push(node)
  }
  return root
}

function newNode(w: string, parent: RadixJson): RadixJson {
  const node: RadixJson = { w, s: '', k: '', e: false, d: [], c: [] }
  attach(node, parent)
  return node
}

function attach(node: RadixJson, parent: RadixJson): void {
  node.s = node.w.slice(parent.w.length)
  node.k = node.s[0]!
}

function commonPrefix(a: string, b: string): number {
  let at = 0
  while (at < a.length && at < b.length && a.charCodeAt(at) === b.charCodeAt(at)) at += 1
  return at
}
