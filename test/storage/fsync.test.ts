import { execFileSync } from 'node:child_process'
import { cpSync, linkSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { scratch } from '../support/scratch.ts'
import {
  contentsOfGeneration,
  expectTidy,
  generation,
  headOf,
  listing,
  loadContents,
  storeAt,
  type TestStore,
} from '../support/store-directory.ts'
import { failureOf, type Operation, watchedDisk } from '../support/watched-disk.ts'

interface Prepared {
  path: string
  /** On the failing disk. */
  store: TestStore
  operations: Operation[]
  /** From now on. */
  fail(chosen: (operation: Operation) => boolean): void
}

/**
 * A store with one pack to retire, and one to delete, by the next persist; then the first operation chosen fails with
 * EIO.
 */
async function prepared({ links = true } = {}): Promise<Prepared> {
  const path = join(scratch(), 'store')
  const operations: Operation[] = []
  let chosen: (operation: Operation) => boolean = () => false
  const disk = watchedDisk(async (operation, proceed) => {
    operations.push(operation)
    if (operation.name === 'link' && !links) throw failureOf('EPERM', operation)
    if (!chosen(operation)) return await proceed()
    chosen = () => false
    throw failureOf('EIO', operation)
  })
  const store = storeAt(path, { fs: disk.fs, keepLast: 1 })
  for (const seed of [1, 2, 3]) await store.persist(generation(seed))
  operations.length = 0
  return {
    path,
    store,
    operations,
    fail(which) {
      chosen = which
    },
  }
}

const isSync = ({ name }: Operation) => name === 'file.sync'
const isSyncOf = (path: string) => (operation: Operation) =>
  operation.name === 'syncDirectory' && operation.path === path

describe('when an fsync fails', () => {
  test.each([
    ['the new HEAD', 0, true],
    ['the pack', 1, true],
    ['the copy of the HEAD before, where there are no links', 1, false],
    ['the pack, after both HEADs', 2, false],
  ])('of %s, the file is given up, never fsynced again, and nothing is committed', async (_, earlier, links) => {
    const { path, store, operations, fail } = await prepared({ links })
    const revision = headOf(path).revision
    const seen = new Set<string>()
    fail((operation) => isSync(operation) && seen.add(operation.path).size > earlier)
    await expect(store.persist(generation(4))).rejects.toMatchObject({ code: 'IO_FAILED', details: { code: 'EIO' } })
    const failed = [...seen].at(-1)!
    const afterwards = operations.slice(operations.findLastIndex((o) => o.path === failed && isSync(o)) + 1)
    const after = afterwards.filter(({ path }) => path === failed).map(({ name }) => name)
    expect(new Set(after)).toEqual(new Set(['unlink', 'file.close']))
    expect(seen.size).toBe(earlier + 1)

    expect(headOf(path).revision).toBe(revision)
    expect(await loadContents(path)).toEqual(contentsOfGeneration(3, 3))
    expect(listing(path, 'tmp')).toEqual([])
    expect(await store.persist(generation(4))).toMatchObject({ sequence: 4, unchanged: false })
    expect(await loadContents(path)).toEqual(contentsOfGeneration(4, 4))
    expectTidy(path)
  })

  test('of packs/, nothing is committed and the pack does not stay', async () => {
    const { path, store, fail } = await prepared()
    const packs = listing(path, 'packs')
    fail(isSyncOf(join(path, 'packs')))
    await expect(store.persist(generation(4))).rejects.toMatchObject({
      code: 'IO_FAILED',
      details: { code: 'EIO', path: join(path, 'packs') },
    })
    expect(listing(path, 'packs')).toEqual(packs)
    expect(await loadContents(path)).toEqual(contentsOfGeneration(3, 3))
  })

  test('of the store after HEAD was replaced, the outcome is unknown, and nothing is deleted', async () => {
    const { path, store, fail } = await prepared()
    const packs = listing(path, 'packs')
    expect(packs).toHaveLength(2)
    fail(isSyncOf(path))
    await expect(store.persist(generation(4))).rejects.toMatchObject({
      code: 'COMMIT_UNKNOWN',
      message: expect.stringMatching(/persist again: it is idempotent/i),
      cause: { code: 'EIO' },
    })
    // The pack of the new HEAD is there too: it may be the one that survives.
    expect(listing(path, 'packs')).toEqual(expect.arrayContaining(packs))
    expect(listing(path, 'packs')).toHaveLength(3)
  })
})

describe('after an unknown outcome', () => {
  async function unknown() {
    const all = await prepared()
    // What a power loss would bring back.
    const before = join(dirname(all.path), 'before')
    cpSync(all.path, before, { recursive: true })
    all.fail(isSyncOf(all.path))
    await expect(all.store.persist(generation(4))).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN' })
    return { ...all, before }
  }

  test('the same content is acknowledged only by a new revision, by whatever store object of this process', async () => {
    const { path } = await unknown()
    const { revision } = headOf(path)
    const other = storeAt(path, { keepLast: 1 })
    expect(await other.persist(generation(4))).toMatchObject({ sequence: 4, unchanged: true })
    expect(headOf(path).revision).toBe(revision + 1)
    // Now it is known.
    expect(await other.persist(generation(4))).toMatchObject({ unchanged: true })
    expect(headOf(path).revision).toBe(revision + 1)
    expect(await loadContents(path)).toEqual(contentsOfGeneration(4, 4))
  })

  test('nothing is deleted before a swap was durable again', async () => {
    const { path, store, operations, fail } = await unknown()
    const packs = listing(path, 'packs')
    operations.length = 0
    fail(
      ({ name, path: at }) =>
        // The swap's own: before it, HEAD is renamed and fsynced once more for the uncertain commit.
        name === 'syncDirectory' && at === path && operations.some(({ to }) => to === join(path, 'HEAD.prev.json')),
    )
    await expect(store.persist(generation(5))).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN' })
    expect(operations.filter(({ name }) => name === 'unlink')).toEqual([])
    expect(listing(path, 'packs')).toEqual(expect.arrayContaining(packs))
    await store.persist(generation(6))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(6, 6))
    await store.persist(generation(7))
    expectTidy(path)
  })

  test('the HEAD before may be the one that a power loss left', async () => {
    const { path, store, before } = await unknown()
    for (const name of ['HEAD.json', 'HEAD.prev.json']) cpSync(join(before, name), join(path, name))
    expect(await loadContents(path)).toEqual(contentsOfGeneration(3, 3))
    expect(await store.persist(generation(5))).toMatchObject({ sequence: 4 })
    expect(await loadContents(path)).toEqual(contentsOfGeneration(4, 5))
    expectTidy(path)
  })

  test('another writer that has committed since, and died between its renames, does not look like a HEAD put back', async () => {
    const { path, store, operations, fail } = await unknown()
    const elsewhere = join(dirname(path), 'elsewhere')
    cpSync(path, elsewhere, { recursive: true })
    const other = storeAt(elsewhere, { keepLast: 5 })
    await other.persist(generation(5))
    cpSync(elsewhere, path, { recursive: true })
    await other.persist(generation(6))
    const left = listing(elsewhere, 'packs').find((name) => !listing(path, 'packs').includes(name))!
    cpSync(join(elsewhere, 'packs', left), join(path, 'packs', left))
    rmSync(join(path, 'HEAD.prev.json'))
    linkSync(join(path, 'HEAD.json'), join(path, 'HEAD.prev.json'))
    const inodes = (): number[] => ['HEAD.json', 'HEAD.prev.json'].map((name) => statSync(join(path, name)).ino)
    const [before] = inodes()
    // HEAD is renamed once more for the uncertain commit. This process comes no further.
    operations.length = 0
    fail(isSyncOf(join(path, 'packs')))
    await expect(store.persist(generation(7))).rejects.toMatchObject({ code: 'IO_FAILED' })
    const steps = operations.flatMap((operation) =>
      operation.name === 'rename' ? basename(operation.to!) : isSyncOf(path)(operation) ? 'sync' : [],
    )
    expect(steps.slice(0, 4)).toEqual(['HEAD.prev.json', 'sync', 'HEAD.json', 'sync'])
    const [now, previous] = inodes()
    expect([now === before, now === previous]).toEqual([false, true])
    // Another one goes on. By links, so that their times stay.
    const next = join(dirname(path), 'next')
    execFileSync('cp', ['-al', path, next])
    expect(await storeAt(next, { keepLast: 5 }).persist(generation(8))).toMatchObject({ sequence: 6 })
    expect(await loadContents(next)).toEqual(contentsOfGeneration(6, 8))
    expect(listing(next, 'packs')).not.toContain(left)
  })

  test('a tag is acknowledged by a new revision, even when it is there already', async () => {
    const { path, store, fail } = await unknown()
    await store.tag('here')
    const { revision } = headOf(path)
    fail(isSyncOf(path))
    await expect(store.tag('there')).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN' })
    expect(await store.tag('there')).toMatchObject({ tags: ['here', 'there'] })
    expect(headOf(path).revision).toBe(revision + 2)
  })
})

describe('when the replacement of HEAD itself fails', () => {
  const isReplacement = ({ name, to }: Operation) => name === 'rename' && to!.endsWith('HEAD.json')

  test('the snapshot before is intact, and no temp and no pack stays', async () => {
    const { path, store, fail } = await prepared()
    const packs = listing(path, 'packs')
    fail(isReplacement)
    await expect(store.persist(generation(4))).rejects.toMatchObject({
      code: 'IO_FAILED',
      details: { syscall: 'rename' },
    })
    expect(await loadContents(path)).toEqual(contentsOfGeneration(3, 3))
    expect(listing(path, 'tmp')).toEqual([])
    expect(listing(path, 'packs')).toEqual(packs)
  })

  test.each([
    ['can be seen', false],
    ['cannot be read', true],
  ])('and was done all the same, which %s, the outcome is unknown and its packs stay', async (_, unreadable) => {
    const path = join(scratch(), 'store')
    let armed = false
    let broken = false
    const disk = watchedDisk(async (operation, proceed) => {
      if (broken && operation.path.endsWith('HEAD.json')) throw failureOf('EIO', operation)
      const result = await proceed()
      if (!armed || !isReplacement(operation)) return result
      broken = unreadable
      throw failureOf('EIO', operation)
    })
    const store = storeAt(path, { fs: disk.fs })
    await store.persist(generation(1))
    armed = true
    await expect(store.persist(generation(2))).rejects.toMatchObject({
      code: 'COMMIT_UNKNOWN',
      cause: { code: 'IO_FAILED' },
    })
    armed = broken = false
    expect(await loadContents(path)).toEqual(contentsOfGeneration(2, 2))
    const { revision } = headOf(path)
    expect(await store.persist(generation(2))).toMatchObject({ sequence: 2, unchanged: true })
    expect(headOf(path).revision).toBe(revision + 1)
    expectTidy(path)
  })
})
