import { expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import {
  type BlobInput,
  isHoldfastError,
  loadSnapshot,
  memory,
  type PersistResult,
  persistSnapshot,
  type Snapshot,
  type SnapshotBlob,
  type SnapshotInfo,
  type Store,
} from '../../src/index.ts'

// The type checker runs these (`npm run typecheck`); an unused `@ts-expect-error` is an error as well.

const schema = z.object({ engine: z.string(), generation: z.number().optional() })

async function made(): Promise<Store> {
  const store = memory()
  await store.persist({ blobs: { index: 'x', docs: '[]' }, metadata: { engine: 'e' } })
  return store
}

test('names of blobs are any text, until a load says which there must be', async () => {
  const store = await made()
  const any = (await store.load())!
  expectTypeOf(any).toEqualTypeOf<Snapshot<string, Record<string, unknown>>>()
  expectTypeOf(any.blob).parameter(0).toEqualTypeOf<string>()
  const snapshot = (await store.load({ blobs: ['index', 'docs'] }))!
  expectTypeOf(snapshot).toEqualTypeOf<Snapshot<'index' | 'docs', Record<string, unknown>>>()
  expectTypeOf(snapshot.blob('index')).toEqualTypeOf<SnapshotBlob>()
  // @ts-expect-error it was not asked for
  expect(() => snapshot.blob('vectors')).toThrow(/"vectors"/)
})

test('metadata is what the schema makes of it', async () => {
  const store = await made()
  const snapshot = (await store.load({ metadataSchema: schema }))!
  expectTypeOf(snapshot.metadata).toEqualTypeOf<{ engine: string; generation?: number | undefined }>()
  // @ts-expect-error there is no such field
  expect(snapshot.metadata.dimensions).toBeUndefined()
  const lengths = z.object({ engine: z.string().transform((text) => text.length) })
  const other = await loadSnapshot(store, { metadataSchema: lengths, blobs: ['index'] })
  expectTypeOf(other).toEqualTypeOf<Snapshot<'index', { engine: number }> | null>()
  expect(other!.metadata.engine).toBe(1)
})

test('restore answers what its function made, typed by names and schema', async () => {
  const store = await made()
  const restored = await store.restore(
    async (snapshot) => {
      expectTypeOf(snapshot).toEqualTypeOf<Snapshot<'docs', { engine: string; generation?: number | undefined }>>()
      return (await snapshot.blob('docs').json<number[]>()).length
    },
    { blobs: ['docs'], metadataSchema: schema },
  )
  expectTypeOf(restored!.value).toEqualTypeOf<number>()
  expectTypeOf(restored!.snapshot.blob).parameter(0).toEqualTypeOf<'docs'>()
  expect(restored!.value).toBe(0)
})

test('everything that can be persisted is accepted, and nothing else', async () => {
  const inputs: BlobInput[] = [
    new Uint8Array(),
    Buffer.alloc(0),
    new Uint8Array(new SharedArrayBuffer(0)),
    new ArrayBuffer(0),
    'text',
    new Blob([]),
    [new Uint8Array()],
    { file: '/x' },
    { file: new URL('file:///x'), type: 'text/plain' },
    { directory: '/x', chunking: { kind: 'fixed', size: 4096 } },
    (path) => path,
    (_path, { signal }) => Promise.resolve(signal.aborted),
    { source: 'text', type: 'text/plain' },
  ]
  expect(inputs).toHaveLength(13)
  // @ts-expect-error numbers are not bytes
  inputs.push(5)
  // @ts-expect-error floats are not bytes
  inputs.push(new Float32Array(1))
  // @ts-expect-error a directory cannot be one blob's source
  inputs.push({ source: { directory: '/x' } })
  // @ts-expect-error parts are bytes
  inputs.push(['text'])
})

test('a persist answers in numbers, and reads answer in fresh buffers', async () => {
  const store = await made()
  const saved = await persistSnapshot(store, { blobs: new Map([['a', 'x']]), watermark: 5n ** 25n })
  expectTypeOf(saved).toEqualTypeOf<PersistResult>()
  expectTypeOf(saved.blobs).toEqualTypeOf<Record<string, { cid: string; size: number }>>()
  await using snapshot = (await store.load())!
  const blob = snapshot.blob('a')
  expectTypeOf(blob.bytes).returns.resolves.toEqualTypeOf<Uint8Array<ArrayBuffer>>()
  expectTypeOf(blob.stream).returns.toEqualTypeOf<AsyncIterableIterator<Uint8Array<ArrayBuffer>>>()
  expectTypeOf(blob.json).returns.resolves.toEqualTypeOf<unknown>()
  expectTypeOf(blob.type).toEqualTypeOf<string | undefined>()
  expectTypeOf(store.snapshots).returns.resolves.toEqualTypeOf<SnapshotInfo[]>()
  expect(await blob.text()).toBe('x')
})

test('errors are narrowed by their codes', async () => {
  const store = await made()
  const error: unknown = await store.load({ at: 9 }).catch((reason: unknown) => reason)
  if (!isHoldfastError(error, 'SNAPSHOT_NOT_FOUND', 'NO_SNAPSHOT')) throw error
  expectTypeOf(error.code).toEqualTypeOf<'SNAPSHOT_NOT_FOUND' | 'NO_SNAPSHOT'>()
  expect(error.kind).toBe('input')
  // @ts-expect-error not a code
  expect(isHoldfastError(error, 'NOT_FOUND')).toBe(false)
})

test('a store can be faked', async () => {
  const snapshot = { sequence: 7 } as Snapshot
  const fake: Pick<Store, 'load'> = { load: async <N extends string, M>() => snapshot as unknown as Snapshot<N, M> }
  expect((await fake.load())!.sequence).toBe(7)
})
