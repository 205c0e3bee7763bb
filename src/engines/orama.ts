// The adapter for Orama. Orama keeps every word three times (tree, frequencies, occurrences) and every sortable value
// twice. The adapter saves one line per document, with everything that belongs to the document, in the order in which
// documents were indexed. The other blobs hold only what cannot be derived from these lines.
//
//    head            settings, counts, averages, pinning
//    ids             a line each: the document id of internal id 1, 2, …
//    documents       [internalId, document or null, cell, …]   a cell for each text property (`orama-text.ts`)
//    order/<n>       of text property n: the order of the tree's children (`term-order.ts`)
//    words/<n>       of text property n: what follows from no document
//    tree/<n>        of any other property n: its tree, as JSON (`json-tree.ts`)
//    vectors/<n>     of vector property n: what differs from the documents' own (`orama-vectors.ts`)
//    sort/<n>        of sortable property n: internal ids in order (`orama-sort.ts`)
//
// A database may use a plugin's index, sorter or documents store. The adapter does not know what such a component
// saves, so it stores the whole result of Orama's `save` as JSON, in one blob `whole`.

import { decodeLines, encodeLines } from '../encodings/json-lines.ts'
import { readTree, treeLines } from '../encodings/json-tree.ts'
import { asRestored, documentJson, invalid } from '../encodings/json-value.ts'
import { readSort, type SavedSort, type Sort, sortLines } from '../encodings/orama-sort.ts'
import {
  addCell,
  addLeftover,
  type CapturedText,
  type Cell,
  captureText,
  createCellWriter,
  createText,
  finishOccurrences,
  leftoverLines,
  type RadixNodeLike,
  type RestoredText,
  radixJson,
  wordOrder,
} from '../encodings/orama-text.ts'
import { readVectors, type VectorEntry, vectorLines } from '../encodings/orama-vectors.ts'
import { documentOrder, type PostingLists } from '../encodings/postings.ts'
import { createYielder, type Turn } from '../event-loop.ts'
import { type BlobInput, type Chunking, content, HoldfastError } from '../index.ts'
import { assertOptions } from '../misuse.ts'
import type { EngineAdapter, EngineState, SavedEngine } from './adapter.ts'
import { restoring } from './engine-failed.ts'
import { packageVersion } from './version.ts'

/** What is called of the package: `import * as Orama from '@orama/orama'`. */
export interface OramaModule<Db extends object, Options extends OramaOptions> {
  create(options: Options): Db | Promise<Db>
  load(db: Db, raw: never): unknown
  save(db: Db): unknown
}

interface OramaOptions {
  schema: object
  language?: string | undefined
  components?: { tokenizer?: unknown } | undefined
  sort?: { enabled?: boolean | undefined; unsortableProperties?: readonly string[] | undefined } | undefined
}

/** What the Orama adapter cannot find out from the options of the engine. */
export interface OramaAdapterOptions {
  /** A name for your tokenizer component; change it when it changes. Without a name, all tokenizers of your own count as equal. */
  tokenizer?: string | undefined
  /** Of the @orama/orama package, where it cannot be found. */
  version?: string | undefined
}

const NAME = 'Orama'
const CHUNKING: Chunking = content({ averageBytes: 4096 })

/** Saves and restores an Orama database: `orama(Orama, { schema: { title: 'string' } })`, the options being those of `create`. */
export function orama<Db extends object, Options extends OramaOptions>(
  Orama: OramaModule<Db, Options>,
  createOptions: Options,
  options: OramaAdapterOptions = {},
): EngineAdapter<Db> {
  assertOptions('orama', options, { tokenizer: 'any', version: 'any' })
  const { schema, components, sort } = createOptions
  const tokenizer = options.tokenizer ?? (components?.tokenizer === undefined ? 'default' : 'custom')
  return {
    name: 'orama',
    layout: 1,
    version: options.version ?? packageVersion('@orama/orama'),
    options: {
      schema: JSON.parse(JSON.stringify(schema)),
      language: languageOf(createOptions.language),
      tokenizer,
      sort: sort?.enabled === false ? false : { except: [...(sort?.unsortableProperties ?? [])].sort() },
    },
    recorded: (saved) => ({ ...saved, language: languageOf(saved.language) }),
    save: (db, { turn }) => save(Orama, db, Orama.create({ schema: {} } as Options), turn),
    restore(given, { signal }) {
      const option = 'the options of create(): schema, components, plugins'
      return restoring(given, { engine: 'orama', option, signal }, async (saved) => {
        const db = await Orama.create(createOptions)
        const raw = saved.has('whole')
          ? await readTree(saved.blob('whole').stream())
          : await restore(db as unknown as OramaDb, saved)
        await Orama.load(db, raw as never)
        return db
      })
    },
  }
}

/** English is Orama's own default. */
function languageOf(language: unknown): unknown {
  return language === 'english' ? 'default' : (language ?? 'default')
}

/** The components of a database that save and load state of their own. */
const COMPONENTS = ['index', 'sorter', 'documentsStore', 'pinning'] as const

type Component = { save?: unknown; load?: unknown } | undefined

/** What is read of a database. */
interface OramaDb extends Record<(typeof COMPONENTS)[number], Component> {
  data: { index: RawIndex & { indexes: Record<string, { node: unknown }> } }
  getDocumentProperties(document: object, paths: readonly string[]): Record<string, unknown>
}

/** What Orama's `save` gives and `load` takes. */
interface Raw {
  internalDocumentIDStore: { internalIdToId: string[] }
  index: RawIndex
  docs: { docs: Record<string, object>; count: number }
  sorting: { sorts?: Record<string, Sort> }
  pinning?: unknown
  language: unknown
}

interface RawIndex {
  indexes: Record<string, { type: string; node: unknown; isArray: boolean }>
  vectorIndexes: Record<string, { size: number; vectors: Iterable<VectorEntry> }>
  frequencies: Record<string, CapturedText['frequencies']>
  tokenOccurrences: Record<string, CapturedText['tokenOccurrences']>
  fieldLengths: Record<string, CapturedText['fieldLengths']>
  avgFieldLength: Record<string, number | undefined>
}

/** The head: everything small. `raw` is what `save` gave, less what is elsewhere. */
interface Head {
  raw: Record<string, unknown> & { sorting: object }
  count: number
  /** By text property; as text, for after removals from a list property it can be NaN, and then scores are. */
  averages: [property: string, average: string][]
  texts: [property: string, isArray: boolean][]
  trees: [property: string, type: string, isArray: boolean][]
  vectors: [property: string, size: number][]
  sorts: [property: string, type: string][]
}

/** `plain`: a database whose components are all Orama's own. */
function save<Db extends object>(Orama: { save(db: Db): unknown }, db: Db, plain: object, turn: Turn): EngineState {
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

function notKnown(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `this Orama cannot be saved: ${why}; the adapter knows versions 3`, {
    details: { what: 'version', saved: why, wanted: '3.x' },
  })
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
  const blobs: Record<string, BlobInput> = {
    head: { source: headText, type: 'application/json' },
    ids: lines(
      mapLines(ids, (id) => JSON.stringify(id)),
      turn,
    ),
    documents: lines(async () => documentLines(documents, ids, texts, await ranks(), turn), turn),
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

function textOf(
  index: RawIndex,
  property: string,
): Pick<CapturedText, 'frequencies' | 'fieldLengths' | 'tokenOccurrences'> {
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

async function documentLines(
  documents: Record<string, object>,
  ids: readonly string[],
  texts: readonly CapturedText[],
  { order, rank }: Ranks,
  turn: Turn,
): Promise<Iterable<string>> {
  const cells: ((document: number) => string)[] = []
  for (const text of texts) cells.push(await createCellWriter(text, rank, turn))
  const nothing = texts.map(() => 'null').join()
  function* made(): Generator<string> {
    for (const document of order) {
      const stored = documents[document]
      const line = cells.map((cell) => cell(document)).join()
      if (stored === undefined && line === nothing) continue
      const text = stored === undefined ? 'null' : documentJson(NAME, ids[document - 1], stored)
      yield `[${document},${text}${line === '' ? '' : ','}${line}]`
    }
  }
  return made()
}

// ---- restoring

async function restore(db: OramaDb, saved: SavedEngine): Promise<Raw> {
  const head = await saved.blob('head').json<Head>()
  const internalIdToId: string[] = []
  for await (const rows of decodeLines(saved.blob('ids').stream())) {
    for (const id of rows as string[]) internalIdToId.push(id)
  }
  const texts = head.texts.map(() => createText())
  const documents = await readDocuments(saved, texts)
  const valueIn = (document: object, property: string): unknown =>
    db.getDocumentProperties(document, [property])[property]

  const index = { ...(head.raw.index as object) } as RawIndex
  index.indexes = {}
  index.vectorIndexes = {}
  index.frequencies = {}
  index.tokenOccurrences = {}
  index.fieldLengths = {}
  index.avgFieldLength = Object.fromEntries(head.averages.map(([property, average]) => [property, Number(average)]))
  for (const [n, [property, isArray]] of head.texts.entries()) {
    const text = texts[n]!
    for await (const rows of decodeLines(saved.blob(`words/${n}`).stream())) {
      for (const row of rows as [number, string, unknown][]) addLeftover(text, row)
    }
    finishOccurrences(text)
    const node = await radixJson(text, await saved.blob(`order/${n}`).bytes())
    index.indexes[property] = { type: 'Radix', node, isArray }
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
    sorts[property] = { type, ...(await readSort(rows, stored, (d) => valueIn(d, property))) }
  }
  return {
    ...(head.raw as unknown as Raw),
    internalDocumentIDStore: { internalIdToId },
    index,
    docs: { docs: stored, count: head.count },
    // Orama's own sorter wants `sorts` unless it is switched off, also where no property can be sorted.
    sorting: isOff(head.raw.sorting) && head.sorts.length === 0 ? head.raw.sorting : { ...head.raw.sorting, sorts },
  }
}

function isOff(sorting: object): boolean {
  return 'enabled' in sorting && sorting.enabled === false
}

/** Documents in the order in which they were indexed. */
async function readDocuments(saved: SavedEngine, texts: readonly RestoredText[]): Promise<Map<number, object>> {
  const documents = new Map<number, object>()
  const yieldIfLong = createYielder()
  for await (const rows of decodeLines(saved.blob('documents').stream())) {
    for (const [document, stored, ...cells] of rows as [number, object | null, ...Cell[]][]) {
      if (stored !== null) documents.set(document, stored)
      cells.forEach((cell, n) => {
        addCell(texts[n]!, document, cell)
      })
    }
    await yieldIfLong()
  }
  return documents
}
