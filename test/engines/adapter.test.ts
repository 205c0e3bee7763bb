import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type EngineAdapter, persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { engineRecord } from '../../src/engines/engine-record.ts'
import { plain } from '../../src/engines/plain.ts'
import { fixed, HoldfastError, isHoldfastError, memory, persistSnapshot } from '../../src/index.ts'

interface Counter {
  count: number
}

function counter(changes: Partial<EngineAdapter<Counter>> = {}): EngineAdapter<Counter> {
  return {
    name: 'counter',
    layout: 2,
    version: '1.4.0',
    options: { base: 10, fields: ['a', 'b'], nested: { x: 1 } },
    save: (engine) => ({ blobs: { count: `${engine.count}` }, metadata: { note: 'of the adapter' } }),
    async restore(saved) {
      return { count: Number(await saved.blob('count').text()) }
    },
    ...changes,
  }
}

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => undefined,
    (error: unknown) => error,
  )
}

const temporary: string[] = []
afterEach(async () => {
  vi.unstubAllEnvs()
  for (const path of temporary.splice(0)) await rm(path, { recursive: true, force: true })
})

describe('persistEngine', () => {
  test('keeps the adapter’s blobs in a folder of their own, beside the caller’s, and one metadata key', async () => {
    const store = memory()
    await persistEngine(
      store,
      counter(),
      { count: 7 },
      {
        alongside: { blobs: { count: 'mine' }, metadata: { mine: true }, watermark: 12 },
        message: 'hello',
      },
    )
    const snapshot = (await store.load())!
    expect([...snapshot.names].sort()).toEqual(['count', 'engine/count'])
    expect(await snapshot.blob('count').text()).toBe('mine')
    expect(snapshot.message).toBe('hello')
    expect(snapshot.watermark).toBe(12)
    expect(snapshot.metadata).toEqual({
      mine: true,
      engine: {
        record: 1,
        name: 'counter',
        layout: 2,
        version: '1.4.0',
        options: { base: 10, fields: ['a', 'b'], nested: { x: 1 } },
        state: { note: 'of the adapter' },
      },
    })
  })

  test('refuses sidecars that would be taken for the adapter’s', async () => {
    const store = memory()
    for (const name of ['engine', 'engine/other']) {
      const blobs = persistEngine(store, counter(), { count: 7 }, { alongside: { blobs: { [name]: 'mine' } } })
      await expect(blobs).rejects.toThrow(TypeError)
    }
    const metadata = persistEngine(store, counter(), { count: 7 }, { alongside: { metadata: { engine: 'mine' } } })
    await expect(metadata).rejects.toThrow(TypeError)
    expect(await store.load()).toBeNull()
  })

  test('asks for sidecars in the instant in which the engine is captured', async () => {
    const store = memory()
    const engine = { count: 1 }
    const adapter = counter({
      async save(captured) {
        const text = `${captured.count}`
        await new Promise((resolve) => setTimeout(resolve, 5))
        return { blobs: { count: text } }
      },
    })
    const saving = persistEngine(store, adapter, engine, { alongside: ({ count }) => ({ metadata: { count } }) })
    engine.count = 2
    await saving
    const restored = (await restoreEngine(store, adapter))!
    expect([restored.engine.count, restored.snapshot.metadata.count]).toEqual([1, 1])
  })

  test('captures anew when the revision changed while blobs were read, and tells the adapter which attempt it is', async () => {
    const store = memory()
    const engine = { count: 1 }
    const attempts: number[] = []
    const adapter = counter({
      save(captured, { attempt }) {
        attempts.push(attempt)
        async function* later(): AsyncGenerator<Uint8Array> {
          yield Buffer.from(`${captured.count}`)
          // Changed while it is read, but for the last time.
          if (attempt < 3) captured.count += 1
        }
        return { blobs: { count: later() } }
      },
      revision: (captured) => captured.count,
    })
    await persistEngine(store, adapter, engine, { alongside: ({ count }) => ({ metadata: { count } }) })
    const restored = (await restoreEngine(store, adapter))!
    expect(attempts).toEqual([1, 2, 3])
    expect([restored.engine.count, restored.snapshot.metadata.count]).toEqual([3, 3])
  })

  test('does not mind a new revision when the adapter has copied everything, nor an adapter that has to try again', async () => {
    const store = memory()
    const engine = { count: 1 }
    const adapter = counter({
      save: ({ count }, { attempt }) => {
        if (attempt === 1) throw new HoldfastError('SOURCE_CHANGED', 'in the middle of it')
        return { blobs: { count: `${count}` }, captured: true }
      },
      revision: () => ({}),
    })
    await persistEngine(store, adapter, engine)
    expect((await restoreEngine(store, adapter))?.engine.count).toBe(1)
    const error = await errorOf(persistEngine(store, adapter, engine, { attempts: 1 }))
    expect(isHoldfastError(error, 'SOURCE_CHANGED')).toBe(true)
  })

  test('gives up with SOURCE_CHANGED after the attempts it was given, and commits nothing', async () => {
    const store = memory()
    let saves = 0
    const adapter = counter({
      save: () => ({
        blobs: {
          count: (async function* () {
            saves += 1
            yield Buffer.from('1')
          })(),
        },
      }),
      revision: () => ({}),
    })
    const error = await errorOf(persistEngine(store, adapter, { count: 1 }, { attempts: 2 }))
    expect(isHoldfastError(error, 'SOURCE_CHANGED')).toBe(true)
    expect(saves).toBe(2)
    expect(await store.load()).toBeNull()
  })

  test('notices by the caller’s own token that sidecar and engine are of two moments', async () => {
    const store = memory()
    let edits = 0
    const adapter = counter({
      async save({ count }) {
        edits += 1
        return { blobs: { count: `${count}` } }
      },
    })
    const error = await errorOf(persistEngine(store, adapter, { count: 1 }, { sourceVersion: () => edits }))
    expect(isHoldfastError(error, 'SOURCE_CHANGED')).toBe(true)
  })

  test('releases what the adapter made for the save, whether it works or not', async () => {
    const store = memory()
    let released = 0
    const state = (blob: string | undefined) =>
      counter({ save: () => ({ blobs: { count: blob as string }, release: () => void released++ }) })
    await persistEngine(store, state('1'), { count: 1 })
    expect(released).toBe(1)
    await expect(persistEngine(store, state(undefined), { count: 1 })).rejects.toThrow(TypeError)
    expect(released).toBe(2)
    const bad = persistEngine(store, state('1'), { count: 1 }, { alongside: { metadata: { engine: 1 } } })
    await expect(bad).rejects.toThrow(TypeError)
    expect(released).toBe(3)
  })

  test('takes a path as well as a store', async () => {
    const path = await mkdtemp(join(tmpdir(), 'holdfast-adapter-'))
    temporary.push(path)
    expect(await restoreEngine(path, counter())).toBeNull()
    await persistEngine(path, counter(), { count: 3 })
    await using restored = await restoreEngine(path, counter())
    expect(restored?.engine.count).toBe(3)
  })
})

describe('restoreEngine', () => {
  test('refuses other options, names both, and does not let the adapter touch the snapshot', async () => {
    const store = memory()
    await persistEngine(store, counter(), { count: 1 })
    const touched: string[] = []
    const other = counter({
      options: { base: 10, fields: ['a', 'c'], nested: { x: 1 } },
      restore: () => {
        touched.push('restore')
        return { count: 0 }
      },
    })
    const error = await errorOf(restoreEngine(store, other))
    expect(isHoldfastError(error, 'ENGINE_MISMATCH')).toBe(true)
    expect((error as Error).message).toContain('"b"')
    expect((error as Error).message).toContain('"c"')
    expect(error).toMatchObject({ details: { sequence: 1, what: 'options.fields[1]', saved: 'b', wanted: 'c' } })
    expect(touched).toEqual([])
  })

  test.each([
    ['an option that is missing', { base: 10, fields: ['a', 'b'] }, 'options.nested'],
    ['an option that is new', { base: 10, fields: ['a', 'b'], nested: { x: 1, y: 2 } }, 'options.nested.y'],
    ['a longer list', { base: 10, fields: ['a', 'b', 'c'], nested: { x: 1 } }, 'options.fields'],
    ['another type', { base: '10', fields: ['a', 'b'], nested: { x: 1 } }, 'options.base'],
  ])('refuses %s', async (_what, options, path) => {
    const store = memory()
    await persistEngine(store, counter(), { count: 1 })
    expect(await errorOf(restoreEngine(store, counter({ options })))).toMatchObject({
      code: 'ENGINE_MISMATCH',
      details: { what: path },
    })
  })

  test('does not mind the order of options', async () => {
    const store = memory()
    await persistEngine(store, counter(), { count: 1 })
    const options = { nested: { x: 1 }, fields: ['a', 'b'], base: 10 }
    expect((await restoreEngine(store, counter({ options })))?.engine.count).toBe(1)
  })

  test('refuses another engine, a newer layout, and what no engine was persisted to; reads an older layout', async () => {
    const store = memory()
    await persistEngine(store, counter(), { count: 1 })
    expect(await errorOf(restoreEngine(store, counter({ name: 'abacus' })))).toMatchObject({
      code: 'ENGINE_MISMATCH',
      details: { what: 'name', saved: 'counter', wanted: 'abacus' },
    })
    expect(await errorOf(restoreEngine(store, counter({ layout: 1 })))).toMatchObject({
      code: 'ENGINE_MISMATCH',
      details: { what: 'layout', saved: 2, wanted: 1 },
    })
    expect((await restoreEngine(store, counter({ layout: 3 })))?.engine.count).toBe(1)
    const byHand = memory()
    await persistSnapshot(byHand, { blobs: { a: 'b' }, metadata: { engine: 'my own' } })
    expect(await errorOf(restoreEngine(byHand, counter()))).toMatchObject({
      code: 'ENGINE_MISMATCH',
      details: { what: 'name', saved: null, wanted: 'counter' },
    })
  })

  test('refuses a version that the adapter knows it cannot read, and names both versions', async () => {
    const store = memory()
    await persistEngine(store, counter(), { count: 1 })
    const old = counter({ version: '0.9.0', refuses: (saved) => `${saved.version} writes longhand` })
    const error = await errorOf(restoreEngine(store, old))
    expect(error).toMatchObject({
      code: 'ENGINE_MISMATCH',
      details: { what: 'version', saved: '1.4.0', wanted: '0.9.0' },
    })
    expect((error as Error).message).toMatch(/1\.4\.0 writes longhand.*1\.4\.0.*0\.9\.0/)
  })

  test('never falls back because of a mismatch: an older snapshot of the right options is not what was asked for', async () => {
    const store = memory()
    await persistEngine(store, counter({ options: { base: 2 } }), { count: 1 })
    await persistEngine(store, counter(), { count: 2 })
    const error = await errorOf(restoreEngine(store, counter({ options: { base: 2 } }), { fallback: true }))
    expect(isHoldfastError(error, 'ENGINE_MISMATCH')).toBe(true)
  })

  test('gives sidecars, watermark and the record beside the engine', async () => {
    const store = memory()
    await persistEngine(store, counter(), { count: 5 }, { alongside: { blobs: { docs: 'x' }, watermark: 9 } })
    const restored = (await restoreEngine(store, counter(), { blobs: ['docs'], source: { watermark: 11 } }))!
    expect(await restored.snapshot.blob('docs').text()).toBe('x')
    expect(restored.snapshot.freshness).toEqual({ state: 'behind', by: 2 })
    expect(restored.record.version).toBe('1.4.0')
    expect(engineRecord(restored.snapshot.metadata)).toEqual(restored.record)
    await restored.dispose()
  })

  test('shows the adapter its own blobs and metadata, by its own names', async () => {
    const store = memory()
    await persistEngine(store, counter(), { count: 5 }, { alongside: { blobs: { docs: 'x' } } })
    let seen: unknown
    const adapter = counter({
      restore(saved) {
        seen = [saved.names, saved.has('count'), saved.has('docs'), saved.metadata, saved.version]
        return { count: 0 }
      },
    })
    await restoreEngine(store, adapter)
    expect(seen).toEqual([['count'], true, false, { note: 'of the adapter' }, '1.4.0'])
  })
})

describe('plain', () => {
  test('takes bytes, or several blobs, or a function that saves into a path', async () => {
    const { writeFile, readFile } = await import('node:fs/promises')
    const kinds = [
      plain<Counter>({
        name: 'one',
        save: ({ count }) => Buffer.from(`${count}`),
        restore: async (saved) => ({ count: Number(await saved.blob('index').text()) }),
      }),
      plain<Counter>({
        name: 'several',
        save: ({ count }) => ({ blobs: { high: `${Math.floor(count / 10)}`, low: `${count % 10}` } }),
        restore: async (saved) => ({
          count: Number(await saved.blob('high').text()) * 10 + Number(await saved.blob('low').text()),
        }),
      }),
      plain<Counter>({
        name: 'path',
        save:
          ({ count }) =>
          (path) =>
            writeFile(path, `${count}`),
        restore: async (saved) => ({ count: Number(await readFile(await saved.blob('index').file(), 'utf8')) }),
      }),
    ]
    for (const adapter of kinds) {
      const path = await mkdtemp(join(tmpdir(), 'holdfast-plain-'))
      temporary.push(path)
      await persistEngine(path, adapter, { count: 42 })
      const restored = (await restoreEngine(path, adapter))!
      expect([adapter.name, restored.engine.count]).toEqual([adapter.name, 42])
      await restored.dispose()
    }
  })

  test('saves anew what changed while it was read, when there is a revision', async () => {
    const store = memory()
    const engine = { count: 1, edits: 0 }
    const adapter = plain<typeof engine>({
      name: 'lazy',
      save: (captured) =>
        (async function* () {
          yield Buffer.from(`${captured.count}`)
          if (captured.edits === 0) {
            captured.count = 2
            captured.edits = 1
          }
        })(),
      restore: async (saved) => ({ count: Number(await saved.blob('index').text()), edits: 0 }),
      revision: ({ edits }) => edits,
    })
    await persistEngine(store, adapter, engine)
    expect((await restoreEngine(store, adapter))?.engine.count).toBe(2)
  })
})

describe('persistEngine with check', () => {
  test('commits what was restored, the same as without it', async () => {
    const contexts: unknown[] = []
    const closed: Counter[] = []
    const adapter = counter({
      async restore(saved, context) {
        contexts.push(context.check)
        return { count: Number(await saved.blob('count').text()) }
      },
      save: (engine) => ({
        blobs: { count: { source: Buffer.from(`${engine.count}`), chunking: fixed(4096), type: 'text/plain' } },
      }),
      close: (engine) => {
        closed.push(engine)
      },
    })
    const options = {
      alongside: {
        blobs: {
          mine: (async function* () {
            yield Buffer.from('beside')
          })(),
        },
        metadata: { n: 1 },
        watermark: 3,
      },
    }
    const store = memory()
    const checked = await persistEngine(store, adapter, { count: 7 }, { ...options, check: true })
    expect(contexts).toEqual([true])
    expect(closed).toEqual([{ count: 7 }])
    const again = await persistEngine(
      store,
      adapter,
      { count: 7 },
      { alongside: { ...options.alongside, blobs: { mine: 'beside' } } },
    )
    expect(again.unchanged).toBe(true)
    expect(again.manifest).toBe(checked.manifest)
    expect((await restoreEngine(store, adapter))!.engine).toEqual({ count: 7 })
    expect(contexts).toEqual([true, undefined])
    expect((await store.load())!.watermark).toBe(3)
  })

  test('commits nothing that cannot be restored, and leaves nothing behind', async () => {
    const home = await mkdtemp(join(tmpdir(), 'holdfast-check-'))
    temporary.push(home)
    vi.stubEnv('TMPDIR', home)
    const broken = counter({
      restore() {
        throw new TypeError('cannot be restored')
      },
    })
    const store = memory()
    await persistEngine(store, counter(), { count: 1 })
    const error = await errorOf(persistEngine(store, broken, { count: 2 }, { check: true }))
    expect(error).toMatchObject({ code: 'ENGINE_CHECK_FAILED', kind: 'unsupported', details: { engine: 'counter' } })
    expect((error as Error).cause).toBeInstanceOf(TypeError)
    expect((await restoreEngine(store, counter()))!.engine).toEqual({ count: 1 })
    // Options that no longer mean the same after they were kept are a failure too.
    const odd = counter({ recorded: () => ({ other: true }) })
    expect(await errorOf(persistEngine(store, odd, { count: 2 }, { check: true }))).toMatchObject({
      code: 'ENGINE_CHECK_FAILED',
    })
    expect(await readdir(home)).toEqual([])
  })

  test('is the engine as of one instant, though it changes while it is checked', async () => {
    const engine = { count: 1 }
    const adapter = counter({
      save: ({ count }) => ({ blobs: { count: `${count}` }, captured: true }),
      async restore(saved) {
        engine.count += 1
        return { count: Number(await saved.blob('count').text()) }
      },
    })
    const store = memory()
    await persistEngine(store, adapter, engine, { check: true, alongside: ({ count }) => ({ watermark: count }) })
    const snapshot = (await store.load())!
    expect([await snapshot.blob('engine/count').text(), snapshot.watermark]).toEqual(['1', 1])
  })

  test('rejects with the reason of an abort', async () => {
    const abort = new AbortController()
    const adapter = counter({
      restore() {
        abort.abort(new Error('enough'))
        throw new Error('because of that')
      },
    })
    const saving = persistEngine(memory(), adapter, { count: 1 }, { check: true, signal: abort.signal })
    expect(await errorOf(saving)).toBe(abort.signal.reason)
  })
})
