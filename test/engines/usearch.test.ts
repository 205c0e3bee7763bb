import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { persistEngine, restoreEngine, type SaveContext } from '../../src/engines/adapter.ts'
import { autosave } from '../../src/engines/autosave.ts'
import { engineConformance } from '../../src/engines/conformance.ts'
import { type UsearchLike, type UsearchOptions, usearch } from '../../src/engines/usearch.ts'
import { memory } from '../../src/index.ts'
import { rounds } from '../support/effort.ts'
import { nativeEngine, skipVisibly, vector } from './native.ts'

interface Options extends UsearchOptions {
  connectivity?: number
  expansion_add?: number
  expansion_search?: number
}
interface Index extends UsearchLike {
  add(key: bigint, vector: Float32Array, threads: number): void
  remove(key: bigint): number
  search(query: Float32Array, count: number, threads: number): { keys: BigUint64Array; distances: Float32Array }
  contains(key: bigint): boolean
  size(): number
}
interface Usearch {
  Index: new (options: Options) => Index
}

const scratch = mkdtempSync(join(tmpdir(), 'holdfast-usearch-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const module = nativeEngine<Usearch>('usearch')
if (module === null) skipVisibly('usearch', '`npm run engines` first')
else {
  const { Index } = module
  const DIM = 16
  // Enough to look at all there is, so that what is found does not depend on the order of building.
  const options = { dimensions: DIM, metric: 'l2sq', expansion_add: 400, expansion_search: 400 }

  const vectorOf = (n: number, dim = DIM): Float32Array => Float32Array.from(vector(n, dim))

  function add(index: Index, first: number, count: number, dim = DIM): void {
    // In one thread: several build in any order.
    for (let n = first; n < first + count; n++) index.add(BigInt(n), vectorOf(n, dim), 1)
  }

  function bytesOf(index: Index): Buffer {
    const path = join(scratch, 'index')
    index.save(path)
    return readFileSync(path)
  }

  for (const { name, run } of engineConformance<Index>({
    adapter: usearch(Index, options),
    others: [
      usearch(Index, { ...options, metric: 'cos' }),
      usearch(Index, { ...options, dimensions: DIM + 1 }),
      usearch(Index, { ...options, quantization: 'f16' }),
      usearch(Index, { ...options, multi: true }),
    ],
    create: () => new Index(options),
    add,
    remove(index, first, count) {
      for (let n = first; n < first + count; n++) index.remove(BigInt(n))
    },
    answers: (index) => [
      [1, 2, 3].map((n) => {
        const { keys, distances } = index.search(vectorOf(-n), 10, 1)
        return [[...keys], [...distances]]
      }),
      index.size(),
      [150n, 155n, 210n, 10_000n].map((key) => index.contains(key)),
    ],
    large: 3000,
  })) {
    test(name, run)
  }

  test('splits into columns and puts together again the very file, whatever the index', async () => {
    const shape = fc.record({
      dim: fc.integer({ min: 1, max: 200 }).map((n) => n * 8),
      connectivity: fc.integer({ min: 2, max: 40 }),
      quantization: fc.constantFrom('f32', 'f16', 'i8', 'bf16', 'f64'),
      multi: fc.boolean(),
      count: fc.integer({ min: 0, max: 400 }),
      removed: fc.array(fc.nat(400), { maxLength: 20 }),
    })
    await fc.assert(
      fc.asyncProperty(shape, async ({ dim, connectivity, quantization, multi, count, removed }) => {
        const shaped = { dimensions: dim, metric: 'cos', connectivity, quantization, multi }
        const index = new Index(shaped)
        add(index, 0, count, dim)
        for (const n of new Set(removed)) if (n < count) index.remove(BigInt(n))
        const adapter = usearch(Index, shaped)
        const store = memory()
        await persistEngine(store, adapter, index)
        const { engine, snapshot } = (await restoreEngine(store, adapter))!
        expect(snapshot.names).toContain('engine/header')
        expect(bytesOf(engine).equals(bytesOf(index))).toBe(true)
        await snapshot.dispose()
      }),
      rounds(30),
    )
  })

  test('writes little after a hundredth was added or removed, and nothing after nothing', async () => {
    const count = 5000
    const shaped = { dimensions: 64, metric: 'cos' }
    const adapter = usearch(Index, shaped)
    const written = async (change: (index: Index) => void): Promise<number> => {
      const store = memory({ compression: 'none' })
      const index = new Index(shaped)
      add(index, 0, count, 64)
      const first = await persistEngine(store, adapter, index)
      change(index)
      return (await persistEngine(store, adapter, index)).bytes.written / first.bytes.total
    }
    // Links are a third of so small vectors' file, and a new element changes those of all its neighbours.
    expect(await written((index) => add(index, count, count / 100, 64))).toBeLessThan(0.4)
    const removed = await written((index) => {
      for (let n = 0; n < count; n += 100) index.remove(BigInt(n))
    })
    expect(removed).toBeLessThan(0.2)
    expect(await written(() => {})).toBe(0)
  })

  test('refuses to save an index of another kind than the adapter has', async () => {
    const index = new Index(options)
    for (const other of [{ dimensions: 8 }, { metric: 'cos' }, { quantization: 'f16' }, { multi: true }]) {
      await expect(persistEngine(memory(), usearch(Index, { ...options, ...other }), index)).rejects.toThrow(
        'another metric, quantization or multi',
      )
    }
  })

  test('refuses what a usearch of another major version saved, before it sees a byte', async () => {
    const adapter = usearch(Index, options)
    const store = memory()
    const index = new Index(options)
    add(index, 0, 10)
    const older = {
      ...adapter,
      version: '1.9.0',
      save: async (engine: Index, context: SaveContext) => ({
        ...(await adapter.save(engine, context)),
        metadata: { fileVersion: [1, 9, 0] },
      }),
    }
    await persistEngine(store, older, index)
    await expect(restoreEngine(store, adapter)).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' })
    await expect(restoreEngine(store, adapter)).rejects.toThrow('version 1.9.0')
  })

  test('a view is of the image, answers as the index does, and cannot be changed', async () => {
    const path = join(mkdtempSync(join(scratch, 'view-')), 'store')
    const index = new Index(options)
    add(index, 0, 500)
    await persistEngine(path, usearch(Index, options), index)
    const adapter = usearch(Index, options, { view: true })
    const restored = (await restoreEngine(path, adapter))!
    await restored.dispose()
    const answersOf = (each: Index): unknown => each.search(vectorOf(-1), 10, 1)
    expect(answersOf(restored.engine)).toEqual(answersOf(index))
    expect(() => add(restored.engine, 1000, 1)).toThrow('immutable')
    expect(() => restored.engine.remove(3n)).toThrow('immutable')
    expect(() => autosave(path, adapter, restored.engine)).toThrow('cannot be changed')
    // The image is held, whatever is saved meanwhile.
    add(index, 500, 1)
    await persistEngine(path, usearch(Index, options), index)
    expect(restored.engine.size()).toBe(500)
    expect(readdirSync(join(path, 'files')).filter((name) => name.endsWith('.image'))).toHaveLength(2)
  })

  test('leaves no temporary file behind, whether saving and restoring succeed or fail', async () => {
    const temporaryDirectory = mkdtempSync(join(scratch, 'temporary-'))
    const adapter = usearch(Index, options, { temporaryDirectory })
    const index = new Index(options)
    add(index, 0, 50)
    const store = memory()
    await persistEngine(store, adapter, index)
    await restoreEngine(store, adapter)
    await expect(persistEngine(store, adapter, new Index({ dimensions: 8 }))).rejects.toThrow(TypeError)
    const aborted = AbortSignal.abort(new Error('enough'))
    await expect(restoreEngine(store, adapter, { signal: aborted })).rejects.toThrow('enough')
    expect(readdirSync(temporaryDirectory)).toEqual([])
  })

  /** The real thing, but for its files. */
  function saving(index: Index, change: (path: string) => void): Index {
    return Object.assign(Object.create(index) as Index, {
      save(path: string) {
        index.save(path)
        change(path)
      },
    })
  }

  test('a layout that it does not know is stored whole, and given back as it was', async () => {
    const index = new Index(options)
    add(index, 0, 100)
    const bytes = Buffer.concat([bytesOf(index), Buffer.from('a new section')])
    const store = memory()
    const adapter = usearch(Index, options)
    await persistEngine(
      store,
      adapter,
      saving(index, (path) => writeFileSync(path, bytes)),
    )
    const snapshot = (await store.load({ required: true }))!
    expect(snapshot.names).toEqual(['engine/index'])
    let read: Buffer | undefined
    class Reader {
      save(): void {}
      dimensions = (): number => DIM
      load(path: string): void {
        read = readFileSync(path)
      }
    }
    await restoreEngine(store, { ...usearch(Reader, options), refuses: () => undefined })
    expect(read?.equals(bytes)).toBe(true)
  })

  test('a usearch whose files are all of another layout is stored whole', async () => {
    let read: Buffer | undefined
    class Future {
      dimensions = (): number => DIM
      save(path: string): void {
        writeFileSync(path, 'usearch 3, in a layout of its own')
      }
      load(path: string): void {
        read = readFileSync(path)
      }
    }
    const adapter = usearch(Future, options)
    const store = memory()
    await persistEngine(store, adapter, new Future())
    await restoreEngine(store, adapter)
    expect(String(read)).toBe('usearch 3, in a layout of its own')
  })

  test('a file that was cut short, as on a full disk, is an error and no snapshot', async () => {
    const index = new Index(options)
    add(index, 0, 100)
    const size = bytesOf(index).length
    for (const left of [0, 8, 5000, 100 * DIM * 4 + 60, size - 401, size - 1]) {
      const store = memory()
      const short = saving(index, (path) => truncateSync(path, left))
      await expect(persistEngine(store, usearch(Index, options), short)).rejects.toMatchObject({
        code: 'SOURCE_FAILED',
      })
      expect(await store.load()).toBe(null)
    }
  })
}
