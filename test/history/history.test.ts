import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Head } from '../../src/format/head.ts'
import { COUNTER_MAX } from '../../src/format/limits.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { memory, openStore, type Store } from '../../src/index.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { sample, share } from '../support/effort.ts'
import {
  build,
  fileOf,
  headBytes,
  headOf as headIn,
  labelOf,
  persisted,
  persistOf,
  visit,
  withFiles,
} from '../support/lab.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'
import { files, tree } from '../support/tree.ts'
import { FIRST_BLOCK, FOOTER, watch } from '../support/watched.ts'

const bytes = (n: number): Uint8Array => noise(20_000, n)

async function persist(store: Store, ...generations: number[]): Promise<void> {
  for (const n of generations) await store.persist({ blobs: { a: bytes(n) }, metadata: { n } })
}

async function sequences(store: Store): Promise<number[]> {
  return (await store.snapshots()).map(({ sequence }) => sequence)
}

async function abandoned(store: Store): Promise<number[]> {
  return (await store.snapshots()).filter((s) => s.abandoned).map(({ sequence }) => sequence)
}

/** Which generation a snapshot holds, by its bytes and its metadata. */
async function generation(store: Store, at?: number | string): Promise<number> {
  await using snapshot = (await store.load(at === undefined ? {} : { at }))!
  const { n } = snapshot.metadata as { n: number }
  expect(sameBytes(await snapshot.blob('a').bytes(), bytes(n))).toBe(true)
  return n
}

describe.each(kinds)('the history of a $name store', ({ open, storage, supports: { alone } }) => {
  describe('is kept', () => {
    test('for as many as the store keeps, unless a persist says otherwise', async () => {
      const store = await open({ keepLast: 3 })
      await persist(store, 1, 2, 3, 4, 5)
      expect(await sequences(store)).toEqual([5, 4, 3])
      await rejects(store.load({ at: 2 }), 'SNAPSHOT_NOT_FOUND')
      await store.persist({ blobs: { a: bytes(6) }, metadata: { n: 6 }, keepLast: 2 })
      expect(await sequences(store)).toEqual([6, 5])
      await store.persist({ blobs: { a: bytes(7) }, metadata: { n: 7 }, keepLast: 1 })
      expect(await sequences(store)).toEqual([7])
      await persist(store, 8, 9, 10)
      expect(await sequences(store)).toEqual([10, 9, 8])
      for (const at of [8, 9, 10]) expect(await generation(store, at)).toBe(at)
    })

    test('for as many as the store was opened for', async () => {
      const store = await open({ keepLast: 12 })
      await persist(store, ...Array.from({ length: 15 }, (_, i) => i + 1))
      expect(await sequences(store)).toEqual([15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4])
      for (let at = 4; at <= 15; at++) expect(await generation(store, at)).toBe(at)
    })

    test('in the same swap of HEAD as the persist', async () => {
      const watched = watch(storage())
      const store = storeOver(watched.storage, nodeFileSystem)
      await persist(store, 1, 2, 3)
      watched.log.length = 0
      await persist(store, 4)
      expect(watched.log.filter((step) => step === 'swapHead')).toHaveLength(1)
      const { retired, packs } = await watched.head()
      // Where there are other writers, each commit record has a pack of its own.
      expect(retired).toHaveLength(alone ? 1 : 2)
      expect(packs).toHaveLength(alone ? 3 : 6)
      await persist(store, 5)
      // Only now do both HEADs know that the first pack is retired.
      expect(watched.log.filter((step) => step === 'deletePack')).toHaveLength(alone ? 1 : 0)
    })
  })

  describe('tags', () => {
    test('protect a snapshot from retention until they are taken away', async () => {
      const store = await open({ keepLast: 2 })
      await persist(store, 1, 2)
      expect(await store.tag('release', { at: 1 })).toMatchObject({ sequence: 1, tags: ['release'], current: false })
      await persist(store, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
      expect(await sequences(store)).toEqual([12, 11, 1])
      expect(await generation(store, 'release')).toBe(1)
      expect(await store.untag('release')).toMatchObject({ sequence: 1, tags: [] })
      expect(await sequences(store)).toEqual([12, 11, 1])
      await persist(store, 13)
      expect(await sequences(store)).toEqual([13, 12])
      await rejects(store.load({ at: 'release' }), 'SNAPSHOT_NOT_FOUND')
    })

    test('name the current snapshot by default, and move when they are given again', async () => {
      const store = await open({ keepLast: 5 })
      await persist(store, 1, 2)
      expect(await store.tag('good')).toMatchObject({ sequence: 2, tags: ['good'] })
      expect(await store.tag('also')).toMatchObject({ sequence: 2, tags: ['also', 'good'] })
      await persist(store, 3)
      expect(await store.tag('good')).toMatchObject({ sequence: 3, tags: ['good'] })
      expect((await store.snapshots()).map(({ tags }) => tags)).toEqual([['good'], ['also'], []])
      expect(await store.tag('also', { at: 'good' })).toMatchObject({ sequence: 3, tags: ['also', 'good'] })
      expect(await store.tag('', { at: 1 }).catch((error: unknown) => error)).toBeInstanceOf(TypeError)
    })

    test('may be any text but an odd one', async () => {
      const store = await open()
      await persist(store, 1)
      for (const name of ['1', 'v1.0', 'größe', '漢字 🦑', '__proto__', 'x'.repeat(256)]) {
        await store.tag(name)
        expect(await generation(store, name)).toBe(1)
      }
      for (const name of ['', 'a\nb', '\0', '\ud800', 'x'.repeat(257), 5 as unknown as string]) {
        expect(await failure(store.tag(name))).toBeInstanceOf(TypeError)
        expect(await failure(store.untag(name))).toBeInstanceOf(TypeError)
      }
    })

    test('that exist already write nothing', async () => {
      const watched = watch(storage())
      const store = storeOver(watched.storage, nodeFileSystem)
      await persist(store, 1)
      await store.tag('x')
      const before = watched.log.length
      await store.tag('x')
      await store.tag('x', { at: 1 })
      expect(watched.log).toHaveLength(before)
    })

    test('of what is not there are refused', async () => {
      const store = await open()
      await persist(store, 1)
      await rejects(store.tag('x', { at: 2 }), 'SNAPSHOT_NOT_FOUND')
      await rejects(store.tag('x', { at: 'y' }), 'SNAPSHOT_NOT_FOUND')
      await rejects(store.untag('x'), 'SNAPSHOT_NOT_FOUND')
      await rejects(store.tag('x', { expectedHead: 2 }), 'HEAD_CONFLICT')
      await store.tag('x', { expectedHead: 1 })
      await rejects(store.untag('x', { expectedHead: null }), 'HEAD_CONFLICT')
      expect((await store.snapshots())[0]!.tags).toEqual(['x'])
    })
  })

  test.each([undefined, null, 1n, 1.5, Number.NaN])('%s names no snapshot, and that is a TypeError', async (at) => {
    const store = memory()
    await store.persist({ blobs: { a: 'x' } })
    expect(await failure(store.rollback(at as number))).toMatchObject({
      name: 'TypeError',
      message: expect.stringMatching(/sequence or a tag/),
    })
    if (at !== undefined) expect(await failure(store.tag('t', { at: at as number }))).toBeInstanceOf(TypeError)
    await store.close()
  })

  test.each(['1', 1.5, Number.NaN])('expectedHead: %j is a TypeError, and no conflict', async (expectedHead) => {
    const store = memory()
    const options = { expectedHead: expectedHead as number }
    await store.persist({ blobs: { a: 'x' } })
    for (const call of [
      store.persist({ blobs: { a: 'y' }, ...options }),
      store.tag('t', options),
      store.untag('t', options),
      store.rollback(1, options),
    ]) {
      expect(await failure(call)).toBeInstanceOf(TypeError)
    }
    await store.close()
  })

  describe('a rollback', () => {
    test('appends a snapshot that names the older one, and writes no block', async () => {
      const watched = watch(storage())
      const store = storeOver(watched.storage, nodeFileSystem, { keepLast: 5 })
      await persist(store, 1, 2, 3)
      const before = await watched.head()
      watched.log.length = 0
      const info = await store.rollback(1)
      expect(info).toMatchObject({ sequence: 4, message: 'rollback to 1', current: true, abandoned: false, tags: [] })
      expect(watched.log).toEqual(['swapHead'])
      expect((await watched.head()).packs).toEqual(before.packs)
      const [now, three, two, one] = await store.snapshots()
      expect(now).toMatchObject({ sequence: 4, manifest: one!.manifest, size: one!.size })
      expect(await abandoned(store)).toEqual([3, 2])
      expect([three!.current, two!.current, one!.current]).toEqual([false, false, false])
      expect(await generation(store)).toBe(1)
      expect(await generation(store, 3)).toBe(3)
    })

    test('goes to a tag, with a message, from an expected head', async () => {
      const store = await open()
      await persist(store, 1, 2)
      await store.tag('good', { at: 1 })
      await rejects(store.rollback('good', { expectedHead: 1 }), 'HEAD_CONFLICT')
      expect(await store.rollback('good', { expectedHead: 2, message: 'bad deploy' })).toMatchObject({
        sequence: 3,
        message: 'bad deploy',
        tags: [],
      })
      expect((await store.load({ at: 'good' }))!.sequence).toBe(1)
      await rejects(store.rollback('bad'), 'SNAPSHOT_NOT_FOUND')
      await rejects(store.rollback(9), 'SNAPSHOT_NOT_FOUND')
    })

    test('to the current snapshot does nothing', async () => {
      const watched = watch(storage())
      const store = storeOver(watched.storage, nodeFileSystem)
      await persist(store, 1, 2)
      watched.log.length = 0
      expect(await store.rollback(2)).toMatchObject({ sequence: 2, current: true })
      expect(watched.log).toEqual([])
      expect(await sequences(store)).toEqual([2, 1])
    })

    test('may be taken back, which makes the way forward good again and the way back bad', async () => {
      const store = await open({ keepLast: 10 })
      await persist(store, 1, 2, 3)
      await store.rollback(1)
      expect(await store.rollback(3)).toMatchObject({ sequence: 5, current: true })
      expect(await generation(store)).toBe(3)
      // 4 was the rollback to 1; 2 was stepped over and stays so.
      expect(await abandoned(store)).toEqual([4, 2])
    })

    test('is what the next persist goes on from', async () => {
      const store = await open({ keepLast: 10 })
      await persist(store, 1, 2)
      await store.rollback(1)
      expect((await store.persist({ blobs: { a: bytes(1) }, metadata: { n: 1 } })).unchanged).toBe(true)
      const edited = await store.persist({ blobs: { a: bytes(1), b: 'more' }, metadata: { n: 1 } })
      expect(edited).toMatchObject({ sequence: 4, bytes: { reused: 20_000 } })
      expect(await abandoned(store)).toEqual([2])
      // The content that was stepped over may come again, and is good then.
      await persist(store, 2)
      expect(await generation(store)).toBe(2)
      expect(await abandoned(store)).toEqual([2])
    })

    test('to what cannot be read is refused, and nothing changes', async () => {
      const watched = watch(storage())
      const store = storeOver(watched.storage, nodeFileSystem, { keepLast: 5 })
      await persist(store, 1, 2)
      const other = storeOver(watched.storage, nodeFileSystem)
      for (const pack of await watched.ownPacks(1)) watched.rot(pack, FOOTER)
      await rejects(other.rollback(1), 'SNAPSHOT_DAMAGED')
      expect(await sequences(store)).toEqual([2, 1])
      expect(await abandoned(store)).toEqual([])
    })

    test('then retention: what was stepped over stays for a while, and good ones are not pushed out by it', async () => {
      const store = await open({ keepLast: 3 })
      await persist(store, 1, 2, 3)
      await store.rollback(2)
      // Nothing goes with a rollback itself.
      expect(await sequences(store)).toEqual([4, 3, 2, 1])
      await persist(store, 5)
      // Good ones: 5, 4 (which is 2) and 2. The abandoned 3 is third of all, and may be gone back to.
      expect(await sequences(store)).toEqual([5, 4, 3, 2])
      await persist(store, 6)
      expect(await sequences(store)).toEqual([6, 5, 4])
      for (const [at, n] of [
        [6, 6],
        [5, 5],
        [4, 2],
      ] as const) {
        expect(await generation(store, at)).toBe(n)
      }
    })

    test('then fallback: what was stepped over is never chosen', async () => {
      const watched = watch(storage())
      const store = storeOver(watched.storage, nodeFileSystem, { keepLast: 4, onWarning: () => undefined })
      await persist(store, 1, 2, 3)
      await store.tag('tried', { at: 3 })
      await store.rollback(1)
      await persist(store, 5)
      expect(await sequences(store)).toEqual([5, 4, 3, 2, 1])
      for (const pack of await watched.ownPacks(5)) watched.rot(pack, FIRST_BLOCK)
      const snapshot = (await store.load({ fallback: true }))!
      expect(snapshot.sequence).toBe(4)
      expect(snapshot.metadata).toEqual({ n: 1 })
      const restored = await store.restore(
        ({ blob, sequence }) =>
          blob('a')
            .bytes()
            .then(() => sequence),
        { fallback: true },
      )
      expect(restored!.value).toBe(4)
      // Asked for by name it is given.
      expect(await generation(store, 'tried')).toBe(3)
    })

    test('then retention, then fallback', async () => {
      const watched = watch(storage())
      const store = storeOver(watched.storage, nodeFileSystem, { keepLast: 2, onWarning: () => undefined })
      await persist(store, 1, 2)
      await store.tag('bad', { at: 2 })
      await store.rollback(1)
      await persist(store, 4)
      await persist(store, 5)
      expect(await sequences(store)).toEqual([5, 4, 2])
      for (const n of [5, 4]) for (const pack of await watched.ownPacks(n)) watched.rot(pack, FIRST_BLOCK)
      const error = await rejects(store.load({ fallback: true }), 'BLOB_DAMAGED')
      expect((error.details.skipped as unknown[]).length).toBe(2)
    })

    test('many times keeps every sequence apart', async () => {
      const store = await open({ keepLast: 10 })
      await persist(store, 1, 2)
      const times = share(100, 30)
      for (let i = 0; i < times; i++) {
        const { sequence } = await store.rollback(i % 2 === 0 ? 1 : 2)
        expect(sequence).toBe(3 + i)
        expect((await store.load())!.metadata).toEqual({ n: (i % 2) + 1 })
      }
      await persist(store, 3)
      expect((await sequences(store)).length).toBeLessThanOrEqual(20)
      expect(await generation(store)).toBe(3)
    })
  })

  test('content that goes back and forth, while packs are retired and deleted, is there each time', async () => {
    const store = await open({ keepLast: 1 })
    const persists = share(40, 20)
    for (let i = 0; i < persists; i++) {
      await persist(store, i % 3)
      expect(await generation(store)).toBe(i % 3)
    }
    expect(await sequences(store)).toHaveLength(1)
  })

  test('content that goes back and forth, while packs are folded, is there each time', async () => {
    const store = await open({ keepLast: 20 })
    for (let i = 1; i <= 60; i++) {
      await persist(store, i % 3)
      if (i % 7 === 0) await store.rollback(i > 10 ? (await sequences(store))[5]! : 1)
      // The newest, the oldest and some between them.
      const infos = await store.snapshots()
      for (const { sequence } of new Set([infos[0]!, ...sample(`folded ${i}`, infos, 2), infos.at(-1)!])) {
        await generation(store, sequence)
      }
    }
  })
})

describe('in a directory', () => {
  test.each<[string, Partial<Head>]>([
    ['revision', { revision: COUNTER_MAX }],
    ['sequence', { sequence: COUNTER_MAX }],
  ])('a store whose %s is at its end can be read, and nothing is written', async (_, numbers) => {
    const image = await build(persisted('a1'))
    const last = withFiles(image, { 'HEAD.json': headBytes({ ...headIn(image), ...numbers }), 'HEAD.prev.json': null })
    const { result, image: after } = await visit(last, async (store) => {
      await rejects(store.persist(persistOf('a2')), 'LIMIT_EXCEEDED')
      await rejects(store.tag('x'), 'LIMIT_EXCEEDED')
      return await labelOf(store)
    })
    expect(result).toBe('a1')
    expect(fileOf(after, 'HEAD.json')).toEqual(fileOf(last, 'HEAD.json'))
  })

  test('what is retired is deleted as soon as no HEAD needs it', async () => {
    const path = join(scratch(), 'store')
    const store = await openStore(path, { keepLast: 1 })
    for (let n = 1; n <= 10; n++) {
      await persist(store, n)
      expect(files(join(path, 'packs')).length).toBeLessThanOrEqual(2)
    }
    await store.close()
  })

  test('laid-out files of dropped snapshots are deleted when nobody uses them any more', async () => {
    const path = join(scratch(), 'store')
    const store = await openStore(path, { keepLast: 1 })
    await persist(store, 1)
    const first = (await store.load())!
    const file = await first.blob('a').file()
    await persist(store, 2)
    await persist(store, 3)
    expect(existsSync(file)).toBe(true)
    await first.dispose()
    const { files: kept } = await store.materialize()
    await persist(store, 3, 4)
    expect(existsSync(file)).toBe(false)
    expect(existsSync(kept.a!)).toBe(false)
    expect(files(join(path, 'files'))).toEqual([])
    await store.close()
  })

  test('history outlives the process’s store object', async () => {
    const path = join(scratch(), 'store')
    const first = await openStore(path, { keepLast: 5 })
    await persist(first, 1, 2, 3)
    await first.tag('t', { at: 2 })
    await first.rollback(1)
    const before = await first.snapshots()
    await first.close()
    const second = await openStore(path)
    expect(await second.snapshots()).toEqual(before)
    expect(await generation(second, 't')).toBe(2)
    await second.close()
  })

  test('looking at it changes nothing', async () => {
    const path = join(scratch(), 'store')
    const store = await openStore(path)
    await persist(store, 1, 2)
    const before = tree(path)
    await store.snapshots()
    await generation(store, 1)
    await failure(store.load({ at: 'nothing' }))
    await (await store.load({ fallback: true }))!.dispose()
    await store.close()
    expect(tree(path)).toEqual(before)
  })
})
