// A text property of an Orama index: a radix tree from words to documents, and for each document its length and the
// frequency of each of its words. The tree and the frequencies mostly say the same, so a document's row says it once:
// its cell has the words that the tree has for it, and a slot is how often the word occurs. Then the frequency is slot
// / length, and the length is the sum of the slots. Slot 0: the tree has the word, and there is no frequency.
//
// A row whose document is a list says more:
//
//    [document or null, [length or null, …], [[n, word, frequency], …]]
//
// with the length of each text property, and frequencies that are others than the slots say, of text property n.
//
// What follows from no document has lines of its own ("leftovers"):
//
//    [0, word]          a word of the tree in no document
//    [1, word, count]   tokenOccurrences has this instead of the number of documents; null: it has nothing
//    [3, word, count]   the same, where the count is NaN, as it gets for words like "constructor"
//    [2, word, [ids]]   the documents of this word, in an order that the documents' own does not give

import { STEPS, type Turn } from '../event-loop.ts'
import { NO_LINE } from './json-lines.ts'
import { documentJson } from './json-value.ts'
import { type InvertedIndex, type RowPostings, type Rows, type RowTexts, SLOT_MAX } from './posting-rows.ts'
import type { PostingLists } from './postings.ts'
import { encodeTermOrder, sortedPositions } from './term-order.ts'

export interface RadixNodeLike {
  w: string
  s: string
  k: string
  e: boolean
  d: ReadonlySet<number>
  c: ReadonlyMap<string, RadixNodeLike>
}

export type Frequencies = Record<string, number>

/** What Orama keeps of a text property. */
export interface TextProperty {
  frequencies: Record<string, Frequencies | undefined>
  fieldLengths: Record<string, number | undefined>
  tokenOccurrences: Record<string, unknown>
}

export interface CapturedText extends PostingLists, Omit<TextProperty, 'tokenOccurrences'> {
  /** `tokenOccurrences`: the keys of so large an object come at one go, and a map is walked in turns. */
  occurrences: ReadonlyMap<string, unknown>
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
    const first = stack.length
    for (const [key, child] of node.c) {
      if (child.s === '' || child.k !== key || child.s[0] !== key || !isBelow(child, node)) return null
      stack.push(child)
    }
    // Taken from the end.
    for (let left = first, right = stack.length - 1; left < right; left++, right--) {
      const child = stack[left]!
      stack[left] = stack[right]!
      stack[right] = child
    }
  }
  if (tree.w !== '' || tree.s !== '' || tree.k !== '') return null
  listStart.push(total)
  const documents = new Uint32Array(total)
  let at = 0
  for (const list of lists) {
    for (const document of list) {
      documents[at] = document
      // Another number: it was no integer of 32 bits.
      if (documents[at++] !== document || document >= count) return null
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
    occurrences: new Map(Object.entries(property.tokenOccurrences)),
  }
}

/**
 * Whether the word of `child` is that of `node` and the child's own part: found without making it, of which there are
 * many.
 */
function isBelow(child: RadixNodeLike, node: RadixNodeLike): boolean {
  return child.w.length === node.w.length + child.s.length && child.w.startsWith(node.w) && child.w.endsWith(child.s)
}

/** All text properties as one index. Its rows are documents, in the order of `rank`. */
export async function textIndex(texts: readonly CapturedText[], rank: Uint32Array, turn: Turn): Promise<InvertedIndex> {
  const count = texts.reduce((sum, { words }) => sum + words.length, 0)
  const index = {
    terms: [] as string[],
    order: new Uint32Array(count),
    fieldStart: [0],
    listStart: [] as number[],
    documents: new Uint32Array(texts.reduce((sum, { documents }) => sum + documents.length, 0)),
  }
  let filled = 0
  for (const text of texts) {
    const first = index.terms.length
    const sorted = await text.sorted()
    for (let n = 0; n < text.words.length; n++) {
      index.terms.push(text.words[n]!)
      index.listStart.push(filled + text.listStart[n]!)
      index.order[first + n] = first + sorted[n]!
      if (n % STEPS === 0) await turn()
    }
    for (let at = 0; at < text.documents.length; at++) {
      index.documents[filled + at] = rank[text.documents[at]!]!
      if (at % (4 * STEPS) === 0) await turn()
    }
    filled += text.documents.length
    index.fieldStart.push(index.terms.length)
  }
  index.listStart.push(filled)
  return index
}

/** A row for each document that has anything, in the order of `order`. */
export function textRows(
  engine: string,
  documents: Readonly<Record<string, object>>,
  ids: readonly string[],
  texts: readonly CapturedText[],
  { terms, order: sorted, fieldStart }: InvertedIndex,
  order: Uint32Array,
): Rows {
  /** The words of each property, when they are asked for. */
  const places: Map<string, number>[] = []
  let next = 0
  let exceptions: [n: number, word: string, frequency: unknown][] = []

  /** Sets the slots of one property of a document. True: they say its length. */
  function setSlots(document: number, n: number, { terms: words, slots, to }: RowPostings): boolean {
    const { fieldLengths, frequencies } = texts[n]!
    const length = fieldLengths[document]
    const own = frequencies[document]
    const end = fieldStart[n + 1]!
    let sum = 0
    let found = 0
    for (; next < to && words[next]! < end; next++) {
      slots[next] = 0
      if (own === undefined) continue
      const word = terms[sorted[words[next]!]!]!
      const frequency = own[word]
      if (typeof frequency !== 'number' && !Object.hasOwn(own, word)) continue
      found += 1
      const times = length === undefined ? 0 : Math.round(frequency! * length)
      if (times > 0 && times <= SLOT_MAX && times / length! === frequency) {
        slots[next] = times
        sum += times
      } else exceptions.push([n, word, frequency])
    }
    if (own !== undefined && Object.keys(own).length > found) addOthers(n, document, own)
    return (length ?? 0) === sum && (length === undefined || sum > 0)
  }

  /** Frequencies of words that the tree does not know to be in this document. */
  function addOthers(n: number, document: number, own: Frequencies): void {
    const { words, listStart, documents: inTree } = texts[n]!
    places[n] ??= new Map(words.map((word, list) => [word, list]))
    for (const word of Object.keys(own).sort()) {
      const list = places[n]!.get(word)
      if (list !== undefined && inTree.subarray(listStart[list]!, listStart[list + 1]!).includes(document)) continue
      exceptions.push([n, word, own[word]])
    }
  }

  return {
    count: order.length,
    row(place, postings): RowTexts | null {
      const document = order[place]!
      const stored = documents[document]
      let isPlain = true
      next = postings.from
      exceptions = []
      for (let n = 0; n < texts.length; n++) isPlain = setSlots(document, n, postings) && isPlain
      if (isPlain && exceptions.length === 0 && stored === undefined) {
        return postings.from === postings.to ? null : { id: document, document: '' }
      }
      const text = stored === undefined ? 'null' : documentJson(engine, ids[document - 1], stored)
      if (isPlain && exceptions.length === 0 && text[0] === '{') return { id: document, document: text }
      const lengths = texts.map(({ fieldLengths }) => fieldLengths[document] ?? null)
      return { id: document, document: `[${text},${JSON.stringify(lengths)},${JSON.stringify(exceptions)}]` }
    },
  }
}

/** Sorted by word, so that equal indexes have equal lines. */
export function* leftoverLines(text: CapturedText, sorted: Uint32Array, rank: Uint32Array): Generator<string> {
  const { words, listStart, documents, occurrences } = text
  const known = new Set<string>()
  for (const list of sorted) {
    const word = words[list]!
    known.add(word)
    yield NO_LINE
    const ids = documents.subarray(listStart[list]!, listStart[list + 1]!)
    const quoted = JSON.stringify(word)
    if (ids.length === 0) yield `[0,${quoted}]`
    const count = occurrences.get(word) ?? null
    if (count !== ids.length) yield occurrencesLine(word, count)
    if (!isAscending(ids, rank)) yield `[2,${quoted},[${ids.join()}]]`
  }
  const others: string[] = []
  for (const word of occurrences.keys()) {
    if (!known.has(word)) others.push(word)
    yield NO_LINE
  }
  for (const word of others.sort()) {
    yield occurrencesLine(word, occurrences.get(word))
  }
}

function isAscending(ids: Uint32Array, rank: Uint32Array): boolean {
  let before = 0
  for (let at = 0; at < ids.length; at++) {
    const own = rank[ids[at]!]!
    if (own < before) return false
    before = own
  }
  return true
}

function occurrencesLine(word: string, count: unknown): string {
  if (typeof count === 'number' && !Number.isFinite(count)) return `[3,${JSON.stringify(word)},"${count}"]`
  return `[1,${JSON.stringify(word)},${JSON.stringify(count)}]`
}

export async function* wordOrder({ words, sorted }: CapturedText, turn: Turn): AsyncGenerator<Uint8Array> {
  yield await encodeTermOrder(words, await sorted(), turn)
}
