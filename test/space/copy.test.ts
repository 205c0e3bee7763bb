import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { fixed, openStore, type Store } from '../../src/index.ts'
import type { PackFile } from '../../src/storage/port.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { failure, rejects } from '../support/rejects.ts'
import { quickScratch } from '../support/scratch.ts'
import { directoryAt } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'

async function persist(store: Store, n: number, keepLast = 5): Promise<void> {
  await store.persist({ blobs: { a: { source: noise(60_000, n), chunking: fixed(4096) } }, metadata: { n }, keepLast })
}

/** Every kept snapshot of the copy, read whole; and it can be written to. */
async function expectWhole(path: string, numbers: readonly number[]): Promise<void> {
  await using store = await openStore(path, { readOnly: true })
  const found: number[] = []
  for (const { sequence } of await store.snapshots()) {
    await using snapshot = (await store.load({ at: sequence }))!
    const { n } = snapshot.metadata as { n: number }
    expect(sameBytes(await snapshot.blob('a').bytes(), noise(60_000, n))).toBe(true)
    found.push(n)
  }
  expect(found).toEqual(numbers)
  expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
}

test('a copy is restored by opening it, with its history, its tags and the same id', async () => {
  const path = join(quickScratch(), 'store')
  const to = join(quickScratch(), 'copy')
  await using store = await openStore(path)
  for (const n of [1, 2, 3]) await persist(store, n)
  await store.tag('v1', { at: 2 })
  const copied = await store.copy(to)
  expect(copied).toMatchObject({ sequence: 3, packs: 3, copiedBytes: copied.bytes, damaged: [] })
  await expectWhole(to, [3, 2, 1])
  await using restored = await openStore(to)
  expect(await restored.snapshots()).toEqual(await store.snapshots())
  const id = (at: string): string => JSON.parse(readFileSync(join(at, 'STORE.json'), 'utf8')).storeId
  expect(id(to)).toBe(id(path))
  expect(readFileSync(join(to, 'HEAD.json'))).toEqual(readFileSync(join(path, 'HEAD.json')))
  await persist(restored, 4)
  expect(await restored.repair()).toMatchObject({ ok: true, actions: [] })
  await expectWhole(to, [4, 3, 2, 1])
})

test('the next copy takes only what is missing, and drops what no HEAD of the copy needs', async () => {
  const path = join(quickScratch(), 'store')
  const to = join(quickScratch(), 'copy')
  await using store = await openStore(path)
  for (const n of [1, 2, 3]) await persist(store, n, 3)
  const first = await store.copy(to)
  expect(await store.copy(to)).toEqual({ ...first, copiedBytes: 0 })
  const before = readdirSync(join(to, 'packs'))
  for (const n of [4, 5]) await persist(store, n, 3)
  const second = await store.copy(to)
  expect(second.copiedBytes).toBeLessThan(second.bytes)
  expect(second.copiedBytes).toBeGreaterThan(100_000)
  await expectWhole(to, [5, 4, 3])
  // HEAD.prev.json of the copy is whole too.
  expect(readdirSync(join(to, 'packs')).filter((name) => before.includes(name))).toEqual(before)
  rmSync(join(to, 'HEAD.json'))
  {
    await using copy = await openStore(to, { onWarning: () => undefined })
    await using snapshot = await copy.load({ fallback: true })
    expect(snapshot!.metadata).toEqual({ n: 3 })
  }
  await store.copy(to)
  await expectWhole(to, [5, 4, 3])
  await persist(store, 6, 3)
  await store.copy(to)
  await expectWhole(to, [6, 5, 4])
  expect(readdirSync(join(to, 'packs')).length).toBeLessThan(6)
})

test('a store is copied while others write to it, drop packs and collect garbage', async () => {
  const path = join(quickScratch(), 'store')
  await using store = await openStore(path, { keepLast: 1 })
  await persist(store, 0, 1)
  let writing = true
  async function write(): Promise<void> {
    await using other = await openStore(path)
    for (let n = 1; writing; n++) {
      await persist(other, n, 1)
      if (n % 3 === 0) await other.gc()
    }
  }
  const writer = write()
  try {
    for (let i = 0; i < 8; i++) {
      const to = join(quickScratch(), 'copy')
      const { sequence } = await store.copy(to)
      await expectWhole(to, [sequence! - 1])
    }
  } finally {
    writing = false
    await writer
  }
})

test('a pack that is deleted before it was opened makes the copy begin with the HEAD of now', async () => {
  const inner = directoryAt(join(quickScratch(), 'store'))
  await using other = storeOver(inner, nodeFileSystem, { keepLast: 1 })
  await persist(other, 1, 1)
  let raced = false
  async function openPack(name: string): Promise<PackFile> {
    if (!raced) {
      raced = true
      for (const n of [2, 3]) await persist(other, n, 1)
    }
    return await inner.openPack(name)
  }
  await using store = storeOver({ ...inner, openPack }, nodeFileSystem)
  const to = join(quickScratch(), 'copy')
  expect(await store.copy(to)).toMatchObject({ sequence: 3, packs: 1 })
  await expectWhole(to, [3])
})

test('an interrupted copy is gone on with', async () => {
  const path = join(quickScratch(), 'store')
  const to = join(quickScratch(), 'copy')
  await using store = await openStore(path)
  for (const n of [1, 2, 3]) await persist(store, n)
  const abort = new AbortController()
  const reason = new Error('enough')
  expect(await failure(store.copy(to, { signal: abort.signal, onProgress: () => abort.abort(reason) }))).toBe(reason)
  // Nothing names what is there yet.
  expect(existsSync(join(to, 'HEAD.json'))).toBe(false)
  const { bytes, copiedBytes } = await store.copy(to)
  expect(copiedBytes).toBeLessThan(bytes)
  await expectWhole(to, [3, 2, 1])
})

test('a copy never replaces another store, other files, or a copy that was written to', async () => {
  const path = join(quickScratch(), 'store')
  await using store = await openStore(path)
  await persist(store, 1)
  const other = join(quickScratch(), 'other')
  {
    await using stranger = await openStore(other)
    await persist(stranger, 7)
  }
  await rejects(store.copy(other), 'TARGET_EXISTS')
  await expectWhole(other, [7])
  const foreign = quickScratch()
  writeFileSync(join(foreign, 'mine.txt'), 'mine')
  await rejects(store.copy(foreign), 'NOT_A_STORE')
  expect(readdirSync(foreign)).toEqual(['mine.txt'])
  // Nor what is left of one.
  rmSync(join(other, 'HEAD.json'))
  rmSync(join(other, 'HEAD.prev.json'))
  rmSync(join(other, 'STORE.json'))
  await rejects(store.copy(other), 'TARGET_EXISTS')
  expect(readdirSync(join(other, 'packs'))).toHaveLength(1)
  const to = join(quickScratch(), 'copy')
  await store.copy(to)
  {
    await using copy = await openStore(to)
    await persist(copy, 8)
  }
  await persist(store, 2)
  await persist(store, 3)
  await rejects(store.copy(to), 'TARGET_EXISTS')
  await expectWhole(to, [8, 1])
  expect(await failure(store.copy(path))).toBeInstanceOf(TypeError)
  expect(await failure(store.copy(5 as never))).toBeInstanceOf(TypeError)
  await using empty = await openStore(join(quickScratch(), 'empty'))
  await rejects(empty.copy(join(quickScratch(), 'copy')), 'SNAPSHOT_NOT_FOUND')
})

test('a pack that rots in the copy is copied anew when it is gone, and one that is bad here is told', async () => {
  const path = join(quickScratch(), 'store')
  const to = join(quickScratch(), 'copy')
  await using store = await openStore(path, { onWarning: () => undefined })
  await persist(store, 1)
  await persist(store, 2)
  const [pack] = readdirSync(join(path, 'packs'))
  const file = join(path, 'packs', pack!)
  const good = readFileSync(file)
  const bad = Buffer.from(good)
  bad[100]! ^= 1
  writeFileSync(file, bad)
  expect(await store.copy(to)).toMatchObject({ damaged: [pack!.replace('.pack', '')] })
  expect(statSync(join(to, 'packs', pack!)).size).toBe(good.length)
  // The copy has what the store has.
  await using copy = await openStore(to, { readOnly: true, onWarning: () => undefined })
  expect((await copy.verify()).problems.map(({ code }) => code)).toContain('PACK_DAMAGED')
  writeFileSync(file, good)
  rmSync(join(to, 'packs', pack!))
  expect(await store.copy(to)).toMatchObject({ damaged: [], copiedBytes: good.length })
  await expectWhole(to, [2, 1])
})

test('a copy whose HEAD is damaged is mended by the next', async () => {
  const path = join(quickScratch(), 'store')
  const to = join(quickScratch(), 'copy')
  await using store = await openStore(path)
  await persist(store, 1)
  await store.copy(to)
  for (const file of ['HEAD.json', 'STORE.json']) {
    writeFileSync(join(to, file), '{')
    expect(await store.copy(to)).toMatchObject({ copiedBytes: 0 })
    await expectWhole(to, [1])
  }
  expect(readdirSync(join(to, 'quarantine')).length).toBe(4)
})

test('a read-only store is copied, and so is a copy of a copy', async () => {
  const path = join(quickScratch(), 'store')
  const [one, two] = [join(quickScratch(), 'one'), join(quickScratch(), 'two')]
  {
    await using store = await openStore(path)
    await persist(store, 1)
  }
  await using store = await openStore(path, { readOnly: true })
  await store.copy(one)
  await using copy = await openStore(one, { readOnly: true })
  await copy.copy(two)
  await expectWhole(two, [1])
  // A copy by hand of the copy is one too.
  const three = join(quickScratch(), 'three')
  cpSync(two, three, { recursive: true })
  await expectWhole(three, [1])
})
