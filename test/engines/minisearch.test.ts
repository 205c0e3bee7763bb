import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import MiniSearch from 'minisearch'
import { expect, test } from 'vitest'
import { type EngineAdapter, persistEngine, restoreEngine, type SaveContext } from '../../src/engines/adapter.ts'
import { engineConformance } from '../../src/engines/conformance.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { memory } from '../../src/index.ts'
import { rounds } from '../support/effort.ts'
import { minisearchShapes } from './minisearch-shapes.ts'
import { QUERIES, textDocument } from './text.ts'

const options = { fields: ['title', 'text'], storeFields: ['title'], autoVacuum: false }

function answers(engine: MiniSearch): unknown {
  return [
    engine.documentCount,
    engine.termCount,
    engine.dirtCount,
    ...QUERIES.map((query) => [
      engine.search(query),
      engine.search(query, { prefix: true, fuzzy: 0.2, boost: { title: 2 }, combineWith: 'AND' }),
      engine.search(query, { prefix: true, fuzzy: 0.4 }),
      engine.autoSuggest(query, { fuzzy: 0.2 }),
    ]),
    engine.search(MiniSearch.wildcard).length,
  ]
}

for (const { name, run } of engineConformance<MiniSearch>({
  adapter: minisearch(MiniSearch, options),
  others: [
    minisearch(MiniSearch, { ...options, fields: ['text'] }),
    minisearch(MiniSearch, { ...options, storeFields: [] }),
    minisearch(MiniSearch, { ...options, idField: 'key' }),
    minisearch(MiniSearch, { ...options, processTerm: (term: string) => term }),
    minisearch(MiniSearch, options, { tokenizer: 'porter' }),
  ],
  create: () => new MiniSearch(options),
  add(engine, first, count) {
    for (let n = first; n < first + count; n++) engine.add(textDocument(n))
  },
  update(engine, first, count) {
    for (let n = first; n < first + count; n++) engine.replace(textDocument(n, 1))
  },
  remove(engine, first, count) {
    for (let n = first; n < first + count; n++) {
      if (n % 2 === 0) engine.discard(n)
      else engine.remove(textDocument(n))
    }
  },
  answers,
  shapes: minisearchShapes,
})) {
  test(name, run)
}

async function again(engine: MiniSearch): Promise<MiniSearch> {
  const store = memory()
  await persistEngine(store, minisearch(MiniSearch, options), engine)
  return (await restoreEngine(store, minisearch(MiniSearch, options)))!.engine
}

test('answers to the last bit after any adding, replacing, discarding, removing, searching and vacuuming', async () => {
  const edit = fc.tuple(fc.constantFrom('replace', 'discard', 'remove', 'search', 'vacuum'), fc.nat(59))
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { maxLength: 40 }), async (edits) => {
      const engine = new MiniSearch(options)
      for (let n = 0; n < 60; n++) engine.add(textDocument(n))
      const versions = new Map<number, number>()
      for (const [what, n] of edits) {
        if (what === 'vacuum') await engine.vacuum()
        // A search removes discarded documents from the postings it meets.
        else if (what === 'search') engine.search(textDocument(n).text, { prefix: true })
        else if (!engine.has(n)) engine.add(textDocument(n, 2))
        else if (what === 'discard') engine.discard(n)
        else if (what === 'replace') {
          versions.set(n, 3)
          engine.replace(textDocument(n, 3))
        } else if (!versions.has(n) && engine.getStoredFields(n)!.title === textDocument(n).title) {
          engine.remove(textDocument(n))
        }
      }
      const restored = await again(engine)
      expect(answers(restored)).toEqual(answers(engine))
      await engine.vacuum()
      await restored.vacuum()
      expect(answers(restored)).toEqual(answers(engine))
    }),
    rounds(25),
  )
})

test('keeps ids and stored fields as JSON keeps them, and lengths of documents without a word', async () => {
  const engine = new MiniSearch({ fields: ['text'], storeFields: ['any'] })
  const adapter = minisearch(MiniSearch, { fields: ['text'], storeFields: ['any'] })
  engine.add({ id: 'seven', text: 'word', any: { deep: [1, null, 'x\n\ud800'] } })
  engine.add({ id: 7, text: '', any: null })
  engine.add({ id: '7' })
  const store = memory()
  await persistEngine(store, adapter, engine)
  const { engine: restored } = (await restoreEngine(store, adapter))!
  expect(JSON.parse(JSON.stringify(restored))).toEqual(JSON.parse(JSON.stringify(engine)))
  expect(restored.getStoredFields('seven')).toEqual({ any: { deep: [1, null, 'x\n\ud800'] } })
})

test('a document without its first field leaves the averages alone when it is discarded after a restore', async () => {
  const adapter = minisearch(MiniSearch, { fields: ['title', 'text'] })
  const engine = new MiniSearch({ fields: ['title', 'text'] })
  engine.add({ id: 1, text: 'kelp' })
  engine.add({ id: 2, title: 'kelp holds fast', text: 'rock' })
  const store = memory()
  await persistEngine(store, adapter, engine)
  const { engine: restored } = (await restoreEngine(store, adapter))!
  engine.discard(1)
  restored.discard(1)
  expect(restored.search('kelp')).toEqual(engine.search('kelp'))
})

test('saves and restores by the public methods alone where the engine keeps its index elsewhere', async () => {
  class Elsewhere {
    readonly inner: MiniSearch
    constructor(inner: MiniSearch | typeof options) {
      this.inner = inner instanceof MiniSearch ? inner : new MiniSearch(inner)
    }
    toJSON(): object {
      return this.inner.toJSON()
    }
    static async loadJSAsync(json: never): Promise<Elsewhere> {
      return new Elsewhere(await MiniSearch.loadJSAsync(json, options))
    }
  }
  const engine = new MiniSearch(options)
  for (let n = 0; n < 50; n++) engine.add(textDocument(n))
  engine.discard(7)
  const wrapped = memory()
  const saved = await persistEngine(wrapped, minisearch(Elsewhere as never, options), new Elsewhere(engine) as never)
  const direct = await persistEngine(memory(), minisearch(MiniSearch, options), engine)
  expect(saved.blobs).toEqual(direct.blobs)
  const restored = (await restoreEngine(wrapped, minisearch(Elsewhere as never, options)))!
  expect(answers((restored.engine as unknown as Elsewhere).inner)).toEqual(answers(engine))
})

test('is not saved by a version that it does not know, nor restored by one that cannot read it', async () => {
  const engine = new MiniSearch(options)
  engine.add(textDocument(1))
  const store = memory()
  await persistEngine(store, minisearch(MiniSearch, options), engine)
  class Old extends MiniSearch {
    override toJSON() {
      return { ...super.toJSON(), serializationVersion: 1 } as never
    }
    static override loadJSAsync(): never {
      throw new Error('it was touched')
    }
  }
  const old = minisearch(Old, options, { version: '5.0.0' })
  await expect(restoreEngine(store, old)).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
    details: { what: 'version', wanted: '5.0.0' },
  })
  await expect(persistEngine(memory(), old, new Old(options))).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' })
})

test('finds the version of the package that is installed', () => {
  expect(minisearch(MiniSearch, options).version).toMatch(/^7\.\d+\.\d+$/)
  expect(minisearch(MiniSearch, options, { version: '1.2.3' }).version).toBe('1.2.3')
})

test('writes a hundredth of the bytes when a hundredth is added', async () => {
  const engine = new MiniSearch(options)
  for (let n = 0; n < 4000; n++) engine.add(textDocument(n))
  const store = memory({ compression: 'none' })
  await persistEngine(store, minisearch(MiniSearch, options), engine)
  for (let n = 4000; n < 4040; n++) engine.add(textDocument(n))
  const { bytes } = await persistEngine(store, minisearch(MiniSearch, options), engine)
  expect(bytes.written / bytes.total).toBeLessThan(0.04)
})

test.each([
  ['added to', (engine: MiniSearch, n: number) => engine.add(textDocument(4000 + n))],
  ['removed from', (engine: MiniSearch, n: number) => engine.remove(textDocument(n))],
])(
  'is saved though it is %s all the while: a few postings at a time at first, then at one go',
  async (_how, change) => {
    const engine = new MiniSearch(options)
    for (let n = 0; n < 4000; n++) engine.add(textDocument(n))
    const adapter = minisearch(MiniSearch, options)
    const attempts: number[] = []
    const watched = {
      ...adapter,
      save(captured: MiniSearch, context: SaveContext) {
        attempts.push(context.attempt)
        return adapter.save(captured, context)
      },
    }
    const store = memory()
    let changes = 0
    let saving = true
    const saved = persistEngine(store, watched, engine, { alongside: () => ({ watermark: changes }) }).finally(() => {
      saving = false
    })
    while (saving) {
      change(engine, changes)
      changes += 1
      await setImmediate()
    }
    await saved
    const restored = (await restoreEngine(store, adapter))!
    expect(attempts).toEqual([1, 2])
    const then = new MiniSearch(options)
    for (let n = 0; n < 4000; n++) then.add(textDocument(n))
    for (let n = 0; n < (restored.snapshot.watermark as number); n++) change(then, n)
    expect(answers(restored.engine)).toEqual(answers(then))
  },
)

test('leaves out terms that are in no document, as other writers of its JSON may have them', async () => {
  const engine = new MiniSearch(options)
  for (let n = 0; n < 20; n++) engine.add(textDocument(n))
  const json = JSON.parse(JSON.stringify(engine))
  json.index.push(['~nowhere', { 0: {} }], ['~nothing', {}])
  const odd = MiniSearch.loadJS(json, options)
  const restored = await again(odd)
  expect(restored.termCount).toBe(odd.termCount - 2)
  expect((answers(restored) as unknown[]).slice(2)).toEqual((answers(odd) as unknown[]).slice(2))
})

test('tells every change by its revision', async () => {
  const revision = (engine: MiniSearch): unknown => minisearch(MiniSearch, options).revision!(engine)
  const engine = new MiniSearch(options)
  const seen = [revision(engine)]
  const changes: (() => unknown)[] = [
    () => engine.add(textDocument(1)),
    () => engine.add(textDocument(2)),
    () => engine.remove(textDocument(1)),
    () => engine.add(textDocument(1)),
    () => engine.discard(2),
    () => engine.vacuum(),
    () => engine.replace(textDocument(1, 1)),
    () => engine.removeAll(),
    () => engine.addAll([textDocument(1), textDocument(2)]),
  ]
  for (const change of changes) {
    await change()
    expect(seen).not.toContain(revision(engine))
    expect(revision(engine)).toBe(revision(engine))
    seen.push(revision(engine))
  }
  expect(revision(new MiniSearch(options))).not.toBe(seen[0])
  expect(revision({ toJSON: () => ({}) } as never)).toBeUndefined()
})

test('lets the event loop turn while it is saved and restored', async () => {
  const engine = new MiniSearch(options)
  for (let n = 0; n < 8000; n++) engine.add(textDocument(n))
  const store = memory()
  let turns = 0
  let ticking = true
  const tick = (): void => {
    turns += 1
    if (ticking) globalThis.setImmediate(tick)
  }
  globalThis.setImmediate(tick)
  await persistEngine(store, minisearch(MiniSearch, options), engine)
  const whileSaved = turns
  await restoreEngine(store, minisearch(MiniSearch, options))
  ticking = false
  expect(whileSaved).toBeGreaterThan(3)
  expect(turns - whileSaved).toBeGreaterThan(3)
})

test('takes MiniSearch’s own functions for the default, also in what was saved as if they were others', async () => {
  const names = ['idField', 'extractField', 'stringifyField', 'tokenize', 'processTerm', 'storeFields', 'autoVacuum']
  const defaults = Object.fromEntries(names.map((name) => [name, MiniSearch.getDefault(name)]))
  const fields = ['title', 'text']
  const said = minisearch(MiniSearch, { ...defaults, fields } as typeof options)
  const unsaid = minisearch(MiniSearch, { fields })
  const other = minisearch(MiniSearch, { fields, tokenize: (text: string) => [text] } as never)
  const earlier = { ...said, options: { ...said.options, tokenizer: 'custom' } }
  const engine = new MiniSearch({ fields })
  for (let n = 0; n < 20; n++) engine.add(textDocument(n))

  const reads: [MiniSearchAdapter, MiniSearchAdapter][] = [
    [said, unsaid],
    [unsaid, said],
    [earlier, said],
    [other, other],
  ]
  for (const [saves, restores] of reads) {
    const store = memory()
    await persistEngine(store, saves, engine)
    const { engine: restored } = (await restoreEngine(store, restores))!
    expect(restored.search('the')).toEqual(engine.search('the'))
  }
  const refuses: [MiniSearchAdapter, MiniSearchAdapter][] = [
    [earlier, unsaid],
    [other, unsaid],
    [said, other],
  ]
  for (const [saves, restores] of refuses) {
    const store = memory()
    await persistEngine(store, saves, engine)
    await expect(restoreEngine(store, restores)).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' })
  }
})

type MiniSearchAdapter = EngineAdapter<MiniSearch>

test.each([
  ['a BigInt', 12n],
  ['a Date', new Date(0)],
  ['a list', [1]],
  ['NaN', Number.NaN],
  ['an infinity', Number.POSITIVE_INFINITY],
  ['a symbol', Symbol('id')],
])('refuses %s as an id: it would not come back equal', async (_what, id) => {
  const engine = new MiniSearch(options)
  engine.add(textDocument(1))
  engine.add({ ...textDocument(2), id })
  const store = memory()
  await expect(persistEngine(store, minisearch(MiniSearch, options), engine)).rejects.toMatchObject({
    code: 'ENGINE_VALUE_INVALID',
    details: { engine: 'MiniSearch', document: id },
  })
  expect(await store.load()).toBeNull()
})

test('refuses a stored field that JSON cannot carry, with the document’s id', async () => {
  const engine = new MiniSearch({ fields: ['text'], storeFields: ['any'] })
  engine.add({ id: 1, text: 'word', any: 'good' })
  engine.add({ id: 'two', text: 'word', any: { deep: 1n } })
  const saving = persistEngine(memory(), minisearch(MiniSearch, { fields: ['text'], storeFields: ['any'] }), engine)
  await expect(saving).rejects.toMatchObject({ code: 'ENGINE_VALUE_INVALID', details: { document: 'two' } })
})

test.each([
  ['a row whose id is no number', [7, 7, 0x22, 0x78, 0x22, 2, 0x5b, 0x5d]],
  ['a document that is no list', [4, 2, 2, 0x7b, 0x7d]],
  ['no rows', [0x5b, 0x5d, 0x0a]],
])('refuses %s, though somebody has saved it', async (_what, bytes) => {
  const adapter = minisearch(MiniSearch, options)
  const engine = new MiniSearch(options)
  const store = memory()
  await persistEngine(store, adapter, engine)
  const snapshot = (await store.load())!
  const blobs = await Promise.all(
    snapshot.names.map(async (name) => [name, new Uint8Array(await snapshot.blob(name).bytes())] as const),
  )
  const others = blobs.map(
    ([name, saved]) => [name, name === 'engine/documents' ? Uint8Array.from(bytes) : saved] as const,
  )
  await store.persist({ blobs: others, metadata: snapshot.metadata })
  await expect(restoreEngine(store, adapter)).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
    details: { what: 'blob' },
  })
})
