import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Head } from '../../src/format/head.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { fixed, type GcResult, openStore, type Store } from '../../src/index.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { randomFor, share } from '../support/effort.ts'
import {
  build,
  expectSound,
  headOf,
  labelOf,
  open,
  packsOf,
  persisted,
  placeOf,
  rotten,
  twoWholeCopies,
  visit,
} from '../support/lab.ts'
import { createRandom, type Random } from '../support/random.ts'
import { failure, rejects } from '../support/rejects.ts'
import { quickScratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'
import { watch } from '../support/watched.ts'

const MIB = 1024 * 1024

/** Blobs of `count` chunks, of which chunk i is of generation `at(i)`. */
function mixed(count: number, at: (i: number) => number): Uint8Array {
  const bytes = new Uint8Array(count * 4096)
  for (let i = 0; i < count; i++) bytes.set(noise(4096, i * 1000 + at(i)), i * 4096)
  return bytes
}

async function persist(store: Store, blob: Uint8Array, keepLast = 1000): Promise<void> {
  await store.persist({ blobs: { a: { source: blob, chunking: fixed(4096) } }, keepLast })
}

/** A store of one pack that is mostly garbage, and of one that holds what changed. */
async function halfDead(store: Store): Promise<Uint8Array> {
  await persist(
    store,
    mixed(400, () => 0),
  )
  const now = mixed(400, (i) => (i % 8 === 0 ? 0 : 1))
  await persist(store, now)
  await store.forget(1)
  return now
}

async function expectContent(store: Store, expected: Uint8Array, at?: number): Promise<void> {
  await using snapshot = await store.load(at === undefined ? {} : { at })
  expect(sameBytes(await snapshot!.blob('a').bytes(), expected)).toBe(true)
}

test('an empty blob that is read after the block it lies beside is no damage', async () => {
  const empty = new Uint8Array(0)
  const image = await build(
    async (store) => {
      await store.persist({ blobs: { a: empty, b: noise(600, 1), c: noise(5_000, 2) } })
      await store.persist({ blobs: { b: noise(600, 1), z: empty } })
      await store.forget(1)
    },
    { compression: 'none' },
  )
  const { image: after, result } = await visit(image, (store) => store.gc({ complete: true }))
  expect(result).toMatchObject({ done: true, deadBytes: 0, untouched: [], packs: { length: 1 } })
  expect(headOf(after).damaged).toEqual([])
  await visit(after, async (store) => {
    expect(await store.verify()).toMatchObject({ ok: true })
  })
})

const noResult = { done: true, freedBytes: 0, movedBytes: 0, remainingBytes: 0, packs: [], untouched: [] }

// An object store collects otherwise: test/storage/object.test.ts.
describe.each(kinds.filter(({ supports }) => supports.alone))('gc of a $name store', ({ storage }) => {
  test('gives back what nothing needs, with two swaps, and says the same beforehand', async () => {
    const watched = watch(storage())
    const store = storeOver(watched.storage, nodeFileSystem, { compression: 'none' })
    const now = await halfDead(store)
    const bytesBefore = (await watched.head()).packs.reduce((sum, { bytes }) => sum + bytes, 0)
    watched.log.length = 0
    const would = await store.gc({ dryRun: true })
    expect(watched.log).toEqual([])
    const result = await store.gc()
    expect(result).toEqual(would)
    expect(result).toMatchObject({ done: true, remainingBytes: 0, deadBytes: 0, packs: [{ action: 'rewrite' }] })
    expect(result.movedBytes).toBeGreaterThan(50 * 4096)
    expect(result.movedBytes).toBeLessThan(60 * 4096)
    expect(result.freedBytes).toBeGreaterThan(345 * 4096)
    expect(watched.log).toEqual(['createPack', 'commitPack', 'swapHead', 'swapHead', 'deletePack'])
    const { packs } = await watched.head()
    const inspected = await watched.storage.inspect()
    expect(inspected.packs.map(({ name }) => name).sort()).toEqual(packs.map(({ name }) => name).sort())
    const bytesAfter = packs.reduce((sum, { bytes }) => sum + bytes, 0)
    // The new pack has a header, an index and a commit record of its own.
    expect(Math.abs(bytesBefore - bytesAfter - result.freedBytes)).toBeLessThan(2000)
    await expectContent(store, now)
    expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
    watched.log.length = 0
    expect(await store.gc()).toMatchObject(noResult)
    expect(watched.log).toEqual([])
    // Who opens it afresh sees the same.
    const other = storeOver(watched.storage, nodeFileSystem)
    await expectContent(other, now)
    expect(await other.gc()).toMatchObject(noResult)
  })

  test('deletes what an earlier write retired and left', async () => {
    const inner = storage()
    const store = storeOver(inner, nodeFileSystem, { keepLast: 1, compression: 'none' })
    await persist(store, noise(50_000, 1), 1)
    await persist(store, noise(50_000, 2), 1)
    expect((await inner.inspect()).packs).toHaveLength(2)
    const would = await store.gc({ dryRun: true })
    expect(would.freedBytes).toBeGreaterThan(50_000)
    expect(await store.gc()).toEqual(would)
    expect((await inner.inspect()).packs).toHaveLength(1)
    await expectContent(store, noise(50_000, 2))
  })

  test('of an empty store, and of one without garbage, does nothing', async () => {
    const watched = watch(storage())
    const store = storeOver(watched.storage, nodeFileSystem)
    expect(await store.gc()).toMatchObject({ ...noResult, deadBytes: 0 })
    await persist(store, noise(10_000, 1))
    watched.log.length = 0
    expect(await store.gc()).toMatchObject({ ...noResult, deadBytes: 0 })
    expect(watched.log).toEqual([])
  })

  test('does one pack at least, and the next call goes on', async () => {
    const inner = storage()
    const store = storeOver(inner, nodeFileSystem, { packBytesMax: MIB, compression: 'none' })
    // Six packs, of each of which the last snapshot needs a tenth.
    for (let n = 0; n < 6; n++)
      await persist(
        store,
        mixed(150, () => 10 + n),
      )
    await persist(
      store,
      mixed(150, (i) => (i % 10 < 6 ? 10 + (i % 10) : 99)),
    )
    await store.forget([1, 2, 3, 4, 5, 6])
    const all = await store.gc({ dryRun: true })
    expect(all.packs.length).toBeGreaterThan(2)
    const done: string[] = []
    let freed = 0
    let result: GcResult
    let calls = 0
    do {
      const budget = calls % 2 === 0 ? { budgetBytes: 0 } : { budgetMs: 0 }
      const would = await store.gc({ ...budget, dryRun: true })
      result = await store.gc(budget)
      if (calls % 2 === 0) expect(result).toEqual(would)
      expect(result.packs.length).toBe(result.done && result.packs.length === 0 ? 0 : 1)
      done.push(...result.packs.map(({ pack }) => pack))
      freed += result.freedBytes
      calls += 1
    } while (!result.done)
    expect(done).toEqual(all.packs.map(({ pack }) => pack))
    expect(freed).toBe(all.freedBytes)
    expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
  })

  test('sees what a persist reused between the look without the lock and the step with it', async () => {
    const inner = storage()
    const other = storeOver(inner, nodeFileSystem, { compression: 'none' })
    const first = mixed(400, () => 0)
    await persist(other, first)
    await persist(
      other,
      mixed(400, (i) => (i % 8 === 0 ? 0 : 1)),
    )
    await other.forget(1)
    let raced = false
    const store = storeOver(
      {
        ...inner,
        async write(options, task) {
          // Marked without the lock, the first pack is mostly garbage. Now somebody needs all of it again.
          if (!raced) {
            raced = true
            await other.persist({ blobs: { a: { source: first, chunking: fixed(4096) } }, keepLast: 10 })
          }
          return await inner.write(options, task)
        },
      },
      nodeFileSystem,
    )
    expect((await store.gc({ dryRun: true })).packs).toHaveLength(1)
    expect(await store.gc()).toMatchObject({ done: true, packs: [] })
    expect(raced).toBe(true)
    const fresh = storeOver(inner, nodeFileSystem)
    await expectContent(fresh, first)
    expect(await fresh.verify()).toMatchObject({ ok: true, problems: [] })
  })

  test('is ended by its signal and by close, and what it did stays whole', async () => {
    const inner = storage()
    const store = storeOver(inner, nodeFileSystem, { compression: 'none' })
    const now = await halfDead(store)
    const reason = new Error('enough')
    const abort = new AbortController()
    const aborted = failure(store.gc({ signal: abort.signal, onProgress: () => abort.abort(reason) }))
    expect(await aborted).toBe(reason)
    await expectContent(store, now)
    expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
    let closing: Promise<void> | null = null
    const onProgress = (): void => {
      closing = store.close()
    }
    await rejects(store.gc({ onProgress }), 'STORE_CLOSED')
    await closing
    const again = storeOver(inner, nodeFileSystem)
    expect(await again.gc()).toMatchObject({ done: true, packs: [{ action: 'rewrite' }] })
    await expectContent(again, now)
  })

  test('knows what was forgotten since the call before', async () => {
    const store = storeOver(storage(), nodeFileSystem, { compression: 'none' })
    const now = mixed(100, (i) => (i % 8 === 0 ? 0 : 1))
    const before = mixed(100, () => 0)
    await persist(store, before)
    await persist(store, now)
    expect(await store.gc()).toMatchObject({ packs: [], deadBytes: 0 })
    // Both packs stay: what is left needs an eighth of the first one.
    await store.forget(1)
    expect(await store.gc()).toMatchObject({ packs: [{ action: 'rewrite' }], deadBytes: 0 })
    await expectContent(store, now)
  })

  test('makes a new pack durable before HEAD names it', async () => {
    const inner = storage()
    const first = storeOver(inner, nodeFileSystem, { compression: 'none' })
    await halfDead(first)
    let isDurable = false
    let wasDurable: boolean | null = null
    const slow = storeOver(
      {
        ...inner,
        write: (options, task) =>
          inner.write(options, async (session) =>
            task(
              Object.create(session, {
                createPack: {
                  async value() {
                    const sink = await session.createPack(1)
                    async function commit(name: string): Promise<void> {
                      await new Promise((resolve) => setTimeout(resolve, 100))
                      await sink.commit(name)
                      isDurable = true
                    }
                    return { ...sink, commit }
                  },
                },
                swapHead: {
                  async value(next: Head, ready?: () => Promise<unknown>) {
                    await session.swapHead(next, ready)
                    wasDurable ??= isDurable
                  },
                },
              }),
            ),
          ),
      },
      nodeFileSystem,
    )
    expect((await slow.gc()).packs).toHaveLength(1)
    expect(wasDurable).toBe(true)
  })

  test('two at a time wait for each other', async () => {
    const store = storeOver(storage(), nodeFileSystem, { compression: 'none' })
    await halfDead(store)
    const [one, two] = await Promise.all([store.gc(), store.gc()])
    expect([one.packs.length, two.packs.length]).toEqual([1, 0])
  })
})

const ROUNDS = share(24)

/** Persists, forgets and collects in turns, as `random` says. */
async function collectAnyHistory(random: Random): Promise<void> {
  const path = join(quickScratch(), 'store')
  await using store = await openStore(path, { compression: 'none', packBytesMax: MIB, keep: { last: 1000 } })
  const expected = new Map<number, Uint8Array>()
  for (let step = 0; step < 25; step++) {
    const spread = 1 + random.below(12)
    const generation = random.below(6)
    const blob = mixed(20 + random.below(200), (i) => (i % spread === 0 ? generation : random.below(2)))
    const { sequence } = await store.persist({ blobs: { a: { source: blob, chunking: fixed(4096) } } })
    expected.set(sequence, blob)
    const infos = await store.snapshots()
    const victims = infos.filter((each) => !each.current && random.below(3) === 0).map((each) => each.sequence)
    if (victims.length > 0) await store.forget(victims)
    for (const victim of victims) expected.delete(victim)
    if (random.below(6) === 0) await store.gc({ budgetBytes: random.below(MIB) })
  }
  const would = await store.gc({ dryRun: true })
  const result = await store.gc()
  expect(result).toEqual(would)
  expect(result).toMatchObject({ done: true, remainingBytes: 0 })
  expect(await store.gc()).toMatchObject({ done: true, packs: [] })
  for (const [at, blob] of expected) await expectContent(store, blob, at)
  expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
  const files = readdirSync(join(path, 'packs'))
  const bytes = files.reduce((sum, name) => sum + statSync(join(path, 'packs', name)).size, 0)
  const live = liveBytes([...expected.values()])
  expect(bytes).toBeLessThanOrEqual(1.5 * live + MIB)
  // Erasing leaves nothing at all.
  expect(await store.gc({ complete: true })).toMatchObject({ done: true, deadBytes: 0, untouched: [] })
  for (const [at, blob] of expected) await expectContent(store, blob, at)
  rmSync(path, { recursive: true, force: true })
}

test('gc keeps packs within their bounds, whatever was persisted and forgotten', async () => {
  const random = randomFor('gc bounds')
  for (let round = 0; round < ROUNDS; round++) await collectAnyHistory(random)
})

// Two sets of packs became equal, and gc went on with one of them.
test.each([27, 50])('gc keeps packs within their bounds: seed %i', async (seed) => {
  await collectAnyHistory(createRandom(seed))
})

/** Of distinct chunks, at least: without nodes and manifests. */
function liveBytes(blobs: readonly Uint8Array[]): number {
  const chunks = new Set<string>()
  for (const blob of blobs) {
    for (let at = 0; at < blob.length; at += 4096) chunks.add(Buffer.from(blob.subarray(at, at + 32)).toString('hex'))
  }
  return chunks.size * (4096 + 56)
}

test('gc reads blocks in the order in which the newest snapshot does, and writes them so', async () => {
  const image = await build(
    async (store) => {
      // The pack has the chunks in one order, and the snapshot that stays reads them in the other.
      await persist(
        store,
        mixed(300, () => 0),
      )
      const turned = new Uint8Array(100 * 4096)
      for (let i = 0; i < 100; i++) turned.set(noise(4096, (99 - i) * 1000), i * 4096)
      await persist(store, turned)
      await store.forget(1)
      expect((await store.gc()).packs).toMatchObject([{ action: 'rewrite' }])
    },
    { compression: 'none' },
  )
  const offsets = Array.from({ length: 100 }, (_, i) => placeOf(image, noise(4096, (99 - i) * 1000)).offset)
  expect(offsets).toEqual([...offsets].sort((x, y) => x - y))
})

test('gc of a large pack takes several steps, and who waits for the lock has its turn between them', async () => {
  const watched = watch(memoryStorage())
  const store = storeOver(watched.storage, nodeFileSystem, { compression: 'none' })
  const now = noise(70 * MIB, 1)
  const large = (source: Uint8Array) =>
    store.persist({ blobs: { a: { source, chunking: fixed(MIB / 4) } }, keepLast: 10 })
  await large(Buffer.concat([now, noise(80 * MIB, 2)]))
  await large(now)
  await store.forget(1)
  watched.log.length = 0
  const collecting = store.gc()
  // Asked for while the first step runs.
  while (!watched.log.includes('createPack')) await new Promise((resolve) => setTimeout(resolve, 1))
  await store.tag('in between')
  const swapsBefore = watched.log.filter((step) => step === 'swapHead').length
  const result = await collecting
  expect(swapsBefore).toBe(2)
  expect(result).toMatchObject({ done: true, packs: [{ action: 'rewrite' }] })
  expect(result.movedBytes).toBeGreaterThan(70 * MIB)
  expect(watched.log.filter((step) => step === 'swapHead').length).toBeGreaterThan(3)
  await expectContent(store, now, 2)
  const { packs } = await watched.head()
  expect(packs.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(73 * MIB)
})

test('gc leaves packs with bad blocks, and those of a damaged snapshot, as evidence', async () => {
  const image = await build(
    async (store) => {
      await halfDead(store)
    },
    { compression: 'none', keepLast: 20 },
  )
  const [first] = packsOf(image).filter((path) => path.includes(headOf(image).packs.find(({ id }) => id === 1)!.name))
  // A chunk that the kept snapshot needs: the first of the pack.
  const damaged = rotten(image, first!, 64 + 7)
  const { result, image: after } = await visit(damaged, (store) => store.gc())
  expect(result).toMatchObject({ done: true, packs: [], movedBytes: 0 })
  expect(packsOf(after)).toContain(first!)
  const complete = await visit(damaged, (store) => store.gc({ complete: true }))
  expect(complete.result.untouched).toMatchObject([{ what: 'evidence' }])
  expect(complete.result.deadBytes).toBeGreaterThan(0)
})

test('gc reads the other copy of a block before it lets one go', async () => {
  // Two packs with all blocks of the same content. The snapshots list one each.
  const image = await twoWholeCopies()
  const { packs } = headOf(image)
  for (const { name } of packs) {
    const rotted = rotten(image, `packs/${name}.pack`, 64 + 7)
    const { image: after } = await visit(rotted, async (store) => {
      await store.gc()
      await store.gc({ complete: true })
    })
    await visit(after, async (store) => {
      for (const { sequence } of await store.snapshots()) expect(await labelOf(store, sequence)).toBe('a1')
    })
  }
})

test('gc on a full disk deletes packs only once the removal of HEAD.prev.json is durable', async () => {
  const image = await build(persisted('a1', 'b2'), { keepLast: 1 })
  const disk = createDisk(image)
  const store = open(disk, { keepLast: 1 })
  const calls: string[] = []
  let isFull = true
  disk.onCall = ({ name, path }) => {
    if (name === 'unlink' && path.endsWith('/HEAD.prev.json')) isFull = false
    if (!isFull)
      calls.push(
        `${name} ${path
          .split('/')
          .slice(-1)[0]!
          .replace(/^[0-9a-f]{64}/, '')}`,
      )
    return isFull && name === 'write' ? { error: 'ENOSPC' } : undefined
  }
  expect((await store.gc()).freedBytes).toBeGreaterThan(0)
  const removed = calls.indexOf('unlink HEAD.prev.json')
  const durable = calls.indexOf('syncDirectory store')
  const deleted = calls.indexOf('unlink .pack')
  expect(removed).toBe(0)
  expect(durable).toBeGreaterThan(removed)
  expect(deleted).toBeGreaterThan(durable)
  await store.close()
})

test('a store that gc worked on is sound in every part', async () => {
  const image = await build(persisted('a1', 'a2', 'b1', 'b2'), { keepLast: 20 })
  const { image: after } = await visit(image, async (store) => {
    await store.forget([1, 3])
    await store.gc({ complete: true })
  })
  expect(await expectSound(after)).toEqual(['4 b2 current', '2 a2'])
})

test('gc refuses a budget that is none', async () => {
  const store = storeOver(kinds[1]!.storage(), nodeFileSystem)
  expect(await failure(store.gc({ budgetBytes: -1 }))).toBeInstanceOf(TypeError)
  expect(await failure(store.gc({ budgetBytes: '1' as never }))).toBeInstanceOf(TypeError)
})
