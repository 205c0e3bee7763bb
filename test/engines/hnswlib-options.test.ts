// What the hnswlib adapter remembers for an index that does not remember it itself. Needs no native engine.

import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { type HnswlibOptions, hnswlib } from '../../src/engines/hnswlib.ts'
import { memory } from '../../src/index.ts'
import { rejects } from '../support/rejects.ts'

class Index {
  replaces: boolean | undefined
  writeIndexSync(path: string): void {
    writeFileSync(path, 'an index')
  }
  async readIndex(path: string, allowReplaceDeleted?: boolean): Promise<void> {
    expect(readFileSync(path, 'utf8')).toBe('an index')
    this.replaces = allowReplaceDeleted
  }
  resizeIndex(): void {}
  getNumDimensions = (): number => 3
  getMaxElements = (): number => 10
  getCurrentCount = (): number => 0
  getEf = (): number => 10
  setEf(): void {}
}

const bare: HnswlibOptions<'l2'> = { space: 'l2', dim: 3 }

test.each([
  [undefined, undefined, false],
  [true, undefined, true],
  [true, false, false],
  [undefined, true, true],
])('allowReplaceDeleted: saved with %s and restored with %s, it is %s', async (saved, given, expected) => {
  const adapterOf = (allowReplaceDeleted: boolean | undefined) =>
    hnswlib<Index, 'l2'>(Index, allowReplaceDeleted === undefined ? bare : { ...bare, allowReplaceDeleted })
  const store = memory()
  await persistEngine(store, adapterOf(saved), new Index())
  await using restored = await restoreEngine(store, adapterOf(given))
  expect(restored!.engine.replaces).toBe(expected)
})

/** A BruteforceSearch of three places, two of them in use. */
class Bruteforce {
  length = 24 + 3 * (4 * 3 + 8)
  points: [number[], number][] = []
  removePoint(): void {}
  initIndex(): void {}
  addPoint(point: number[], label: number): void {
    this.points.push([point, label])
  }
  writeIndexSync(path: string): void {
    const file = Buffer.alloc(84)
    for (const [i, value] of [3, 20, 2].entries()) file.writeBigUInt64LE(BigInt(value), 8 * i)
    for (let i = 0; i < 3; i++) {
      for (let d = 0; d < 3; d++) file.writeFloatLE(10 * i + d, 24 + 20 * i + 4 * d)
      file.writeBigUInt64LE(BigInt(100 + i), 24 + 20 * i + 12)
    }
    writeFileSync(path, file.subarray(0, this.length))
  }
  getNumDimensions = (): number => 3
  getMaxElements = (): number => 3
  getCurrentCount = (): number => 2
}

test('a BruteforceSearch is its elements; one whose file was cut short is refused', async () => {
  const store = memory()
  const adapter = hnswlib(Bruteforce, { space: 'l2', dim: 3 })
  await persistEngine(store, adapter, new Bruteforce())
  await using restored = (await restoreEngine(store, adapter))!
  expect(restored.engine.points).toEqual([
    [[0, 1, 2], 100],
    [[10, 11, 12], 101],
  ])
  for (const length of [0, 20, 24, 63, 83]) {
    const cut = Object.assign(new Bruteforce(), { length })
    await rejects(persistEngine(store, adapter, cut), 'SOURCE_FAILED')
  }
  expect((await store.snapshots()).length).toBe(1)
})
