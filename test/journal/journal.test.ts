import { readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { clock } from '../../src/clock.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { OwnedJournal } from '../../src/journal/owned.ts'
import { createDisk, type Disk } from '../faulty-disk/disk.ts'
import { filesBelow } from '../faulty-disk/image.ts'
import { scratch } from '../support/scratch.ts'
import { countingDisk } from '../support/watched-disk.ts'
import { cover, DIRECTORY, entriesOf, listOf, openLab, ROOT } from './lab.ts'

const text = (value: string): Uint8Array => Buffer.from(value)

async function disk(): Promise<Disk> {
  const made = createDisk()
  await made.start().fs.mkdir(ROOT, 0o700)
  made.settle()
  return made
}

async function appendAll(opened: OwnedJournal, values: readonly string[]): Promise<number[]> {
  const appended = values.map((value) => opened.append(text(value)))
  await Promise.all(appended.map(({ durable }) => durable))
  return appended.map(({ sequence }) => sequence)
}

test('entries come back in order after a reopening, each under the sequence it was given', async () => {
  const { fs } = (await disk()).start()
  const first = await openLab(fs)
  expect(await appendAll(first, ['a', 'b', ''])).toEqual([1, 2, 3])
  expect(await entriesOf(first)).toEqual(['a', 'b', ''])
  await first.close()
  const second = await openLab(fs)
  expect(second.last).toBe(3)
  expect(await appendAll(second, ['c'])).toEqual([4])
  expect(await listOf(second, 2)).toMatchObject([{ sequence: 3 }, { sequence: 4 }])
  await second.close()
  const third = await openLab(fs)
  expect(await entriesOf(third)).toEqual(['a', 'b', '', 'c'])
  await third.close()
})

test('an entry may be changed by its owner as soon as it is appended', async () => {
  const { fs } = (await disk()).start()
  const opened = await openLab(fs)
  const data = text('before')
  const { durable } = opened.append(data)
  data.fill(0)
  await durable
  expect(await entriesOf(opened)).toEqual(['before'])
  await opened.close()
})

test('what is appended in one turn is one frame, and what comes while it is written is the next', async () => {
  const made = await disk()
  const opened = await openLab(made.start().fs)
  await appendAll(opened, ['made'])
  const calls: string[] = []
  made.onCall = ({ name }) => {
    calls.push(name)
    return undefined
  }
  const some = Array.from({ length: 100 }, (_, i) => `${i}`)
  const first = appendAll(opened, some)
  await Promise.resolve()
  await Promise.resolve()
  await Promise.all([first, appendAll(opened, some), appendAll(opened, some)])
  expect(calls.filter((name) => name === 'dataSync').length).toBeLessThanOrEqual(3)
  expect(calls.filter((name) => name === 'write').length).toBeLessThanOrEqual(3)
  made.onCall = null
  expect(await entriesOf(opened)).toHaveLength(301)
  await opened.close()
})

test('a journal that is full goes on in the next segment', async () => {
  const made = await disk()
  const { fs } = made.start()
  const opened = await openLab(fs)
  const values = Array.from({ length: 20 }, (_, i) => `entry ${i}`)
  for (const value of values) await appendAll(opened, [value])
  expect(filesBelow(made.image(), DIRECTORY).length).toBeGreaterThan(3)
  expect(await entriesOf(opened)).toEqual(values)
  await opened.close()
  const again = await openLab(fs)
  expect(await entriesOf(again)).toEqual(values)
  await again.close()
})

test('is read from the mark of what is covered, in whatever segment that is', async () => {
  const values = Array.from({ length: 20 }, (_, i) => `entry ${i + 1}`)
  for (const covered of [1, 4, 9, 15, 20]) {
    const { fs } = (await disk()).start()
    const opened = await openLab(fs)
    for (const value of values) await appendAll(opened, [value])
    const mark = opened.markFor(covered)!
    expect(mark.first).toBeLessThanOrEqual(covered)
    await cover(fs, { sequence: covered, snapshot: 1 }, mark)
    await opened.close()
    const again = await openLab(fs)
    expect(again.last).toBe(20)
    expect(await entriesOf(again, covered)).toEqual(values.slice(covered))
    expect(await entriesOf(again)).toEqual(values)
    expect(await appendAll(again, ['more'])).toEqual([21])
    await again.close()
  }
})

test('is read twice and no more: once to find its end, and once to serve its entries', async () => {
  const root = scratch()
  const opened = await openLab(nodeFileSystem, { root, segmentBytesMax: 64 * 1024 * 1024 })
  // Frames below, at, and above what is read ahead.
  for (const size of [100_000, 100_000, 262_000, 400_000, 50, 262_000, 900_000]) {
    await opened.append(new Uint8Array(size)).durable
  }
  await opened.close()
  const [name] = readdirSync(join(root, 'journal'))
  const { size } = statSync(join(root, 'journal', name!))
  const disk = countingDisk()
  const again = await openLab(disk.fs, { root })
  expect(await listOf(again)).toHaveLength(7)
  const { bytesRead } = disk.take()
  expect(bytesRead).toBeGreaterThan(size)
  expect(bytesRead).toBeLessThan(2.05 * size)
  await again.close()
})

test('large entries are frames of their own, and too large ones are refused', async () => {
  const root = scratch()
  const opened = await openLab(nodeFileSystem, { root, segmentBytesMax: 64 * 1024 * 1024 })
  const large = new Uint8Array(9 * 1024 * 1024).fill(7)
  const appended = [large, large, text('small')].map((data) => opened.append(data))
  await Promise.all(appended.map(({ durable }) => durable))
  const lengths = (await listOf(opened)).map(({ data }) => data.length)
  expect(lengths).toEqual([large.length, large.length, 5])
  expect(() => opened.append(new Uint8Array(16 * 1024 * 1024 + 1))).toThrow(
    expect.objectContaining({ code: 'LIMIT_EXCEEDED' }),
  )
  expect(() => opened.append('text' as never)).toThrow(TypeError)
  expect(opened.last).toBe(3)
  await opened.close()
})

test('opening and closing without an append leaves no files behind', async () => {
  const made = await disk()
  const { fs } = made.start()
  for (let i = 0; i < 3; i++) await (await openLab(fs)).close()
  expect(filesBelow(made.image(), DIRECTORY)).toEqual([])
  const opened = await openLab(fs)
  await appendAll(opened, ['a'])
  await opened.close()
  const files = filesBelow(made.image(), DIRECTORY)
  for (let i = 0; i < 3; i++) await (await openLab(fs)).close()
  expect(filesBelow(made.image(), DIRECTORY)).toEqual(files)
})

test('a new owner writes the last batch again when nothing proves it, before it is served', async () => {
  const made = await disk()
  const killed = made.start()
  const opened = await openLab(killed.fs)
  await appendAll(opened, ['a'])
  await appendAll(opened, ['b', 'c'])
  killed.kill()
  const { fs } = made.start()
  const before = made.calls
  const synced: string[] = []
  made.onCall = ({ name, path }) => {
    if (name === 'sync') synced.push(path)
    return undefined
  }
  const again = await openLab(fs)
  expect(synced.some((path) => path.includes('00000002-'))).toBe(true)
  expect(made.calls).toBeGreaterThan(before)
  expect(await entriesOf(again)).toEqual(['a', 'b', 'c'])
  await again.close()
  // The seal of the copy proves it: nothing is copied again.
  const files = filesBelow(made.image(), DIRECTORY)
  await (await openLab(fs)).close()
  expect(filesBelow(made.image(), DIRECTORY)).toEqual(files)
})

test('a journal that is idle for a moment is sealed', async () => {
  const made = await disk()
  const { fs } = made.start()
  const { startTimer } = clock
  const timers: (() => void)[] = []
  clock.startTimer = (callback) => {
    timers.push(callback)
    return startTimer(() => undefined, 1)
  }
  try {
    const opened = await openLab(fs)
    await appendAll(opened, ['a'])
    await clock.nextTurn()
    const [file] = filesBelow(made.image(), DIRECTORY)
    const size = async (): Promise<number> => (await fs.stat(`${DIRECTORY}/${file}`)).size
    const before = await size()
    expect(timers.length).toBeGreaterThan(0)
    // Those of the tests before this one are among them.
    for (const timer of timers) timer()
    await clock.sleep(5)
    expect(await size()).toBe(before + 4096)
    await opened.close()
    expect(await size()).toBe(before + 4096)
  } finally {
    clock.startTimer = startTimer
  }
})

describe('one owner', () => {
  test('keeps others out until it closes, or dies', async () => {
    const made = await disk()
    const owner = made.start('owner')
    const opened = await openLab(owner.fs)
    await expect(openLab(made.start().fs)).rejects.toMatchObject({ code: 'JOURNAL_LOCKED' })
    await opened.close()
    const second = made.start()
    await openLab(second.fs)
    await expect(openLab(owner.fs)).rejects.toMatchObject({ code: 'JOURNAL_LOCKED' })
    second.kill()
    await (await openLab(owner.fs)).close()
  })

  test('acknowledges nothing once its lock file was replaced', async () => {
    const root = scratch()
    const opened = await openLab(nodeFileSystem, { root })
    await appendAll(opened, ['a'])
    renameSync(join(root, 'journal.lock'), join(root, 'gone'))
    writeFileSync(join(root, 'journal.lock'), '')
    await expect(opened.append(text('b')).durable).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
    expect(() => opened.append(text('c'))).toThrow(expect.objectContaining({ code: 'JOURNAL_FAILED' }))
    await opened.close()
  })
})

describe('when a write fails', () => {
  test.each(['write', 'dataSync'] as const)(
    'in %s, what waited is unknown, and nothing more is taken',
    async (name) => {
      const made = await disk()
      const { fs } = made.start()
      const opened = await openLab(fs)
      await appendAll(opened, ['a'])
      made.onCall = (call) => (call.name === name ? { error: 'EIO', lose: name === 'dataSync' } : undefined)
      const waiting = [opened.append(text('b')), opened.append(text('c'))]
      for (const { durable } of waiting) {
        await expect(durable).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN', details: { first: 2, last: 3 } })
      }
      made.onCall = null
      expect(() => opened.append(text('d'))).toThrow(expect.objectContaining({ code: 'JOURNAL_FAILED' }))
      await expect(opened.flush()).rejects.toMatchObject({ code: 'JOURNAL_FAILED' })
      await opened.waitFor(1)
      await expect(opened.waitFor(3)).rejects.toMatchObject({ code: 'JOURNAL_FAILED' })
      const files = filesBelow(made.image(), DIRECTORY)
      await opened.close()
      expect(filesBelow(made.image(), DIRECTORY)).toEqual(files)
    },
  )

  test('a snapshot that covers everything heals it, with a hole where nobody knows', async () => {
    const made = await disk()
    const { fs } = made.start()
    const opened = await openLab(fs)
    await appendAll(opened, ['a'])
    made.onCall = (call) => (call.name === 'dataSync' ? { error: 'EIO', lose: true } : undefined)
    await expect(opened.append(text('b')).durable).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
    made.onCall = null
    await opened.heal({ sequence: 1, snapshot: 1 })
    expect(() => opened.append(text('c'))).toThrow()
    await cover(fs, { sequence: 2, snapshot: 2 })
    await opened.heal({ sequence: 2, snapshot: 2 })
    expect(await appendAll(opened, ['c'])).toEqual([3])
    expect(await listOf(opened, 2)).toMatchObject([{ sequence: 3 }])
    await expect(listOf(opened, 1)).rejects.toMatchObject({ code: 'JOURNAL_GAP', details: { after: 1, first: 2 } })
    await opened.close()
    const again = await openLab(fs)
    expect(await listOf(again, 2)).toMatchObject([{ sequence: 3 }])
    await expect(listOf(again)).rejects.toMatchObject({ code: 'JOURNAL_GAP' })
    await again.close()
  })

  test('sequences never repeat after a failure, also when the process dies before it is healed', async () => {
    const made = await disk()
    const killed = made.start()
    const opened = await openLab(killed.fs)
    await appendAll(opened, ['a'])
    made.onCall = (call) => (call.name === 'write' ? { error: 'ENOSPC' } : undefined)
    await expect(opened.append(text('b')).durable).rejects.toMatchObject({ code: 'CHANGE_UNKNOWN' })
    made.onCall = null
    await cover(killed.fs, { sequence: 2, snapshot: 2 })
    killed.kill()
    const { fs } = made.start()
    const again = await openLab(fs)
    expect(await appendAll(again, ['c'])).toEqual([3])
    await again.close()
    const third = await openLab(fs)
    expect(await listOf(third, 2)).toMatchObject([{ sequence: 3 }])
    await expect(listOf(third, 1)).rejects.toMatchObject({ code: 'JOURNAL_GAP' })
    await third.close()
  })
})

test('waits for no more than the memory that it was given', async () => {
  const made = await disk()
  const opened = await openLab(made.start().fs, { maxPendingBytes: 100 })
  const waiting = [opened.append(new Uint8Array(60))]
  expect(() => opened.append(new Uint8Array(60))).toThrow(expect.objectContaining({ code: 'JOURNAL_BUSY' }))
  expect(opened.last).toBe(1)
  await waiting[0]!.durable
  await opened.append(new Uint8Array(200)).durable
  await opened.close()
})

test('damage stops an opening, and nothing is changed', async () => {
  const root = scratch()
  const opened = await openLab(nodeFileSystem, { root })
  for (const value of ['a', 'b', 'c']) await appendAll(opened, [value])
  await opened.close()
  const directory = join(root, 'journal')
  const [name] = readdirSync(directory)
  const file = await nodeFileSystem.open(join(directory, name!), 'update')
  await file.write([Uint8Array.of(0xff)], 2 * 4096 + 130)
  await file.close()
  await expect(openLab(nodeFileSystem, { root })).rejects.toMatchObject({
    code: 'JOURNAL_DAMAGED',
    details: { lost: [{ first: 2, last: 2 }] },
  })
  expect(readdirSync(directory)).toEqual([name])
})
