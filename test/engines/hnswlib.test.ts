import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { engineConformance } from '../../src/engines/conformance.ts'
import { type HnswlibLike, hnswlib } from '../../src/engines/hnswlib.ts'
import { memory } from '../../src/index.ts'
import { rounds } from '../support/effort.ts'
import { nativeEngine, skipVisibly, vector } from './native.ts'

type Space = 'l2' | 'ip' | 'cosine'
interface Index extends HnswlibLike {
  initIndex(options: { maxElements: number; m?: number; efConstruction?: number; allowReplaceDeleted?: boolean }): void
  addPoint(point: number[], label: number, replaceDeleted?: boolean): void
  markDelete(label: number): void
  readIndexSync(path: string): void
  searchKnn(query: number[], count: number): { distances: number[]; neighbors: number[] }
  getIdsList(): number[]
}
interface Hnswlib {
  HierarchicalNSW: new (space: Space, dimensions: number) => Index
}

const scratch = mkdtempSync(join(tmpdir(), 'holdfast-hnswlib-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const module = nativeEngine<Hnswlib>('hnswlib-node')
if (module === null) skipVisibly('hnswlib', '`npm run engines` first')
else {
  const { HierarchicalNSW } = module
  const DIM = 16

  function create(options: Partial<Parameters<Index['initIndex']>[0]> = {}, dim = DIM): Index {
    const index = new HierarchicalNSW('l2', dim)
    index.initIndex({ maxElements: 5000, ...options })
    // Enough to look at all there is, so that what is found does not depend on the order of building.
    index.setEf(400)
    return index
  }

  function bytesOf(index: Index): Buffer {
    const path = join(scratch, 'index')
    index.writeIndexSync(path)
    return readFileSync(path)
  }

  function answers(index: Index): unknown {
    const queries = [1, 2, 3].map((n) => index.searchKnn(vector(-n, DIM), Math.min(10, index.getIdsList().length)))
    return [queries, index.getIdsList().sort(), index.getMaxElements(), index.getEf()]
  }

  for (const { name, run } of engineConformance({
    adapter: hnswlib(HierarchicalNSW, { space: 'l2', dim: DIM }),
    others: [
      hnswlib(HierarchicalNSW, { space: 'cosine', dim: DIM }),
      hnswlib(HierarchicalNSW, { space: 'l2', dim: DIM + 1 }),
    ],
    create,
    add(index, first, count) {
      for (let n = first; n < first + count; n++) index.addPoint(vector(n, DIM), n)
    },
    update(index, first, count) {
      for (let n = first; n < first + count; n++) index.addPoint(vector(n + 1e6, DIM), n)
    },
    remove(index, first, count) {
      for (let n = first; n < first + count; n++) index.markDelete(n)
    },
    answers,
    large: 3000,
  })) {
    test(name, run)
  }

  test('splits into columns and puts together again the very file, whatever the index', async () => {
    const shape = fc.record({
      dim: fc.integer({ min: 1, max: 300 }),
      m: fc.integer({ min: 2, max: 40 }),
      count: fc.integer({ min: 0, max: 400 }),
      deleted: fc.array(fc.nat(400), { maxLength: 20 }),
      allowReplaceDeleted: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(shape, async ({ dim, m, count, deleted, allowReplaceDeleted }) => {
        const index = create({ m, allowReplaceDeleted, maxElements: count + 7 }, dim)
        for (let n = 0; n < count; n++) index.addPoint(vector(n, dim), n * 3)
        for (const n of new Set(deleted)) if (n < count) index.markDelete(n * 3)
        if (allowReplaceDeleted && count > 0) index.addPoint(vector(-7, dim), 10_000, true)
        const adapter = hnswlib(HierarchicalNSW, { space: 'l2', dim, allowReplaceDeleted })
        const store = memory()
        await persistEngine(store, adapter, index)
        const { engine, snapshot } = (await restoreEngine(store, adapter))!
        expect(snapshot.names).toContain('engine/vectors')
        expect(bytesOf(engine).equals(bytesOf(index))).toBe(true)
        expect(engine.getMaxElements()).toBe(count + 7)
        await snapshot.dispose()
      }),
      rounds(30),
    )
  })

  test('a restored index replaces deleted elements if it is told that it may', async () => {
    const index = create({ allowReplaceDeleted: true, maxElements: 10 })
    for (let n = 0; n < 10; n++) index.addPoint(vector(n, DIM), n)
    index.markDelete(4)
    const store = memory()
    const told = { space: 'l2', dim: DIM } as const
    const adapter = hnswlib(HierarchicalNSW, { ...told, allowReplaceDeleted: true })
    await persistEngine(store, adapter, index)
    const { engine } = (await restoreEngine(store, adapter))!
    // There is room for ten.
    engine.addPoint(vector(99, DIM), 99, true)
    expect(engine.getIdsList()).toContain(99)
    const no = hnswlib(HierarchicalNSW, { space: 'l2', dim: DIM, allowReplaceDeleted: false })
    const strict = (await restoreEngine(store, no))!.engine
    expect(() => strict.addPoint(vector(99, DIM), 99, true)).toThrow()
  })

  test('writes little after a hundredth was added, moved or deleted, and nothing after nothing', async () => {
    const dim = 64
    const count = 5000
    const adapter = hnswlib(HierarchicalNSW, { space: 'l2', dim })
    const built = (): Index => {
      const index = create({ maxElements: 2 * count }, dim)
      for (let n = 0; n < count; n++) index.addPoint(vector(n, dim), n)
      return index
    }
    const written = async (change: (index: Index) => void): Promise<number> => {
      const store = memory({ compression: 'none' })
      const index = built()
      const first = await persistEngine(store, adapter, index)
      change(index)
      return (await persistEngine(store, adapter, index)).bytes.written / first.bytes.total
    }
    const added = await written((index) => {
      for (let n = count; n < count * 1.01; n++) index.addPoint(vector(n, dim), n)
    })
    const deleted = await written((index) => {
      for (let n = 0; n < count; n += 100) index.markDelete(n)
    })
    // Links are a third of so small vectors' file, and a new element changes those of all its neighbours.
    expect(added).toBeLessThan(0.4)
    expect(deleted).toBeLessThan(0.2)
    expect(await written(() => {})).toBe(0)
  })

  test('leaves no temporary file behind, whether saving and restoring succeed or fail', async () => {
    const temporaryDirectory = mkdtempSync(join(scratch, 'temporary-'))
    const adapter = hnswlib(HierarchicalNSW, { space: 'l2', dim: DIM }, { temporaryDirectory })
    const index = create()
    for (let n = 0; n < 50; n++) index.addPoint(vector(n, DIM), n)
    const store = memory()
    await persistEngine(store, adapter, index)
    await restoreEngine(store, adapter)
    await expect(persistEngine(store, adapter, new HierarchicalNSW('l2', DIM))).rejects.toThrow('Search index')
    const aborted = AbortSignal.abort(new Error('enough'))
    await expect(restoreEngine(store, adapter, { signal: aborted })).rejects.toThrow('enough')
    expect(readdirSync(temporaryDirectory)).toEqual([])
  })

  test('refuses an index of other dimensions than the adapter has', async () => {
    const adapter = hnswlib(HierarchicalNSW, { space: 'l2', dim: DIM })
    await expect(persistEngine(memory(), adapter, create({}, 8))).rejects.toThrow(
      'the adapter is for 16 dimensions, and the index has 8',
    )
  })

  /** An index whose file is not what hnswlib makes of it. */
  function saving(index: Index, change: (path: string) => void): Index {
    const path = (to: string): void => {
      index.writeIndexSync(to)
      change(to)
    }
    return new Proxy(index, {
      get: (_target, key) => {
        if (key === 'writeIndexSync') return path
        const value = Reflect.get(index, key) as unknown
        return typeof value === 'function' ? value.bind(index) : value
      },
    })
  }

  test('a layout that it does not know is stored whole, and given back as it was', async () => {
    const index = create()
    for (let n = 0; n < 100; n++) index.addPoint(vector(n, DIM), n)
    const original = bytesOf(index)
    const changes = [
      Buffer.concat([original, Buffer.from('more')]),
      Buffer.concat([Buffer.from('a new header'), original]),
      Buffer.from('short'),
    ]
    for (const bytes of changes) {
      const store = memory()
      const adapter = hnswlib(HierarchicalNSW, { space: 'l2', dim: DIM })
      await persistEngine(
        store,
        adapter,
        saving(index, (path) => writeFileSync(path, bytes)),
      )
      const snapshot = (await store.load({ required: true }))!
      expect(snapshot.names).toEqual(['engine/index'])
      expect(Buffer.from(await snapshot.blob('engine/index').bytes()).equals(bytes)).toBe(true)
      let read: Buffer | undefined
      class Reader {
        writeIndexSync(): void {}
        async readIndex(path: string): Promise<void> {
          read = readFileSync(path)
        }
        resizeIndex(): void {}
        setEf(): void {}
        getNumDimensions = (): number => DIM
        getMaxElements = (): number => 5000
        getCurrentCount = (): number => 0
        getEf = (): number => 10
      }
      await restoreEngine(store, hnswlib(Reader, { space: 'l2', dim: DIM }))
      expect(read?.equals(bytes)).toBe(true)
    }
  })

  test('a file that was cut short, as on a full disk, is an error and no snapshot', async () => {
    const index = create()
    for (let n = 0; n < 100; n++) index.addPoint(vector(n, DIM), n)
    const size = bytesOf(index).length
    const adapter = hnswlib(HierarchicalNSW, { space: 'l2', dim: DIM })
    for (const left of [0, 96, 5000, size - 401, size - 1]) {
      const store = memory()
      const short = saving(index, (path) => truncateSync(path, left))
      await expect(persistEngine(store, adapter, short)).rejects.toMatchObject({ code: 'SOURCE_FAILED' })
      expect(await store.load()).toBe(null)
    }
  })
}
