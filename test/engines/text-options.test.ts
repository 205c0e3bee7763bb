// Walks the options of MiniSearch and FlexSearch: what was accepted comes back, as it does by the engine's own means.

import FlexSearch from 'flexsearch'
import MiniSearch, { type Options } from 'minisearch'
import { describe, expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { flexsearch } from '../../src/engines/flexsearch.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { memory } from '../../src/index.ts'
import { rejects } from '../support/rejects.ts'

const documents = Array.from({ length: 20 }, (_, n) => ({
  id: `d${n}`,
  key: n,
  title: `Kelp ${n} rock`,
  text: n % 3 === 0 ? 'tide and shore' : `wave ${n % 5}`,
  tags: ['sea', `t${n % 4}`],
  deep: { inner: `inside ${n}` },
}))

describe('MiniSearch', () => {
  const base: Options = { fields: ['title', 'text'] }
  const variants: Record<string, Options> = {
    plain: base,
    'stored fields': { ...base, storeFields: ['title', 'tags'] },
    'a numeric id field': { ...base, idField: 'key' },
    'its own tokenizer given by name': { ...base, tokenize: MiniSearch.getDefault('tokenize') as never },
    'its own term processor given by name': { ...base, processTerm: MiniSearch.getDefault('processTerm') as never },
    'a tokenizer': { ...base, tokenize: (text: string) => text.split('') },
    'a term processor that gives several': { ...base, processTerm: (term: string) => [term, term.slice(0, 2)] },
    'a term processor that drops': { ...base, processTerm: (term: string) => (term.length < 4 ? null : term) },
    'nested fields': {
      fields: ['inner'],
      extractField: (document, field) =>
        field === 'inner'
          ? (document as (typeof documents)[0]).deep.inner
          : (document as Record<string, string>)[field]!,
    },
    'a field that no document has': { fields: ['title', 'nothing'] },
    'no fields': { fields: [] },
    'no automatic vacuum': { ...base, autoVacuum: false },
    'search options': { ...base, searchOptions: { boost: { title: 2 }, prefix: true } },
  }

  test.each(Object.entries(variants))('%s', async (_, options) => {
    const engine = new MiniSearch(options)
    engine.addAll(documents)
    engine.discard(options.idField === 'key' ? 3 : 'd3')
    const own = MiniSearch.loadJSON(JSON.stringify(engine), options)
    const store = memory()
    const adapter = minisearch(MiniSearch, options)
    await persistEngine(store, adapter, engine, { check: true })
    await using restored = await restoreEngine(store, adapter)
    const again = restored!.engine
    for (const query of ['kelp', 'wav', 'inside', 'k', 'tide shore', MiniSearch.wildcard] as string[]) {
      expect(again.search(query, { prefix: true, fuzzy: 0.2 })).toEqual(own.search(query, { prefix: true, fuzzy: 0.2 }))
    }
    expect(again.documentCount).toBe(own.documentCount)
  })

  test('its own defaults, given or not, are the same to the adapter', async () => {
    const store = memory()
    const engine = new MiniSearch(base)
    engine.addAll(documents)
    await persistEngine(store, minisearch(MiniSearch, base), engine)
    const given = {
      ...base,
      tokenize: MiniSearch.getDefault('tokenize') as never,
      processTerm: MiniSearch.getDefault('processTerm') as never,
    }
    await using restored = await restoreEngine(store, minisearch(MiniSearch, given))
    expect(restored!.engine.documentCount).toBe(20)
    const own = minisearch(MiniSearch, { ...base, tokenize: (text: string) => text.split('') })
    await rejects(restoreEngine(store, own), 'ENGINE_MISMATCH')
  })

  test('a stored value that JSON has no text for is refused by the document’s id', async () => {
    const engine = new MiniSearch({ ...base, storeFields: ['big'] })
    engine.add({ id: 'fine', title: 'x', text: 'y', big: 1 })
    engine.add({ id: 'strange', title: 'x', text: 'y', big: 1n })
    const store = memory()
    const error = await rejects(
      persistEngine(store, minisearch(MiniSearch, { ...base, storeFields: ['big'] }), engine),
      'SOURCE_FAILED',
    )
    expect(error.details).toMatchObject({ document: 'strange', blob: 'engine/documents' })
  })

  test('an id that JSON has no text for is refused', async () => {
    const engine = new MiniSearch(base)
    engine.add({ id: 5n, title: 'x', text: 'y' })
    const error = await rejects(persistEngine(memory(), minisearch(MiniSearch, base), engine), 'SOURCE_FAILED')
    expect(error.details.document).toBe(5n)
  })
})

describe('FlexSearch', () => {
  const tokenizers = ['strict', 'forward', 'reverse', 'full'] as const
  const contexts = [undefined, { depth: 1, resolution: 3, bidirectional: true }] as const
  const resolutions = [1, 3, 9]
  const variants = tokenizers.flatMap((tokenize) =>
    contexts.flatMap((context) =>
      resolutions.map((resolution) => ({ tokenize, resolution, ...(context === undefined ? {} : { context }) })),
    ),
  )

  test.each(variants)('an index of %o', async (options) => {
    const engine = new FlexSearch.Index(options as never)
    for (const { key, title, text } of documents) engine.add(key, `${title} ${text}`)
    engine.remove(3)
    const store = memory()
    const adapter = flexsearch(FlexSearch.Index, options as never)
    await persistEngine(store, adapter, engine, { check: true })
    await using restored = await restoreEngine(store, adapter)
    const again = restored!.engine
    for (const query of ['kelp', 'rock', 'tid', 'wave 2', 'ore']) {
      expect(again.search(query, { limit: 50 })).toEqual(engine.search(query, { limit: 50 }))
    }
  })

  test.each([true, false])('documents with tags, stored: %s', async (store_) => {
    const options = { document: { id: 'id', index: ['title', 'text'], store: store_, tag: [{ field: 'tags' }] } }
    const engine = new FlexSearch.Document(options as never)
    for (const document of documents) engine.add(document as never)
    const store = memory()
    const adapter = flexsearch(FlexSearch.Document, options as never)
    await persistEngine(store, adapter, engine, { check: true })
    await using restored = await restoreEngine(store, adapter)
    const again = restored!.engine
    for (const query of ['kelp', 'wave']) {
      expect(again.search(query, { tag: { tags: 't1' }, enrich: store_ } as never)).toEqual(
        engine.search(query, { tag: { tags: 't1' }, enrich: store_ } as never),
      )
    }
  })
})
