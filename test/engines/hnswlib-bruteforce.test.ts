import { describe, expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { engineConformance } from '../../src/engines/conformance.ts'
import { type HnswlibLike, hnswlib } from '../../src/engines/hnswlib.ts'
import type { BruteforceLike } from '../../src/engines/hnswlib-bruteforce.ts'
import { memory } from '../../src/index.ts'
import { rejects } from '../support/rejects.ts'
import { nativeEngine, skipVisibly, vector } from './native.ts'

type Space = 'l2' | 'ip' | 'cosine'
interface Bruteforce extends BruteforceLike {
  searchKnn(query: number[], count: number): { distances: number[]; neighbors: number[] }
}
interface Hnswlib {
  BruteforceSearch: new (space: Space, dimensions: number) => Bruteforce
  HierarchicalNSW: new (space: Space, dimensions: number) => HnswlibLike & { initIndex(maxElements: number): void }
}

const module = nativeEngine<Hnswlib>('hnswlib-node')
if (module === null) skipVisibly('hnswlib', '`npm run engines` first')
else {
  const { BruteforceSearch, HierarchicalNSW } = module
  const DIM = 16

  function create(maxElements = 100_000, space: Space = 'l2'): Bruteforce {
    const index = new BruteforceSearch(space, DIM)
    index.initIndex(maxElements)
    return index
  }

  function answers(index: Bruteforce): unknown {
    const count = Math.min(10, index.getCurrentCount())
    const found = [1, 2, 3].map((n) => (count === 0 ? null : index.searchKnn(vector(-n, DIM), count)))
    return [found, index.getCurrentCount(), index.getMaxElements()]
  }

  describe('BruteforceSearch', () => {
    for (const { name, run } of engineConformance({
      adapter: hnswlib(BruteforceSearch, { space: 'l2', dim: DIM }),
      others: [
        hnswlib(BruteforceSearch, { space: 'ip', dim: DIM }),
        hnswlib(BruteforceSearch, { space: 'l2', dim: DIM + 1 }),
      ],
      create,
      add(index, first, count) {
        for (let n = first; n < first + count; n++) index.addPoint(vector(n, DIM), n)
      },
      update(index, first, count) {
        for (let n = first; n < first + count; n++) index.addPoint(vector(n + 1e6, DIM), n)
      },
      remove(index, first, count) {
        for (let n = first; n < first + count; n++) index.removePoint(n)
      },
      answers,
      large: 3000,
    })) {
      test(name, run)
    }
  })

  test('a restored index knows its labels: what is removed is gone, what is updated is there once', async () => {
    const index = create(20)
    for (let n = 0; n < 10; n++) index.addPoint(vector(n, DIM), n)
    index.removePoint(3)
    const store = memory()
    const adapter = hnswlib(BruteforceSearch, { space: 'l2', dim: DIM })
    await persistEngine(store, adapter, index)
    await using restored = (await restoreEngine(store, adapter))!
    const { engine } = restored
    engine.removePoint(5)
    engine.addPoint(vector(100, DIM), 6)
    expect(engine.getCurrentCount()).toBe(8)
    expect(engine.searchKnn(vector(100, DIM), 1)).toEqual({ distances: [0], neighbors: [6] })
    expect(engine.searchKnn(vector(5, DIM), 8).neighbors.sort()).toEqual([0, 1, 2, 4, 6, 7, 8, 9])
  })

  test('memory that nobody wrote to is not saved, and the same index writes nothing', async () => {
    const store = memory({ compression: 'none' })
    const adapter = hnswlib(BruteforceSearch, { space: 'cosine', dim: DIM })
    const index = create(100_000, 'cosine')
    for (let n = 0; n < 50; n++) index.addPoint(vector(n, DIM), n)
    expect((await persistEngine(store, adapter, index)).bytes.total).toBe(50 * (4 * DIM + 8))
    expect(await persistEngine(store, adapter, index)).toMatchObject({ unchanged: true })
    await using restored = (await restoreEngine(store, adapter))!
    expect(restored.engine.getMaxElements()).toBe(100_000)
    const [ours, theirs] = [index, restored.engine].map((each) => each.searchKnn(vector(-1, DIM), 10))
    expect(theirs!.neighbors).toEqual(ours!.neighbors)
    for (const [i, distance] of theirs!.distances.entries()) expect(distance).toBeCloseTo(ours!.distances[i]!, 5)
  })

  test('is not taken for an index with links, nor the other way round', async () => {
    const store = memory()
    const brute = hnswlib(BruteforceSearch, { space: 'l2', dim: DIM })
    const linked = hnswlib(HierarchicalNSW, { space: 'l2', dim: DIM })
    await persistEngine(store, brute, create())
    await rejects(restoreEngine(store, linked), 'ENGINE_MISMATCH')
    const index = new HierarchicalNSW('l2', DIM)
    index.initIndex(10)
    await persistEngine(store, linked, index)
    await rejects(restoreEngine(store, brute), 'ENGINE_MISMATCH')
    expect(() => hnswlib(BruteforceSearch, { space: 'l2', dim: DIM, allowReplaceDeleted: true })).toThrow(
      /no allowReplaceDeleted/,
    )
  })
}
