// Makes an Orama database of what was saved. Orama's own `load` gets everything but the trees of text properties, which
// are filled in place: it would take them as JSON, and make nodes of nodes.

import { decodeLines } from '../encodings/json-lines.ts'
import { readTree } from '../encodings/json-tree.ts'
import { readSort, type SavedSort } from '../encodings/orama-sort.ts'
import { readVectors } from '../encodings/orama-vectors.ts'
import { collectPostings } from '../encodings/posting-columns.ts'
import {
  fillRadixTree,
  type RadixNode,
  type RestoredText,
  readDocuments,
  restoreText,
} from '../encodings/read-orama-text.ts'
import { notRows, readRows } from '../encodings/read-posting-rows.ts'
import { createYielder, type Turn } from '../event-loop.ts'
import type { SavedEngine } from './adapter.ts'
import { type Head, notKnown, type OramaDb, type Raw, type RawIndex } from './orama-raw.ts'

/** A tree without a word, as `RadixTree.fromJSON` takes it. */
const NO_WORDS = { w: '', s: '', k: '', e: false, d: [], c: [] }

export async function restoreOrama(
  db: OramaDb,
  load: (raw: unknown) => unknown,
  saved: SavedEngine,
  signal: AbortSignal | undefined,
): Promise<void> {
  const turn = createYielder(signal)
  const head = await saved.blob('head').json<Head>()
  const internalIdToId: string[] = []
  for await (const rows of decodeLines(saved.blob('ids').stream())) {
    for (const id of rows as string[]) internalIdToId.push(id)
  }
  const { texts, documents } = await readTexts(head, saved, turn, signal)
  const valueIn = (document: object, property: string): unknown =>
    db.getDocumentProperties(document, [property])[property]

  const index = { ...(head.raw.index as object), ...emptyIndex() } as RawIndex
  index.avgFieldLength = Object.fromEntries(head.averages.map(([property, average]) => [property, Number(average)]))
  for (const [n, [property, isArray]] of head.texts.entries()) {
    const text = texts[n]!
    index.indexes[property] = { type: 'Radix', node: NO_WORDS, isArray }
    index.frequencies[property] = text.frequencies
    index.tokenOccurrences[property] = text.tokenOccurrences
    index.fieldLengths[property] = text.fieldLengths
  }
  for (const [n, [property, type, isArray]] of head.trees.entries()) {
    index.indexes[property] = { type, node: await readTree(saved.blob(`tree/${n}`).stream()), isArray }
  }
  for (const [n, [property, size]] of head.vectors.entries()) {
    const rows = decodeLines(saved.blob(`vectors/${n}`).stream())
    index.vectorIndexes[property] = {
      size,
      vectors: await readVectors(rows, documents, (d) => valueIn(d, property), size),
    }
  }
  const sorts: Record<string, SavedSort & { type: string }> = {}
  const stored = Object.fromEntries(documents)
  for (const [n, [property, type]] of head.sorts.entries()) {
    const rows = decodeLines(saved.blob(`sort/${n}`).stream())
    sorts[property] = { type, ...(await readSort(rows, stored, (d) => valueIn(d, property), turn)) }
  }
  const raw: Raw = {
    ...(head.raw as unknown as Raw),
    internalDocumentIDStore: { internalIdToId },
    index,
    docs: { docs: stored, count: head.count },
    // Orama's own sorter wants `sorts` unless it is switched off, also where no property can be sorted.
    sorting: isOff(head.raw.sorting) && head.sorts.length === 0 ? head.raw.sorting : { ...head.raw.sorting, sorts },
  }
  await load(raw)
  for (const [n, [property]] of head.texts.entries()) {
    const tree: unknown = db.data.index.indexes[property]?.node
    if (!isEmptyTree(tree)) throw notKnown(`the tree of its property ${JSON.stringify(property)}`)
    await fillRadixTree(tree, nodesOf(tree), texts[n]!, await saved.blob(`order/${n}`).bytes(), turn)
  }
}

function emptyIndex(): Partial<RawIndex> {
  return { indexes: {}, vectorIndexes: {}, frequencies: {}, tokenOccurrences: {}, fieldLengths: {} }
}

function isOff(sorting: object): boolean {
  return 'enabled' in sorting && sorting.enabled === false
}

/** Documents in the order in which they were indexed, and the text properties. */
async function readTexts(
  head: Head,
  saved: SavedEngine,
  turn: Turn,
  signal: AbortSignal | undefined,
): Promise<{ documents: Map<number, object>; texts: RestoredText[] }> {
  const blob = saved.blob('documents')
  const count = head.texts.length
  const rows = await readRows(blob.stream(), { fields: count, size: blob.size, signal }, collectPostings)
  if (!rows.ids.every(Number.isInteger)) throw notRows('the number of a document')
  const { documents, lengths, exceptions } = readDocuments(rows, count)
  const texts: RestoredText[] = []
  for (let n = 0; n < count; n++) {
    const columns = await rows.sinks[n]?.done(turn)
    const leftovers: [number, string, unknown?][] = []
    for await (const lines of decodeLines(saved.blob(`words/${n}`).stream())) {
      for (const line of lines) leftovers.push(line as [number, string, unknown?])
    }
    texts.push(await restoreText(columns, rows.ids as number[], lengths[n]!, exceptions[n]!, leftovers, turn))
  }
  return { documents, texts }
}

type Tree = RadixNode & { insert(word: string, document: number): void }

/** As Orama makes it. */
function isEmptyTree(tree: unknown): tree is Tree {
  const { c, d, w, insert } = (tree ?? {}) as Partial<Tree>
  const isEmpty = c instanceof Map && d instanceof Set && c.size + d.size === 0
  return isEmpty && w === '' && typeof insert === 'function'
}

type Constructor<T, Arguments extends unknown[] = []> = new (...args: Arguments) => T

/** The class of nodes is not exported: it is that of a node in a tree of its own. */
function nodesOf(tree: Tree): (key: string, part: string, isEnd: boolean) => RadixNode {
  const tried = new (tree.constructor as Constructor<Tree>)()
  tried.insert('ab', 1)
  const node = tried.c.get('a')
  const Node = node?.constructor as Constructor<RadixNode, [string, string, boolean]>
  const isKnown = node !== undefined && node.s === 'ab' && node.k === 'a' && node.w === 'ab' && node.e && node.d.has(1)
  const made = isKnown ? new Node('a', 'ab', true) : null
  const { c, d, k, s, e } = made ?? {}
  if (!(c instanceof Map) || !(d instanceof Set) || k !== 'a' || s !== 'ab' || e !== true) {
    throw notKnown('the nodes of its tree')
  }
  return (key, part, isEnd) => new Node(key, part, isEnd)
}
