import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parseHead } from '../src/format/head.ts'
import { nodeFileSystem } from '../src/fs/node.ts'
import { memory, openStore, type Store } from '../src/index.ts'
import { localScratch } from '../src/local/local.ts'
import { replicate } from '../src/replicate.ts'
import type { ObjectClient } from '../src/storage/object/client.ts'
import { objectStorage } from '../src/storage/object/storage.ts'
import { createStore } from '../src/store.ts'
import { noise } from './support/bytes.ts'
import { rejects } from './support/rejects.ts'
import { scratch } from './support/scratch.ts'
import { type SimulatedObjects, simulatedObjects } from './support/simulated-objects.ts'

// From one kind of store to another.

function inBucket(server: SimulatedObjects, keepLast = 20, client = server.client()): Store {
  const place = {
    storage: { ...objectStorage({ client }), location: `s3://bucket/${Math.random()}` },
    fs: nodeFileSystem,
    local: localScratch(nodeFileSystem),
    journal: null,
    storageAt: null,
  }
  const store = createStore(place, { keepLast })
  onTestFinished(() => store.close())
  return store
}

async function inDirectory(keepLast = 20): Promise<Store> {
  const store = await openStore(join(scratch(), 'store'), { keepLast })
  onTestFinished(() => store.close())
  return store
}

function inMemory(keepLast = 20): Store {
  const store = memory({ keepLast })
  onTestFinished(() => store.close())
  return store
}

const blobs = (seed: number): Record<string, Uint8Array> => ({
  large: noise(600_000, 7),
  changed: noise(3_000, seed),
})

async function contents(store: Store): Promise<unknown[]> {
  const list = await store.snapshots()
  return list.filter(({ abandoned }) => !abandoned).map(({ manifest, message }) => [manifest, message])
}

describe.each([
  ['a directory', 'a bucket'],
  ['a bucket', 'a directory'],
  ['a bucket', 'a bucket'],
  ['memory', 'a directory'],
] as const)('from %s to %s', (from, to) => {
  async function open(kind: typeof from | typeof to): Promise<Store> {
    if (kind === 'memory') return inMemory()
    return kind === 'a bucket' ? inBucket(simulatedObjects()) : await inDirectory()
  }

  test('all snapshots travel, and later only what is new', async () => {
    const [source, target] = [await open(from), await open(to)]
    for (const seed of [1, 2, 3]) {
      await source.persist({
        blobs: blobs(seed),
        message: `no. ${seed}`,
        metadata: { seed },
        watermark: { position: seed },
      })
    }
    const first = await replicate(source, target)
    expect(first).toMatchObject({ sequence: 3, snapshots: 3 })
    expect(await contents(target)).toEqual(await contents(source))
    const snapshot = (await target.load())!
    expect(snapshot.metadata).toEqual({ seed: 3 })
    expect(Buffer.compare(await snapshot.blob('changed').bytes(), blobs(3).changed!)).toBe(0)
    expect(Buffer.compare(await snapshot.blob('large').bytes(), blobs(3).large!)).toBe(0)
    await snapshot.dispose()
    expect(await replicate(source, target)).toEqual({ sequence: 3, snapshots: 0, bytes: 0 })
    await source.persist({ blobs: blobs(4) })
    const more = await replicate(source, target)
    expect(more).toMatchObject({ sequence: 4, snapshots: 1 })
    expect(more.bytes).toBeLessThan(20_000)
    expect((await target.verify()).problems).toEqual([])
    // The copy is a source like any other.
    const third = inMemory()
    await replicate(target, third)
    expect(await contents(third)).toEqual(await contents(source))
  })
})

test('content that comes back is a new entry and no bytes', async () => {
  const [source, target] = [inMemory(), inMemory()]
  for (const seed of [1, 2]) await source.persist({ blobs: blobs(seed) })
  await replicate(source, target)
  await source.persist({ blobs: blobs(1) })
  const { snapshots, bytes } = await replicate(source, target)
  expect(snapshots).toBe(1)
  // A commit record, in a pack of its own.
  expect(bytes).toBeLessThan(2_500)
  expect(await contents(target)).toEqual(await contents(source))
})

test('a rollback travels, and what it stepped over does not', async () => {
  const [source, target, late] = [inMemory(), inMemory(), inMemory()]
  for (const seed of [1, 2]) await source.persist({ blobs: blobs(seed) })
  await replicate(source, target)
  await source.rollback(1)
  expect(await replicate(source, target)).toMatchObject({ snapshots: 1 })
  expect((await target.snapshots())[0]!.manifest).toBe((await source.snapshots())[0]!.manifest)
  expect(await replicate(source, late)).toMatchObject({ snapshots: 2 })
})

test('a target that others wrote to is DIVERGED, or is appended to', async () => {
  const [source, target] = [inMemory(), inMemory()]
  await source.persist({ blobs: blobs(1) })
  await replicate(source, target)
  await target.persist({ blobs: { own: 'own' } })
  await rejects(replicate(source, target), 'DIVERGED')
  expect(await target.snapshots()).toHaveLength(2)
  await source.persist({ blobs: blobs(2) })
  expect(await replicate(source, target, { onto: 'append' })).toMatchObject({ sequence: 4, snapshots: 2 })
  expect(await target.snapshots()).toHaveLength(4)
  expect(await replicate(source, target)).toMatchObject({ snapshots: 0 })
})

test('a target whose snapshot the source has dropped is DIVERGED', async () => {
  const [source, target] = [inMemory(1), inMemory()]
  await source.persist({ blobs: blobs(1) })
  await replicate(source, target)
  await source.persist({ blobs: blobs(2) })
  await rejects(replicate(source, target), 'DIVERGED')
})

test('a writer of the target that is faster is found, and not written over', async () => {
  const server = simulatedObjects()
  const [source, other] = [inMemory(), inBucket(server)]
  await source.persist({ blobs: blobs(1) })
  let isRace = false
  const real = server.client()
  const client: ObjectClient = {
    ...real,
    async put(key, bytes, options) {
      if (isRace && key === 'HEAD.json') {
        isRace = false
        await other.persist({ blobs: { own: 'own' } })
      }
      return await real.put(key, bytes, options)
    },
  }
  const target = inBucket(server, 20, client)
  await replicate(source, target)
  await source.persist({ blobs: blobs(2) })
  isRace = true
  const error = await rejects(replicate(source, target), 'DIVERGED')
  expect(error.details).toMatchObject({ from: source.location, to: target.location })
  expect(await (await other.load())!.blob('own').text()).toBe('own')
})

test('what was copied into several packs is named by the snapshot', async () => {
  const source = inMemory()
  await source.persist({ blobs: { large: noise(12 * 1024 * 1024, 9) } })
  const path = join(scratch(), 'store')
  await using target = await openStore(path, { packBytesMax: 1024 * 1024 })
  await replicate(source, target)
  const { head } = parseHead(readFileSync(join(path, 'HEAD.json')), path)
  expect(head.packs.length).toBeGreaterThan(2)
  expect(head.snapshots[0]!.packs).toEqual(head.packs.map(({ id }) => id))
})

test('packs of the source that are collected meanwhile are planned anew', async () => {
  const server = simulatedObjects()
  const source = inBucket(server, 1)
  await source.persist({ blobs: blobs(1) })
  let overtaken = false
  const real = server.client()
  // Before the first read of a pack, its snapshot is dropped and collected.
  const client: ObjectClient = {
    ...real,
    async get(key, options) {
      if (!overtaken && key.startsWith('packs/')) {
        overtaken = true
        await source.persist({ blobs: { other: 'other' } })
        server.objects.delete(key)
      }
      return await real.get(key, options)
    },
  }
  const target = inMemory()
  expect(await replicate(inBucket(server, 1, client), target)).toMatchObject({ snapshots: 1 })
  expect(overtaken).toBe(true)
  expect((await target.load())!.names).toEqual(['other'])
})

test('a block of the source that is damaged is no block of the target', async () => {
  const server = simulatedObjects()
  const [source, target] = [inBucket(server), inMemory()]
  await source.persist({ blobs: blobs(1) })
  for (const [key, object] of server.objects) {
    if (!key.startsWith('packs/') || object.bytes.length < 100_000) continue
    object.bytes = new Uint8Array(object.bytes)
    object.bytes[50_000]! ^= 1
  }
  await rejects(replicate(inBucket(server), target), 'SNAPSHOT_DAMAGED')
  expect(await target.snapshots()).toEqual([])
})

test('it refuses what it cannot do, before anything is read', async () => {
  const [source, target] = [inMemory(), await inDirectory()]
  await rejects(replicate(source, target), 'SNAPSHOT_NOT_FOUND')
  await expect(replicate(target, target)).rejects.toThrow(TypeError)
  await expect(replicate(source, target, { onto: 'replace' as never })).rejects.toThrow(TypeError)
  await expect(replicate({ ...source }, target)).rejects.toThrow(/that openStore or memory made/)
  await target.close()
  await rejects(replicate(source, target), 'STORE_CLOSED')
  const aborted = AbortSignal.abort(new Error('enough'))
  const other = await inDirectory()
  await source.persist({ blobs: blobs(1) })
  await expect(replicate(source, other, { signal: aborted })).rejects.toThrow('enough')
})
