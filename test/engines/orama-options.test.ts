// Walks the space of options of an Orama database: each schema type alone, each pair, each component replaced. What
// was accepted comes back, as it does by Orama's own save and load.

import * as Orama from '@orama/orama'
import { describe, expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { orama } from '../../src/engines/orama.ts'
import { isHoldfastError, memory } from '../../src/index.ts'
import { rejects } from '../support/rejects.ts'

type Db = Orama.AnyOrama

/** A value of each type for document n; undefined leaves the field out of every third. */
const VALUES: Record<string, (n: number) => unknown> = {
  string: (n) => `kelp rock ${n} ${n % 3 === 0 ? 'tide' : 'shore'}`,
  number: (n) => n * 1.5 - 3,
  boolean: (n) => n % 2 === 0,
  enum: (n) => `kind ${n % 3}`,
  geopoint: (n) => ({ lat: n * 3, lon: n * 7 }),
  'string[]': (n) => [`a${n}`, 'b c'],
  'number[]': (n) => [n, n + 1],
  'boolean[]': (n) => [n % 2 === 0, true],
  'enum[]': (n) => [`x${n % 2}`, n],
  'vector[3]': (n) => [n, 1, 0.5],
}
const types = Object.keys(VALUES)
const pairs = types.flatMap((a, i) => types.slice(i).map((b) => [a, b] as const))

function fill(db: Db, schema: Record<string, unknown>): void {
  for (let n = 0; n < 12; n++) {
    const document: Record<string, unknown> = { id: `d${n}` }
    for (const [property, type] of Object.entries(schema)) {
      if (typeof type === 'object') document[property] = { inner: VALUES.string!(n) }
      else if (n % 3 !== 1) document[property] = VALUES[type as string]!(n)
    }
    Orama.insert(db, document)
  }
  Orama.remove(db, 'd4')
}

async function roundTrip(options: Parameters<typeof Orama.create>[0], prepare = fill): Promise<void> {
  const db = Orama.create(options) as Db
  prepare(db, options.schema as Record<string, unknown>)
  const own = Orama.create(options) as Db
  Orama.load(own, JSON.parse(JSON.stringify(Orama.save(db))))
  const store = memory()
  const adapter = orama(Orama as never, options as never)
  await persistEngine(store, adapter, db as never, { check: true })
  await using restored = await restoreEngine(store, adapter)
  const again = restored!.engine as unknown as Db
  expect(JSON.parse(JSON.stringify(Orama.save(again)))).toEqual(JSON.parse(JSON.stringify(Orama.save(own))))
  // And goes on.
  for (const each of [own, again]) Orama.insert(each, { id: 'one more' })
  expect(Orama.count(again)).toBe(Orama.count(own))
  const query = { term: 'kelp', limit: 50 }
  const hits = (each: Db) => (Orama.search(each, query) as unknown as { hits: unknown }).hits
  expect(hits(again)).toEqual(hits(own))
}

describe('every schema comes back', () => {
  test('of nothing', () => roundTrip({ schema: {} }))
  test.each(types)('of %s alone', (type) => roundTrip({ schema: { a: type } as never }))
  test('of each pair of types, nested too, sortable or not', async () => {
    for (const [a, b] of pairs) {
      await roundTrip({ schema: { a, b } as never })
      await roundTrip({ schema: { a, b } as never, sort: { unsortableProperties: ['a', 'b'] } })
      await roundTrip({ schema: { a, b, nested: { inner: 'string' } } as never, sort: { enabled: false } })
    }
  })
  test.each(['german', 'english'])('in %s', (language) => roundTrip({ schema: { a: 'string' }, language }))
  test('with no documents', () => roundTrip({ schema: { a: 'string', v: 'vector[3]' } }, () => undefined))
})

describe('every component replaced', () => {
  test('a tokenizer', () =>
    roundTrip({
      schema: { a: 'string' },
      components: {
        tokenizer: { language: 'own', normalizationCache: new Map(), tokenize: (text: string) => text.split(' ') },
      },
    }))

  test('a documents store that saves more than documents keeps all of it', async () => {
    const documentsStore = async () => {
      const { documentsStore: own } = (await import('@orama/orama/components')) as unknown as {
        documentsStore: { createDocumentsStore(): Record<string, (...args: never[]) => unknown> }
      }
      const store = own.createDocumentsStore() as Record<string, (...args: never[]) => unknown>
      return {
        ...store,
        save: (docs: { extra?: unknown }) => ({
          ...(store.save as unknown as (docs: unknown) => object)(docs),
          extra: docs.extra ?? 'kept',
        }),
        load: (ids: unknown, raw: { extra?: unknown }) => ({
          ...(store.load as unknown as (...args: unknown[]) => object)(ids, raw),
          extra: raw.extra,
        }),
      }
    }
    const options = {
      schema: { a: 'string' as const },
      components: { documentsStore: (await documentsStore()) as never },
    }
    const db = Orama.create(options) as Db
    fill(db, options.schema)
    const store = memory()
    const adapter = orama(Orama as never, options as never)
    await persistEngine(store, adapter, db as never)
    await using restored = await restoreEngine(store, adapter)
    expect((restored!.engine as unknown as { data: { docs: { extra: unknown } } }).data.docs.extra).toBe('kept')
  })
})

test('what an earlier version wrote without sortable properties is read', async () => {
  const store = memory()
  const options = { schema: { v: 'vector[3]' } as const }
  const db = Orama.create(options) as Db
  fill(db, options.schema)
  const adapter = orama(Orama as never, options as never)
  await persistEngine(store, adapter, db as never)
  await using saved = (await store.load())!
  // As it was written then: no sorts in the head.
  const head = await saved.blob('engine/head').json<{ raw: { sorting: object }; sorts: unknown[] }>()
  expect(head.sorts).toEqual([])
  expect(head.raw.sorting).not.toHaveProperty('sorts')
  await using restored = await restoreEngine(store, adapter)
  expect(Orama.count(restored!.engine as unknown as Db)).toBe(11)
})

test('a document that JSON has no text for is refused by its id, and nothing is committed', async () => {
  const db = Orama.create({ schema: { a: 'string' } }) as Db
  Orama.insert(db, { id: 'fine', a: 'x' })
  Orama.insert(db, { id: 'strange', a: 'y', big: 2n ** 70n })
  const store = memory()
  const error = await rejects(
    persistEngine(store, orama(Orama as never, { schema: { a: 'string' } }), db as never),
    'SOURCE_FAILED',
  )
  expect(error.details.document).toBe('strange')
  expect(await store.load()).toBe(null)
})

test('with `check`, an engine that does not come back is not committed', async () => {
  const adapter = orama(Orama as never, { schema: { a: 'string' } })
  const broken = {
    ...adapter,
    restore: () => {
      throw new Error('this engine does not take it back')
    },
  }
  const store = memory()
  const db = Orama.create({ schema: { a: 'string' } }) as Db
  await persistEngine(store, adapter, db as never)
  Orama.insert(db, { a: 'x' })
  const error = await rejects(persistEngine(store, broken, db as never, { check: true }), 'ENGINE_CHECK_FAILED')
  expect((error.cause as Error).message).toBe('this engine does not take it back')
  expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([1])
  expect(isHoldfastError(error)).toBe(true)
})
