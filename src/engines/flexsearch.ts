// The adapter for FlexSearch. FlexSearch exports parts: for each field a map from terms to documents by score ("slots")
// and a map of contexts (keyword, then term), then tags, stored documents, and the register of all ids. The boundaries
// of the parts move with their number, so the adapter does not keep the parts. It saves one line per document, in the
// order of the register, which is the order in which documents were added.
//
//    head        { fields, stored }      fields: [name, kind], kind being map, ctx or tag
//    documents   [id, [cell, …], stored?]      a cell for each field; trailing nulls are left out
//    lists       what does not follow from the register's order, and tags that are not text:
//                [field, keyword or null, term, slot, [ids]], and [null, id, stored]
//
// A cell is null or [term, slot?, …, keyword, [term, slot?, …], …]; slot 0 is left out.

import { decodeLines, encodeLines } from '../encodings/json-lines.ts'
import { parsedSlices } from '../encodings/json-slices.ts'
import { assertId, documentJson } from '../encodings/json-value.ts'
import { byDocument, type PostingLists } from '../encodings/postings.ts'
import { sortedPositions } from '../encodings/term-order.ts'
import { createYielder, STEPS, type Turn } from '../event-loop.ts'
import { type BlobInput, type Chunking, content, HoldfastError } from '../index.ts'
import { assertOptions } from '../misuse.ts'
import type { EngineAdapter, EngineState, SaveContext, SavedEngine } from './adapter.ts'
import { restoring } from './engine-failed.ts'
import { packageVersion } from './version.ts'

/** What is called of an Index or a Document. */
export interface FlexSearchLike {
  export(callback: (key: string, data: string) => void): unknown
  import(key: string, data: never): unknown
}

/** What the FlexSearch adapter cannot find out from the options of the engine. */
export interface FlexSearchAdapterOptions {
  /**
   * A name for the functions and Encoder instances among the options; change it when they change. Without a name, all of them count as
   * equal.
   */
  encoder?: string | undefined
  /** Of the flexsearch package, where it cannot be found. */
  version?: string | undefined
}

const NAME = 'FlexSearch'
const CHUNKING: Chunking = content({ averageBytes: 4096 })

/** Saves and restores a FlexSearch `Index` or `Document`: `flexsearch(Index, { tokenize: 'forward' })`. Not those with workers or a `db`. */
export function flexsearch<Class extends new (options: never) => FlexSearchLike>(
  Engine: Class,
  engineOptions: object & ConstructorParameters<Class>[0],
  options: FlexSearchAdapterOptions = {},
): EngineAdapter<InstanceType<Class>> {
  assertOptions('flexsearch', options, { encoder: 'any', version: 'any' })
  if (typeof Engine !== 'function')
    throw new TypeError('flexsearch: give the Index or Document class, then its options')
  if (typeof engineOptions !== 'object' || engineOptions === null) {
    throw new TypeError("flexsearch: give the options as an object; a preset is { preset: 'match' }")
  }
  if ('db' in engineOptions) {
    throw new TypeError('flexsearch: an index with a db keeps itself there; there is nothing to save')
  }
  if (hasWorkers(engineOptions)) {
    throw new TypeError('flexsearch: an index with workers cannot be saved as of one moment')
  }
  return {
    name: 'flexsearch',
    layout: 1,
    version: options.version ?? packageVersion('flexsearch'),
    options: withoutDefaults(identityOf(engineOptions, options.encoder ?? 'custom') as Plain),
    recorded: withoutDefaults,
    save,
    restore(given, { signal }) {
      return restoring(given, { engine: 'flexsearch', option: 'the options of the index', signal }, async (saved) => {
        // An engine with `fastupdate` cannot import (0.8 throws), and one that has imported is without it anyway.
        const engine = new Engine({ ...(engineOptions as object), fastupdate: false } as never) as InstanceType<Class>
        await restore(engine, saved, signal)
        return engine
      })
    },
  }
}

/** Options that change how fast it is, not what it finds. */
const PERFORMANCE = new Set(['cache', 'async', 'worker', 'priority', 'fastupdate', 'commit', 'keystore'])

/** The options as plain values; functions and instances by name. */
function identityOf(value: unknown, custom: string): unknown {
  if (typeof value === 'function') return custom
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item) => identityOf(item, custom))
  if (Object.getPrototypeOf(value) !== Object.prototype) return custom
  const entries = Object.entries(value).filter(([key, item]) => item !== undefined && !PERFORMANCE.has(key))
  return Object.fromEntries(entries.map(([key, item]) => [key, identityOf(item, custom)]))
}

type Plain = Readonly<Record<string, unknown>>

/** What FlexSearch takes an option for that is not given. */
const DEFAULTS: Readonly<Record<string, readonly unknown[]>> = {
  tokenize: ['strict', 'exact', 'default'],
  resolution: [9, 0],
  context: [false],
  encoder: ['Default', 'Normalize', 'LatinDefault', 'LatinSimple'],
  rtl: [false],
  resolve: [true],
  store: [false],
}

/** The same, of a context. */
const CONTEXT_DEFAULTS: typeof DEFAULTS = { resolution: [3, 0], bidirectional: [true] }

/** Options, as `identityOf` gives them, less what they say and need not: an option that is its default is no difference. */
function withoutDefaults(options: Plain): Record<string, unknown> {
  const top = Object.fromEntries(Object.entries(options).filter(([key, value]) => !isDefault(DEFAULTS, key, value)))
  // A field of a Document says how it differs from the options beside it.
  const fieldDefaults = Object.fromEntries(Object.entries(DEFAULTS).filter(([key]) => !Object.hasOwn(top, key)))
  return drop(top, fieldDefaults) as Record<string, unknown>
}

function drop(value: unknown, defaults: typeof DEFAULTS): unknown {
  if (Array.isArray(value)) return value.map((item) => drop(item, defaults))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([key, item]) => !isDefault(defaults, key, item))
  return Object.fromEntries(
    entries.map(([key, item]) => [key, drop(item, key === 'context' ? CONTEXT_DEFAULTS : defaults)]),
  )
}

function isDefault(defaults: typeof DEFAULTS, key: string, value: unknown): boolean {
  if (!Object.hasOwn(defaults, key)) return false
  if (value === null || defaults[key]!.includes(value)) return true
  return (key === 'encoder' || key === 'context') && typeof value === 'object' && Object.keys(value).length === 0
}

function hasWorkers(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasWorkers)
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return false
  return Object.entries(value).some(([key, item]) => (key === 'worker' ? Boolean(item) : hasWorkers(item)))
}

type Id = string | number
type Slots = (Id[] | null)[]
type Kind = 'map' | 'ctx' | 'tag'

interface Part {
  field: string
  kind: string
  /** JSON. */
  data: string
}

function save(engine: FlexSearchLike, { turn }: SaveContext): EngineState {
  const parts: Part[] = []
  assertIds(engine)
  // Without a promise in the way, all parts are of one state.
  const answer = exported(engine, (key, data) => {
    const [, field = '', kind = ''] = /^(?:(.*)\.)?\d+\.([a-z]+)$/s.exec(key) ?? []
    parts.push({ field, kind, data })
  })
  if (answer instanceof Promise) {
    throw notKnown('its export() gives a promise, as with workers, so that its parts may be of different moments')
  }
  const strange = parts.find(({ kind }) => !['reg', 'map', 'ctx', 'tag', 'doc'].includes(kind))
  if (strange !== undefined) throw notKnown(`it exports a part ${JSON.stringify(strange.kind)}`)
  let turned: Promise<Turned> | null = null
  function lines(of: (turned: Turned) => Iterable<string> | Promise<Iterable<string>>): BlobInput {
    async function* source(): AsyncGenerator<Uint8Array> {
      turned ??= turnRound(parts, turn)
      yield* encodeLines(await of(await turned), turn)
    }
    return { source: source(), chunking: CHUNKING, type: 'application/jsonl' }
  }
  return {
    captured: true,
    blobs: {
      head: lines(({ head }) => [JSON.stringify(head)]),
      documents: lines((turned) => documentLines(turned, turn)),
      lists: lines(({ leftovers }) => leftovers),
    },
  }
}

/** What is read of an engine beside its methods, where it is there. */
interface Inside {
  reg?: { keys?(): Iterable<unknown> } | null
  store?: { entries?(): Iterable<[id: unknown, document: unknown]> } | null
}

/** `ENGINE_VALUE_INVALID` for an id that would not come back. */
function assertIds(engine: FlexSearchLike & Inside): void {
  for (const id of engine.reg?.keys?.() ?? []) assertId(NAME, id)
}

function exported(engine: FlexSearchLike & Inside, take: (key: string, data: string) => void): unknown {
  try {
    return engine.export(take)
  } catch (error) {
    for (const [id, document] of engine.store?.entries?.() ?? []) documentJson(NAME, id, document)
    throw error
  }
}

function notKnown(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `this FlexSearch cannot be saved: ${why}`, {
    details: { what: 'version', saved: why, wanted: '0.8' },
  })
}

interface Head {
  fields: [name: string, kind: Kind][]
  /** There are stored documents. */
  stored: boolean
}

/** One term of one field in one slot, and its documents as positions in the register. */
interface List {
  field: number
  keyword: string | null
  /** A tag may be another value. */
  term: string
  slot: number
}

interface Turned extends PostingLists {
  head: Head
  register: Id[]
  lists: List[]
  stored: Map<Id, unknown>
  leftovers: string[]
}

async function turnRound(parts: Part[], turn: Turn): Promise<Turned> {
  const register: Id[] = parts.filter(({ kind }) => kind === 'reg').flatMap(({ data }) => JSON.parse(data) as Id[])
  const position = new Map(register.map((id, at) => [id, at]))
  const stored = new Map<Id, unknown>()
  const head: Head = { fields: [], stored: parts.some(({ kind }) => kind === 'doc') }
  const fields = new Map<string, number>()
  const lists: List[] = []
  const listStart: number[] = [0]
  const documents: number[] = []
  const leftovers: string[] = []

  function fieldOf(name: string, kind: Kind): number {
    const key = `${kind} ${name}`
    const known = fields.get(key)
    if (known !== undefined) return known
    fields.set(key, head.fields.length)
    return head.fields.push([name, kind]) - 1
  }

  function add(list: List, ids: readonly Id[] | null): void {
    if (ids === null) return
    // In a cell, a number is a slot.
    if (typeof list.term !== 'string') {
      leftovers.push(leftoverLine(list, ids))
      return
    }
    const from = documents.length
    let before = -1
    for (const id of ids) {
      const at = position.get(id) ?? -1
      if (at <= before) {
        documents.length = from
        break
      }
      documents.push(at)
      before = at
    }
    if (documents.length === from) {
      // `fastupdate` leaves empty slots behind; a term that has only those is not the same as no term.
      leftovers.push(leftoverLine(list, ids))
      return
    }
    lists.push(list)
    listStart.push(documents.length)
  }

  function addEntries(name: string, kind: string, entries: readonly [unknown, unknown][]): void {
    if (kind === 'doc') {
      for (const [id, document] of entries as [Id, unknown][]) stored.set(id, document)
    } else if (kind === 'map') {
      const field = fieldOf(name, 'map')
      for (const [term, slots] of entries as [string, Slots][]) {
        slots.forEach((ids, slot) => {
          add({ field, keyword: null, term, slot }, ids)
        })
      }
    } else if (kind === 'ctx') {
      const field = fieldOf(name, 'ctx')
      for (const [keyword, terms] of entries as [string, [string, Slots][]][]) {
        for (const [term, slots] of terms) {
          slots.forEach((ids, slot) => {
            add({ field, keyword, term, slot }, ids)
          })
        }
      }
    } else {
      for (const [tagField, tags] of entries as [string, [string, Id[]][]][]) {
        const field = fieldOf(tagField, 'tag')
        for (const [term, ids] of tags) add({ field, keyword: null, term, slot: 0 }, ids)
      }
    }
  }

  for (const part of parts) {
    const { field, kind, data } = part
    if (kind === 'reg') continue
    // Nobody needs the text any more.
    part.data = ''
    for (const entries of parsedSlices<[unknown, unknown]>(data)) {
      addEntries(field, kind, entries)
      await turn()
    }
  }
  leftovers.sort()
  for (const [id, document] of stored) {
    if (!position.has(id)) leftovers.push(JSON.stringify([null, id, document]))
  }
  return { head, register, lists, listStart, documents: new Uint32Array(documents), stored, leftovers }
}

function leftoverLine({ field, keyword, term, slot }: List, ids: readonly Id[]): string {
  return JSON.stringify([field, keyword, term, slot, ids])
}

async function documentLines(turned: Turned, turn: Turn): Promise<Iterable<string>> {
  const sorted = await sortedLists(turned.lists, turn)
  const texts = await listTexts(turned.lists, turn)
  return linesOf(turned, texts, await byDocument(sorted, turned, turned.documents, turn))
}

/** What a cell says of each list: its term, and its slot unless that is 0. Once for all documents of the list. */
async function listTexts(lists: readonly List[], turn: Turn): Promise<string[]> {
  const texts: string[] = []
  for (const { term, slot } of lists) {
    texts.push(slot === 0 ? JSON.stringify(term) : `${JSON.stringify(term)},${slot}`)
    if (texts.length % STEPS === 0) await turn()
  }
  return texts
}

function* linesOf(
  { register, lists, documents, stored, head }: Turned,
  texts: readonly string[],
  { order, listOf }: { order: Uint32Array; listOf: Uint32Array },
): Generator<string> {
  let next = 0
  for (const [at, id] of register.entries()) {
    const cells: string[] = head.fields.map(() => '')
    const keywords: (string | null)[] = head.fields.map(() => null)
    while (next < order.length && documents[order[next]!] === at) {
      const n = listOf[order[next++]!]!
      const { field, keyword } = lists[n]!
      let cell = cells[field]!
      if (keyword !== keywords[field]) {
        // Lists without a keyword come first.
        cell += `${keywords[field] === null ? '' : ']'}${cell === '' ? '' : ','}${JSON.stringify(keyword)},[`
        keywords[field] = keyword
      } else if (cell !== '') cell += ','
      cells[field] = cell + texts[n]!
    }
    const closed = cells.map((cell, field) =>
      cell === '' ? 'null' : `[${cell}${keywords[field] === null ? '' : ']'}]`,
    )
    while (closed.at(-1) === 'null') closed.pop()
    const document = stored.has(id) ? `,${JSON.stringify(stored.get(id))}` : ''
    yield `[${JSON.stringify(id)},[${closed.join()}]${document}]`
  }
}

/** Positions of lists: those of a field together are in the order of keyword and term. */
async function sortedLists(lists: readonly List[], turn: Turn): Promise<Uint32Array> {
  const byTerm = new Map<string, number[]>()
  const byKeyword = new Map<string, number[]>([['', []]])
  for (const [n, { term, keyword }] of lists.entries()) {
    const same = byTerm.get(term)
    if (same === undefined) byTerm.set(term, [n])
    else same.push(n)
    if (keyword !== null && !byKeyword.has(keyword)) byKeyword.set(keyword, [])
    if (n % STEPS === 0) await turn()
  }
  const terms = [...byTerm.keys()]
  let steps = 0
  for (const position of await sortedPositions(terms, turn)) {
    for (const n of byTerm.get(terms[position]!)!) byKeyword.get(lists[n]!.keyword ?? '')!.push(n)
    steps += 1
    if (steps % STEPS === 0) await turn()
  }
  const keywords = [...byKeyword.keys()]
  const sorted = new Uint32Array(lists.length)
  let filled = 0
  for (const position of await sortedPositions(keywords, turn)) {
    const those = byKeyword.get(keywords[position]!)!
    sorted.set(those, filled)
    filled += those.length
  }
  return sorted
}

// ---- restoring

type Terms = Map<string, Slots>
/** Terms by keyword; null for those of none. */
type Field = Map<string | null, Terms>
type Items = (string | number | (string | number)[])[]

/** Entries given to `import` at a time. */
const BATCH = 5000

async function restore(engine: FlexSearchLike, saved: SavedEngine, signal: AbortSignal | undefined): Promise<void> {
  const head = await saved.blob('head').json<Head>()
  const fields: Field[] = head.fields.map(() => new Map())
  const register: Id[] = []
  const stored: [Id, unknown][] = []
  const yieldIfLong = createYielder(signal)
  for await (const rows of decodeLines(saved.blob('documents').stream())) {
    for (const row of rows as [Id, (Items | null)[], unknown?][]) {
      const [id, cells] = row
      register.push(id)
      if (row.length > 2) stored.push([id, row[2]])
      cells.forEach((cell, field) => {
        if (cell !== null) addItems(fields[field]!, null, cell, id)
      })
    }
    await yieldIfLong()
  }
  for await (const rows of decodeLines(saved.blob('lists').stream())) {
    for (const row of rows as ([number, string | null, string, number, Id[]] | [null, Id, unknown])[]) {
      if (row[0] === null) stored.push([row[1] as Id, row[2]])
      else {
        const [field, keyword, term, slot, ids] = row as [number, string | null, string, number, Id[]]
        slotsOf(termsOf(fields[field]!, keyword), term)[slot] = ids
      }
    }
  }
  // An engine without a register has nothing; and what is imported is the engine's own from then on.
  if (register.length > 0) await give(engine, '', 'reg', [register])
  const tags: [string, [string, Id[]][]][] = []
  for (const [n, [name, kind]] of head.fields.entries()) {
    const field = fields[n]!
    if (kind === 'map') await give(engine, name, kind, batches(entriesOf(field.get(null) ?? new Map())))
    else if (kind === 'ctx') {
      const contexts = [...field].map(([keyword, terms]) => [keyword, entriesOf(terms)])
      await give(engine, name, kind, batches(contexts))
    } else tags.push([name, [...(field.get(null) ?? [])].map(([tag, slots]) => [tag, slots[0] ?? []])])
  }
  if (tags.length > 0) await give(engine, '', 'tag', [tags])
  if (head.stored) await give(engine, '', 'doc', batches(stored))
}

function addItems(field: Field, keyword: string | null, items: Items, id: Id): void {
  let terms: Terms | null = null
  for (let at = 0; at < items.length; at++) {
    const term = items[at] as string
    const next = items[at + 1]
    if (next !== undefined && typeof next !== 'string') at += 1
    if (typeof next === 'object') addItems(field, term, next, id)
    else {
      terms ??= termsOf(field, keyword)
      const slots = slotsOf(terms, term)
      const slot = typeof next === 'number' ? next : 0
      const ids = slots[slot]
      if (ids === undefined || ids === null) slots[slot] = [id]
      else ids.push(id)
    }
  }
}

function termsOf(field: Field, keyword: string | null): Terms {
  let terms = field.get(keyword)
  if (terms === undefined) {
    terms = new Map()
    field.set(keyword, terms)
  }
  return terms
}

function slotsOf(terms: Terms, term: string): Slots {
  let slots = terms.get(term)
  if (slots === undefined) {
    slots = []
    terms.set(term, slots)
  }
  return slots
}

function entriesOf(terms: Terms): [string, Slots][] {
  return [...terms]
}

function* batches<T>(entries: readonly T[]): Generator<T[]> {
  for (let at = 0; at < entries.length; at += BATCH) yield entries.slice(at, at + BATCH)
}

/** By way of the field's own index: `Document.import` cannot find a field that has a dot in its name. */
async function give(engine: FlexSearchLike, field: string, kind: string, parts: Iterable<unknown>): Promise<void> {
  const yieldIfLong = createYielder()
  const { index } = engine as FlexSearchLike & { index?: Map<string, FlexSearchLike> }
  const target = (field !== '' && index instanceof Map && index.get(field)) || null
  let n = 0
  for (const part of parts) {
    n += 1
    if (target !== null) await target.import(`${n}.${kind}`, part as never)
    else await engine.import(`${field === '' ? '' : `${field}.`}${n}.${kind}`, part as never)
    await yieldIfLong()
  }
}
