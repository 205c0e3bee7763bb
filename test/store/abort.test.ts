import { getEventListeners } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type BlobInput, loadSnapshot, openStore, type Progress, persistSnapshot } from '../../src/index.ts'
import { collect, noise } from '../support/bytes.ts'
import { positions } from '../support/effort.ts'
import { failure } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'
import { files } from '../support/tree.ts'

const MIB = 1024 * 1024
const reason = new Error('enough')
const large = noise(40 * MIB, 1)

/** A stream that gives something and then nothing, for ever. */
function stalled(): AsyncIterable<Uint8Array> {
  return {
    async *[Symbol.asyncIterator]() {
      yield noise(100, 1)
      await new Promise(() => undefined)
    },
  }
}

describe.each(kinds)('with a $name store', ({ open }) => {
  test('every call that is aborted before it begins rejects with the reason', async () => {
    const store = await open()
    await store.persist({ blobs: { a: noise(5 * MIB, 1) } })
    const snapshot = (await store.load())!
    const blob = snapshot.blob('a')
    await blob.file()
    const signal = AbortSignal.abort(reason)
    const target = join(scratch(), 'x')
    for (const call of [
      () => store.persist({ blobs: { a: 'x' }, signal }),
      () => persistSnapshot(store, { blobs: { a: 'x' }, signal }),
      () => store.load({ signal }),
      () => loadSnapshot(store, { signal }),
      () => store.restore(() => 1, { signal }),
      () => store.tag('t', { signal }),
      () => store.untag('t', { signal }),
      () => store.rollback(1, { signal }),
      () => store.materialize({ signal }),
      () => blob.bytes({ signal }),
      () => blob.text({ signal }),
      () => blob.json({ signal }),
      () => collect(blob.stream({ signal })),
      () => blob.file({ signal }),
      () => blob.writeTo(target, { signal }),
    ]) {
      expect(await failure(call()), String(call)).toBe(reason)
    }
    expect(existsSync(target)).toBe(false)
    expect(await store.snapshots()).toMatchObject([{ sequence: 1, tags: [] }])
    expect(await failure(store.load({ signal: AbortSignal.abort() }))).toMatchObject({ name: 'AbortError' })
  })

  test('a read that is aborted half-way rejects with the reason', async () => {
    const store = await open()
    await store.persist({ blobs: { a: large } })
    const blob = (await store.load())!.blob('a')
    const target = join(scratch(), 'x')
    for (const read of [
      (options: object) => blob.bytes(options),
      (options: object) => collect(blob.stream(options)),
      (options: object) => blob.file(options),
      (options: object) => blob.writeTo(target, options),
      (options: object) => store.load({ fallback: true, ...options }),
      (options: object) => store.materialize(options),
    ]) {
      const controller = new AbortController()
      let last = 0
      const onProgress = (progress: Progress): void => {
        if (progress.phase !== 'loading') return
        last = progress.bytes
        if (last > MIB) controller.abort(reason)
      }
      expect(await failure(read({ signal: controller.signal, onProgress })), String(read)).toBe(reason)
      expect(last, String(read)).toBeLessThan(large.length)
      expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    }
    expect(files(join(target, '..'))).toEqual([])
  })

  test('a persist that waits for another one stops waiting', async () => {
    const store = await open()
    const holding = new AbortController()
    const holder = failure(store.persist({ blobs: { a: stalled() }, signal: holding.signal }))
    const controller = new AbortController()
    const waiting = [
      store.persist({ blobs: { a: 'x' }, signal: controller.signal }),
      store.persist({ blobs: { a: 'y' }, signal: controller.signal }),
    ].map(failure)
    setTimeout(() => controller.abort(reason), 20)
    expect(await Promise.all(waiting)).toEqual([reason, reason])
    holding.abort(reason)
    expect(await holder).toBe(reason)
    expect((await store.persist({ blobs: { a: 'z' } })).sequence).toBe(1)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  test.each<[string, (signal: AbortSignal) => BlobInput]>([
    ['a stream that stalls', stalled],
    ['a stream that stalls, with options', () => ({ source: stalled() })],
    [
      'a web stream that stalls',
      () => new ReadableStream<Uint8Array>({ pull: (controller) => new Promise(() => controller.desiredSize) }),
    ],
    [
      'a saving function that listens',
      () =>
        (path, { signal }) =>
          new Promise((_, reject) => {
            writeFileSync(path, 'half')
            signal.addEventListener('abort', () => reject(new Error('the engine stopped')))
          }),
    ],
  ])('%s does not keep a persist from being aborted', async (_, source) => {
    const store = await open()
    const controller = new AbortController()
    const persisting = failure(
      store.persist({ blobs: { b: 'x', a: source(controller.signal) }, signal: controller.signal }),
    )
    setTimeout(() => controller.abort(reason), 30)
    expect(await persisting).toBe(reason)
    expect(await store.load()).toBe(null)
    expect(await store.persist({ blobs: { a: 'x' } })).toMatchObject({ sequence: 1 })
  })

  test('a saving function is not begun after the abort', async () => {
    const store = await open()
    const controller = new AbortController()
    let begun = 0
    const save = (): void => {
      begun += 1
    }
    // While the directory that it would save into is made.
    const unchanged = (): void => void setImmediate(() => controller.abort(reason))
    const { signal } = controller
    expect(await failure(store.persist({ blobs: { a: save }, sourceVersion: unchanged, signal }))).toBe(reason)
    expect(begun).toBe(0)
  })

  test('a saving function that ends well after the abort is too late', async () => {
    const store = await open()
    const controller = new AbortController()
    const error = await failure(
      store.persist({
        blobs: {
          a: (path) => {
            writeFileSync(path, 'x')
            controller.abort(reason)
          },
        },
        signal: controller.signal,
      }),
    )
    expect(error).toBe(reason)
    expect(await store.load()).toBe(null)
  })

  test('an abort after the end changes nothing, and nobody listens any more', async () => {
    const store = await open()
    const controller = new AbortController()
    const { signal } = controller
    async function* stream(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 50; i++) yield noise(50_000, i)
    }
    await store.persist({ blobs: { a: stream(), b: new Blob(['x']), c: 'text' }, signal })
    const snapshot = (await store.load({ signal }))!
    const parts = snapshot.blob('a').stream({ signal })
    for await (const _ of parts) break
    await snapshot.blob('a').file({ signal })
    await store.tag('x', { signal })
    expect(getEventListeners(signal, 'abort')).toEqual([])
    controller.abort(reason)
    expect(await snapshot.blob('c').text()).toBe('text')
    expect((await store.load())!.sequence).toBe(1)
  })
})

test('a persist that is aborted at any of its steps leaves the directory as it was', async () => {
  const path = join(scratch(), 'store')
  // Packs that are complete, and renamed into place, before the persist is.
  const store = await openStore(path, { keepLast: 20, packBytesMax: MIB })
  // Enough small packs that one more persist folds them.
  for (let i = 0; i < 8; i++) await store.persist({ blobs: { a: noise(30_000, i) } })
  const before = files(path)
  const [a, b] = [noise(5 * MIB, 50), noise(2 * MIB, 51)]
  const blobs: Record<string, BlobInput> = { a, b: (to) => writeFileSync(to, b), c: 'text' }
  const phases = new Set<string>()
  let steps = 0
  for (const step of positions('steps of a persist', 0.5)) {
    const controller = new AbortController()
    steps = 0
    const onProgress = ({ phase }: Progress): void => {
      phases.add(phase)
      steps += 1
      if (steps === step) controller.abort(reason)
    }
    const persisting = store.persist({ blobs, signal: controller.signal, onProgress })
    const result = await persisting.catch((error: unknown) => error)
    if (result !== reason) {
      // After the last step, or at the commit, it is too late to stop.
      expect(result).toMatchObject({ sequence: 9 })
      break
    }
    expect(files(path), `after step ${step}`).toEqual(before)
    const stop = (): void => {
      steps -= 1
      if (steps === 0) throw reason
    }
    steps = step
    expect(await failure(store.persist({ blobs, onProgress: stop }))).toBe(reason)
    expect(files(path), `after a failure in step ${step}`).toEqual(before)
    expect((await store.snapshots())[0]!.sequence).toBe(8)
  }
  expect(phases).toEqual(new Set(['reading', 'compacting', 'committing']))
  expect(steps).toBeGreaterThan(6)
  await store.close()
})
