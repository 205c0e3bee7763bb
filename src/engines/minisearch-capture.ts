// Copies what a MiniSearch holds: at one go what is small, and its postings at one go or a few at a time.

import { SLOT_MAX } from '../encodings/posting-rows.ts'
import type { PostingLists } from '../encodings/postings.ts'
import { sortedPositions } from '../encodings/term-order.ts'
import { createYielder, STEPS, type Turn } from '../event-loop.ts'
import { HoldfastError } from '../index.ts'

/** What is called of a MiniSearch. */
export interface MiniSearchLike {
  toJSON(): object
}

/** The version of the JSON that is known here. */
export const SERIALIZATION = 2

/** What `MiniSearch.toJSON` gives and `loadJS` takes. */
export interface Json {
  serializationVersion: number
  fieldIds: Record<string, number>
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
 * Every change of a MiniSearch moves one of these: a document added the next id, one removed the count, one discarded
 * or vacuumed the dirt; `removeAll` makes a new index. (A search may drop postings of discarded documents: that is no
 * change.)
 */
export function revisionOf(engine: MiniSearchLike): string | undefined {
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

export interface Documents {
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

/** What `take` gives. */
interface Taken {
  /** What `toJSON` gives beside the rest. */
  json: object
  documents: Documents
  /** Ids of fields, ascending. */
  fields: number[]
  lists: List[]
}

/**
 * Everything but the postings, copied at one go, and where those are. Ids, lengths and stored values themselves are not
 * copied: MiniSearch only ever replaces them.
 */
export function take(engine: MiniSearchLike): Taken {
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
  const fields = new Set(Object.values(json.fieldIds))
  for (const [term, ofTerm] of tree) {
    for (const [field, frequencies] of ofTerm) {
      fields.add(field)
      lists.push({ term, field, frequencies })
    }
  }
  const documents = { documentIds, fieldLength, storedFields }
  return { json: head, documents, fields: [...fields].sort((a, b) => a - b), lists }
}

function look(engine: MiniSearchLike): { json: Json; tree: Tree } {
  // `toJSON` makes an object of every posting, several times what they take. Of a shadow of the engine that has no
  // index it gives all the rest; where a version keeps its index elsewhere, the shadow has one, and `toJSON` is what
  // there is.
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

/** All postings, as columns: an eighth of what the engine's own maps take. A list is one term in one field. */
export interface Postings extends PostingLists {
  /** In the order in which they build the same tree again. */
  terms: string[]
  /** `sortedPositions(terms)`, when it is needed first. */
  sorted(): Promise<Uint32Array>
  /** Of each list; the lists of a term are together. */
  listTerm: number[]
  listField: number[]
  frequencies: Uint32Array
}

/** `turn` is for what is made of the copy. */
export function copyAtOnce(lists: readonly List[], turn: Turn): Postings {
  const steps = copyLists(lists, turn)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/** Without pauses: the sooner it is done, the fewer changes come in between. */
export async function copyByAndBy(lists: readonly List[], turn: Turn): Promise<Postings> {
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
      if (document > 0xffffffff) throw tooMany('documents', document, 0xffffffff)
      if (frequency > SLOT_MAX) throw tooMany('frequency', frequency, SLOT_MAX)
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

export function changed(): HoldfastError {
  return new HoldfastError('SOURCE_CHANGED', 'the MiniSearch changed while it was copied; try again', {
    details: { what: 'minisearch' },
  })
}

function tooMany(limit: string, actual: number, max: number): HoldfastError {
  return new HoldfastError('LIMIT_EXCEEDED', `a MiniSearch with the number ${actual} as ${limit} cannot be saved`, {
    details: { limit, max, actual },
  })
}
