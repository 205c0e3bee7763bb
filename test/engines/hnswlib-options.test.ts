// What the hnswlib adapter remembers for an index that does not remember it itself. Needs no native engine.

import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { type HnswlibOptions, hnswlib } from '../../src/engines/hnswlib.ts'
import { memory } from '../../src/index.ts'

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
