// The adapter for FlexSearch: an inverted index in which each field has, for each term, the documents by score
// ("slots"), and for each keyword such a map again (its contexts); then tags, stored documents, and the register of all
// ids. It is saved as a row for each document, in the order of the register, which is the order in which documents were
// added.
//
//    head        { fields, stored }      fields: [name, kind], kind being map, ctx or tag
//    documents   rows as `posting-rows.ts` has them, a cell for each field; the term of a context is the keyword,
//                U+0000 and the term
//    lists       what does not follow from the register's order or is no text, in JSON lines:
//                [field, keyword or null, term, slot, [ids]], and [null, id, stored]

import { decodeLines, encodeLines } from '../encodings/json-lines.ts'
import { encodeRows, sortedTerms } from '../encodings/posting-rows.ts'
import { type Id, readRows } from '../encodings/read-posting-rows.ts'
import { createSlotLists, type SlotListsOfTerms } from '../encodings/slot-lists.ts'
import { createYielder, STEPS } from '../event-loop.ts'
import { type Chunking, content } from '../index.ts'
import { assertOptions } from '../misuse.ts'
import type { EngineAdapter, EngineState, SaveContext, SavedEngine } from './adapter.ts'
import { restoring } from './engine-failed.ts'
import { copyOf, type Head, SEPARATOR } from './flexsearch-capture.ts'
import { hasWorkers, identityOf, type Plain, withoutDefaults } from './flexsearch-options.ts'
import { packageVersion } from './version.ts'

/**
 * What is called of an Index or a Document. Its maps are read as well: `reg`, `map`, `ctx`, `index`, `tag` and `store`.
 */
export interface FlexSearchLike {
  import(key: string, data: never): unknown
}

/** What the FlexSearch adapter cannot find out from the options of the engine. */
export interface FlexSearchAdapterOptions {
  /**
   * A name for the functions and Encoder instances among the options; change it when they change. Without a name, all
   * of them count as equal.
   */
  encoder?: string | undefined
  /** Of the flexsearch package, where it cannot be found. */
  version?: string | undefined
}

/**
 * Half of what MiniSearch and Orama have: so has the row of a document, and a change of one writes the chunk around it.
 */
const CHUNKING: Chunking = content({ averageBytes: 2048 })

/**
 * Saves and restores a FlexSearch `Index` or `Document`: `flexsearch(Index, { tokenize: 'forward' })`. Not those with
 * workers or a `db`.
 */
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
    layout: 2,
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

function save(engine: FlexSearchLike, { turn }: SaveContext): EngineState {
  const { head, rows, index, leftovers } = copyOf(engine)
  async function* documents(): AsyncGenerator<Uint8Array> {
    const order = await sortedTerms(index, turn)
    yield* encodeRows({ ...index, order }, rows, turn)
  }
  return {
    captured: true,
    blobs: {
      head: { source: JSON.stringify(head), chunking: CHUNKING, type: 'application/json' },
      documents: { source: documents(), chunking: CHUNKING, type: 'application/octet-stream' },
      lists: { source: encodeLines(leftovers, turn), chunking: CHUNKING, type: 'application/jsonl' },
    },
  }
}

type Slots = Id[][]
type Leftover = [field: number, keyword: string | null, term: string, slot: number, ids: Id[]]
type Ghost = [none: null, id: Id, stored: unknown]

/** Entries given to `import` at a time. */
const BATCH = 1000

async function restore(engine: FlexSearchLike, saved: SavedEngine, signal: AbortSignal | undefined): Promise<void> {
  const head = await saved.blob('head').json<Head>()
  const blob = saved.blob('documents')
  const shape = { fields: head.fields.length, size: blob.size, signal }
  const { ids, documents: stored, sinks } = await readRows(blob.stream(), shape, createSlotLists)
  const documents = stored.map(([row, document]): [Id, unknown] => [ids[row]!, document])
  const maps: Terms[] = []
  for (const [n, [, kind]] of head.fields.entries()) {
    const lists = await sinks[n]?.done(ids, createYielder(signal))
    maps.push(await termsOf(lists ?? { terms: [], lists: [] }, kind === 'ctx', signal))
  }
  for await (const lines of decodeLines(saved.blob('lists').stream())) {
    for (const line of lines as (Leftover | Ghost)[]) {
      if (line[0] === null) documents.push([line[1], line[2]])
      else addLeftover(maps[line[0]]!, line as Leftover)
    }
  }
  // An engine without a register has nothing; and what is imported is the engine's own from then on.
  if (ids.length > 0) await give(engine, '', 'reg', [ids])
  const tags: [string, [string, Id[]][]][] = []
  for (const [n, [name, kind]] of head.fields.entries()) {
    const { entries } = maps[n]!
    if (kind === 'map') await give(engine, name, kind, batches(entries))
    else if (kind === 'ctx') await give(engine, name, kind, batches(await contexts(maps[n]!)))
    else tags.push([name, entries.map(([tag, slots]) => [tag, slots[0] ?? []])])
  }
  if (tags.length > 0) await give(engine, '', 'tag', [tags])
  if (head.stored) await give(engine, '', 'doc', batches(documents))
}

/** The lists of each term of a field. */
interface Terms {
  entries: [term: string, slots: Slots][]
  /** In step with `entries`, of contexts. */
  keywords: string[] | null
  /** Where each stands, by keyword and term; made when it is asked. */
  places: Map<string, number> | null
}

async function termsOf(
  { terms, lists }: SlotListsOfTerms,
  isContext: boolean,
  signal: AbortSignal | undefined,
): Promise<Terms> {
  const yieldIfLong = createYielder(signal)
  const entries: Terms['entries'] = []
  const keywords: string[] | null = isContext ? [] : null
  for (let n = 0; n < terms.length; n++) {
    const term = terms[n]!
    const end = isContext ? term.indexOf(SEPARATOR) : -1
    keywords?.push(term.slice(0, Math.max(end, 0)))
    entries.push([term.slice(end + 1), lists[n]!])
    if (n % STEPS === 0) await yieldIfLong()
  }
  return { entries, keywords, places: null }
}

function addLeftover(field: Terms, [, keyword, term, slot, ids]: Leftover): void {
  const { entries, keywords } = field
  const key = (keyword: string | null, term: string): string => JSON.stringify([keyword, term])
  field.places ??= new Map(entries.map(([term], n) => [key(keywords?.[n] ?? null, term), n]))
  let place = field.places.get(key(keyword, term))
  if (place === undefined) {
    place = entries.length
    field.places.set(key(keyword, term), place)
    entries.push([term, []])
    keywords?.push(keyword ?? '')
  }
  entries[place]![1][slot] = ids
}

/** Terms with their lists, by keyword. */
async function contexts({ entries, keywords }: Terms): Promise<[string, [string, Slots][]][]> {
  const byKeyword = new Map<string, [string, Slots][]>()
  const yieldIfLong = createYielder()
  for (let n = 0; n < entries.length; n++) {
    const keyword = keywords![n]!
    const terms = byKeyword.get(keyword)
    if (terms === undefined) byKeyword.set(keyword, [entries[n]!])
    else terms.push(entries[n]!)
    if (n % STEPS === 0) await yieldIfLong()
  }
  return [...byKeyword]
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
