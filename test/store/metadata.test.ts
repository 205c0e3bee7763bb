import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { memory, type StandardSchema, type Store } from '../../src/index.ts'
import { rounds } from '../support/effort.ts'
import { rejects } from '../support/rejects.ts'
import { kinds } from '../support/storages.ts'

const link = CID.parse('bafyr4ie2nvmdoragpkenkyhrsgp357kurdqzcdffji55ndcvqcgw2e5ihe')

async function kept(store: Store, metadata: Record<string, unknown>): Promise<unknown> {
  await store.persist({ blobs: {}, metadata })
  const snapshot = await store.load()
  await snapshot!.dispose()
  return snapshot!.metadata
}

/** Everything that can be kept: text without lone surrogates, numbers but -0, bytes, lists and maps. */
const anyText = fc.string({ unit: 'binary', maxLength: 20 })
const { value: anyValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    anyText,
    fc.maxSafeInteger(),
    fc
      .double({ noDefaultInfinity: true, noNaN: true })
      .filter((n) => !Number.isInteger(n) || (Number.isSafeInteger(n) && !Object.is(n, -0))),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: -(2n ** 64n), max: -(2n ** 53n) }),
    fc.uint8Array({ maxLength: 20 }),
    fc.constant(link),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(
      anyText.filter((key) => key !== ''),
      tie('value'),
      { maxKeys: 5, noNullPrototype: true },
    ),
  ),
}))

describe.each(kinds)('metadata in a $name store', ({ open }) => {
  test('comes back as it was given, whatever it is', async () => {
    const store = await open({ lockWaitMs: 60_000 })
    await fc.assert(
      fc.asyncProperty(anyValue, async (value) => {
        expect(await kept(store, { value })).toEqual({ value })
      }),
      rounds(store.location === 'memory' ? 300 : 50),
    )
  })

  test('keeps links as links, and bytes as bytes', async () => {
    const store = await open()
    const given = { model: link, list: [link, { deep: link }], bytes: Uint8Array.of(1, 2), buffer: Buffer.from('x') }
    const metadata = (await kept(store, given)) as typeof given
    expect(CID.asCID(metadata.model)?.equals(link)).toBe(true)
    expect(CID.asCID((metadata.list[1] as { deep: CID }).deep)?.toString()).toBe(link.toString())
    expect(metadata.bytes).toEqual(Uint8Array.of(1, 2))
    expect(metadata.buffer).toEqual(new Uint8Array(Buffer.from('x')))
  })

  test('keeps `__proto__`, `constructor` and the like as keys', async () => {
    const store = await open()
    const given = JSON.parse('{"__proto__": {"x": 1}, "a": {"__proto__": 5, "constructor": 6, "toString": null}}')
    const metadata = (await kept(store, given)) as Record<string, Record<string, unknown>>
    expect(Object.keys(metadata).sort()).toEqual(['__proto__', 'a'])
    expect(Object.getOwnPropertyDescriptor(metadata, '__proto__')!.value).toEqual({ x: 1 })
    expect(Object.keys(metadata.a!).sort()).toEqual(['__proto__', 'constructor', 'toString'])
    expect((metadata as { x?: number }).x).toBeUndefined()
  })

  test('is what it was when it was given, not what it became', async () => {
    const store = await open()
    const metadata = { list: [1], bytes: Uint8Array.of(1) }
    const watermark = { at: 1 }
    const persisting = store.persist({ blobs: {}, metadata, watermark })
    metadata.list.push(2)
    metadata.bytes[0] = 2
    watermark.at = Number.NaN
    await persisting
    const snapshot = (await store.load())!
    expect(snapshot.metadata).toEqual({ list: [1], bytes: Uint8Array.of(1) })
    expect(snapshot.watermark).toEqual({ at: 1 })
  })

  test('has a watermark of its own, which may be anything that compares', async () => {
    const store = await open()
    for (const watermark of [0, 'lsn/5', { shard: 7, text: 'a' }, 2n ** 60n]) {
      await store.persist({ blobs: {}, watermark })
      expect((await store.load())!.watermark).toEqual(watermark)
    }
    await store.persist({ blobs: {} })
    expect((await store.load())!.watermark).toBeUndefined()
    const error = await rejects(store.persist({ blobs: {}, watermark: { at: Number.NaN } }), 'METADATA_INVALID')
    expect(error.details.path).toBe('watermark.at')
  })
})

class Engine {}
const cycle: Record<string, unknown> = {}
cycle.self = { cycle }
const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) })

test.each<[string, Record<string, unknown>, string]>([
  ['-0', { a: -0 }, 'metadata.a'],
  ['NaN', { list: [1, [Number.NaN]] }, 'metadata.list[1][0]'],
  ['infinity', { 'a b': { c: Number.NEGATIVE_INFINITY } }, 'metadata["a b"].c'],
  ['an unsafe integer', { count: 2 ** 53 }, 'metadata.count'],
  ['a BigInt that is a number', { count: 5n }, 'metadata.count'],
  ['a BigInt beyond 64 bits', { count: 2n ** 64n }, 'metadata.count'],
  ['undefined', { a: { b: undefined } }, 'metadata.a.b'],
  ['a hole in a list', { a: new Array(1) }, 'metadata.a[0]'],
  ['a function', { f() {} }, 'metadata.f'],
  ['a symbol', { s: Symbol('s') }, 'metadata.s'],
  ['a lone surrogate', { a: 'x\ud800' }, 'metadata.a'],
  ['a lone surrogate in a key', { 'x\udc00': 1 }, 'metadata["x\\udc00"]'],
  ['a Float32Array', { vector: new Float32Array(2) }, 'metadata.vector'],
  ['a DataView', { view: new DataView(new ArrayBuffer(2)) }, 'metadata.view'],
  ['an ArrayBuffer', { buffer: new ArrayBuffer(2) }, 'metadata.buffer'],
  ['a Date', { at: new Date(0) }, 'metadata.at'],
  ['a Map', { map: new Map() }, 'metadata.map'],
  ['an instance of a class', { engine: new Engine() }, 'metadata.engine'],
  ['a cycle', { a: cycle }, 'metadata.a.self.cycle'],
  ['nesting without end', { a: deep(64) }, `metadata.a${'.a'.repeat(63)}`],
  ['a symbol for a key', { a: { [Symbol.iterator]: 1 } }, 'metadata.a'],
])('%s in metadata is refused by the path of its field, and nothing is written', async (_, metadata, path) => {
  const store = memory()
  const error = await rejects(store.persist({ blobs: { a: 'x' }, metadata }), 'METADATA_INVALID')
  expect(error.details.path).toBe(path)
  expect(error.kind).toBe('input')
  expect(error.message).toContain(path)
  expect(await store.load()).toBe(null)
})

test.each([[], 'text', 5, new Map(), Uint8Array.of(1)])(
  'metadata that is not an object, like %o, is refused',
  async (metadata) => {
    const store = memory()
    const given = metadata as unknown as Record<string, unknown>
    const error = await rejects(store.persist({ blobs: {}, metadata: given }), 'METADATA_INVALID')
    expect(error.details.path).toBe('metadata')
    expect(await store.load()).toBe(null)
  },
)

test('nesting is kept as deep as it is promised', async () => {
  const metadata = { a: deep(63) }
  expect(await kept(memory(), metadata)).toEqual(metadata)
})

describe('a schema', () => {
  const schema = z.object({ engine: z.string(), generation: z.int(), options: z.object({ m: z.number() }).optional() })

  test('of zod types and transforms the metadata', async () => {
    const store = memory()
    await store.persist({ blobs: {}, metadata: { engine: 'x', generation: 3, more: true } })
    const snapshot = await store.load({ metadataSchema: schema })
    expect(snapshot!.metadata).toEqual({ engine: 'x', generation: 3 })
    const upper = z.object({ engine: z.string().transform((text) => text.toUpperCase()) })
    const restored = await store.restore(({ metadata }) => metadata.engine, { metadataSchema: upper })
    expect(restored!.value).toBe('X')
  })

  test('may answer later', async () => {
    const store = memory()
    await store.persist({ blobs: {}, metadata: { n: 1 } })
    const metadataSchema = z.object({ n: z.number().refine(async (n) => n === 1) })
    expect((await store.load({ metadataSchema }))!.metadata.n).toBe(1)
  })

  test('of any maker will do', async () => {
    const store = memory()
    await store.persist({ blobs: {}, metadata: { n: 1 } })
    const metadataSchema: StandardSchema<unknown, { doubled: number }> = {
      '~standard': {
        version: 1,
        vendor: 'by hand',
        validate: (value) => ({ value: { doubled: 2 * (value as { n: number }).n } }),
      },
    }
    expect((await store.load({ metadataSchema }))!.metadata.doubled).toBe(2)
  })

  test('that does not fit says where, and does not fall back to an older snapshot that does', async () => {
    const store = memory()
    await store.persist({ blobs: {}, metadata: { engine: 'x', generation: 3 } })
    await store.persist({ blobs: {}, metadata: { engine: 7, generation: 3, options: { m: 'many' } } })
    for (const fallback of [false, true]) {
      const error = await rejects(store.load({ metadataSchema: schema, fallback }), 'SCHEMA_MISMATCH')
      expect(error.kind).toBe('input')
      expect(error.message).toContain('metadata.engine')
      expect(error.details).toMatchObject({
        sequence: 2,
        issues: [{ path: 'metadata.engine' }, { path: 'metadata.options.m' }],
      })
      await rejects(
        store.restore(() => 1, { metadataSchema: schema, fallback }),
        'SCHEMA_MISMATCH',
      )
    }
  })

  test('by hand may name a path in either of the ways of the specification', async () => {
    const store = memory()
    await store.persist({ blobs: {}, metadata: {} })
    const issues = [{ message: 'no', path: ['a', { key: 0 }, { key: 'b' }] }, { message: 'never' }]
    const metadataSchema: StandardSchema<unknown, never> = {
      '~standard': { version: 1, vendor: 'by hand', validate: async () => ({ issues }) },
    }
    const error = await rejects(store.load({ metadataSchema }), 'SCHEMA_MISMATCH')
    expect(error.details.issues).toEqual([
      { path: 'metadata.a.0.b', message: 'no' },
      { path: 'metadata', message: 'never' },
    ])
  })
})
