// Searches: power losses and failing calls while a journal is opened, appended to, goes on in further segments, is
// sealed and closed. In every state that a crash may leave, an opening finds each entry that was acknowledged, none
// twice, none changed, and calls nothing damaged.

import { describe, expect, test } from 'vitest'
import type { OwnedJournal } from '../../src/journal/owned.ts'
import { crashStates, someState } from '../faulty-disk/crash-states.ts'
import { createDisk, type Disk } from '../faulty-disk/disk.ts'
import { type DirectoryImage, keyOf } from '../faulty-disk/image.ts'
import type { Pending } from '../faulty-disk/names.ts'
import { dataOf } from '../journal/build.ts'
import { listOf, loseHead, openLab, ROOT } from '../journal/lab.ts'
import { effort, randomFor, sample, share } from '../support/effort.ts'
import { FAULTS } from './faults.ts'

interface Point {
  pending: Pending
  acknowledged: number
  given: number
}

/** What has been promised so far. */
interface Ledger {
  acknowledged: number
  given: number
}

async function freshDisk(seed: number): Promise<Disk> {
  const disk = createDisk(null, { seed })
  await disk.start().fs.mkdir(ROOT, 0o700)
  disk.settle()
  return disk
}

/** Entries of these sizes in one frame; what is acknowledged goes into the ledger. */
async function append(opened: OwnedJournal, ledger: Ledger, ...sizes: number[]): Promise<void> {
  const appended = sizes.map((size) => {
    const { sequence, durable } = opened.append(dataOf(opened.last + 1, size))
    ledger.given = Math.max(ledger.given, sequence)
    return { sequence, durable }
  })
  for (const { sequence, durable } of appended) {
    await durable
    ledger.acknowledged = Math.max(ledger.acknowledged, sequence)
  }
}

/** Batches of many sizes over several segments, by two owners; the first one does not close. */
async function workload(disk: Disk, ledger: Ledger): Promise<void> {
  const first = disk.start()
  const opened = await openLab(first.fs)
  await append(opened, ledger, 10, 20)
  await append(opened, ledger, 3000, 3000)
  await append(opened, ledger, 1)
  await append(opened, ledger, 9000)
  await append(opened, ledger, 5)
  first.kill()
  const second = await openLab(disk.start().fs)
  await append(second, ledger, 7, 0)
  await append(second, ledger, 100)
  await second.close()
  const third = await openLab(disk.start().fs)
  await append(third, ledger, 8)
  await third.close()
}

/** What is found: each acknowledged entry, and of those that were given perhaps more, in order and unchanged. */
async function check(disk: Disk, { acknowledged, given }: Ledger, rounds = 2): Promise<void> {
  let known = acknowledged
  for (let round = 0; round < rounds; round++) {
    const process = disk.start()
    const opened = await openLab(process.fs)
    const entries = await listOf(opened)
    expect(entries.map(({ sequence }) => sequence)).toEqual(entries.map((_, i) => i + 1))
    expect(entries.length).toBeGreaterThanOrEqual(known)
    if (round === 0) expect(entries.length).toBeLessThanOrEqual(given)
    for (const { sequence, data } of entries) {
      expect(Buffer.compare(data, dataOf(sequence, data.length)), `entry ${sequence}`).toBe(0)
    }
    // What was served once is there for good.
    const ledger = { acknowledged: entries.length, given: entries.length }
    await append(opened, ledger, 11)
    known = ledger.acknowledged
    process.kill()
  }
}

async function record(seed: number): Promise<Point[]> {
  const disk = await freshDisk(seed)
  const ledger: Ledger = { acknowledged: 0, given: 0 }
  const points: Point[] = []
  disk.onChange = () => points.push({ pending: disk.pending(), ...ledger })
  await workload(disk, ledger)
  disk.onChange = null
  points.push({ pending: disk.pending(), ...ledger })
  disk.kill()
  return points
}

test('a power loss at any call loses nothing that was acknowledged, and is never called damage', async () => {
  const random = randomFor('journal power loss')
  const points = await record(1)
  expect(points.length).toBeGreaterThan(40)
  const seen = new Set<string>()
  for (const point of sample('journal power loss', points, 60)) {
    const { states } = crashStates(point.pending, { limit: share(40, 6), random })
    for (const image of states) {
      const key = `${keyOf(image)} ${point.acknowledged}`
      if (seen.has(key)) continue
      seen.add(key)
      await check(createDisk(image, { seed: random.below(1000) }), point)
    }
  }
  expect(seen.size).toBeGreaterThan(100)
})

test('a second power loss while the first is recovered from loses nothing either', async () => {
  const random = randomFor('journal second power loss')
  for (const point of sample('journal second power loss', await record(2), 10)) {
    const disk = createDisk(someState(point.pending, random))
    const images: { image: DirectoryImage; ledger: Ledger }[] = []
    const served: Ledger = { acknowledged: point.acknowledged, given: Math.max(point.given, point.acknowledged) }
    disk.onChange = () => images.push({ image: someState(disk.pending(), random), ledger: { ...served } })
    const opened = await openLab(disk.start().fs)
    const entries = await listOf(opened)
    served.acknowledged = entries.length
    served.given = entries.length
    await append(opened, served, 11)
    disk.onChange = null
    disk.kill()
    for (const { image, ledger } of images) await check(createDisk(image), ledger)
  }
})

test('a power loss that takes HEAD with it loses nothing either: the segments name each other', async () => {
  const random = randomFor('journal lost head')
  let states = 0
  for (const point of sample('journal lost head', await record(4), 40)) {
    for (const image of crashStates(point.pending, { limit: share(20, 3), random }).states) {
      const disk = createDisk(image)
      await loseHead(disk.start().fs)
      await check(disk, point)
      states += 1
    }
  }
  expect(states).toBeGreaterThan(50)
})

describe('a call that fails', () => {
  test('leaves what was acknowledged, in this process and in the next', async () => {
    const random = randomFor('journal faults')
    const clean = await freshDisk(3)
    const before = clean.calls
    await workload(clean, { acknowledged: 0, given: 0 })
    const calls = Array.from({ length: clean.calls - before }, (_, i) => before + i + 1)
    for (const number of sample('journal faults', calls, 40)) {
      const disk = await freshDisk(3)
      const ledger: Ledger = { acknowledged: 0, given: 0 }
      disk.onCall = (call) => (call.number === number ? random.pick(FAULTS[call.name]) : undefined)
      const failed = await workload(disk, ledger).catch((error: unknown) => error)
      disk.onCall = null
      if (failed !== undefined) expect(failed).toHaveProperty('code')
      const image = disk.image()
      const crashed = someState(disk.pending(), random)
      disk.kill()
      await check(createDisk(image), ledger)
      await check(createDisk(crashed), ledger)
    }
  })

  test('for want of room stops the journal, and leaves what was acknowledged', async () => {
    for (let kib = 8; kib < 120; kib += Math.ceil(4 / effort)) {
      const disk = createDisk(null, { capacityBytes: kib * 1024 })
      await disk.start().fs.mkdir(ROOT, 0o700)
      disk.settle()
      const ledger: Ledger = { acknowledged: 0, given: 0 }
      const failed = await workload(disk, ledger).catch((error: unknown) => error)
      if (failed !== undefined)
        expect(['NO_SPACE', 'CHANGE_UNKNOWN', 'JOURNAL_FAILED']).toContain((failed as { code: string }).code)
      const image = disk.image()
      disk.kill()
      await check(createDisk(image), ledger)
    }
  })
})
