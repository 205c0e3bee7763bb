// Searches: power losses while entries are appended, covered by snapshots, rolled back over, and brought back by
// undoing that. In every state the current snapshot and the entries after it give what was acknowledged, or what the
// step under way makes of it: nothing of a line that was left.

import { expect, test } from 'vitest'
import type { Store } from '../../src/store.ts'
import { crashStates } from '../faulty-disk/crash-states.ts'
import { createDisk, type Disk } from '../faulty-disk/disk.ts'
import { keyOf } from '../faulty-disk/image.ts'
import type { Pending } from '../faulty-disk/names.ts'
import { randomFor, sample, share } from '../support/effort.ts'
import { openOn } from './model.ts'

interface Point {
  pending: Pending
  /** What may be found. */
  allowed: string[]
}

type Step = { append: string } | { save: true } | { rollback: number } | { restart: true }

/** The lines that this makes: ab, abc, then ab again and abx, abxy, then abc again and abcz. */
const STEPS: Step[] = [
  { append: 'a' },
  { append: 'b' },
  { save: true },
  { append: 'c' },
  { save: true },
  { rollback: 1 },
  { append: 'x' },
  { save: true },
  { restart: true },
  { append: 'y' },
  { save: true },
  { rollback: 2 },
  { append: 'z' },
  { restart: true },
  { append: 'w' },
]

async function replayed(store: Store): Promise<string> {
  const journal = await store.openJournal()
  const snapshot = await store.load()
  let line = snapshot === null ? '' : await snapshot.blob('line').text()
  await snapshot?.dispose()
  for await (const { data } of journal.read()) line += Buffer.from(data).toString()
  return line
}

async function record(disk: Disk): Promise<{ points: Point[]; line: string }> {
  const points: Point[] = []
  const saved = ['']
  let line = ''
  let allowed = ['']
  disk.onChange = () => points.push({ pending: disk.pending(), allowed })
  let process = disk.start()
  let store = openOn(process)
  let journal = await store.openJournal()
  for (const step of STEPS) {
    const before = line
    if ('append' in step) line += step.append
    if ('rollback' in step) line = saved[step.rollback]!
    allowed = [before, line]
    if ('append' in step) await journal.append(Buffer.from(step.append)).durable
    else if ('save' in step) {
      await store.persist({ blobs: { line: Buffer.from(line) }, covers: journal.last, keepLast: 10 })
      saved.push(line)
    } else if ('rollback' in step) {
      await journal.close()
      const { sequence } = await store.rollback(step.rollback)
      saved[sequence] = line
      journal = await store.openJournal()
    } else {
      process.kill()
      process = disk.start()
      store = openOn(process)
      expect(await replayed(store)).toBe(line)
      process.kill()
      process = disk.start()
      store = openOn(process)
      journal = await store.openJournal()
    }
    allowed = [line]
  }
  disk.onChange = null
  points.push({ pending: disk.pending(), allowed })
  disk.kill()
  return { points, line }
}

test('a power loss between any two of them finds one line whole', async () => {
  const random = randomFor('journal history')
  const { points, line } = await record(createDisk())
  expect(line).toBe('abczw')
  const seen = new Set<string>()
  for (const { pending, allowed } of sample('journal history', points, 60)) {
    for (const image of crashStates(pending, { limit: share(10, 2), random }).states) {
      const key = `${keyOf(image)} ${allowed.join()}`
      if (seen.has(key)) continue
      seen.add(key)
      const disk = createDisk(image)
      expect(allowed).toContain(await replayed(openOn(disk.start())))
      disk.kill()
    }
  }
  expect(seen.size).toBeGreaterThan(60)
})
