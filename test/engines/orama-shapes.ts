import { isDeepStrictEqual } from 'node:util'
import * as Orama from '@orama/orama'
import type { ConformanceShape } from '../../src/engines/conformance.ts'
import { orama } from '../../src/engines/orama.ts'
import { sample } from '../support/effort.ts'
import { random, textDocument } from './text.ts'

// Orama's whole space of options: every type alone, every two of them, every component replaced, every option.

type Db = Orama.AnyOrama
type Next = () => number
type Options = Parameters<typeof Orama.create>[0]

const pick = <T>(next: Next, values: readonly T[]): T => values[Math.floor(next() * values.length)]!
const text = (next: Next): string => textDocument(Math.floor(next() * 40)).title
const place = (next: Next) => ({ lat: Math.floor(next() * 90), lon: Math.floor(next() * 180) })

/** A value of each type that a schema can have. */
const VALUES: Record<string, (next: Next) => unknown> = {
  string: text,
  number: (next) =>
    pick(next, [0, -0, -7, 1.5, 2 ** 40, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]),
  boolean: (next) => next() < 0.5,
  enum: (next) => pick(next, ['a', 'b', 1, '1', '__proto__', Number.NaN, Number.POSITIVE_INFINITY]),
  geopoint: place,
  'string[]': (next) => [text(next), text(next)].slice(Math.floor(next() * 3)),
  'number[]': (next) => [Math.floor(next() * 9), Number.POSITIVE_INFINITY, 3].slice(Math.floor(next() * 4)),
  'boolean[]': (next) => [true, false].slice(Math.floor(next() * 3)),
  'enum[]': (next) => ['x', 2, 'y'].slice(Math.floor(next() * 4)),
  'vector[3]': (next) => [next(), next() * 9, pick(next, [1e300, 0.1, Number.NaN, 0])],
}

const TYPES = Object.keys(VALUES)

/** A type by property, dots being objects in objects. */
type Types = Record<string, string>

function schemaOf(types: Types): object {
  const schema = {}
  for (const [property, type] of Object.entries(types)) put(schema, property, type)
  return schema
}

function put(into: object, property: string, value: unknown): void {
  const keys = property.split('.')
  const last = keys.pop()!
  let at = into as Record<string, Record<string, unknown>>
  for (const key of keys) {
    if (!Object.hasOwn(at, key)) at[key] = {}
    at = at[key] as typeof at
  }
  at[last] = value as Record<string, unknown>
}

function document(n: number, types: Types, seed: number): { id: string } {
  const next = random(seed * 1009 + n)
  const made = { id: `doc ${n}`, extra: { deep: [n, null] } }
  for (const [property, type] of Object.entries(types)) {
    // Every fifth value is not there, unless objects have one of that name by themselves.
    if (next() > 0.2 || property in made) put(made, property, aValue(type, next, n))
  }
  return made
}

/**
 * Numbers without a JSON text are null in a restored document, which Orama then does not find to remove: not in those
 * that are removed.
 */
function aValue(type: string, next: Next, n: number): unknown {
  for (;;) {
    const value = VALUES[type]!(next)
    if (n > 12 || isDeepStrictEqual(JSON.parse(JSON.stringify(value)), value)) return value
  }
}

function outcome(ask: () => unknown): unknown {
  try {
    const { elapsed: _elapsed, ...rest } = ask() as { elapsed: unknown }
    return rest
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).message
  }
}

function questions(types: Types): object[] {
  const words = ['the', 'sto', 'index search', 'constructor', 'naïve', '']
  const asked: object[] = words.map((term) => ({ term, limit: 40 }))
  asked.push({ term: 'the', tolerance: 1 }, { term: 'search', exact: true }, { term: 'of a', threshold: 0.5 })
  for (const [property, type] of Object.entries(types)) {
    if (['string', 'number', 'boolean'].includes(type)) {
      for (const order of ['ASC', 'DESC']) asked.push({ term: '', sortBy: { property, order }, limit: 40 })
    }
    const where = (filter: unknown): object => ({ term: '', where: { [property]: filter }, limit: 40 })
    if (/^number/.test(type)) asked.push(where({ gt: 1 }), where({ lte: 5 }), where({ eq: Number.POSITIVE_INFINITY }))
    if (/^boolean/.test(type)) asked.push(where(true), where(false))
    if (type === 'enum') asked.push(where({ in: ['a', 1] }), where({ nin: ['a'] }), where({ eq: Number.NaN }))
    if (type === 'enum[]') asked.push(where({ containsAll: ['x', 2] }))
    if (type === 'geopoint') {
      asked.push(where({ radius: { coordinates: { lat: 40, lon: 60 }, unit: 'km', value: 5000 } }))
    }
    if (/^string/.test(type)) asked.push(where('index'), { term: '', facets: { [property]: {} } })
    if (/^vector/.test(type)) {
      // Without its vectors, Orama gives out, and keeps, a nested document in which they are null.
      asked.push({ mode: 'vector', vector: { value: [1, 2, 0.1], property }, similarity: 0.1, includeVectors: true })
    }
  }
  return asked
}

interface Shape {
  name: string
  options: Options
  types: Types
}

function answersOf({ types }: Shape): (db: Db) => unknown {
  return (db) => {
    const found = questions(types).map((query) => outcome(() => Orama.search(db, query as never)))
    const stored = JSON.stringify(['doc 3', 'doc 17', 'doc 99'].map((id) => Orama.getByID(db, id) ?? null))
    // As JSON gives them: of what is in a document, no more is promised.
    return [Orama.count(db), JSON.parse(JSON.stringify(found)), stored, saved(db)]
  }
}

function saved(db: Db): unknown {
  const { index, ...raw } = Orama.save(db) as unknown as { index: object }
  // Deep trees have another order of equal scores, not of documents.
  return [plain({ ...raw, docs: null }), plain(index)]
}

/** Maps, numbers that JSON has not, and the like, to be compared. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, part: unknown) =>
      typeof part === 'number' && !Number.isFinite(part) ? String(part) : part,
    ),
  )
}

function shapeOf(shape: Shape, seed: number): ConformanceShape<Db> {
  const db = Orama.create(shape.options) as Db
  for (let n = 0; n < 30; n++) Orama.insert(db, document(n, shape.types, seed) as never)
  for (const n of [3, 11]) Orama.update(db, `doc ${n}`, document(n, shape.types, seed + 1) as never)
  for (const n of [5, 29, 0]) Orama.remove(db, `doc ${n}`)
  return {
    name: shape.name,
    adapter: orama(Orama, shape.options as never) as unknown as ConformanceShape<Db>['adapter'],
    engine: db,
    answers: answersOf(shape),
    own(engine) {
      const loaded = Orama.create(shape.options) as Db
      Orama.load(loaded, structuredClone(Orama.save(engine)))
      return loaded
    },
    change(engine) {
      for (let n = 30; n < 36; n++) Orama.insert(engine, document(n, shape.types, seed) as never)
      for (const n of [7, 8]) Orama.remove(engine, `doc ${n}`)
    },
  }
}

function withTypes(name: string, types: Types, rest: object = {}): Shape {
  return { name, types, options: { schema: schemaOf(types), ...rest } as Options }
}

function* shapes(): Generator<Shape> {
  yield withTypes('no property', {})
  for (const type of TYPES) {
    yield withTypes(type, { one: type })
    yield withTypes(`${type} in an object`, { 'a.b.one': type })
    yield withTypes(`${type} that is not sorted`, { one: type }, { sort: { unsortableProperties: ['one'] } })
    yield withTypes(`${type} without sorting`, { one: type }, { sort: { enabled: false } })
    yield withTypes(`${type} named constructor`, { constructor: type, toString: type })
    for (const other of sample(`types beside ${type}`, TYPES, 2))
      yield withTypes(`${type} and ${other}`, { one: type, two: other })
  }
  const all = Object.fromEntries(TYPES.map((type) => [type.replace(/\W/g, '_'), type]))
  yield withTypes('every type', all)
  for (const language of ['english', 'german', 'russian']) yield withTypes(`in ${language}`, all, { language })
  const some = { text: 'string', flag: 'boolean', place: 'geopoint', kinds: 'enum[]' }
  for (const [name, components] of Object.entries(replacedComponents())) {
    yield withTypes(`own ${name}`, some, { components })
  }
  yield withTypes('own components of a plugin', some, {
    plugins: [
      { name: 'mine', getComponents: () => ({ documentsStore: replacedComponents().documentsStore!.documentsStore }) },
    ],
  })
}

/** Every component replaced: by one that keeps more than Orama's own does, or in another form. */
function replacedComponents(): Record<string, Record<string, unknown>> {
  const { index, sorter, documentsStore, tokenizer } = Orama.components
  const indexed = index.createIndex()
  const sorted = sorter.createSorter()
  const stored = documentsStore.createDocumentsStore()
  return {
    documentsStore: {
      documentsStore: {
        ...stored,
        // Beside the documents, when each was stored.
        create: (...args: Parameters<typeof stored.create>) => ({ ...stored.create(...args), log: [] as string[] }),
        store(data: never, id: string, internalId: never, doc: never) {
          ;(data as { log: string[] }).log.push(id)
          return stored.store(data, id, internalId, doc)
        },
        save: (data: never) => ({ ...(stored.save(data) as object), log: (data as { log: string[] }).log }),
        load(ids: never, raw: { log: string[] }) {
          if (raw.log.length === 0) throw new Error('the log is lost')
          return { ...stored.load(ids, raw as never), log: raw.log }
        },
      },
    },
    'documentsStore of text': {
      documentsStore: {
        ...stored,
        save: (data: never) => JSON.stringify(stored.save(data)),
        load: (ids: never, raw: string) => stored.load(ids, JSON.parse(raw) as never),
      },
    },
    sorter: {
      sorter: {
        ...sorted,
        save: (data: never) => ({ mine: sorted.save(data) }),
        load: (ids: never, raw: { mine: never }) => sorted.load(ids, raw.mine),
      },
    },
    'sorter that keeps nothing': {
      sorter: { ...sorted, save: () => null, load: () => ({ enabled: false }) },
    },
    index: {
      index: {
        ...indexed,
        save: (data: never) => ({ mine: indexed.save(data) }),
        load: (ids: never, raw: { mine: never }) => indexed.load(ids, raw.mine),
      },
    },
    'index that only inserts differently': {
      index: {
        ...indexed,
        insert: (...args: Parameters<typeof indexed.insert>) => indexed.insert(...args),
      },
    },
    tokenizer: {
      tokenizer: {
        language: 'english',
        normalizationCache: new Map(),
        tokenize: (raw: string) => (typeof raw === 'string' ? [...new Set(raw.toLowerCase().split(/\s+/))] : []),
      },
    },
    'options of a tokenizer': { tokenizer: { language: 'english', stemming: false, allowDuplicates: true } },
    'default tokenizer': { tokenizer: tokenizer.createTokenizer() },
    getDocumentProperties: {
      getDocumentProperties: (doc: object, paths: string[]) =>
        Orama.components.getDocumentProperties(doc as never, paths),
    },
    getDocumentIndexId: { getDocumentIndexId: (doc: { id: string }) => doc.id },
    validateSchema: { validateSchema: () => undefined },
    formatElapsedTime: { formatElapsedTime: () => 0 },
  }
}

export function* oramaShapes(): Generator<ConformanceShape<Db>> {
  let seed = 0
  for (const shape of shapes()) {
    seed += 1
    yield shapeOf(shape, seed)
  }
}
