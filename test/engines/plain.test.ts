// `plain`, and what `persistEngine` makes of blobs that are given beside an engine.

import { writeFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import { describe, expect, test, vi } from 'vitest'
import { type Alongside, persistEngine } from '../../src/engines/adapter.ts'
import { type PlainOptions, plain } from '../../src/engines/plain.ts'
import { memory } from '../../src/index.ts'
import { captureBytes, privateHome, saveInto } from '../../src/local/saved-file.ts'
import { rejects } from '../support/rejects.ts'

const adapter = plain({ name: 'mine', save: () => Buffer.from('engine'), restore: async () => ({}) })

test.each<[string, () => NonNullable<Alongside['blobs']>]>([
  ['a Map', () => new Map([['docs', 'sidecar']])],
  ['entries', () => [['docs', 'sidecar']]],
  ['an iterator of entries', () => new Map([['docs', 'sidecar']]).entries()],
])('blobs alongside are kept as %s too', async (_, blobs) => {
  const store = memory()
  await persistEngine(store, adapter, {}, { alongside: { blobs: blobs() } })
  expect((await store.load())!.names).toEqual(['docs', 'engine/index'])
})

test('a stream alongside, given again, does not empty its blob', async () => {
  const store = memory()
  const alongside = { blobs: { docs: Readable.from([Buffer.from('full')]) } }
  await persistEngine(store, adapter, {}, { alongside })
  await rejects(persistEngine(store, adapter, {}, { alongside }), 'SOURCE_FAILED')
  expect(await (await store.load())!.blob('docs').text()).toBe('full')
})

test.each<[string, () => unknown]>([
  ['alongside', async () => ({ blobs: { docs: 'x' } })],
  ['its blobs', () => ({ blobs: Promise.resolve({ docs: 'x' }) })],
])('a Promise for %s is a TypeError', async (_, alongside) => {
  const store = memory()
  const saving = persistEngine(store, adapter, {}, { alongside: alongside as () => Alongside })
  await expect(saving).rejects.toThrow(/a Promise: /)
  expect(await store.load()).toBeNull()
})

test('what an asynchronous save holds is released, whatever comes of it', async () => {
  const release = vi.fn()
  const asynchronous = (blobs: Record<string, string>) =>
    plain({ name: 'mine', save: async () => ({ blobs, release }), restore: async () => ({}) })
  await persistEngine(memory(), asynchronous({ a: 'x' }), {})
  expect(release).toHaveBeenCalledTimes(1)
  await rejects(persistEngine(memory(), asynchronous({ a: 'x' }), {}, { expectedHead: 5 }), 'HEAD_CONFLICT')
  expect(release).toHaveBeenCalledTimes(2)
  const wrong = Promise.resolve({}) as unknown as Record<string, string>
  await expect(persistEngine(memory(), asynchronous(wrong), {})).rejects.toThrow(TypeError)
  expect(release).toHaveBeenCalledTimes(3)
})

describe('a save that awaits', () => {
  const awaiting = (answer: object, more: object = {}) =>
    plain({
      name: 'mine',
      async save() {
        await Promise.resolve()
        return { blobs: { a: 'x' }, ...answer }
      },
      restore: async () => ({}),
      ...more,
    })

  test.each<[string, object]>([
    ['nothing that tells whether the engine changed', {}],
    ['a revision that cannot tell', { revision: () => undefined }],
  ])('is refused by name with %s, and releases what it holds', async (_, more) => {
    const release = vi.fn()
    const error = await rejects(persistEngine(memory(), awaiting({ release }, more), {}), 'SOURCE_FAILED')
    expect(error.message).toMatch(/^the save of mine awaits.*revision.*sourceVersion.*captured: true/)
    expect(error.details).toEqual({ engine: 'mine' })
    expect(release).toHaveBeenCalledTimes(1)
  })

  test('is taken with a revision, a sourceVersion, or the word of the caller', async () => {
    await persistEngine(memory(), awaiting({}, { revision: () => 1 }), {})
    await persistEngine(memory(), awaiting({}), {}, { sourceVersion: () => 1 })
    await persistEngine(memory(), awaiting({ captured: true }), {})
  })

  test('and whose source version moves is SOURCE_CHANGED', async () => {
    let version = 0
    await rejects(persistEngine(memory(), awaiting({}), {}, { sourceVersion: () => version++ }), 'SOURCE_CHANGED')
  })

  test('nothing is taken, though it is an async function', async () => {
    const quiet = plain({ name: 'mine', save: async () => 'x', restore: async () => ({}) })
    await persistEngine(memory(), quiet, {})
  })

  test('only for the file that the engine saves at once is taken; later, or with blobs beside it, it is refused', async () => {
    const into = (path: string): void => writeFileSync(path, 'x')
    const saving = (save: PlainOptions<object>['save']): Promise<unknown> =>
      persistEngine(memory(), plain({ name: 'mine', save, restore: async () => ({}) }), {})
    await saving((_, { saveFile }) => saveFile(into))
    await saving(async (_, { saveFile }) => ({ blobs: {}, file: await saveFile(into) }))
    await rejects(
      saving(async (_, { saveFile }) => {
        await Promise.resolve()
        return await saveFile(into)
      }),
      'SOURCE_FAILED',
    )
    await rejects(
      saving(async (_, { saveFile }) => ({ file: await saveFile(into), blobs: { beside: 'x' } })),
      'SOURCE_FAILED',
    )
  })
})

test('an asynchronous save of an engine that changes meanwhile is SOURCE_CHANGED, by its revision', async () => {
  const engine = { a: 0, b: 0 }
  const release = vi.fn()
  const torn = plain<typeof engine>({
    name: 'mine',
    async save({ a }) {
      await Promise.resolve()
      engine.a += 1
      engine.b += 1
      return { blobs: { a: String(a), b: String(engine.b) }, release }
    },
    restore: async () => engine,
    revision: ({ a }) => a,
  })
  await rejects(persistEngine(memory(), torn, engine, { attempts: 2 }), 'SOURCE_CHANGED')
  expect(release).toHaveBeenCalledTimes(2)
})

test('an engine that writes a second file beside its path is refused by name', () => {
  function two(path: string): void {
    writeFileSync(path, 'x')
    writeFileSync(`${path}.meta`, 'x')
  }
  for (const capture of [() => saveInto(privateHome(undefined), two), () => captureBytes(undefined, two)]) {
    expect(capture).toThrow(expect.objectContaining({ code: 'SOURCE_FAILED', details: { files: ['saved.meta'] } }))
  }
})
