// Searches: the death of a process before each change of the real disk, and in the middle of each write.

import { cpSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Store } from '../../src/store.ts'
import { quickScratch } from '../support/scratch.ts'
import {
  contentsOf,
  contentsOfGeneration,
  expectTidy,
  generation,
  headOf,
  listing,
  loadContents,
  type State,
  stateOf,
  storeAt,
} from '../support/store-directory.ts'
import { crashingDisk } from '../support/watched-disk.ts'

// The process dies before each operation in turn that changes the disk, and in the middle of each write. What was
// written before stays (the machine lives on). A process that was not there before then opens what it left.

interface Scenario {
  keepLast?: number
  /** Makes the store that the process finds. */
  prepare(store: Store): Promise<unknown>
  /** What the process was doing when it died. */
  act(store: Store): Promise<unknown>
  /** On what any crash left, after the checks that all scenarios have. */
  check?(path: string): Promise<void>
}

/** Answers the states before and after the action, and how often the process died. */
async function crashEverywhere(scenario: Scenario): Promise<{ before: State; after: State; deaths: number }> {
  const { keepLast = 1 } = scenario
  const base = quickScratch()
  await scenario.prepare(storeAt(join(base, 'a', 'store'), { keepLast }))
  const before = await stateOf(join(base, 'a', 'store'))

  async function die(at: number, torn: boolean) {
    const dir = quickScratch()
    cpSync(base, dir, { recursive: true })
    const disk = crashingDisk(at, { torn })
    let acknowledged = true
    try {
      await scenario.act(storeAt(join(dir, 'a', 'store'), { fs: disk.fs, keepLast }))
    } catch (error) {
      if (disk.diedAt === null) throw error
      acknowledged = false
    }
    disk.closeAll()
    mkdirSync(join(dir, 'a'), { recursive: true })
    // Under another name this process knows nothing of the store, as one that was started anew.
    renameSync(join(dir, 'a'), join(dir, 'b'))
    return { path: join(dir, 'b', 'store'), acknowledged, diedAt: disk.diedAt }
  }

  const whole = await die(Number.POSITIVE_INFINITY, false)
  expect(whole.acknowledged).toBe(true)
  const after = await stateOf(whole.path)

  async function survive(at: number, torn: boolean) {
    const { path, acknowledged, diedAt } = await die(at, torn)
    const where = `death ${torn ? 'in' : 'before'} change ${at}, ${diedAt?.name} ${diedAt?.path}`
    const state = await stateOf(path)
    expect(acknowledged ? [after] : [before, after], where).toContainEqual(state)
    await scenario.check?.(path)

    const { sequence } = await storeAt(path, { keepLast }).persist(generation(77))
    expect(await loadContents(path), where).toEqual(contentsOfGeneration(sequence, 77))
    expect(sequence, where).toBeGreaterThan(state.current?.sequence ?? 0)
    expectTidy(path)
    rmSync(join(path, '..', '..'), { recursive: true })
    return diedAt
  }

  let deaths = 0
  for (let at = 0; ; at++, deaths++) {
    const diedAt = await survive(at, false)
    if (diedAt === null) break
    if (diedAt.name === 'file.write') await survive(at, true)
  }
  return { before, after, deaths }
}

test('a first persist that dies anywhere leaves nothing or the whole snapshot, in directories made on the way', async () => {
  const { before, after, deaths } = await crashEverywhere({
    prepare: async () => {},
    act: (store) => store.persist(generation(1)),
  })
  expect(before.current).toBe(null)
  expect(after.current).toEqual(contentsOfGeneration(1, 1))
  expect(deaths).toBeGreaterThan(18)
})

test('a second persist that dies anywhere leaves the snapshot before or the new one', async () => {
  const { before, after, deaths } = await crashEverywhere({
    keepLast: 3,
    prepare: (store) => store.persist(generation(1)),
    act: (store) => store.persist(generation(2)),
  })
  expect(before.current).toEqual(contentsOfGeneration(1, 1))
  expect(after.current).toEqual(contentsOfGeneration(2, 2))
  expect(after.history.map(({ sequence }) => sequence)).toEqual([2, 1])
  expect(deaths).toBeGreaterThanOrEqual(9)
})

test('a persist that retires one pack and deletes another may die anywhere', async () => {
  let packs: string[] = []
  const { before, after } = await crashEverywhere({
    async prepare(store) {
      for (const seed of [1, 2, 3]) await store.persist(generation(seed))
      packs = listing(store.location, 'packs')
    },
    async act(store) {
      await store.persist(generation(4))
    },
  })
  expect(before.current).toEqual(contentsOfGeneration(3, 3))
  expect(after.current).toEqual(contentsOfGeneration(4, 4))
  // The pack of the third generation, and the one of the second that waits for its deletion.
  expect(packs).toHaveLength(2)
})

test('a persist that folds small packs may die anywhere, and older snapshots stay whole', async () => {
  const { before, after } = await crashEverywhere({
    keepLast: 12,
    async prepare(store) {
      for (let seed = 1; seed <= 8; seed++) await store.persist(generation(seed))
      expect(headOf(store.location).packs).toHaveLength(8)
    },
    async act(store) {
      const { bytes } = await store.persist(generation(9))
      expect(bytes.compacted).toBeGreaterThan(8 * 5_500)
    },
    async check(path) {
      await using store = storeAt(path)
      for (let seed = 1; seed <= 8; seed++) {
        await using snapshot = (await store.load({ at: seed }))!
        expect(await contentsOf(snapshot)).toEqual(contentsOfGeneration(seed, seed))
      }
    },
  })
  expect(before.current).toEqual(contentsOfGeneration(8, 8))
  expect(after.current).toEqual(contentsOfGeneration(9, 9))
})

test('tagging may die anywhere: the tag is there or not', async () => {
  const { before, after } = await crashEverywhere({
    prepare: (store) => store.persist(generation(1)),
    act: (store) => store.tag('release'),
  })
  expect(before.history).toEqual([{ sequence: 1, tags: [], abandoned: false }])
  expect(after.history).toEqual([{ sequence: 1, tags: ['release'], abandoned: false }])
})

test('a rollback may die anywhere: the older content is current again or not yet', async () => {
  const { before, after } = await crashEverywhere({
    keepLast: 3,
    async prepare(store) {
      for (const seed of [1, 2]) await store.persist(generation(seed))
    },
    act: (store) => store.rollback(1),
  })
  expect(before.current).toEqual(contentsOfGeneration(2, 2))
  expect(after.current).toEqual(contentsOfGeneration(3, 1))
  expect(after.history.map(({ sequence, abandoned }) => [sequence, abandoned])).toEqual([
    [3, false],
    [2, true],
    [1, false],
  ])
})

test('laying out a blob as a file may die anywhere: the next who asks gets the whole blob', async () => {
  const { before, after, deaths } = await crashEverywhere({
    prepare: (store) => store.persist(generation(1)),
    async act(store) {
      await using snapshot = (await store.load())!
      await snapshot.blob('large').file()
    },
    async check(path) {
      await using snapshot = (await storeAt(path).load())!
      expect(readFileSync(await snapshot.blob('large').file()).equals(generation(1).blobs.large)).toBe(true)
    },
  })
  expect(after).toEqual(before)
  expect(deaths).toBeGreaterThan(5)
})
