// Searches: an error of each call in turn of persists, rollbacks and loads, on the real disk. The process lives on.

import { cpSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import type { Store } from '../../src/store.ts'
import { quickScratch } from '../support/scratch.ts'
import {
  contentsOf,
  contentsOfGeneration,
  expectTidy,
  generation,
  listing,
  loadContents,
  stateOf,
  storeAt,
} from '../support/store-directory.ts'
import { changesDisk, failingDisk, type Operation } from '../support/watched-disk.ts'

// Each operation on the disk in turn fails once, and the process lives on: it has to clean up after itself.

interface Scenario {
  keepLast: number
  prepare(store: Store): Promise<unknown>
  act(store: Store): Promise<unknown>
}

const firstPersist: Scenario = {
  keepLast: 3,
  prepare: async () => {},
  act: (store) => store.persist(generation(1)),
}

const laterPersist: Scenario = {
  keepLast: 1,
  async prepare(store) {
    // So that there is a pack to retire, and one to delete.
    for (const seed of [1, 2, 3]) await store.persist(generation(seed))
  },
  act: (store) => store.persist(generation(4)),
}

const rollback: Scenario = {
  keepLast: 3,
  async prepare(store) {
    for (const seed of [1, 2]) await store.persist(generation(seed))
  },
  act: (store) => store.rollback(1),
}

/**
 * What a persist may acknowledge in spite of: hints for people, links where a copy does as well, closing what is
 * durable already, looking for what can go.
 */
function isHarmless({ name, path }: Operation, root: string): boolean {
  if (name === 'file.close' || name === 'link') return true
  if (path === join(root, 'writer.lock')) return name === 'file.read' || name === 'file.write'
  // What it may not read it did not make.
  if (root.startsWith(path) && root !== path) return name === 'syncDirectory'
  return ['readdir', 'lstat', 'unlink'].includes(name)
}

/** The codes of an error's causes. */
function systemCodes(error: unknown): unknown[] {
  const { code, cause } = error as { code?: unknown; cause?: unknown }
  return cause === undefined ? [code] : [code, ...systemCodes(cause)]
}

/** Answers how often the action ended how: with which of our codes, or acknowledged. */
async function failEverywhere(scenario: Scenario, code: string, changesOnly = false): Promise<Record<string, number>> {
  const { keepLast } = scenario
  const base = quickScratch()
  await scenario.prepare(storeAt(join(base, 'store'), { keepLast }))
  const before = await stateOf(join(base, 'store'))
  const packsBefore = listing(join(base, 'store'), 'packs')
  const outcomes: Record<string, number> = {}

  for (let at = 0; ; at++) {
    const dir = quickScratch()
    cpSync(base, dir, { recursive: true })
    const path = join(dir, 'store')
    const disk = failingDisk(code, (operation, n) => n >= at && (!changesOnly || changesDisk(operation)))
    const store = storeAt(path, { fs: disk.fs, keepLast })
    const error = await scenario.act(store).then(
      () => null,
      (thrown: unknown) => thrown,
    )
    const { failed } = disk
    if (failed === null) {
      expect(error).toBe(null)
      return outcomes
    }
    at = failed.n
    const where = `${code} from operation ${at}, ${failed.name} ${failed.path}`
    const state = await stateOf(path)
    const outcome = error === null ? 'acknowledged' : ((error as { code?: string }).code ?? String(error))
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    if (error === null) {
      expect(isHarmless(failed, path), where).toBe(true)
      expect(state, where).not.toEqual(before)
    } else if (isHoldfastError(error, 'COMMIT_UNKNOWN')) {
      if (before.current !== null) expect(state, where).not.toEqual(before)
      expect(systemCodes(error), where).toContain(code)
    } else {
      if (!isHoldfastError(error)) throw new Error(`untyped: ${where}`, { cause: error })
      expect(error, where).toMatchObject({ kind: 'environment', details: { code }, cause: { code } })
      expect(state, where).toEqual(before)
      if (failed.name !== 'unlink') expect(listing(path, 'packs'), where).toEqual(packsBefore)
    }
    // What cannot be removed now is removed by the next writer.
    if (failed.name !== 'unlink') expect(listing(path, 'tmp'), where).toEqual([])

    const { sequence } = await store.persist(generation(77))
    expect(await loadContents(path), where).toEqual(contentsOfGeneration(sequence, 77))
    expectTidy(path)
    rmSync(dir, { recursive: true })
  }
}

test('a first persist on which one operation fails commits nothing', async () => {
  const { IO_FAILED, COMMIT_UNKNOWN, acknowledged, ...others } = await failEverywhere(firstPersist, 'EIO')
  expect(others).toEqual({})
  expect(IO_FAILED).toBeGreaterThan(50)
  // HEAD of revision 0, and that of the snapshot: after each, the fsync of the directory and the last look at the lock.
  expect(COMMIT_UNKNOWN).toBe(4)
  expect(acknowledged).toBeGreaterThan(5)
})

test.each(['EIO', 'EACCES'])(
  'a later persist on which one operation fails with %s leaves the snapshot before it, unless the outcome is unknown',
  async (code) => {
    const { IO_FAILED, COMMIT_UNKNOWN, acknowledged, ...others } = await failEverywhere(laterPersist, code)
    expect(others).toEqual({})
    expect(IO_FAILED).toBeGreaterThan(40)
    // The fsync of the directory, and the last look at the lock.
    expect(COMMIT_UNKNOWN).toBe(2)
    expect(acknowledged).toBeGreaterThan(5)
  },
)

test('a disk that fills up in a persist leaves the snapshot before it, and says NO_SPACE', async () => {
  for (const scenario of [firstPersist, laterPersist]) {
    const { NO_SPACE, acknowledged, ...others } = await failEverywhere(scenario, 'ENOSPC', true)
    expect(others).toEqual({})
    expect(NO_SPACE).toBeGreaterThan(6)
    expect(acknowledged).toBeGreaterThan(0)
  }
})

test('a rollback on which one operation fails leaves the history before it, unless the outcome is unknown', async () => {
  const { IO_FAILED, COMMIT_UNKNOWN, acknowledged: _, ...others } = await failEverywhere(rollback, 'EIO')
  expect(others).toEqual({})
  expect(IO_FAILED).toBeGreaterThan(30)
  expect(COMMIT_UNKNOWN).toBe(2)
})

test.each(['EIO', 'EACCES'])(
  'a load on which one operation fails with %s says so: what cannot be read is not missing and not damaged',
  async (code) => {
    const path = join(quickScratch(), 'store')
    await using plain = storeAt(path)
    for (const seed of [1, 2]) await plain.persist(generation(seed))
    let failures = 0
    for (let at = 0; ; at++) {
      const disk = failingDisk(code, (_, n) => n === at)
      const store = storeAt(path, { fs: disk.fs })
      // With `fallback`: only damage may move on to the older snapshot.
      const loading = store.restore((snapshot) => contentsOf(snapshot), { fallback: true })
      const outcome = await loading.then(
        (restored) => restored,
        (thrown: unknown) => ({ thrown }),
      )
      disk.closeAll()
      if (disk.failed === null) break
      failures += 1
      const where = `${code} from operation ${at}, ${disk.failed.name} ${disk.failed.path}`
      if (outcome !== null && 'thrown' in outcome) {
        const expected = { code: 'IO_FAILED', kind: 'environment', details: { code } }
        expect(outcome.thrown, where).toMatchObject(expected)
      } else {
        // Tried again, or closed: but it is not the older snapshot, and not null.
        expect(outcome?.value, where).toEqual(contentsOfGeneration(2, 2))
      }
    }
    expect(failures).toBeGreaterThan(12)
  },
)

test('a blob given as a file, on which one operation fails, is whole or an error, and no temp is left', async () => {
  const { large } = generation(1).blobs
  const uses = {
    file: (snapshot: Snapshot) => snapshot.blob('large').file(),
    async writeTo(snapshot: Snapshot, path: string) {
      const target = join(dirname(path), 'copy')
      await snapshot.blob('large').writeTo(target)
      return target
    },
  }
  const base = quickScratch()
  await storeAt(join(base, 'store')).persist(generation(1))
  for (const use of Object.values(uses)) {
    let failures = 0
    for (let at = 0; ; at++) {
      const dir = quickScratch()
      const path = join(dir, 'store')
      cpSync(base, dir, { recursive: true })
      const before = listing(dir, '.')
      const disk = failingDisk('EIO', (_, n) => n === at)
      const store = storeAt(path, { fs: disk.fs })
      const outcome = await (async () => {
        await using snapshot = (await store.load())!
        return readFileSync(await use(snapshot, path)).equals(large)
      })().catch((error: unknown) => error)
      if (disk.failed === null) break
      const where = `${disk.failed.name} ${disk.failed.path}`
      if (outcome !== true) {
        expect(outcome, where).toMatchObject({ kind: 'environment', cause: { code: 'EIO' } })
        failures += 1
      }
      expect(listing(path, 'files/.tmp'), where).toEqual([])
      expect(
        listing(dir, '.').filter((name) => name !== 'copy'),
        where,
      ).toEqual(before)
    }
    expect(failures).toBeGreaterThan(15)
  }
})
