// Copies what an Orama database holds, in one turn, and makes the blobs of it when they are read.

import { encodeLines } from '../encodings/json-lines.ts'
import { treeLines } from '../encodings/json-tree.ts'
import { asRestored, documentJson, invalid } from '../encodings/json-value.ts'
import { sortLines } from '../encodings/orama-sort.ts'
import {
  type CapturedText,
  captureText,
  leftoverLines,
  type RadixNodeLike,
  type TextProperty,
  textIndex,
  textRows,
  wordOrder,
} from '../encodings/orama-text.ts'
import { type VectorEntry, vectorLines } from '../encodings/orama-vectors.ts'
import { encodeRows } from '../encodings/posting-rows.ts'
import { documentOrder, type PostingLists } from '../encodings/postings.ts'
import type { Turn } from '../event-loop.ts'
import { type BlobInput, type Chunking, content } from '../index.ts'
import type { EngineState } from './adapter.ts'
import { COMPONENTS, type Component, type Head, notKnown, type OramaDb, type Raw, type RawIndex } from './orama-raw.ts'

const NAME = 'Orama'
const CHUNKING: Chunking = content({ averageBytes: 4096 })

/** `plain`: a database whose components are all Orama's own. */
export function saveOrama<Db extends object>(
  Orama: { save(db: Db): unknown },
  db: Db,
  plain: object,
  turn: Turn,
): EngineState {
  const own = COMPONENTS.every((name) => isSame(componentOf(db, name), componentOf(plain, name)))
  const state = own ? capture(Orama, db, turn) : null
  return { blobs: state ?? { whole: lines(captureWhole(Orama.save(db)), turn) }, captured: true }
}

function componentOf(db: object, name: (typeof COMPONENTS)[number]): Component {
  return (db as OramaDb)[name]
}

/** Whether the two keep the same state, whatever else they do differently. */
function isSame(a: Component, b: Component): boolean {
  return a?.save === b?.save && a?.load === b?.load
}

/** A function is called when the blob is read: nobody has to wait for it at the capture. */
function lines(from: Iterable<string> | (() => Promise<Iterable<string>>), turn: Turn): BlobInput {
  async function* parts(): AsyncGenerator<Uint8Array> {
    yield* encodeLines(typeof from === 'function' ? await from() : from, turn)
  }
  return { source: parts(), chunking: CHUNKING, type: 'application/jsonl' }
}

/** As text at once: what `save` gives is the database's own, and changes with it. */
function captureWhole(raw: unknown): string[] {
  if (raw instanceof Promise) throw notKnown('its save() gives a promise, so that nothing could be captured at one go')
  try {
    return [...treeLines(raw)]
  } catch (error) {
    assertDocuments(raw as Raw)
    throw error
  }
}

/** `ENGINE_VALUE_INVALID` for the first document that has no JSON text. */
function assertDocuments({ docs, internalDocumentIDStore }: Raw): void {
  for (const [internalId, document] of Object.entries(docs?.docs ?? {})) {
    documentJson(NAME, internalDocumentIDStore?.internalIdToId[Number(internalId) - 1], document)
  }
}

/** Null when the index is not of the kind that we know. */
function capture<Db extends object>(
  Orama: { save(db: Db): unknown },
  db: Db,
  turn: Turn,
): Record<string, BlobInput> | null {
  const { data, getDocumentProperties } = db as unknown as OramaDb
  const { index } = data
  if (!isMap(index?.indexes) || !isMap(index.vectorIndexes) || !isMap(index.frequencies)) return null
  // `save` copies trees and vectors. Without them it gives the rest, which is cheap.
  const bare = { ...db, data: { ...data, index: { ...index, indexes: {}, vectorIndexes: {} } } }
  const raw = Orama.save(bare) as Raw
  if (!isMap(raw.index?.indexes) || Object.keys(raw.index.indexes).length > 0) return null

  const ids = [...raw.internalDocumentIDStore.internalIdToId]
  const texts: CapturedText[] = []
  const head: Head = {
    raw: restOf(raw),
    count: raw.docs.count,
    averages: [],
    texts: [],
    trees: [],
    vectors: [],
    sorts: [],
  }
  for (const [property, average] of Object.entries(raw.index.avgFieldLength)) {
    if (average !== undefined) head.averages.push([property, String(average)])
  }
  const trees: unknown[] = []
  for (const [property, { type, node, isArray }] of Object.entries(index.indexes)) {
    if (type !== 'Radix') {
      head.trees.push([property, type, isArray])
      trees.push(treeJson(property, node as { toJSON(): unknown }))
      continue
    }
    const text = captureText(node as RadixNodeLike, textOf(index, property), ids.length + 1, turn)
    if (text === null) return null
    head.texts.push([property, isArray])
    texts.push(text)
  }
  const vectors: VectorEntry[][] = []
  for (const [property, { node }] of Object.entries(
    index.vectorIndexes as unknown as Record<string, { node: { size: number; vectors: Map<number, VectorEntry[1]> } }>,
  )) {
    if (!(node?.vectors instanceof Map)) return null
    head.vectors.push([property, node.size])
    vectors.push([...node.vectors])
  }
  const sorts = Object.entries(raw.sorting.sorts ?? {}).map(([property, { type, docs, orderedDocs }]) => {
    head.sorts.push([property, type])
    return { docs, orderedDocs: [...orderedDocs] }
  })
  const documents = { ...raw.docs.docs }
  const headText = `${JSON.stringify(head)}\n`

  const valueIn = (document: object, property: string): unknown => getDocumentProperties(document, [property])[property]
  const ranks = once(() => rankDocuments(ids.length + 1, texts, vectors, turn))
  const restored = once(() => restoredDocuments(documents, ids, turn))
  async function* documentRows(): AsyncGenerator<Uint8Array> {
    const { order, rank } = await ranks()
    const index = await textIndex(texts, rank, turn)
    yield* encodeRows(index, textRows(NAME, documents, ids, texts, index, order), turn)
  }
  const blobs: Record<string, BlobInput> = {
    head: { source: headText, type: 'application/json' },
    ids: lines(
      mapLines(ids, (id) => JSON.stringify(id)),
      turn,
    ),
    documents: { source: documentRows(), chunking: CHUNKING, type: 'application/octet-stream' },
  }
  texts.forEach((text, n) => {
    blobs[`order/${n}`] = { source: wordOrder(text, turn), chunking: CHUNKING }
    blobs[`words/${n}`] = lines(async () => leftoverLines(text, await text.sorted(), (await ranks()).rank), turn)
  })
  trees.forEach((tree, n) => {
    blobs[`tree/${n}`] = lines(treeLines(tree), turn)
  })
  vectors.forEach((entries, n) => {
    const [property, size] = head.vectors[n]!
    blobs[`vectors/${n}`] = lines(
      async () =>
        vectorLines(entries, await restored(), (document) => valueIn(document, property), size, (await ranks()).rank),
      turn,
    )
  })
  sorts.forEach((sort, n) => {
    const [property] = head.sorts[n]!
    blobs[`sort/${n}`] = lines(
      async () => sortLines(sort, await restored(), (document) => valueIn(document, property)),
      turn,
    )
  })
  return blobs
}

/** Orama's own, which goes down the tree by recursion. */
function treeJson(property: string, node: { toJSON(): unknown }): unknown {
  try {
    return node.toJSON()
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    const why = `the tree of its property ${JSON.stringify(property)} is too deep for Orama's own save; insert in smaller batches, or in another order`
    throw invalid(NAME, why, undefined, cause)
  }
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function textOf(index: RawIndex, property: string): TextProperty {
  return {
    frequencies: index.frequencies[property] ?? {},
    fieldLengths: index.fieldLengths[property] ?? {},
    tokenOccurrences: index.tokenOccurrences[property] ?? {},
  }
}

/** What `save` gave, less what has blobs of its own. */
function restOf(raw: Raw): Head['raw'] {
  const { internalDocumentIDStore: _ids, docs: _docs, index, sorting, ...rest } = raw
  const {
    indexes: _i,
    vectorIndexes: _v,
    frequencies: _f,
    tokenOccurrences: _o,
    fieldLengths: _l,
    ...indexRest
  } = index
  const { sorts: _s, ...sortingRest } = sorting
  return { ...rest, index: indexRest, sorting: sortingRest }
}

interface Ranks {
  order: Uint32Array
  /** The position of each document in `order`. */
  rank: Uint32Array
}

async function rankDocuments(
  count: number,
  texts: readonly PostingLists[],
  vectors: readonly VectorEntry[][],
  turn: Turn,
): Promise<Ranks> {
  const vectorLists = vectors.map((entries) => ({
    listStart: [0, entries.length],
    documents: Uint32Array.from(entries, ([document]) => document),
  }))
  // Where lists contradict each other, they are written out as they are.
  const common = await documentOrder(count, [...texts, ...vectorLists], turn)
  const order = common ?? Uint32Array.from({ length: count }, (_, document) => document)
  const rank = new Uint32Array(count)
  for (const [position, document] of order.entries()) rank[document] = position
  return { order, rank }
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | null = null
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

function* mapLines<T>(items: readonly T[], line: (item: T) => string): Generator<string> {
  for (const item of items) yield line(item)
}

/** Documents as JSON gives them back, for what is not written because it can be derived from them. */
async function restoredDocuments(
  documents: Readonly<Record<string, object>>,
  ids: readonly string[],
  turn: Turn,
): Promise<Record<string, object>> {
  const restored: Record<string, object> = {}
  for (const [internalId, document] of Object.entries(documents)) {
    restored[internalId] = asRestored(NAME, ids[Number(internalId) - 1], document)
    await turn()
  }
  return restored
}
