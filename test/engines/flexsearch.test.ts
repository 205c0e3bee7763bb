import fc from 'fast-check'
import { Charset, Document, Encoder, Index } from 'flexsearch'
import { expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { engineConformance } from '../../src/engines/conformance.ts'
import { flexsearch } from '../../src/engines/flexsearch.ts'
import { memory } from '../../src/index.ts'
import { rounds } from '../support/effort.ts'
import { documentShapes, indexShapes } from './flexsearch-shapes.ts'
import { QUERIES, textDocument } from './text.ts'

const indexOptions = { tokenize: 'forward' } as const
const contextOptions = { context: { depth: 2, bidirectional: true, resolution: 5 }, fastupdate: true } as const
const documentOptions = {
  document: {
    id: 'id',
    index: [{ field: 'title', tokenize: 'forward' }, 'text', { field: 'inner:note.d', tokenize: 'strict' }],
    tag: ['kind'],
    store: true,
  },
} as never

function note(n: number, version = 0) {
  const document = textDocument(n, version)
  // Ids of both kinds: 7 and '7' are not the same.
  return { ...document, id: n % 3 === 0 ? `${n}` : n, kind: `kind ${n % 7}`, inner: { 'note.d': document.title } }
}

function indexAnswers(index: InstanceType<typeof Index>): unknown {
  return QUERIES.map((query) => [
    index.search(query, { limit: 50 }),
    index.search(query, { limit: 50, suggest: true, offset: 3 }),
    index.search(`${query} the`, { limit: 50, suggest: true, resolution: 2 }),
    index.contain(7),
  ])
}

for (const [kind, options] of [
  ['index', indexOptions],
  ['index with contexts and fastupdate', contextOptions],
] as const) {
  for (const { name, run } of engineConformance({
    adapter: flexsearch(Index, options),
    others: [
      flexsearch(Index, { ...options, tokenize: 'full' }),
      flexsearch(Index, { ...options, encoder: { normalize: true } }),
    ],
    create: () => new Index(options),
    add(index, first, count) {
      for (let n = first; n < first + count; n++) {
        const { id, text } = note(n)
        index.add(id, text)
      }
    },
    update(index, first, count) {
      for (let n = first; n < first + count; n++) {
        const { id, text } = note(n, 1)
        index.update(id, text)
      }
    },
    remove(index, first, count) {
      for (let n = first; n < first + count; n++) index.remove(note(n).id)
    },
    answers: indexAnswers,
    large: 2000,
    ...(kind === 'index' ? { shapes: indexShapes } : {}),
  })) {
    test(`${kind}, ${name}`, run)
  }
}

for (const { name, run } of engineConformance({
  adapter: flexsearch(Document, documentOptions),
  others: [flexsearch(Document, { document: { id: 'id', index: ['title'] } })],
  create: () => new Document(documentOptions),
  add(document, first, count) {
    for (let n = first; n < first + count; n++) document.add(note(n))
  },
  update(document, first, count) {
    for (let n = first; n < first + count; n++) document.update(note(n, 1))
  },
  remove(document, first, count) {
    for (let n = first; n < first + count; n++) document.remove(note(n).id)
  },
  answers: (document) =>
    QUERIES.map((query) => [
      document.search(query, { limit: 50 }),
      document.search(query, { limit: 50, enrich: true, suggest: true }),
      document.search(query, { limit: 50, index: 'inner:note.d' }),
      document.search({ tag: { kind: 'kind 3' }, limit: 50 } as never),
      document.get(7),
    ]),
  large: 1000,
  shapes: documentShapes as never,
})) {
  test(`document, ${name}`, run)
}

test('finds the same after any adding, updating, appending and removing', async () => {
  const edit = fc.tuple(fc.constantFrom('update', 'remove', 'append'), fc.nat(39))
  await fc.assert(
    fc.asyncProperty(
      fc.array(edit, { maxLength: 30 }),
      fc.constantFrom(indexOptions, contextOptions),
      async (edits, options) => {
        const index = new Index(options)
        for (let n = 0; n < 40; n++) index.add(note(n).id, note(n).text)
        for (const [what, n] of edits) {
          const { id, text } = note(n, 1)
          if (what === 'remove') index.remove(id)
          else if (what === 'update') index.update(id, text)
          else index.append(id, text)
        }
        const store = memory()
        const adapter = flexsearch(Index, options)
        await persistEngine(store, adapter, index)
        const { engine } = (await restoreEngine(store, adapter))!
        expect(indexAnswers(engine)).toEqual(indexAnswers(index))
        expect((await persistEngine(store, adapter, engine)).unchanged).toBe(true)
        // What was imported is without fastupdate, which removes in another way.
        if (options === contextOptions) return
        index.remove(5)
        engine.remove(5)
        index.add(100, 'the index of stores')
        engine.add(100, 'the index of stores')
        expect(indexAnswers(engine)).toEqual(indexAnswers(index))
      },
    ),
    rounds(25),
  )
})

test('refuses what is not built as an Index or a Document, and an index that keeps itself in a database', async () => {
  const adapter = flexsearch(Index, indexOptions)
  const another = Object.assign(new Index(indexOptions), { map: [new Map()] })
  await expect(persistEngine(memory(), adapter, another)).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' })
  // As a field that a worker has.
  const document = new Document(documentOptions)
  ;(document as unknown as { index: Map<string, unknown> }).index.set('text', { add() {}, import() {} })
  await expect(persistEngine(memory(), flexsearch(Document, documentOptions), document)).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
    message: expect.stringContaining('"text"'),
  })
  expect(() => flexsearch(Index, { db: {} } as never)).toThrow(TypeError)
})

test('keeps terms that no row can have, and contexts of them', async () => {
  const odd = ['\ud800', 'a\0b', '\0', 'b\udfff\0', 'é\u{1f600}', 'long '.repeat(60)]
  const encode = (text: string): string[] => text.split('|')
  const options = { context: { depth: 1, bidirectional: false, resolution: 3 }, encode }
  const index = new Index(options)
  for (let n = 0; n < 30; n++) {
    index.add(n, [...odd.slice(n % odd.length), ...odd.slice(0, n % odd.length), `word ${n % 3}`].join('|'))
  }
  const store = memory()
  await persistEngine(store, flexsearch(Index, options), index)
  const { engine } = (await restoreEngine(store, flexsearch(Index, options)))!
  const inside = (of: unknown): { map: Map<string, unknown>; ctx: Map<string, Map<string, unknown>> } => of as never
  const sorted = (map: Map<string, unknown>): unknown => new Map([...map].sort(([a], [b]) => (a < b ? -1 : 1)))
  expect(sorted(inside(engine).map)).toEqual(sorted(inside(index).map))
  expect(inside(index).ctx.size).toBe(odd.length)
  for (const [keyword, terms] of inside(index).ctx) {
    expect(sorted(inside(engine).ctx.get(keyword)!)).toEqual(sorted(terms))
  }
  expect((await persistEngine(store, flexsearch(Index, options), engine)).unchanged).toBe(true)
})

test('keeps stored documents that are in no register', async () => {
  const document = new Document(documentOptions)
  for (let n = 0; n < 10; n++) document.add(note(n))
  const { store } = document as unknown as { store: Map<unknown, unknown> }
  store.set('ghost', { text: 'of another time' })
  const kept = memory()
  await persistEngine(kept, flexsearch(Document, documentOptions), document)
  const { engine } = (await restoreEngine(kept, flexsearch(Document, documentOptions)))!
  expect(engine.get('ghost' as never)).toEqual({ text: 'of another time' })
  expect(engine.get(7)).toEqual(document.get(7))
})

test('tells functions apart from the defaults, and by the name they are given', () => {
  const identity = (options: object, encoder?: string): unknown =>
    flexsearch(Index, options, encoder === undefined ? {} : { encoder }).options
  const encode = (text: string): string[] => text.split('')
  expect(identity({ tokenize: 'full', cache: 100 })).toEqual({ tokenize: 'full' })
  expect(identity({ encode })).toEqual({ encode: 'custom' })
  expect(identity({ encode }, 'letters')).toEqual({ encode: 'letters' })
  expect(identity({ encoder: new Encoder({ normalize: true }) }, 'mine')).toEqual({ encoder: 'mine' })
})

test('writes little when a hundredth is added', async () => {
  const document = new Document(documentOptions)
  for (let n = 0; n < 3000; n++) document.add(note(n))
  const adapter = flexsearch(Document, documentOptions)
  const store = memory({ compression: 'none' })
  await persistEngine(store, adapter, document)
  for (let n = 3000; n < 3030; n++) document.add(note(n))
  const { bytes } = await persistEngine(store, adapter, document)
  expect(bytes.written / bytes.total).toBeLessThan(0.04)
})

test('takes an option that is its default for none, also in what was saved with it', async () => {
  const same: [object, object][] = [
    [{}, { tokenize: 'strict', resolution: 9, rtl: false, context: false, resolve: true }],
    [{}, { encoder: Charset.Default }],
    [{ encoder: 'Default' }, { encoder: {}, tokenize: 'exact' }],
    [{ context: { depth: 1 } }, { context: { depth: 1, resolution: 3, bidirectional: true } }],
  ]
  for (const [a, b] of same) {
    const index = new Index(a)
    for (let n = 0; n < 9; n++) index.add(n, note(n).text)
    const saves = flexsearch(Index, a)
    // As an earlier version recorded it: as it was given.
    const asGiven = JSON.parse(JSON.stringify(a)) as Record<string, unknown>
    for (const adapter of [saves, { ...saves, options: asGiven }]) {
      const store = memory()
      await persistEngine(store, adapter, index)
      const { engine } = (await restoreEngine(store, flexsearch(Index, b)))!
      expect(indexAnswers(engine)).toEqual(indexAnswers(index))
    }
  }
  const document = (options: object, title: object): unknown =>
    flexsearch(Document, { ...options, document: { index: [{ field: 'title', ...title }] } } as never).options
  expect(document({}, { tokenize: 'strict' })).toEqual(document({}, {}))
  // What is the default of FlexSearch is not that of this field.
  expect(document({ tokenize: 'full' }, { tokenize: 'strict' })).not.toEqual(document({ tokenize: 'full' }, {}))
  expect(flexsearch(Index, { context: { depth: 1, resolution: 9 } } as never).options).not.toEqual(
    flexsearch(Index, { context: { depth: 1 } } as never).options,
  )
})

test('refuses workers, and a preset that is not among options', () => {
  const fields = [{ field: 'title', worker: true }]
  expect(() => flexsearch(Document, { worker: true, document: { index: ['title'] } } as never)).toThrow(TypeError)
  expect(() => flexsearch(Document, { document: { index: fields } } as never)).toThrow(TypeError)
  expect(() => flexsearch(Index, 'match' as never)).toThrow(/preset/)
  expect(flexsearch(Index, { worker: false } as never).options).toEqual({})
})

test.each([
  ['a BigInt', 12n],
  ['an infinity', Number.POSITIVE_INFINITY],
  ['a list', [1]],
])('refuses %s as an id: it would not come back equal', async (_what, id) => {
  const index = new Index(indexOptions)
  index.add(1, 'word')
  index.add(id as never, 'word')
  await expect(persistEngine(memory(), flexsearch(Index, indexOptions), index)).rejects.toMatchObject({
    code: 'ENGINE_VALUE_INVALID',
    details: { engine: 'FlexSearch', document: id },
  })
})

test('refuses a stored document that JSON cannot carry, with its id', async () => {
  const document = new Document(documentOptions)
  for (let n = 0; n < 10; n++) document.add(note(n))
  document.add({ ...note(11), extra: { deep: 1n } } as never)
  await expect(persistEngine(memory(), flexsearch(Document, documentOptions), document)).rejects.toMatchObject({
    code: 'ENGINE_VALUE_INVALID',
    details: { document: 11 },
  })
})
