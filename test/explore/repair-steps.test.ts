// Searches: a repair that dies or fails at every step, and who comes after it: the next repair, or a writer.

import { describe, expect, test } from 'vitest'
import type { RepairOptions } from '../../src/recovery/repair-plan.ts'
import { crashStates } from '../faulty-disk/crash-states.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { type DirectoryImage, keyOf } from '../faulty-disk/image.ts'
import { positions, sample, seeded } from '../support/effort.ts'
import {
  build,
  chunkOf,
  expectNothingLost,
  expectSound,
  fileOf,
  headOf,
  historyOf,
  open,
  packsOf,
  persisted,
  persistOf,
  rotten,
  visit,
  withFiles,
  withRottenChunk,
} from '../support/lab.ts'

/*
 * A repair that dies, at every step, with the machine going on or losing its power. What was readable stays readable
 * all the while; a second repair comes to the end that the first would have come to; and a writer that comes before it
 * does no harm.
 */

interface Scenario {
  image: DirectoryImage
  options?: RepairOptions
}

const three = await build(async (store) => {
  await persisted('a1', 'a2', 'b1')(store)
  await store.tag('first', { at: 1 })
})
const old = await build(persisted('a1', 'a2'))
const { image: newer } = await visit(old, persisted('b1', 'b2', 'c1'))
const putBack = withFiles(newer, { 'HEAD.json': fileOf(old, 'HEAD.json') })

const scenarios: Record<string, Scenario> = {
  'blocks are rescued and a snapshot is dropped': { image: withRottenChunk(three, chunkOf('a1', 1)) },
  'packs are not needed any more': { image: withRottenChunk(three, chunkOf('a1', 0)) },
  'a pack is missing': { image: withFiles(three, { [packsOf(three)[0]!]: null }) },
  'a footer is damaged': { image: rotten(three, packsOf(three)[1]!, -20) },
  'HEAD is lost': { image: withFiles(three, { 'HEAD.json': null }) },
  'HEAD is damaged, without a spare': {
    image: withFiles(rotten(three, 'HEAD.json', 50), { 'HEAD.prev.json': null }),
  },
  'HEAD is lost, and a pack is damaged': {
    image: withFiles(withRottenChunk(three, chunkOf('a1', 1)), { 'HEAD.json': null }),
  },
  'all but the packs is lost, and one is damaged': {
    image: withFiles(withRottenChunk(three, chunkOf('a1', 1)), {
      'HEAD.json': null,
      'HEAD.prev.json': null,
      'STORE.json': null,
    }),
  },
  'STORE.json is damaged': { image: rotten(three, 'STORE.json', 50) },
  'an old HEAD was put back, and the newer is wanted': { image: putBack, options: { rolledBack: 'newer' } },
  'an old HEAD was put back, and the older is wanted': { image: putBack, options: { rolledBack: 'older' } },
}

/** States of a scenario that are looked at, at any effort. */
const STATES_LEAST = 10

/** What the disk holds after each change that the repair makes, and some of what a power loss then leaves. */
async function crashes({ image, options = {} }: Scenario): Promise<DirectoryImage[]> {
  const disk = createDisk(image)
  const random = seeded('repair', 7)
  const seen = new Map<string, DirectoryImage>()
  disk.onChange = () => {
    for (const state of [disk.image(), ...crashStates(disk.pending(), { limit: 6, random }).states]) {
      seen.set(keyOf(state), state)
    }
  }
  expect(await open(disk).repair(options)).toMatchObject({ applied: true })
  return sample(`${Object.keys(options)} ${seen.size}`, [...seen.values()], STATES_LEAST)
}

/** Lines of the snapshots that can be read; none when HEAD cannot be read at all. */
async function readable(image: DirectoryImage): Promise<string[]> {
  const { result } = await visit(image, (store) => historyOf(store).catch(() => []), { readOnly: true })
  return result.filter((line) => !/[A-Z]{3}/.test(line))
}

/** Without what differs from one repair to the next. */
function labelsOf(history: readonly string[]): string[] {
  return history.map((line) => line.replace(' current', ''))
}

describe.each(Object.entries(scenarios))('%s', (_name, scenario) => {
  const { image, options = {} } = scenario

  test('and a repair that dies anywhere is finished by the next one', async () => {
    const { image: done } = await visit(image, (store) => store.repair(options))
    const expected = await readable(done)
    const before = await readable(image)
    const states = await crashes(scenario)
    expect(states.length).toBeGreaterThan(3)
    for (const state of states) {
      const kept = await readable(state)
      if (options.rolledBack === undefined) expect(labelsOf(kept)).toEqual(expect.arrayContaining(labelsOf(before)))
      expectNothingLost(image, state)
      const again = await visit(state, (store) => store.repair(options))
      expect(await readable(again.image)).toEqual(expected)
      expectNothingLost(image, again.image)
    }
    await expectSound(done)
  })
})

test('after the last crash a repaired store is sound', async () => {
  for (const scenario of Object.values(scenarios)) {
    const states = await crashes(scenario)
    for (const state of [states[Math.floor(states.length / 2)]!, states.at(-2)!]) {
      const { image } = await visit(state, (store) => store.repair(scenario.options))
      await expectSound(image)
    }
  }
})

test('a writer that comes after a repair that died, before the next one, does no harm', async () => {
  const scenario = scenarios['blocks are rescued and a snapshot is dropped']!
  const before = labelsOf(await readable(scenario.image))
  for (const state of await crashes(scenario)) {
    // Two persists: what is garbage to them is deleted by then.
    const written = await visit(state, async (store) => {
      await store.persist({ ...persistOf('c1'), keepLast: 10 })
      await store.persist({ ...persistOf('c2'), keepLast: 10 })
    })
    expect(labelsOf(await readable(written.image))).toEqual(expect.arrayContaining(before))
    expectEvidenceKept(scenario.image, written.image)
    const { image } = await visit(written.image, (store) => store.repair())
    expect((await visit(image, historyOf)).result).toEqual(['5 c2 current', '4 c1', '3 b1', '2 a2'])
    expectEvidenceKept(scenario.image, image)
  }
})

/** Every pack that lay there is there or in quarantine. */
function expectEvidenceKept(before: DirectoryImage, after: DirectoryImage): void {
  const packs = Object.fromEntries(packsOf(before).map((path) => [path, fileOf(before, path)]))
  const empty = withFiles(createDisk().image(), packs)
  expectNothingLost(empty, after)
}

test('a repair that fails at any call does no harm, and succeeds when tried again', async () => {
  const { image } = scenarios['blocks are rescued and a snapshot is dropped']!
  for (const nth of positions('repair fails')) {
    const failing = 2 * nth - 1
    const disk = createDisk(image)
    const process = disk.start()
    let calls = 0
    disk.onCall = ({ name }) => (++calls === failing && name !== 'close' ? { error: 'EIO' } : undefined)
    const store = open(disk, { through: () => process.fs })
    await store.repair().catch((error: unknown) => expect(error).toMatchObject({ name: 'HoldfastError' }))
    expect(process.openFiles(), `call ${failing} failed`).toEqual([])
    if (calls < failing) break
    disk.onCall = null
    expectNothingLost(image, disk.image())
    await store.repair()
    expect(await readable(disk.image())).toEqual(['3 b1 current', '2 a2'])
    expect(headOf(disk.image()).snapshots).toHaveLength(2)
  }
})
