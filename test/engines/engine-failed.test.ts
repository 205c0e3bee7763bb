// What an engine throws of its own while it is restored carries the blob and what to look at.

import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import MiniSearch from 'minisearch'
import { expect, test } from 'vitest'
import { type EngineAdapter, persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { hnswlib } from '../../src/engines/hnswlib.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { type SqliteLike, sqlite } from '../../src/engines/sqlite.ts'
import { usearch } from '../../src/engines/usearch.ts'
import { memory } from '../../src/index.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

const own = new Error('index seems to be corrupted')
const fails = (): never => {
  throw own
}

class Usearch {
  save = (path: string): void => writeFileSync(path, 'usearch')
  load = fails
  dimensions = (): number => 4
}
class Hnswlib {
  writeIndexSync = (path: string): void => writeFileSync(path, 'hnswlib')
  async readIndex(path: string): Promise<never> {
    expect(readFileSync(path, 'utf8')).toBe('hnswlib')
    return fails()
  }
  resizeIndex(): void {}
  setEf(): void {}
  getNumDimensions = (): number => 3
  getMaxElements = (): number => 10
  getCurrentCount = (): number => 0
  getEf = (): number => 10
}
class Failing extends MiniSearch {
  static override loadJSAsync = fails
}
const database: SqliteLike = { prepare: () => ({ get: () => ({ n: 1 }) }) }
const documents = new MiniSearch({ fields: ['text'] })

test.each<[string, EngineAdapter<never>, unknown, { blob: string | null; option: string }]>([
  [
    'usearch',
    usearch(Usearch, { dimensions: 4 }) as never,
    new Usearch(),
    { blob: 'engine/index', option: '{ dimensions, metric, quantization, multi }' },
  ],
  [
    'hnswlib',
    hnswlib(Hnswlib, { space: 'l2', dim: 3 }) as never,
    new Hnswlib(),
    { blob: 'engine/index', option: '{ space, dim }' },
  ],
  [
    'sqlite',
    sqlite(fails, { backup: async (_, to) => writeFileSync(to, 'database') }) as never,
    database,
    { blob: null, option: 'the function that opens the database' },
  ],
  [
    'minisearch',
    minisearch(Failing as never, { fields: ['text'] } as never) as never,
    documents,
    { blob: 'engine/termOrder', option: 'the options of MiniSearch' },
  ],
])('%s', async (engine, adapter, instance, details) => {
  const store = memory()
  await persistEngine(store, adapter, instance as never)
  const error = await rejects(restoreEngine(store, adapter), 'ENGINE_FAILED')
  expect(error.details).toEqual({ engine, ...details })
  expect(error.message).toContain('index seems to be corrupted')
  expect(error.message).toContain(details.option)
  expect(error.cause).toBe(own)
})

test('the reason of a signal and an error of the store stay what they are', async () => {
  const store = memory()
  const adapter = usearch(Usearch, { dimensions: 4 })
  await persistEngine(store, adapter, new Usearch())
  const reason = new Error('enough')
  await expect(restoreEngine(store, adapter, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  await rejects(restoreEngine(store, adapter, { at: 7 }), 'SNAPSHOT_NOT_FOUND')
  const nowhere = usearch(Usearch, { dimensions: 4 }, { temporaryDirectory: '/dev/null/none' })
  const error = await rejects(restoreEngine(store, nowhere), 'IO_FAILED')
  expect(error.message).toContain('temporaryDirectory')
})

test('damage that a restore meets is damage, and an older snapshot is found', async () => {
  class Bytes {
    bytes = Buffer.alloc(0)
    save = (path: string): void => writeFileSync(path, this.bytes)
    load(path: string): void {
      this.bytes = readFileSync(path)
    }
    dimensions = (): number => 4
  }
  const path = join(scratch(), 'store')
  const packs = (): string[] => readdirSync(join(path, 'packs')).map((name) => join(path, 'packs', name))
  const adapter = usearch(Bytes, { dimensions: 4 })
  const saved = [randomBytes(100_000), randomBytes(100_000)]
  const save = (bytes: Buffer): Promise<unknown> =>
    persistEngine(path, adapter, Object.assign(new Bytes(), { bytes }), { image: 'none' })
  await save(saved[0]!)
  const before = packs()
  await save(saved[1]!)
  for (const pack of packs().filter((name) => !before.includes(name))) {
    writeFileSync(pack, readFileSync(pack).fill(1, 50_000, 50_010))
  }
  await rejects(restoreEngine(path, adapter, { image: 'none' }), 'BLOB_DAMAGED')
  const restored = await restoreEngine(path, adapter, { image: 'none', fallback: true, onWarning: () => undefined })
  expect(restored?.engine.bytes).toEqual(saved[0])
  await restored?.dispose()
})
