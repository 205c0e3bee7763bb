import { cpSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { workSuffix } from '../../src/fs/temps.ts'
import type { Store } from '../../src/store.ts'
import { scratch } from '../support/scratch.ts'
import { copyOf, generation, headOf, listing, previousHeadOf, storeAt } from '../support/store-directory.ts'
import { type Operation, recordingDisk } from '../support/watched-disk.ts'

// What survives a power loss is decided by the order of writes, fsyncs, renames and deletions. These tests look at the
// order alone, and do not care what it leads to.

/** The story of durability: one line each for what makes, syncs, renames or deletes. `~X` is the temp that became X. */
function story(operations: readonly Operation[], root: string): string[] {
  const targets = new Map(operations.flatMap(({ name, path, to }) => (name === 'rename' ? [[path, to!]] : [])))
  function short(path: string): string {
    const target = targets.get(path)
    if (target !== undefined) return `~${short(target)}`
    const inside = path === root ? '.' : path.startsWith(`${root}/`) ? path.slice(root.length + 1) : path
    return inside.replace(/[0-9a-f]{64}/, 'P')
  }
  const lines = operations
    .filter(({ name }) => ['mkdir', 'file.sync', 'rename', 'syncDirectory', 'unlink'].includes(name))
    .map(({ name, path, to }) => `${name} ${short(to ?? path)}`)
  // An fsync of what nothing was written to since the last one is no event. Those of the HEADs and of the pack are
  // under way at once, and end in any order: that each is before its rename is looked at apart.
  const inOrder = lines.filter((line, i) => !line.startsWith('file.sync') || lines.indexOf(line) === i)
  return inOrder.filter((line) => !line.startsWith('file.sync ~HEAD'))
}

/** The fsyncs that make the name of the store durable, and the names of the directories it lies in. */
function ancestors(root: string): string[] {
  const above = dirname(root)
  return above === root ? [] : [`syncDirectory ${above}`, ...ancestors(above)]
}

/** What holds for every order of operations, whatever was asked for. */
function expectSafe(operations: readonly Operation[], root: string): void {
  const find = (from: number, name: string, path: string) =>
    operations.findIndex((operation, i) => i > from && operation.name === name && operation.path === path)
  const last = (before: number, name: string, path: string) =>
    operations.findLastIndex((operation, i) => i < before && operation.name === name && operation.path === path)

  for (const [at, { name, path, to }] of operations.entries()) {
    const linked = operations.slice(0, at).find((other) => other.name === 'link' && other.to === path)
    if (name === 'rename' && linked !== undefined) {
      // HEAD itself under another name: it was durable when it became HEAD.
      expect(linked.path).toBe(join(root, 'HEAD.json'))
      expect(last(at, 'file.write', linked.path), 'HEAD is never written to').toBe(-1)
      expect(find(at, 'syncDirectory', dirname(to!)), `the name ${to} is made durable`).toBeGreaterThan(at)
    } else if (name === 'rename' && !to!.includes('quarantine')) {
      const cloned = operations.findLastIndex((other, i) => i < at && other.name === 'clone' && other.to === path)
      const written = Math.max(last(at, 'file.write', path), cloned)
      expect(
        last(at, 'file.sync', path),
        `${to} is fsynced after its last byte and before it gets its name`,
      ).toBeGreaterThan(written)
      expect(find(at, 'syncDirectory', dirname(to!)), `the name ${to} is made durable`).toBeGreaterThan(at)
    }
    // What is put into a work directory gets its name elsewhere.
    if (name === 'mkdir' && !path.endsWith(workSuffix)) {
      const inside = operations.findIndex((other, i) => i > at && dirname(other.to ?? other.path) === path)
      const synced = find(at, 'syncDirectory', dirname(path))
      expect(synced, `the name ${path} is made durable`).toBeGreaterThan(at)
      if (inside !== -1 && operations[inside]!.name !== 'stat') {
        expect(synced, `${path} is durable before there is anything in it`).toBeLessThan(inside)
      }
    }
    if (name === 'rename' && dirname(to!) === join(root, 'packs')) {
      const named = operations.findIndex((other, i) => i > at && other.to === join(root, 'HEAD.json'))
      expect(find(at, 'syncDirectory', dirname(to!)), `${to} is durable before HEAD names it`).toBeLessThan(named)
    }
    if (name === 'unlink' && dirname(path) === join(root, 'packs')) {
      const swap = operations.findLastIndex((other, i) => i < at && other.to === join(root, 'HEAD.json'))
      expect(last(at, 'syncDirectory', root), `${path} is deleted under a durable HEAD`).toBeGreaterThan(swap)
    }
  }
}

/** A store whose operations are recorded from now on. */
function recordedStore(path: string, keepLast = 1): { store: Store; operations: Operation[] } {
  const { fs, operations } = recordingDisk()
  return { store: storeAt(path, { fs, keepLast }), operations }
}

describe('the order of operations', () => {
  test('of a first persist makes directories durable from above, then HEAD 0, STORE.json, the pack, and HEAD 1', async () => {
    const top = scratch()
    const root = join(top, 'a', 'store')
    const { store, operations } = recordedStore(root)
    await store.persist(generation(1))
    expect(story(operations, root)).toEqual([
      `mkdir ${join(top, 'a')}`,
      `syncDirectory ${top}`,
      'mkdir .',
      `syncDirectory ${join(top, 'a')}`,
      'mkdir packs',
      'syncDirectory .',
      'mkdir tmp',
      'syncDirectory .',
      // Once more, in case it was made by somebody who died before this.
      ...ancestors(root),
      'rename HEAD.json',
      'syncDirectory .',
      'file.sync ~STORE.json',
      'rename STORE.json',
      'syncDirectory .',
      'file.sync ~packs/P.pack',
      'rename packs/P.pack',
      'syncDirectory packs',
      'rename HEAD.prev.json',
      'rename HEAD.json',
      'syncDirectory .',
    ])
    expectSafe(operations, root)
  })

  test('of a later persist is pack, packs/, both HEADs, the store, and only then what is deleted', async () => {
    const root = join(scratch(), 'store')
    const { store, operations } = recordedStore(root)
    for (const seed of [1, 2, 3]) await store.persist(generation(seed))
    operations.length = 0
    await store.persist(generation(4))
    expect(story(operations, root)).toEqual([
      'file.sync ~packs/P.pack',
      'rename packs/P.pack',
      'syncDirectory packs',
      'rename HEAD.prev.json',
      'rename HEAD.json',
      'syncDirectory .',
      'unlink packs/P.pack',
    ])
    expectSafe(operations, root)
  })

  test('is safe whatever is asked for', async () => {
    const root = join(scratch(), 'store')
    const { store, operations } = recordedStore(root, 12)
    // The ninth folds the eight before.
    for (let seed = 1; seed <= 9; seed++) await store.persist(generation(seed))
    expect(headOf(root).retired).toHaveLength(8)
    await store.tag('first', { at: 1 })
    await store.rollback(2)
    await store.untag('first')
    await store.persist({ ...generation(10), keepLast: 1 })
    await using snapshot = (await store.load())!
    await snapshot.blob('large').file()
    await snapshot.blob('large').writeTo(join(dirname(root), 'copy'))
    writeFileSync(join(root, 'packs', `${'0'.repeat(64)}.pack`), 'not a pack')
    await store.persist(generation(11))
    expect(listing(root, 'quarantine')).toHaveLength(2)
    const count = (name: string) => operations.filter((operation) => operation.name === name).length
    expect(count('unlink')).toBeGreaterThan(8)
    expect(count('rename')).toBeGreaterThan(40)
    expectSafe(operations, root)
  })
})

describe('a HEAD that this process did not make durable', () => {
  /** A store that another process wrote: this one has never seen it under this name. */
  async function strange(): Promise<string> {
    const path = join(scratch(), 'store')
    await using store = storeAt(path)
    await store.persist(generation(1))
    return copyOf(path)
  }

  test('is fsynced, with its name and that of the store, before "unchanged" is acknowledged; but only once', async () => {
    const root = await strange()
    const { store, operations } = recordedStore(root)
    expect(await store.persist(generation(1))).toMatchObject({ unchanged: true, sequence: 1 })
    const durable = ['file.sync HEAD.json', 'syncDirectory .', ...ancestors(root)]
    expect(story(operations, root)).toEqual(durable)
    operations.length = 0
    expect(await store.persist(generation(1))).toMatchObject({ unchanged: true })
    expect(story(operations, root)).toEqual([])
  })

  test('is fsynced again when yet another process has written it since', async () => {
    const root = await strange()
    const { store, operations } = recordedStore(root)
    await store.persist(generation(1))
    const elsewhere = copyOf(root)
    await storeAt(elsewhere).persist(generation(2))
    cpSync(elsewhere, root, { recursive: true })
    operations.length = 0
    expect(await store.persist(generation(2))).toMatchObject({ unchanged: true, sequence: 2 })
    expect(story(operations, root).slice(0, 2)).toEqual(['file.sync HEAD.json', 'syncDirectory .'])
  })

  test('is fsynced before a tag that is there already is acknowledged, and before a rollback to what is current', async () => {
    const original = await strange()
    await storeAt(original).tag('here')
    for (const act of [(store: Store) => store.tag('here'), (store: Store) => store.rollback(1)]) {
      const root = copyOf(original)
      const { store, operations } = recordedStore(root)
      await act(store)
      expect(story(operations, root).slice(0, 2)).toEqual(['file.sync HEAD.json', 'syncDirectory .'])
    }
  })

  test('is fsynced before anything is deleted under it', async () => {
    const path = join(scratch(), 'store')
    const store = storeAt(path, { keepLast: 1 })
    for (const seed of [1, 2]) await store.persist(generation(seed))
    // As a writer leaves it who dies between the fsync of HEAD and the deletions: the pack is retired by both HEADs.
    const [retired] = headOf(path).retired
    cpSync(join(path, 'packs', `${retired!.name}.pack`), join(path, 'kept'))
    await store.tag('any')
    cpSync(join(path, 'kept'), join(path, 'packs', `${retired!.name}.pack`))
    expect(previousHeadOf(path)!.retired).toEqual(headOf(path).retired)
    const root = copyOf(path)
    const recorded = recordedStore(root)
    expect(await recorded.store.persist(generation(2))).toMatchObject({ unchanged: true })
    expect(story(recorded.operations, root)).toEqual([
      'file.sync HEAD.json',
      'syncDirectory .',
      ...ancestors(root),
      'unlink packs/P.pack',
    ])
  })
})
