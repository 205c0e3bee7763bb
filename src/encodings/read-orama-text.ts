// Makes a text property of an Orama index of what `orama-text.ts` wrote.

import { createYielder, STEPS, type Turn } from '../event-loop.ts'
import { setOwn } from './json-tree.ts'
import type { Frequencies, TextProperty } from './orama-text.ts'
import { collectPostings, type PostingColumns } from './posting-columns.ts'
import { notRows, type ReadRows } from './read-posting-rows.ts'
import { buildTermTree, type TreeBuilder } from './term-order.ts'

export interface RestoredText extends TextProperty {
  words: string[]
  /** Documents of each word, in the order of the index. */
  documentsOf(n: number): Iterable<number>
}

type Leftover = [kind: number, word: string, value?: unknown]

/** What rows say beside their postings. */
interface ReadDocuments {
  /** By internal id, in the order in which they were indexed. */
  documents: Map<number, object>
  /** By text property: lengths of rows, where the slots do not say them. */
  lengths: Map<number, number | null>[]
  /** By text property. */
  exceptions: [row: number, word: string, frequency: unknown][][]
}

/** @param count of text properties */
export function readDocuments({ ids, documents }: ReadRows<unknown>, count: number): ReadDocuments {
  const read: ReadDocuments = {
    documents: new Map(),
    lengths: Array.from({ length: count }, () => new Map()),
    exceptions: Array.from({ length: count }, () => []),
  }
  for (const [row, value] of documents) {
    const stored: unknown = Array.isArray(value) ? value[0] : value
    if (typeof stored !== 'object') throw notRows('a document')
    if (stored !== null) read.documents.set(ids[row] as number, stored)
    if (!Array.isArray(value)) continue
    const [, lengths, exceptions] = value as [unknown, (number | null)[], [number, string, unknown][]]
    if (!Array.isArray(lengths) || !Array.isArray(exceptions)) throw notRows('a document')
    for (let n = 0; n < count; n++) read.lengths[n]!.set(row, lengths[n] ?? null)
    for (const [n, word, frequency] of exceptions) {
      const own = read.exceptions[n]
      if (own === undefined) throw notRows('a frequency')
      own.push([row, word, frequency])
    }
  }
  return read
}

/** @param ids of the documents, by row */
export async function restoreText(
  columns: PostingColumns | undefined,
  ids: readonly number[],
  lengths: ReadonlyMap<number, number | null>,
  exceptions: readonly [row: number, word: string, frequency: unknown][],
  leftovers: readonly Leftover[],
  turn: Turn,
): Promise<RestoredText> {
  const { terms: words, byRow, byTerm } = columns ?? (await collectPostings().done(turn))
  const scores = await scoresOf(words, byRow, ids, lengths, turn)
  for (const [row, word, frequency] of exceptions) {
    scores.frequencies[ids[row]!] ??= createDictionary()
    setOwn(scores.frequencies[ids[row]!]!, word, frequency)
  }
  const { others, tokenOccurrences } = await occurrencesOf(words, byTerm.termStart, leftovers, turn)
  function* documentsOf(n: number): Generator<number> {
    const end = byTerm.termStart[n + 1]!
    for (let at = byTerm.termStart[n]!; at < end; at++) yield ids[byTerm.rows[at]!]!
  }
  return { words, ...scores, tokenOccurrences, documentsOf: (n) => others.get(n) ?? documentsOf(n) }
}

/**
 * An empty object that has no hidden class. Those of documents have their words in an order of their own, and V8 would
 * make a class for each word added; an object from which a property other than the last was deleted is a hash table.
 * That takes a third of the time.
 */
function createDictionary(): Frequencies {
  const dictionary: { first?: number; second?: number } = { first: 1, second: 2 }
  delete dictionary.first
  delete dictionary.second
  return dictionary as Frequencies
}

async function scoresOf(
  words: readonly string[],
  { terms, slots, rows }: PostingColumns['byRow'],
  ids: readonly number[],
  lengths: ReadonlyMap<number, number | null>,
  turn: Turn,
): Promise<Pick<TextProperty, 'frequencies' | 'fieldLengths'>> {
  const frequencies: TextProperty['frequencies'] = {}
  const fieldLengths: TextProperty['fieldLengths'] = {}
  let looked = 0
  for (let at = 0; at < rows.length; ) {
    const row = rows[at]!
    let end = at
    let sum = 0
    for (; end < rows.length && rows[end] === row; end++) sum += slots[end]!
    const said = lengths.get(row)
    const length = said === undefined && sum > 0 ? sum : (said ?? null)
    const own = length === null && sum === 0 ? null : createDictionary()
    if (own !== null) frequencies[ids[row]!] = own
    if (length !== null) fieldLengths[ids[row]!] = length
    for (; at < end; at++) if (own !== null && slots[at]! > 0) own[words[terms[at]!]!] = slots[at]! / length!
    if (at - looked < STEPS / 4) continue
    looked = at
    const turning = turn()
    if (turning !== undefined) await turning
  }
  // Of rows without a posting.
  for (const [row, length] of lengths) {
    if (length === null || Object.hasOwn(fieldLengths, ids[row]!)) continue
    fieldLengths[ids[row]!] = length
    frequencies[ids[row]!] = createDictionary()
  }
  return { frequencies, fieldLengths }
}

/**
 * Adds words that are in no document to `words`. `others`: documents of words that have them in an order of their own.
 */
async function occurrencesOf(
  words: string[],
  termStart: Uint32Array,
  leftovers: readonly Leftover[],
  turn: Turn,
): Promise<{ others: Map<number, number[]>; tokenOccurrences: Record<string, unknown> }> {
  const others = new Map<number, number[]>()
  const tokenOccurrences: Record<string, unknown> = {}
  const known = new Map<string, number>()
  if (leftovers.some(([kind]) => kind === 0 || kind === 2)) for (const [n, word] of words.entries()) known.set(word, n)
  const counts = new Map<string, unknown>()
  const count = words.length
  for (const [kind, word, value] of leftovers) {
    if (kind === 1) counts.set(word, value)
    else if (kind === 3) counts.set(word, Number(value))
    else {
      let n = known.get(word)
      if (n === undefined) {
        n = words.push(word) - 1
        known.set(word, n)
      }
      others.set(n, kind === 0 ? [] : (value as number[]))
    }
  }
  for (let n = 0; n < words.length; n++) {
    const word = words[n]!
    if (!counts.has(word)) {
      const own = others.get(n)?.length ?? (n < count ? termStart[n + 1]! - termStart[n]! : 0)
      setOwn(tokenOccurrences, word, own)
    }
    if (n % STEPS === 0) await turn()
  }
  for (const [word, value] of counts) if (value !== null) setOwn(tokenOccurrences, word, value)
  return { others, tokenOccurrences }
}

/** A node of Orama's tree. */
export interface RadixNode {
  w: string
  s: string
  k: string
  e: boolean
  d: Set<number>
  c: Map<string, RadixNode>
}

/** Fills an empty tree with all words. `order`: the blob that has theirs. */
export async function fillRadixTree(
  root: RadixNode,
  createNode: (key: string, part: string, isEnd: boolean) => RadixNode,
  { words, documentsOf }: Pick<RestoredText, 'words' | 'documentsOf'>,
  order: Uint8Array,
  turn: Turn = createYielder(),
): Promise<void> {
  function child(parent: RadixNode, word: string, from: number, end: number): RadixNode {
    const part = word.slice(from, end)
    const node = createNode(part[0]!, part, false)
    node.w = word.slice(0, end)
    parent.c.set(node.k, node)
    return node
  }
  const builder: TreeBuilder<RadixNode> = {
    branch: child,
    leaf(parent, word, n, from) {
      const node = from === word.length ? parent : child(parent, word, from, word.length)
      node.e = true
      for (const document of documentsOf(n)) node.d.add(document)
    },
  }
  await buildTermTree(words, order, root, builder, turn)
}
