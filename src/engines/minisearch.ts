// The adapter for MiniSearch. MiniSearch keeps an inverted index: for each term, the documents that contain it. Saved
// in that form, one new document changes the postings of each of its terms, all over the file. So the adapter inverts
// the index: it saves one line per document, with everything that belongs to the document. A new document adds a line
// at the end. A changed document removes its line and adds one at the end. (Separate columns for ids, lengths, stored
// fields and terms were tried: removing a document then changes a chunk in each column.)
//
//    head        { documentCount, nextId, fieldIds, … }: what `toJSON` gives beside the rest
//    documents   [shortId, [id, lengths, stored?] or null, fieldId, [term, frequency?, …], fieldId, …]   by shortId; terms sorted, a
//                frequency of 1 left out; null for a document discarded but not yet vacuumed, of which there are only terms
//    termOrder   the order of each term tree node's children (`term-order.ts`)
//
// The term order must be kept: scores of prefix and fuzzy matches are floating-point sums, which depend on the order.

import { decodeLines, encodeLines, jsonTexts } from '../encodings/json-lines.ts'
import { assertId, documentJson } from '../encodings/json-value.ts'
import { byDocument, type PostingLists } from '../encodings/postings.ts'
import { decodeTermOrder, encodeTermOrder, sortedPositions } from '../encodings/term-order.ts'
import { createYielder, STEPS, type Turn } from '../event-loop.ts'
import { type Chunking, content, HoldfastError } from '../index.ts'
import { assertOptions } from '../misuse.ts'
import type { EngineAdapter, SavedEngine } from './adapter.ts'
import { restoring } from './engine-failed.ts'
import { packageVersion } from './version.ts'

/** What is called of a MiniSearch. */
export interface MiniSearchLike {
  toJSON(): object
}

/** What is called of the class. */
export interface MiniSearchClass<Engine extends MiniSearchLike, Options> {
  new (options: Options): Engine
  loadJSAsync(js: never, options: Options): Promise<Engine>
  getDefault?(option: string): unknown
}

interface Fields {
  fields: readonly string[]
  idField?: string | undefined
  storeFields?: readonly string[] | undefined
  tokenize?: unknown
  processTerm?: unknown
}

/** What the MiniSearch adapter cannot find out from the options of the engine. */
export interface MiniSearchAdapterOptions {
  /**
   * A name for your `tokenize` and `processTerm`; change it when they change, for an index made with one tokenizer gives wrong answers to
   * another. Functions themselves cannot be compared: without a name, all that are not MiniSearch's own count as equal.
   */
  tokenizer?: string | undefined
  /** Of the minisearch package, where it cannot be found. */
  version?: string | undefined
}

const NAME = 'MiniSearch'
/** Posting lists and the like change a little in many places: smaller chunks than the default. */
const CHUNKING: Chunking = content({ averageBytes: 4096 })
const SERIALIZATION = 2

/** Saves and restores a MiniSearch: `minisearch(MiniSearch, { fields: ['title', 'text'] })`, the options being those of the engine. */
export function minisearch<Engine extends MiniSearchLike, Options extends Fields>(
  MiniSearch: MiniSearchClass<Engine, Options>,
  engineOptions: Options,
  options: MiniSearchAdapterOptions = {},
): EngineAdapter<Engine> {
  assertOptions('minisearch', options, { tokenizer: 'any', version: 'any' })
  if (typeof MiniSearch !== 'function') throw new TypeError('minisearch: give the MiniSearch class, then its options')
  const { fields, idField = 'id', storeFields = [], tokenize, processTerm } = engineOptions
  const given = Object.entries({ tokenize, processTerm }).filter(([, value]) => value !== undefined)
  const plain = given.every(([option, value]) => isDefault(MiniSearch, option, value))
  return {
    name: 'minisearch',
    layout: 1,
    version: options.version ?? packageVersion('minisearch'),
    options: {
      fields: [...fields].sort(),
      idField,
      storeFields: [...storeFields].sort(),
      tokenizer: options.tokenizer ?? (plain ? 'default' : 'custom'),
    },
    recorded(saved) {
      // An earlier version took MiniSearch's own functions for others when they were among the options.
      const renamed = plain && given.length > 0 && options.tokenizer === undefined && saved.tokenizer === 'custom'
      return renamed ? { ...saved, tokenizer: 'default' } : saved
    },
    async save(engine, { attempt, turn }) {
      const revision = revisionOf(engine)
      const { head, lists, ...documents } = take(engine)
      // At first postings are copied a few at a time. In an engine that changes meanwhile, they are copied at one go the next time.
      const atOnce = attempt > 1 || revision === undefined
      const postings = atOnce ? copyAtOnce(lists, turn) : await copyByAndBy(lists, turn)
      if (revisionOf(engine) !== revision) throw changed()
      return {
        captured: true,
        blobs: {
          head: { source: head, type: 'application/json' },
          documents: {
            source: documentParts(documents, postings, turn),
            chunking: CHUNKING,
            type: 'application/jsonl',
          },
          termOrder: { source: termOrder(postings, turn), chunking: CHUNKING },
        },
        metadata: { serialization: SERIALIZATION },
      }
    },
    revision: revisionOf,
    restore(saved, { signal }) {
      const option = 'the options of MiniSearch'
      return restoring(saved, { engine: 'minisearch', option, signal }, (watched) =>
        restore(MiniSearch, engineOptions, watched, signal),
      )
    },
    refuses({ state }) {
      const saved = state?.serialization
      const reads = (new MiniSearch(engineOptions).toJSON() as Partial<Json>).serializationVersion
      if (typeof saved !== 'number' || typeof reads !== 'number' || saved <= reads) return undefined
      return `it is in MiniSearch's serialization version ${saved}, and this MiniSearch reads up to ${reads}`
    },
  }
}

/** Whether it is what MiniSearch would have done by itself. */
function isDefault(MiniSearch: { getDefault?(option: string): unknown }, option: string, value: unknown): boolean {
  return typeof MiniSearch.getDefault === 'function' && MiniSearch.getDefault(option) === value
}

/** What `MiniSearch.toJSON` gives and `loadJS` takes. */
interface Json {
  serializationVersion: number
  documentIds: Record<string, unknown>
  fieldLength: Record<string, unknown>
  storedFields: Record<string, unknown>
  index: Iterable<[term: string, Record<string, Record<string, number>>]>
}

/** What is read of a MiniSearch beside its methods, where it is there. */
interface Inside {
  _index?: Tree
  _nextId?: unknown
  _documentCount?: unknown
  _dirtCount?: unknown
}

type Tree = Iterable<[term: string, Iterable<[fieldId: number, ReadonlyMap<number, number>]>]>

/** Indexes by number, so that two are told apart. */
const indexNumbers = new WeakMap<object, number>()
let lastIndexNumber = 0

/**
 * Every change of a MiniSearch moves one of these: a document added the next id, one removed the count, one discarded or vacuumed the dirt;
 * `removeAll` makes a new index. (A search may drop postings of discarded documents: that is no change.)
 */
function revisionOf(engine: MiniSearchLike): string | undefined {
  const { _index: index, _nextId: nextId, _documentCount: count, _dirtCount: dirt } = engine as MiniSearchLike & Inside
  if (!(index instanceof Object)) return undefined
  if (typeof nextId !== 'number' || typeof count !== 'number' || typeof dirt !== 'number') return undefined
  let number = indexNumbers.get(index)
  if (number === undefined) {
    lastIndexNumber += 1
    number = lastIndexNumber
    indexNumbers.set(index, number)
  }
  return [number, nextId, count, dirt].join()
}

interface Documents {
  documentIds: Record<string, unknown>
  fieldLength: Record<string, unknown>
  storedFields: Record<string, unknown>
}

/** One posting list of the engine itself. */
interface List {
  term: string
  field: number
  frequencies: ReadonlyMap<number, number>
}

/**
 * Everything but the postings, copied at one go, and where those are. Ids, lengths and stored values themselves are not copied: MiniSearch only
 * ever replaces them.
 */
function take(engine: MiniSearchLike): Documents & { head: string; lists: List[] } {
  const { json, tree } = look(engine)
  const { documentIds, fieldLength, storedFields, index: _index, ...head } = json
  if (json.serializationVersion !== SERIALIZATION) {
    throw new HoldfastError(
      'ENGINE_MISMATCH',
      `this MiniSearch saves in serialization version ${json.serializationVersion}; this adapter knows ${SERIALIZATION}`,
      { details: { what: 'serialization', saved: json.serializationVersion, wanted: SERIALIZATION } },
    )
  }
  const lists: List[] = []
  for (const [term, fields] of tree) {
    for (const [field, frequencies] of fields) lists.push({ term, field, frequencies })
  }
  return { head: `${JSON.stringify(head)}\n`, documentIds, fieldLength, storedFields, lists }
}

function look(engine: MiniSearchLike): { json: Json; tree: Tree } {
  // `toJSON` makes an object of every posting, several times what they take. Of a shadow of the engine that has no index it gives all the
  // rest; where a version keeps its index elsewhere, the shadow has one, and `toJSON` is what there is.
  const { _index: tree } = engine as MiniSearchLike & Inside
  if (tree instanceof Object && Symbol.iterator in tree) {
    const json = Object.create(engine, { _index: { value: [] } }).toJSON() as Json
    if (Array.isArray(json.index) && json.index.length === 0) return { json, tree }
  }
  const json = engine.toJSON() as Json
  return { json, tree: treeOf(json.index) }
}

function* treeOf(index: Json['index']): Generator<[string, Iterable<[number, ReadonlyMap<number, number>]>]> {
  for (const [term, fields] of index) {
    const lists = Object.entries(fields).map(([fieldId, frequencies]): [number, Map<number, number>] => [
      Number(fieldId),
      new Map(Object.entries(frequencies).map(([document, frequency]) => [Number(document), frequency])),
    ])
    yield [term, lists]
  }
}

/** All postings, as columns: an eighth of what the engine's own maps take. */
interface Postings extends PostingLists {
  /** In the order in which they build the same tree again. */
  terms: string[]
  /** `sortedPositions(terms)`, when it is needed first. */
  sorted(): Promise<Uint32Array>
  /** A list is one term in one field: which. */
  listTerm: number[]
  listField: number[]
  frequencies: Uint32Array
}

/** `turn` is for what is made of the copy. */
function copyAtOnce(lists: readonly List[], turn: Turn): Postings {
  const steps = copyLists(lists, turn)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/** Without pauses: the sooner it is done, the fewer changes come in between. */
async function copyByAndBy(lists: readonly List[], turn: Turn): Promise<Postings> {
  const yieldIfLong = createYielder()
  const steps = copyLists(lists, turn)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    await yieldIfLong()
  }
}

/** Gives way now and then. A list is copied whole; one that is empty by now is left out. */
function* copyLists(lists: readonly List[], turn: Turn): Generator<void, Postings> {
  const terms: string[] = []
  const listTerm: number[] = []
  const listField: number[] = []
  const listStart: number[] = [0]
  let room = 0
  for (const { frequencies } of lists) room += frequencies.size
  const documents = new Uint32Array(room)
  const frequencies = new Uint32Array(room)
  let at = 0
  let given = 0
  // Last in, first out: MiniSearch walks its tree from the last child of each node to the first.
  for (let n = lists.length - 1; n >= 0; n--) {
    const list = lists[n]!
    if (list.frequencies.size === 0) continue
    if (at + list.frequencies.size > room) throw changed()
    if (terms.at(-1) !== list.term) terms.push(list.term)
    listTerm.push(terms.length - 1)
    listField.push(list.field)
    for (const [document, frequency] of list.frequencies) {
      if (document > 0xffffffff || frequency > 0xffffffff) throw tooMany(document)
      documents[at] = document
      frequencies[at] = frequency
      at += 1
    }
    listStart.push(at)
    if (at - given < STEPS) continue
    given = at
    yield
  }
  let sorted: Promise<Uint32Array> | null = null
  return {
    terms,
    sorted() {
      sorted ??= sortedPositions(terms, turn)
      return sorted
    },
    listTerm,
    listField,
    listStart,
    documents: documents.subarray(0, at),
    frequencies: frequencies.subarray(0, at),
  }
}

function changed(): HoldfastError {
  return new HoldfastError('SOURCE_CHANGED', 'the MiniSearch changed while it was copied; try again', {
    details: { what: 'minisearch' },
  })
}

function tooMany(document: number): HoldfastError {
  return new HoldfastError('LIMIT_EXCEEDED', 'a MiniSearch that has numbered over 2^32 documents cannot be saved', {
    details: { limit: 'documents', max: 0xffffffff, actual: document },
  })
}

/** Made when it is read: nobody has to wait for it at the capture. */
async function* termOrder({ terms, sorted }: Postings, turn: Turn): AsyncGenerator<Uint8Array> {
  yield await encodeTermOrder(terms, await sorted(), turn)
}

/** The index turned round. */
async function* documentParts(documents: Documents, postings: Postings, turn: Turn): AsyncGenerator<Uint8Array> {
  const { listTerm, listField } = postings
  // Lists by field, and those of a field by term: so each document's come in this order. The lists of a term are together.
  const firstOf = new Uint32Array(postings.terms.length + 1)
  for (let list = listTerm.length - 1; list >= 0; list--) {
    firstOf[listTerm[list]!] = list
    if (list % STEPS === 0) await turn()
  }
  firstOf[postings.terms.length] = listTerm.length
  const byField = new Map<number, number[]>()
  let steps = 0
  for (const term of await postings.sorted()) {
    for (let list = firstOf[term]!; list < firstOf[term + 1]!; list++) {
      const lists = byField.get(listField[list]!)
      if (lists === undefined) byField.set(listField[list]!, [list])
      else lists.push(list)
    }
    steps += 1
    if (steps % STEPS === 0) await turn()
  }
  const lists = new Uint32Array(listTerm.length)
  let filled = 0
  for (const field of [...byField.keys()].sort((a, b) => a - b)) {
    const those = byField.get(field)!
    lists.set(those, filled)
    filled += those.length
    await turn()
  }
  const sorted = await byDocument(lists, postings, postings.documents, turn)
  const quoted = await jsonTexts(postings.terms, turn)
  yield* encodeLines(documentLines(documents, termsByDocument(postings, quoted, sorted)), turn)
}

function* documentLines(
  { documentIds, fieldLength, storedFields }: Documents,
  termsOf: Iterable<[document: number, terms: string]>,
): Generator<string> {
  // Integers come first and in order, whatever they were inserted as.
  const ids = Object.keys(documentIds)
  let next = 0
  for (const [document, terms] of termsOf) {
    while (next < ids.length && Number(ids[next]) < document) yield documentLine(ids[next++]!, '')
    if (next < ids.length && Number(ids[next]) === document) yield documentLine(ids[next++]!, terms)
    else yield `[${document},null${terms}]`
  }
  while (next < ids.length) yield documentLine(ids[next++]!, '')

  function documentLine(shortId: string, terms: string): string {
    const id = documentIds[shortId]
    assertId(NAME, id)
    const document = [id, fieldLength[shortId] ?? null]
    if (Object.hasOwn(storedFields, shortId)) document.push(storedFields[shortId])
    return `[${shortId},${documentJson(NAME, id, document)}${terms}]`
  }
}

/** What follows in each document's line, by short id. */
function* termsByDocument(
  { listTerm, listField, documents, frequencies }: Postings,
  quoted: readonly string[],
  { order, listOf }: { order: Uint32Array; listOf: Uint32Array },
): Generator<[document: number, terms: string]> {
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
  signal: AbortSignal | undefined,
): Promise<Engine> {
  const head = await saved.blob('head').json<Record<string, unknown>>()
  const documentIds = new Map<number, unknown>()
  const fieldLength = new Map<number, unknown>()
  const storedFields = new Map<number, unknown>()
  const lists = new Map<string, TermLists>()
  const yieldIfLong = createYielder(signal)
  for await (const rows of decodeLines(saved.blob('documents').stream())) {
    for (const [shortId, document, ...terms] of rows as Row[]) {
      if (document !== null) {
        documentIds.set(shortId, document[0])
        if (document[1] !== null) fieldLength.set(shortId, document[1])
        if (document.length > 2) storedFields.set(shortId, document[2])
      }
      addPostings(lists, shortId, terms)
    }
    await yieldIfLong()
  }
  const order = await decodeTermOrder([...lists.keys()], await saved.blob('termOrder').bytes())
  // `loadJSAsync` makes these maps of objects, and waits for a timer at every 1000 entries: for ever where a test fakes the timers. So it gets
  // an empty engine to make, which never waits, and the maps are put into it.
  const nothing = { documentIds: {}, fieldLength: {}, storedFields: {}, index: [] }
  const engine = await MiniSearch.loadJSAsync({ ...head, ...nothing } as never, options)
  const inside = engine as Engine & Partial<Fillable>
  if (!isFillable(inside)) {
    const documents = {
      documentIds: Object.fromEntries(documentIds),
      fieldLength: Object.fromEntries(fieldLength),
      storedFields: Object.fromEntries(storedFields),
    }
    return await MiniSearch.loadJSAsync({ ...head, ...documents, index: indexOf(order, lists) } as never, options)
  }
  inside._documentIds = documentIds
  inside._fieldLength = fieldLength
  inside._storedFields = storedFields
  for (const [shortId, id] of documentIds) {
    inside._idToShortId.set(id, shortId)
    await yieldIfLong()
  }
  for (const term of order) {
    inside._index.set(term, lists.get(term)!)
    await yieldIfLong()
  }
  return engine
}

/** Where a MiniSearch keeps what is restored. */
interface Fillable {
  _documentIds: Map<number, unknown>
  _idToShortId: Map<unknown, number>
  _fieldLength: Map<number, unknown>
  _storedFields: Map<number, unknown>
  _index: TermTree
}

function isFillable<T>(inside: T & Partial<Fillable>): inside is T & Fillable {
  const maps = [inside._documentIds, inside._idToShortId, inside._fieldLength, inside._storedFields]
  return maps.every((map) => map instanceof Map) && typeof inside._index?.set === 'function'
}

interface TermTree {
  set(term: string, lists: TermLists): unknown
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
