// Fake timers of a test runner, put in place after holdfast was imported, do not make anything wait for ever.

import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import MiniSearch from 'minisearch'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { persistEngine, restoreEngine } from '../src/engines/adapter.ts'
import { autosave } from '../src/engines/autosave.ts'
import { minisearch } from '../src/engines/minisearch.ts'
import { openStore } from '../src/index.ts'
import { eventually } from './support/eventually.ts'
import { scratch } from './support/scratch.ts'

const FAKED = [
  'setTimeout',
  'clearTimeout',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
  'queueMicrotask',
  'performance',
  'Date',
] as const

beforeEach(() => {
  vi.useFakeTimers({ toFake: [...FAKED], now: 0 })
})
afterEach(() => {
  vi.useRealTimers()
})

/** More than 1000: MiniSearch waits for a timer at every thousandth. */
const DOCUMENTS = 2500

const options = { fields: ['text'], storeFields: ['text'] }

function filled(): MiniSearch {
  const engine = new MiniSearch(options)
  for (let id = 0; id < DOCUMENTS; id++) engine.add({ id, text: `common word${id}` })
  return engine
}

test('a store is persisted, loaded, tagged, verified and repaired while timers are faked', async () => {
  const store = await openStore(join(scratch(), 'store'))
  // Large enough for worker threads.
  const bytes = new Uint8Array(12_000_000).map((_, at) => (at * 2_654_435_761) >>> 13)
  await store.persist({ blobs: { index: bytes } })
  const snapshot = await store.load({ required: true })
  expect(snapshot!.time.getTime()).toBeGreaterThan(1e12)
  const read = await snapshot!.blob('index').bytes()
  expect(Buffer.compare(read, bytes)).toBe(0)
  expect(existsSync(await snapshot!.blob('index').file())).toBe(true)
  await snapshot!.dispose()
  await store.tag('kept')
  expect((await store.verify()).problems).toEqual([])
  await store.scrub()
  await store.repair()
  await store.close()
})

test('a writer waits for another one, and gives up after its time', async () => {
  const path = join(scratch(), 'store')
  const [one, other] = [await openStore(path), await openStore(path)]
  let letGo: () => void = () => undefined
  const held = new Promise<void>((resolve) => {
    letGo = resolve
  })
  let begun: () => void = () => undefined
  const reading = new Promise<void>((resolve) => {
    begun = resolve
  })
  async function* slow(): AsyncGenerator<Uint8Array> {
    begun()
    yield new Uint8Array(10)
    await held
  }
  const first = one.persist({ blobs: { index: slow() } })
  await reading
  await expect(other.persist({ blobs: { index: new Uint8Array(1) }, lockWaitMs: 50 })).rejects.toMatchObject({
    code: 'STORE_LOCKED',
  })
  letGo()
  await first
})

test('a MiniSearch is saved, restored, and saved in the background', async () => {
  const store = await openStore(join(scratch(), 'store'))
  const adapter = minisearch(MiniSearch, options)
  await persistEngine(store, adapter, filled())
  const restored = await restoreEngine(store, adapter)
  expect(restored!.engine.search('common')).toHaveLength(DOCUMENTS)
  expect(restored!.engine.search(`word${DOCUMENTS - 1}`)[0]).toMatchObject({ text: `common word${DOCUMENTS - 1}` })
  const saves: number[] = []
  const saver = autosave(store, adapter, restored!.engine, {
    restored,
    everyMs: 20,
    quietMs: 0,
    onSave: ({ sequence }) => saves.push(sequence),
  })
  restored!.engine.add({ id: DOCUMENTS, text: 'more' })
  saver.changed()
  await eventually(() => expect(saves).toEqual([2]))
  await saver.close()
  await store.close()
})

test('a directory is judged, and a lock file waited for, while timers are faked', async () => {
  const { checkDirectory } = await import('../src/index.ts')
  const path = join(scratch(), 'data')
  mkdirSync(path)
  writeFileSync(join(path, 'other'), '')
  expect(await checkDirectory(path)).toBeDefined()
})
