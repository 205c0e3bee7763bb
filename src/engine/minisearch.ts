import { type Chunking, content, HoldfastError } from '../index.ts'
import type { EngineAdapter, SavedEngine } from './adapter.ts'
import { decodeLines, encodeLines } from './json-lines.ts'
import { createPace } from './pace.ts'
import { byDocument } from './postings.ts'
import { decodeTermOrder, encodeTermOrder, sortedPositions } from './term-order.ts'
import { packageVersion } from './version.ts'

// MiniSearch keeps an inverted index: for each term the documents that it is in. Saved as it is, one new document touches the postings of
// every term that it has, all over the file. So the index is turned round: a line for each document, with all there is to know of it. A new
// document is a line at the end; a changed one is a line gone and a line at the end. (Ids, lengths, stored fields and terms as columns of
// their own were tried: a document removed then touches a chunk in each.)
//
//    head        { documentCount, nextId, fieldIds, … }: what `toJSON` gives beside the rest
//    documents   [shortId, [id, lengths, stored?] or null, fieldId, [term, frequency?, …], fieldId, …]   by shortId; terms sorted, a
//                frequency of 1 left out; null for a document discarded but not yet vacuumed, of which there are only terms
//    termOrder   in which order the nodes of the term tree have their children (`term-order.ts`)
//
// The term order is not for looks: scores of prefix and fuzzy matches are sums, and floating-point sums depend on the order.

/** What is called of a MiniSearch. */
export interface MiniSearchLike {
  toJSON(): object
}

/** What is called of the class. */
export interface MiniSearchClass<Engine extends MiniSearchLike, Options> {
  new (options: Options): Engine
  loadJSAsync(js: never, options: Options): Promise<Engine>
}

interface Fields {
  fields: readonly string[]
  idField?: string | undefined
  storeFields?: readonly string[] | undefined
  tokenize?: unknown
  processTerm?: unknown
}

export interface MiniSearchAdapterOptions {
  /**
   * A name for your `tokenize` and `processTerm`; change it when they change, for an index made with one tokenizer gives wrong answers to
   * another. Functions themselves cannot be compared: without a name, all that are not MiniSearch's own count as equal.
   */
  tokenizer?: string
  /** Of the minisearch package, where it cannot be found. */
  version?: string
}

/** Posting lists and the like change a little in many places: smaller chunks than the default. */
const CHUNKING: Chunking = content({ averageBytes: 4096 })
const SERIALIZATION = 2

/** Saves and restores a MiniSearch: `minisearch(MiniSearch, { fields: ['title', 'text'] })`, the options being those of the engine. */
export function minisearch<Engine extends MiniSearchLike, Options extends Fields>(
  MiniSearch: MiniSearchClass<Engine, Options>,
  engineOptions: Options,
  options: MiniSearchAdapterOptions = {},
): EngineAdapter<Engine> {
  if (typeof MiniSearch !== 'function') throw new TypeError('minisearch: give the MiniSearch class, then its options')
  const { fields, idField = 'id', storeFields = [], tokenize, processTerm } = engineOptions
  const own = tokenize === undefined && processTerm === undefined
  return {
    name: 'minisearch',
    layout: 1,
    version: options.version ?? packageVersion('minisearch'),
    options: {
      fields: [...fields].sort(),
      idField,
      storeFields: [...storeFields].sort(),
      tokenizer: options.tokenizer ?? (own ? 'default' : 'custom'),
    },
    save(engine) {
      const captured = capture(engine)
      return {
        blobs: {
          head: { source: `${JSON.stringify(captured.head)}\n`, type: 'application/json' },
          documents: { source: encodeLines(documentLines(captured)), chunking: CHUNKING, type: 'application/jsonl' },
          termOrder: { source: termOrder(captured.postings), chunking: CHUNKING },
        },
        metadata: { serialization: SERIALIZATION },
      }
    },
    restore: (saved) => restore(MiniSearch, engineOptions, saved),
    refuses({ state }) {
      const saved = state?.serialization
      const reads = (new MiniSearch(engineOptions).toJSON() as Partial<Json>).serializationVersion
      if (typeof saved !== 'number' || typeof reads !== 'number' || saved <= reads) return undefined
      return `it is in MiniSearch's serialization version ${saved}, and this MiniSearch reads up to ${reads}`
    },
  }
}

/** What `MiniSearch.toJSON` gives and `loadJS` takes. */
interface Json {
  serializationVersion: number
  documentIds: Record<string, unknown>
  fieldLength: Record<string, unknown>
  storedFields: Record<string, unknown>
  index: Iterable<[term: string, Record<string, Record<string, number>>]>
}

interface Capture {
  head: Record<string, unknown>
  documentIds: Record<string, unknown>
  fieldLength: Record<string, unknown>
  storedFields: Record<string, unknown>
  postings: Postings
}

/** All postings, as columns: an eighth of what the engine's own maps take. */
interface Postings {
  /** In the order in which they build the same tree again. */
  terms: string[]
  /** `sortedPositions(terms)`, when it is needed first. */
  sorted(): number[]
  /** A list is one term in one field: which. */
  listTerm: number[]
  listField: number[]
  /** Postings before each list, and all in the end. */
  listStart: number[]
  documents: Uint32Array
  frequencies: Uint32Array
}

type Lists = Iterable<[term: string, Iterable<[fieldId: number, ReadonlyMap<number, number>]>]>

/** Everything that can still change, copied at one go. Ids and stored values themselves MiniSearch only ever replaces. */
function capture(engine: MiniSearchLike): Capture {
  const { json, lists } = take(engine)
  const { documentIds, fieldLength, storedFields, index: _index, ...head } = json
  if (json.serializationVersion !== SERIALIZATION) {
    throw new HoldfastError(
      'ENGINE_MISMATCH',
      `this MiniSearch saves in serialization version ${json.serializationVersion}; this adapter knows ${SERIALIZATION}`,
      { details: { what: 'serialization', saved: json.serializationVersion, wanted: SERIALIZATION } },
    )
  }
  return { head, documentIds, fieldLength, storedFields, postings: capturePostings(lists) }
}

function take(engine: MiniSearchLike): { json: Json; lists: Lists } {
  // `toJSON` makes an object of every posting, several times what they take. Of a shadow of the engine that has no index it gives all the
  // rest; where a version keeps its index elsewhere, the shadow has one, and `toJSON` is what there is.
  const { _index: index } = engine as MiniSearchLike & { _index?: Lists }
  if (index instanceof Object && Symbol.iterator in index) {
    const json = Object.create(engine, { _index: { value: [] } }).toJSON() as Json
    if (Array.isArray(json.index) && json.index.length === 0) return { json, lists: index }
  }
  const json = engine.toJSON() as Json
  return { json, lists: listsOf(json.index) }
}

function* listsOf(index: Json['index']): Generator<[string, Iterable<[number, ReadonlyMap<number, number>]>]> {
  for (const [term, fields] of index) {
    const lists = Object.entries(fields).map(([fieldId, frequencies]): [number, Map<number, number>] => [
      Number(fieldId),
      new Map(Object.entries(frequencies).map(([document, frequency]) => [Number(document), frequency])),
    ])
    yield [term, lists]
  }
}

function capturePostings(index: Lists): Postings {
  const terms: string[] = []
  const listTerm: number[] = []
  const listField: number[] = []
  const listStart: number[] = []
  const lists: ReadonlyMap<number, number>[] = []
  let count = 0
  for (const [term, fields] of index) {
    const before = lists.length
    for (const [fieldId, frequencies] of fields) {
      if (frequencies.size === 0) continue
      listTerm.push(terms.length)
      listField.push(fieldId)
      listStart.push(count)
      lists.push(frequencies)
      count += frequencies.size
    }
    if (lists.length > before) terms.push(term)
  }
  listStart.push(count)
  const documents = new Uint32Array(count)
  const frequencies = new Uint32Array(count)
  let at = 0
  for (const list of lists) {
    for (const [document, frequency] of list) {
      if (document > 0xffffffff || frequency > 0xffffffff) {
        throw new HoldfastError(
          'LIMIT_EXCEEDED',
          'a MiniSearch that has numbered over 2^32 documents cannot be saved',
          {
            details: { limit: 'documents', max: 0xffffffff, actual: document },
          },
        )
      }
      documents[at] = document
      frequencies[at] = frequency
      at += 1
    }
  }
  // Last in, first out: MiniSearch walks its tree from the last child of each node to the first.
  for (let i = 0; i < listTerm.length; i++) listTerm[i] = terms.length - 1 - listTerm[i]!
  terms.reverse()
  let sorted: number[] | null = null
  return {
    terms,
    sorted() {
      sorted ??= sortedPositions(terms)
      return sorted
    },
    listTerm,
    listField,
    listStart,
    documents,
    frequencies,
  }
}

/** Made when it is read: nobody has to wait for it at the capture. */
function* termOrder({ terms, sorted }: Postings): Generator<Uint8Array> {
  yield encodeTermOrder(terms, sorted())
}

/** Turns the index round. */
function* documentLines({ documentIds, fieldLength, storedFields, postings }: Capture): Generator<string> {
  // Integers come first and in order, whatever they were inserted as.
  const ids = Object.keys(documentIds)
  let next = 0
  for (const [document, terms] of termsByDocument(postings)) {
    while (next < ids.length && Number(ids[next]) < document) yield documentLine(ids[next++]!, '')
    if (next < ids.length && Number(ids[next]) === document) yield documentLine(ids[next++]!, terms)
    else yield `[${document},null${terms}]`
  }
  while (next < ids.length) yield documentLine(ids[next++]!, '')

  function documentLine(shortId: string, terms: string): string {
    const document = [documentIds[shortId], fieldLength[shortId] ?? null]
    if (Object.hasOwn(storedFields, shortId)) document.push(storedFields[shortId])
    return `[${shortId},${JSON.stringify(document)}${terms}]`
  }
}

/** What follows in each document's line, by short id. */
function* termsByDocument(postings: Postings): Generator<[document: number, terms: string]> {
  const { terms, listTerm, listField, documents, frequencies } = postings
  const rank = new Uint32Array(terms.length)
  for (const [position, term] of postings.sorted().entries()) rank[term] = position
  const lists = listTerm.map((_, list) => list)
  lists.sort((a, b) => listField[a]! - listField[b]! || rank[listTerm[a]!]! - rank[listTerm[b]!]!)
  const { order, listOf } = byDocument(lists, postings)
  const quoted = terms.map((term) => JSON.stringify(term))
  let line = ''
  let document = -1
  let field = -1
  for (const at of order) {
    const list = listOf[at]!
    if (documents[at] !== document) {
      if (line !== '') yield [document, `${line}]`]
      document = documents[at]!
      field = -1
      line = ''
    }
    if (listField[list] !== field) {
      if (field !== -1) line += ']'
      field = listField[list]!
      line += `,${field},[`
    } else line += ','
    line += quoted[listTerm[list]!]!
    if (frequencies[at] !== 1) line += `,${frequencies[at]}`
  }
  if (line !== '') yield [document, `${line}]`]
}

// ---- restoring

type Row = [shortId: number, document: [id: unknown, lengths: unknown, stored?: unknown] | null, ...Terms]
type Terms = (number | (string | number)[])[]

/** A term's postings, as MiniSearch itself keeps them: frequencies by document by field. */
type TermLists = Map<number, Map<number, number>>

async function restore<Engine extends MiniSearchLike, Options>(
  MiniSearch: MiniSearchClass<Engine, Options>,
  options: Options,
  saved: SavedEngine,
): Promise<Engine> {
  const head = await saved.blob('head').json<Record<string, unknown>>()
  const documentIds: Record<string, unknown> = {}
  const fieldLength: Record<string, unknown> = {}
  const storedFields: Record<string, unknown> = {}
  const lists = new Map<string, TermLists>()
  const pace = createPace()
  for await (const rows of decodeLines(saved.blob('documents').stream())) {
    for (const [shortId, document, ...terms] of rows as Row[]) {
      if (document !== null) {
        documentIds[shortId] = document[0]
        if (document[1] !== null) fieldLength[shortId] = document[1]
        if (document.length > 2) storedFields[shortId] = document[2]
      }
      addPostings(lists, shortId, terms)
    }
    await pace()
  }
  const sorted = [...lists.keys()].sort(byCodeUnits)
  const order = decodeTermOrder(sorted, await saved.blob('termOrder').bytes())
  const rest = { ...head, documentIds, fieldLength, storedFields }
  const engine = await MiniSearch.loadJSAsync({ ...rest, index: [] } as never, options)
  const { _index: tree } = engine as Engine & { _index?: TermTree }
  // `loadJS` wants an object of every posting, and makes the maps of them that we have already; see `take`.
  if (typeof tree?.set !== 'function') {
    return await MiniSearch.loadJSAsync({ ...rest, index: indexOf(order, lists) } as never, options)
  }
  for (const term of order) {
    tree.set(term, lists.get(term)!)
    await pace()
  }
  return engine
}

interface TermTree {
  set(term: string, lists: TermLists): unknown
}

function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : 1
}

function addPostings(lists: Map<string, TermLists>, document: number, terms: Terms): void {
  for (let i = 0; i < terms.length; i += 2) {
    const field = terms[i] as number
    const items = terms[i + 1] as (string | number)[]
    for (let at = 0; at < items.length; at++) {
      const term = items[at] as string
      const next = items[at + 1]
      const frequency = typeof next === 'number' ? next : 1
      if (typeof next === 'number') at += 1
      let fields = lists.get(term)
      if (fields === undefined) {
        fields = new Map()
        lists.set(term, fields)
      }
      const list = fields.get(field)
      if (list === undefined) fields.set(field, new Map([[document, frequency]]))
      else list.set(document, frequency)
    }
  }
}

/** What `loadJS` takes for an index, made a term at a time. */
function* indexOf(order: Iterable<string>, lists: Map<string, TermLists>): Generator<[string, Record<string, object>]> {
  for (const term of order) {
    const fields = [...lists.get(term)!].map(([field, frequencies]) => [field, Object.fromEntries(frequencies)])
    lists.delete(term)
    yield [term, Object.fromEntries(fields)]
  }
}
