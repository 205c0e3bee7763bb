// Searches: errors, short reads and flipped bits of every read of a load and of a persist.

import { expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import type { Store } from '../../src/store.ts'
import { leastState } from '../faulty-disk/crash-states.ts'
import { type Call, createDisk, type Disk, type Fault } from '../faulty-disk/disk.ts'
import { type DirectoryImage, filesBelow } from '../faulty-disk/image.ts'
import { createRandom } from '../support/random.ts'
import { observeImage } from './check.ts'
import { FAULTS } from './faults.ts'
import { labelOf, observe, openOn, persistOf, STORE } from './model.ts'

// Errors and flipped bits in what is read. An error of the disk is not damage, and damage is never a wrong byte.

/** Three snapshots, all durable; the newest shares nothing with the others. */
async function threeSnapshots(): Promise<DirectoryImage> {
  const disk = createDisk()
  const store = openOn(disk.start())
  for (const label of ['a/1', 'a/2', 'b/3']) await store.persist(persistOf(label))
  disk.settle()
  return disk.image()
}

/** Runs `work` with one fault, for every call it makes and every fault that `choose` gives; nothing may stay open. */
async function withEachFault(
  image: DirectoryImage,
  choose: (call: Call) => readonly Fault[],
  work: (store: Store) => Promise<unknown>,
  check: (outcome: { value: unknown } | { error: unknown }, disk: Disk) => Promise<void> | void,
): Promise<number> {
  const calls: Call[] = []
  const rehearsal = createDisk(image)
  rehearsal.onCall = (call) => void calls.push(call)
  await work(openOn(rehearsal.start()))
  let faults = 0
  for (const { number } of calls) {
    for (const fault of choose(calls[number - 1]!)) {
      faults += 1
      const disk = createDisk(image)
      const process = disk.start()
      disk.onCall = (call) => (call.number === number ? fault : undefined)
      const outcome = await work(openOn(process)).then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      )
      disk.onCall = null
      try {
        await check(outcome, disk)
        expect(process.openFiles()).toEqual([])
      } catch (cause) {
        const lines = disk.log.slice(Math.max(0, number - 6), number + 6).join('\n')
        throw new Error(`${JSON.stringify(fault)} on call ${number}: ${(cause as Error).message}\n${lines}`, { cause })
      }
    }
  }
  return faults
}

async function loadAll(store: Store): Promise<string> {
  await using snapshot = await store.load()
  return await labelOf(snapshot!)
}

async function restore(store: Store): Promise<string> {
  const restored = await store.restore((snapshot) => labelOf(snapshot), { fallback: true, required: true })
  await restored!.snapshot.dispose()
  return restored!.value
}

const anyError = ({ name }: Call): readonly Fault[] => FAULTS[name].filter(({ error }) => error !== undefined)
const shortReads = ({ name }: Call): readonly Fault[] => (name === 'read' ? [{ short: 1 }, { short: 7 }] : [])
const flips = ({ name, number }: Call): readonly Fault[] =>
  name === 'read' ? [0, 1, 2, 3].map((i) => ({ flip: createRandom(number * 4 + i).below(2 ** 24) })) : []

test('a load meets an error on any of its calls: it succeeds or says that the environment failed', async () => {
  const faults = await withEachFault(await threeSnapshots(), anyError, loadAll, (outcome) => {
    if ('value' in outcome) expect(outcome.value).toBe('b/3')
    else expect(outcome.error).toMatchObject({ kind: 'environment' })
  })
  expect(faults).toBeGreaterThan(40)
})

test('no error of the disk makes a restore fall back to an older snapshot', async () => {
  await withEachFault(await threeSnapshots(), anyError, restore, (outcome) => {
    if ('value' in outcome) expect(outcome.value).toBe('b/3')
    else expect(outcome.error).toMatchObject({ kind: 'environment' })
  })
})

test('short reads change nothing', async () => {
  await withEachFault(await threeSnapshots(), shortReads, loadAll, (outcome) =>
    expect(outcome).toEqual({ value: 'b/3' }),
  )
  await withEachFault(await threeSnapshots(), shortReads, observe, (outcome) => {
    expect(outcome).toEqual({ value: expect.stringContaining('3 b/3 current') })
  })
})

test('a bit that flips in any read is damage or is not noticed at all, never a wrong byte', async () => {
  const image = await threeSnapshots()
  let damaged = 0
  for (const work of [loadAll, restore]) {
    await withEachFault(image, flips, work, (outcome) => {
      if ('error' in outcome) {
        damaged += 1
        expect(outcome.error).toMatchObject({ kind: 'damaged' })
      } else if (work === loadAll) expect(outcome.value).toBe('b/3')
      else expect(['b/3', 'a/2', 'a/1']).toContain(outcome.value)
    })
  }
  expect(damaged).toBeGreaterThan(10)
})

test('a bit that flips in any read of a persist is never written down as truth', async () => {
  // So many small packs that this persist folds them, which copies their blocks.
  const disk = createDisk()
  const labels = ['a/1', 'b/1', 'c/1', 'd/1', 'e/1', 'f/1', 'g/1', 'b/3']
  for (const label of labels) await openOn(disk.start()).persist({ ...persistOf(label), keepLast: 4 })
  disk.settle()
  const persist = async (store: Store) => await store.persist({ ...persistOf('a/3'), keepLast: 4 })
  await withEachFault(disk.image(), flips, persist, async (outcome, disk) => {
    // A HEAD that reads otherwise at the end was changed by somebody, as far as a writer can tell.
    if ('error' in outcome)
      expect(['damaged', 'conflict']).toContain(isHoldfastError(outcome.error) && outcome.error.kind)
    const seen = await observeImage(createDisk(disk.image()))
    expect(seen.split('\n')[0]).toBe('error' in outcome ? '8 b/3 current' : '9 a/3 current')
    expect(await observeImage(createDisk(leastState(disk.pending())))).toBe(seen)
  })
})

test('whatever bit rots on the platter, a restore gives a snapshot that was persisted, or says what is damaged', async () => {
  const image = await threeSnapshots()
  const random = createRandom(7)
  const seen = new Set<string>()
  for (const name of filesBelow(image, STORE).filter((each) => each !== 'writer.lock')) {
    for (let i = 0; i < 40; i++) {
      const disk = createDisk(image)
      disk.rot(`${STORE}/${name}`, random)
      const outcome = await restore(openOn(disk.start())).catch((error: unknown) => {
        if (!isHoldfastError(error) || error.kind !== 'damaged') throw error
        return error.code
      })
      seen.add(outcome)
      expect(['b/3', 'a/2', 'a/1', 'STORE_DAMAGED'], `${name}, ${disk.log.at(-1)}`).toContain(outcome)
    }
  }
  // All of them happen.
  expect([...seen].sort()).toEqual(['STORE_DAMAGED', 'a/2', 'b/3'])
})
