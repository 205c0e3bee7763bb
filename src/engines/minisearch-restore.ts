// Makes a MiniSearch of what was saved. Its own maps are filled: `loadJS` would take objects, which take longer to make
// than the maps.

import { collectPostings, type PostingColumns } from '../encodings/posting-columns.ts'
import { notRows, readRows } from '../encodings/read-posting-rows.ts'
import { buildTermTree, type TreeBuilder } from '../encodings/term-order.ts'
import { createYielder, STEPS, type Turn } from '../event-loop.ts'
import type { SavedEngine } from './adapter.ts'
import type { MiniSearchLike } from './minisearch-capture.ts'

/** What is called of the class. */
export interface MiniSearchClass<Engine extends MiniSearchLike, Options> {
  new (options: Options): Engine
  loadJSAsync(js: never, options: Options): Promise<Engine>
  getDefault?(option: string): unknown
}

/** The blob `head`. */
export interface Head {
  json: object
  fields: number[]
}

/** A term's postings, as MiniSearch itself keeps them: frequencies by document by field. */
type TermLists = Map<number, Map<number, number>>

interface Terms {
  terms: string[]
  /** In step with `terms`. */
  lists: TermLists[]
}

export async function restoreMiniSearch<Engine extends MiniSearchLike, Options>(
  MiniSearch: MiniSearchClass<Engine, Options>,
  options: Options,
  saved: SavedEngine,
  signal: AbortSignal | undefined,
): Promise<Engine> {
  const turn = createYielder(signal)
  const { json, fields } = await saved.blob('head').json<Head>()
  const blob = saved.blob('documents')
  const shape = { fields: fields.length, size: blob.size, signal }
  const { ids, documents, sinks } = await readRows(blob.stream(), shape, collectPostings)
  if (!ids.every(isShortId)) throw notRows('the number of a document')
  const maps = await documentMaps(ids, documents, turn)
  const index: Terms = { terms: [], lists: [] }
  const numbers = new Map<string, number>()
  for (const [n, field] of fields.entries()) {
    const columns = await sinks[n]?.done(turn)
    if (columns !== undefined) await addField(index, numbers, field, columns, ids, turn)
  }
  const order = await saved.blob('termOrder').bytes()
  // `loadJSAsync` makes these maps of objects, and waits for a timer at every 1000 entries: for ever where a test fakes
  // the timers. So it gets an empty engine to make, which never waits, and the maps are put into it.
  const nothing = { documentIds: {}, fieldLength: {}, storedFields: {}, index: [] }
  const engine = await MiniSearch.loadJSAsync({ ...json, ...nothing } as never, options)
  const inside = engine as Engine & Partial<Fillable>
  if (!isFillable(inside)) {
    const js = { ...json, ...objectsOf(maps), index: await indexEntries(index, order, turn) }
    return await MiniSearch.loadJSAsync(js as never, options)
  }
  Object.assign(inside, maps)
  let steps = 0
  for (const [shortId, id] of maps._documentIds) {
    inside._idToShortId.set(id, shortId)
    steps += 1
    if (steps % STEPS === 0) await turn()
  }
  await fillTree(inside._index, index, order, turn)
  return engine
}

function isShortId(id: unknown): id is number {
  return Number.isInteger(id) && (id as number) >= 0
}

interface DocumentMaps {
  _documentIds: Map<number, unknown>
  _fieldLength: Map<number, unknown>
  _storedFields: Map<number, unknown>
}

async function documentMaps(
  shortIds: readonly number[],
  documents: readonly [row: number, document: unknown][],
  turn: Turn,
): Promise<DocumentMaps> {
  const maps: DocumentMaps = { _documentIds: new Map(), _fieldLength: new Map(), _storedFields: new Map() }
  for (let n = 0; n < documents.length; n++) {
    const [row, document] = documents[n]!
    if (!Array.isArray(document)) throw notRows('a document')
    const shortId = shortIds[row]!
    maps._documentIds.set(shortId, document[0])
    if (document[1] !== null) maps._fieldLength.set(shortId, withHoles(document[1]))
    if (document.length > 2) maps._storedFields.set(shortId, document[2])
    if (n % STEPS === 0) await turn()
  }
  return maps
}

/** A field that a document lacks before one that it has is a hole, which `discard` goes over. JSON has null there. */
function withHoles(lengths: unknown): unknown {
  if (Array.isArray(lengths))
    for (const [field, length] of lengths.entries()) if (length === null) delete lengths[field]
  return lengths
}

/** Each map is filled from beginning to end: they lie in memory one after another, and are large at once. */
async function addField(
  { terms, lists }: Terms,
  numbers: Map<string, number>,
  field: number,
  { terms: own, byTerm: { rows, slots, termStart } }: PostingColumns,
  shortIds: readonly number[],
  turn: Turn,
): Promise<void> {
  let looked = 0
  for (let n = 0; n < own.length; n++) {
    const frequencies = new Map<number, number>()
    const end = termStart[n + 1]!
    for (let at = termStart[n]!; at < end; at++) frequencies.set(shortIds[rows[at]!]!, slots[at]!)
    const term = own[n]!
    const number = numbers.get(term)
    if (number !== undefined) lists[number]!.set(field, frequencies)
    else {
      numbers.set(term, terms.length)
      terms.push(term)
      lists.push(new Map([[field, frequencies]]))
    }
    if (end + 4 * n - looked < STEPS) continue
    looked = end + 4 * n
    await turn()
  }
}

/** Where a MiniSearch keeps what is restored. */
interface Fillable extends DocumentMaps {
  _idToShortId: Map<unknown, number>
  _index: TermMap
}

interface TermMap {
  set(term: string, lists: TermLists): unknown
  _tree?: unknown
}

function isFillable<T>(inside: T & Partial<Fillable>): inside is T & Fillable {
  const maps = [inside._documentIds, inside._idToShortId, inside._fieldLength, inside._storedFields]
  return maps.every((map) => map instanceof Map) && typeof inside._index?.set === 'function'
}

/**
 * A node of its radix tree: nodes by the text that leads to them, and under `LEAF` what belongs to the term that ends
 * there.
 */
type TreeNode = Map<string, unknown>
const LEAF = ''

async function fillTree(index: TermMap, { terms, lists }: Terms, order: Uint8Array, turn: Turn): Promise<void> {
  if (!hasKnownTree(index)) {
    const set: TreeBuilder<null> = {
      branch: () => null,
      leaf: (_parent, term, n) => index.set(term, lists[n]!),
    }
    await buildTermTree(terms, order, null, set, turn)
    return
  }
  const nodes: TreeBuilder<TreeNode> = {
    branch(parent, term, from, end) {
      const node: TreeNode = new Map()
      parent.set(term.slice(from, end), node)
      return node
    },
    leaf(parent, term, n, from) {
      if (from === term.length) parent.set(LEAF, lists[n])
      else parent.set(term.slice(from), new Map([[LEAF, lists[n]]]))
    },
  }
  await buildTermTree(terms, order, index._tree, nodes, turn)
}

/** Tried with two terms, in a map of its own. */
function hasKnownTree(index: TermMap): index is TermMap & { _tree: TreeNode } {
  if (!(index._tree instanceof Map) || index._tree.size > 0) return false
  const tried = new (index.constructor as new () => TermMap)()
  const [a, b]: TermLists[] = [new Map(), new Map()]
  tried.set('ab', a!)
  tried.set('a', b!)
  const node = tried._tree instanceof Map && tried._tree.size === 1 ? tried._tree.get('a') : undefined
  return node instanceof Map && node.get(LEAF) === b && node.get('b') instanceof Map && node.get('b').get(LEAF) === a
}

function objectsOf({ _documentIds, _fieldLength, _storedFields }: DocumentMaps): object {
  return {
    documentIds: Object.fromEntries(_documentIds),
    fieldLength: Object.fromEntries(_fieldLength),
    storedFields: Object.fromEntries(_storedFields),
  }
}

/** What `loadJS` takes for an index. */
async function indexEntries(
  { terms, lists }: Terms,
  order: Uint8Array,
  turn: Turn,
): Promise<[string, Record<string, object>][]> {
  const entries: [string, Record<string, object>][] = []
  const collect: TreeBuilder<null> = {
    branch: () => null,
    leaf(_parent, term, n) {
      const fields = [...lists[n]!].map(([field, frequencies]) => [field, Object.fromEntries(frequencies)])
      entries.push([term, Object.fromEntries(fields)])
    },
  }
  await buildTermTree(terms, order, null, collect, turn)
  return entries
}
