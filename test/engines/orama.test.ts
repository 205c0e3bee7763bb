import * as Orama from '@orama/orama'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { engineConformance } from '../../src/engines/conformance.ts'
import { orama } from '../../src/engines/orama.ts'
import { memory } from '../../src/index.ts'
import { rounds } from '../support/effort.ts'
import { oramaShapes } from './orama-shapes.ts'
import { QUERIES, textDocument } from './text.ts'

const schema = {
  title: 'string',
  text: 'string',
  tags: 'string[]',
  kind: 'enum',
  size: 'number',
  even: 'boolean',
  place: 'geopoint',
  embedding: 'vector[4]',
} as const

const options = { schema }

type Db = Orama.AnyOrama

function document(n: number, version = 0) {
  const { title, text } = textDocument(n, version)
  return {
    id: `doc-${n}`,
    title,
    text,
    tags: text.split(' ').slice(0, 3),
    kind: `kind ${n % 7}`,
    size: text.length,
    even: n % 2 === 0,
    place: { lat: (n * 7) % 90, lon: (n * 13) % 180 },
    embedding: [n % 5, 1 / (n + 1), Math.sin(n), 0.1],
  }
}

function found(results: unknown): unknown {
  const { elapsed: _elapsed, ...rest } = results as { elapsed: unknown }
  return rest
}

function answers(db: Db): unknown {
  return [
    Orama.count(db),
    ...QUERIES.map((term) => [
      found(Orama.search(db, { term, limit: 50 })),
      found(Orama.search(db, { term, tolerance: 1, boost: { title: 2 }, threshold: 1, limit: 50 })),
      found(Orama.search(db, { term, exact: true, properties: ['text'], where: { even: true }, limit: 50 })),
      found(Orama.search(db, { term, sortBy: { property: 'title', order: 'DESC' }, limit: 20 })),
      // As they come: in the order of the index.
      found(Orama.search(db, { term, sortBy: () => 0, limit: 50 })),
      found(Orama.search(db, { term: `${term} the`, threshold: 0.3, limit: 50 })),
    ]),
    found(Orama.search(db, { term: '', where: { size: { between: [40, 90] }, kind: { eq: 'kind 3' } }, limit: 50 })),
    found(
      Orama.search(db, {
        term: '',
        where: { place: { radius: { coordinates: { lat: 10, lon: 20 }, unit: 'km', value: 4000 } } },
        limit: 50,
      }),
    ),
    found(
      Orama.search(db, {
        mode: 'vector',
        vector: { value: [1, 0.5, 0.2, 0.1], property: 'embedding' },
        similarity: 0.1,
        limit: 50,
      }),
    ),
  ]
}

for (const { name, run } of engineConformance<Db>({
  adapter: orama(Orama, options),
  others: [
    orama(Orama, { schema: { ...schema, size: 'string' } }),
    orama(Orama, { schema, language: 'german' }),
    orama(Orama, options, { tokenizer: 'mine' }),
  ],
  create: () => Orama.create(options),
  add(db, first, count) {
    for (let n = first; n < first + count; n++) Orama.insert(db, document(n))
  },
  update(db, first, count) {
    for (let n = first; n < first + count; n++) Orama.update(db, `doc-${n}`, document(n, 1))
  },
  remove(db, first, count) {
    for (let n = first; n < first + count; n++) Orama.remove(db, `doc-${n}`)
  },
  answers,
  large: 1000,
  shapes: oramaShapes,
})) {
  test(name, run)
}

/** All that the database knows, as JSON. */
function saved(db: Db): unknown {
  return JSON.parse(JSON.stringify(Orama.save(db)))
}

async function again(db: Db, adapter = orama(Orama, options)): Promise<Db> {
  const store = memory()
  await persistEngine(store, adapter, db)
  return (await restoreEngine(store, adapter))!.engine
}

test('answers in the same order after any inserting, updating and removing, ties included', async () => {
  const edit = fc.tuple(fc.constantFrom('update', 'remove', 'search'), fc.nat(49))
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { maxLength: 30 }), async (edits) => {
      const db: Db = Orama.create(options)
      // Twenty texts for fifty documents: many have equal scores.
      for (let n = 0; n < 50; n++) Orama.insert(db, { ...document(n % 20), id: `doc-${n}` })
      for (const [what, n] of edits) {
        if (what === 'search') answers(db)
        else if (Orama.getByID(db, `doc-${n}`) === undefined) {
          Orama.insert(db, { ...document(n % 20), id: `doc-${n}` })
        } else if (what === 'remove') Orama.remove(db, `doc-${n}`)
        else Orama.update(db, `doc-${n}`, { ...document(n % 20, 1), id: `doc-${n}` })
      }
      const restored = await again(db)
      expect(answers(restored)).toEqual(answers(db))
      expect(saved(restored)).toEqual(saved(db))
      for (const one of [db, restored]) {
        Orama.insert(one, document(300))
        Orama.remove(one, 'doc-3')
      }
      expect(answers(restored)).toEqual(answers(db))
    }),
    rounds(15),
  )
})

test('keeps what the lists themselves say where they contradict each other', async () => {
  const db: Db = Orama.create({ schema: { text: 'string' } })
  const adapter = orama(Orama, { schema: { text: 'string' } })
  for (let n = 0; n < 10; n++) Orama.insert(db, { id: `${n}`, text: 'same words' })
  // As a tree that was not made by inserting might have it.
  const { node } = (db.data.index as unknown as { indexes: Record<string, unknown> }).indexes.text as unknown as {
    node: { c: Map<string, { d: Set<number> }> }
  }
  const child = node.c.get('s')!
  child.d = new Set([...child.d].reverse())
  const restored = await again(db, adapter)
  for (const term of ['same', 'words']) {
    const query = { term, sortBy: () => 0 }
    expect(found(Orama.search(restored, query))).toEqual(found(Orama.search(db, query)))
  }
  const { hits } = Orama.search(restored, { term: 'same', sortBy: () => 0 }) as Orama.Results<unknown>
  expect(hits[0]!.id).toBe('9')
})

test('keeps what does not follow from the documents', async () => {
  const plainSchema = { schema: { text: 'string' } } as const
  const db: Db = Orama.create(plainSchema)
  for (let n = 0; n < 10; n++) Orama.insert(db, { id: `${n}`, text: `same words ${n}` })
  const index = db.data.index as unknown as {
    frequencies: Record<string, Record<string, Record<string, number>>>
    tokenOccurrences: Record<string, Record<string, number>>
    fieldLengths: Record<string, Record<string, number>>
  }
  index.frequencies.text![3]!.same = 0.123
  index.frequencies.text![4]!.elsewhere = 0.5
  delete index.frequencies.text![5]!.words
  delete index.fieldLengths.text![6]
  index.tokenOccurrences.text!.nowhere = 3
  delete index.tokenOccurrences.text!.words
  const restored = await again(db, orama(Orama, plainSchema))
  expect(saved(restored)).toEqual(saved(db))
})

test('keeps vectors and sorted values that are not the documents’ own', async () => {
  const db: Db = Orama.create(options)
  for (let n = 0; n < 20; n++) Orama.insert(db, document(n))
  const { vectors } = (
    db.data.index as unknown as { vectorIndexes: { embedding: { node: { vectors: Map<number, unknown> } } } }
  ).vectorIndexes.embedding.node
  const entries = [...vectors].reverse().filter(([id]) => id !== 7)
  vectors.clear()
  for (const [id, entry] of entries) vectors.set(id, id === 3 ? [2, new Float32Array([0, 2, 0, 0])] : entry)
  vectors.set(99, [1, new Float32Array([1, 0, 0, 0])])
  const { title, size } = (
    db.data.sorting as unknown as {
      sorts: Record<string, { docs: Map<number, number>; orderedDocs: [number, unknown][] }>
    }
  ).sorts as {
    title: { docs: Map<number, number>; orderedDocs: [number, unknown][] }
    size: { docs: Map<number, number>; orderedDocs: [number, unknown][] }
  }
  Orama.save(db)
  title.orderedDocs[4]![1] = 'another title'
  title.docs.set(title.orderedDocs[6]![0], 60)
  title.docs.delete(title.orderedDocs[8]![0])
  size.docs.set(98, 5)
  size.orderedDocs.push([97, 1000])
  const restored = await again(db)
  expect(saved(restored)).toEqual(saved(db))
})

test('writes no list out for documents that were updated: their lines follow the order of the index', async () => {
  const db: Db = Orama.create(options)
  for (let n = 0; n < 200; n++) Orama.insert(db, document(n))
  for (let n = 0; n < 200; n += 9) Orama.update(db, `doc-${n}`, document(n, 1))
  const store = memory()
  await persistEngine(store, orama(Orama, options), db)
  const snapshot = (await store.load())!
  for (const name of snapshot.names.filter((blob) => /words|vectors/.test(blob))) {
    expect(await snapshot.blob(name).text()).not.toMatch(/^\[(0|2),.*\[/m)
  }
})

test('keeps an index of another kind whole, as of one instant', async () => {
  const components = (): object => {
    const index = Orama.components.index.createIndex()
    return {
      index: {
        ...index,
        save: (data: never) => ({ foreign: index.save(data) }),
        load: (s: never, raw: { foreign: never }) => index.load(s, raw.foreign),
      },
    }
  }
  const foreign = { schema, components: components() }
  const adapter = orama(Orama, foreign as never)
  const db: Db = Orama.create(foreign as never)
  for (let n = 0; n < 50; n++) Orama.insert(db, document(n))
  const store = memory()
  const saving = persistEngine(store, adapter, db)
  const then = answers(db)
  for (let n = 50; n < 60; n++) Orama.insert(db, document(n))
  const saved = await saving
  expect(Object.keys(saved.blobs)).toEqual(['engine/whole'])
  expect(answers((await restoreEngine(store, adapter))!.engine)).toEqual(then)
})

test('keeps pinned results, nested properties and an index that does not sort', async () => {
  const nested = { schema: { a: { b: 'string', c: 'number[]' } }, sort: { enabled: false } } as const
  const db: Db = Orama.create(nested)
  for (let n = 0; n < 30; n++)
    Orama.insert(db, { id: `${n}`, a: { b: textDocument(n).text, c: [n, n * 2] }, extra: [n] })
  Orama.insertPin(db, {
    id: 'rule',
    conditions: [{ anchoring: 'is', pattern: 'the' }],
    consequence: { promote: [{ doc_id: '7', position: 0 }] },
  })
  const restored = await again(db, orama(Orama, nested))
  const queries = [{ term: 'the' }, { term: 'index', where: { 'a.c': { gt: 20 } } }]
  for (const query of queries) {
    expect(found(Orama.search(restored, query))).toEqual(found(Orama.search(db, query)))
  }
  expect((found(Orama.search(restored, { term: 'the' })) as { hits: { id: string }[] }).hits[0]!.id).toBe('7')
  await expect(async () => Orama.search(restored, { term: 'the', sortBy: { property: 'a.b' } })).rejects.toThrow()
})

test('does not save what gives a promise instead of its state', async () => {
  const later = { ...Orama, save: async (db: Db) => Orama.save(db) }
  const db: Db = Orama.create(options)
  const saving = persistEngine(memory(), orama(later, options), db)
  await expect(saving).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' })
})

test('writes little when a hundredth is added', async () => {
  const db: Db = Orama.create({ schema: { title: 'string', text: 'string' } })
  const adapter = orama(Orama, { schema: { title: 'string', text: 'string' } })
  for (let n = 0; n < 3000; n++) Orama.insert(db, { id: `${n}`, title: document(n).title, text: document(n).text })
  const store = memory({ compression: 'none' })
  await persistEngine(store, adapter, db)
  for (let n = 3000; n < 3030; n++) Orama.insert(db, { id: `${n}`, title: document(n).title, text: document(n).text })
  const { bytes } = await persistEngine(store, adapter, db)
  expect(bytes.written / bytes.total).toBeLessThan(0.1)
})

/** A row without postings. */
function row(id: number, document: string): string {
  return Buffer.from([document.length + 2, 2 * id, document.length]).toString('latin1') + document
}

/** What the adapter writes of a database without a sortable property. */
const UNSORTED = {
  head: `${JSON.stringify({
    raw: {
      pinning: { rules: [] },
      language: 'english',
      index: {
        searchableProperties: ['one', 'kind'],
        searchablePropertiesWithTypes: { one: 'vector[2]', kind: 'enum' },
        avgFieldLength: {},
      },
      sorting: {
        language: 'english',
        sortableProperties: [],
        sortablePropertiesWithTypes: {},
        enabled: true,
        isSorted: true,
      },
    },
    count: 2,
    averages: [],
    texts: [],
    trees: [['kind', 'Flat', false]],
    vectors: [['one', 2]],
    sorts: [],
  })}\n`,
  ids: '"a"\n"b"\n',
  documents: row(1, '{"id":"a","one":[0,1],"kind":"k"}') + row(2, '{"id":"b","one":[1,1],"kind":"k"}'),
  'tree/0': '[3,{"numberToDocumentId":[["k",[1,2]]]}]\n',
  'vectors/0': '',
}

test('reads and writes a database without a sortable property as it always did', async () => {
  const unsorted = { schema: { one: 'vector[2]', kind: 'enum' } } as const
  const adapter = orama(Orama, unsorted)
  const store = memory()
  const record = { record: 1, name: 'orama', layout: adapter.layout, options: { ...adapter.options } }
  const blobs = Object.entries(UNSORTED).map(([name, source]) => [`engine/${name}`, source] as const)
  await store.persist({ blobs, metadata: { engine: record } })
  const { engine } = (await restoreEngine(store, adapter))!
  const db: Db = Orama.create(unsorted)
  Orama.insert(db, { id: 'a', one: [0, 1], kind: 'k' })
  Orama.insert(db, { id: 'b', one: [1, 1], kind: 'k' })
  expect(saved(engine)).toEqual(saved(db))
  expect(Orama.count(engine)).toBe(2)
  // And this version writes the same.
  const again = memory()
  await persistEngine(again, adapter, db)
  const snapshot = (await again.load())!
  const written = await Promise.all(snapshot.names.map(async (name) => [name, await snapshot.blob(name).text()]))
  expect(Object.fromEntries(written)).toEqual(Object.fromEntries(blobs))
})

test.each([
  ['its own components', undefined],
  [
    'a documents store of another kind',
    {
      documentsStore: (() => {
        const store = Orama.components.documentsStore.createDocumentsStore()
        return { ...store, save: (data: never) => store.save(data) }
      })(),
    },
  ],
])('refuses a document that JSON cannot carry, with its id, in a database with %s', async (_kind, components) => {
  const own = { schema: { text: 'string' }, ...(components === undefined ? {} : { components }) } as const
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  for (const extra of [12n, { deep: [1n] }, cycle]) {
    const db: Db = Orama.create(own as never)
    Orama.insert(db, { id: 'good', text: 'word' })
    Orama.insert(db, { id: 'bad', text: 'word', extra } as never)
    const store = memory()
    await expect(persistEngine(store, orama(Orama, own as never), db)).rejects.toMatchObject({
      code: 'ENGINE_VALUE_INVALID',
      details: { engine: 'Orama', document: 'bad' },
    })
    expect(await store.load()).toBeNull()
  }
})

test.each([
  ['a Map', () => new Map([[1, 2]])],
  ['a Set', () => new Set([1])],
  ['a typed array', () => new Float32Array([1])],
  ['a BigInt', () => 1n],
])('refuses a component that gives %s to be saved', async (_what, value) => {
  const sorter = Orama.components.sorter.createSorter()
  const own = { schema: { text: 'string' }, components: { sorter: { ...sorter, save: () => ({ deep: [value()] }) } } }
  const db: Db = Orama.create(own as never)
  await expect(persistEngine(memory(), orama(Orama, own as never), db)).rejects.toMatchObject({
    code: 'ENGINE_VALUE_INVALID',
  })
})

test('derives nothing from what a document says only as long as it lives: getters of a class, toJSON', async () => {
  class Live {
    readonly id: string
    readonly #n: number
    constructor(n: number) {
      this.id = `${n}`
      this.#n = n
    }
    get title(): string {
      return `title ${this.#n % 7}`
    }
    get embedding(): number[] {
      return [this.#n, 1, 2, 3]
    }
  }
  const own = { schema: { title: 'string', embedding: 'vector[4]', size: 'number' } } as const
  const db: Db = Orama.create(own)
  for (let n = 0; n < 20; n++) Orama.insert(db, new Live(n) as never)
  for (let n = 20; n < 30; n++) {
    const as = { id: `${n}`, size: 1 }
    Orama.insert(db, { id: `${n}`, size: n, title: 'word', toJSON: () => as } as never)
  }
  const restored = await again(db, orama(Orama, own))
  const { docs: _docs, ...rest } = saved(restored) as { docs: unknown }
  expect(rest).toEqual({ ...(saved(db) as object), docs: undefined })
  const query = { term: '', sortBy: { property: 'title', order: 'DESC' } } as const
  const ids = (found: unknown): string[] => (found as Orama.Results<unknown>).hits.map(({ id }) => id)
  expect(ids(Orama.search(restored, query))).toEqual(ids(Orama.search(db, query)))
})

test('takes English for the default language, also in what was saved as English', async () => {
  const english = { schema: { text: 'string' }, language: 'english' } as const
  const { language: _language, ...unsaid } = english
  const db: Db = Orama.create(english)
  Orama.insert(db, { id: '1', text: 'word' })
  const before = { ...orama(Orama, english), recorded: undefined }
  for (const adapter of [
    orama(Orama, english),
    { ...before, options: { ...before.options, language: 'english' } } as never,
  ]) {
    const store = memory()
    await persistEngine(store, adapter, db)
    for (const options of [english, unsaid]) expect(await restoreEngine(store, orama(Orama, options))).not.toBeNull()
    await expect(restoreEngine(store, orama(Orama, { ...english, language: 'german' }))).rejects.toMatchObject({
      code: 'ENGINE_MISMATCH',
    })
  }
})
