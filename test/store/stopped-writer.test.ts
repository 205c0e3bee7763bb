import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Child, start } from '../support/processes.ts'
import { quickScratch } from '../support/scratch.ts'
import {
  contentsOfGeneration,
  copyOf,
  expectTidy,
  generation,
  headOf,
  loadContents,
  storeAt,
} from '../support/store-directory.ts'

interface Stop {
  stopping: string
  path: string
  to?: string
}

interface End {
  sequence?: number
  error?: string
  message?: string
}

/** Whether the kernel has stopped it: it says where it stops just before. */
async function expectStopped(child: Child): Promise<void> {
  await expect.poll(() => readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]![0], { interval: 2 }).toBe('T')
}

test.runIf(process.platform === 'linux')(
  'a writer that is stopped anywhere, and goes on when another has worked after its lock file was deleted, harms nothing of the other, but for one instant',
  async () => {
    const base = join(quickScratch(), 'store')
    const first = storeAt(base, { keepLast: 1 })
    // One pack to retire and one to delete.
    for (const seed of [1, 2, 3]) await first.persist(generation(seed))

    const child = start(new URL('stopped.mjs', import.meta.url))
    const ends = { after: 0, conflicts: 0, before: 0, unknown: 0, overwrote: 0 }
    for (let at = 0; ; at++) {
      const path = copyOf(base)
      child.say(`${path} ${at}`)
      const stop = JSON.parse(await child.hear()) as Stop | End
      if (!('stopping' in stop)) break
      await expectStopped(child)
      const where = `stopped before operation ${at}, ${stop.stopping} ${stop.to ?? stop.path}`
      const committed = headOf(path).sequence > 3

      rmSync(join(path, 'writer.lock'), { force: true })
      const other = storeAt(path, { keepLast: 1 })
      for (const seed of [4, 5]) await other.persist(generation(seed))
      const { revision, sequence } = headOf(path)
      child.signal('SIGCONT')
      const end = JSON.parse(await child.hear()) as End

      if (stop.stopping === 'rename' && stop.to === join(path, 'HEAD.json')) {
        // Between the last check and the rename nothing can protect the other's HEAD. The overwriting is not
        // acknowledged; the packs of the other stay, and a repair brings back what it acknowledged.
        expect(end.error, where).toBe('COMMIT_UNKNOWN')
        ends.overwrote += 1
        await expect(other.persist(generation(6)), where).rejects.toMatchObject({ code: 'STORE_ROLLED_BACK' })
        await other.repair({ rolledBack: 'newer' })
        expect(await loadContents(path), where).toMatchObject({ metadata: { seed: 5 } })
        await other.persist(generation(6))
        expect(await loadContents(path), where).toMatchObject({ metadata: { seed: 6 } })
        continue
      }
      if (end.error === 'COMMIT_UNKNOWN') {
        // It had replaced HEAD, and the other has built on that; but it cannot know.
        expect(committed, where).toBe(true)
        ends.unknown += 1
      } else if (end.error !== undefined) {
        expect(end.error, `${where}: ${end.message}`).toBe('HEAD_CONFLICT')
        ends.conflicts += 1
      } else if (committed) {
        expect(end.sequence, where).toBe(4)
        ends.before += 1
      } else {
        // It took the lock, or took it again, after the other was done.
        expect(end.sequence, where).toBe(sequence + 1)
        ends.after += 1
      }
      const isLast = end.error !== undefined || committed
      expect(headOf(path).revision, where).toBe(isLast ? revision : revision + 1)
      if (isLast) expect(await loadContents(path), where).toEqual(contentsOfGeneration(sequence, 5))
      const next = await other.persist(generation(6))
      expect(await loadContents(path), where).toEqual(contentsOfGeneration(next.sequence, 6))
      expectTidy(path)
    }
    expect(ends).toEqual({
      after: expect.toSatisfy((n: number) => n > 5),
      conflicts: expect.toSatisfy((n: number) => n > 40),
      // Once HEAD is replaced, durable, and was looked at, there is only a pack to delete.
      before: expect.toSatisfy((n: number) => n > 0),
      unknown: expect.toSatisfy((n: number) => n > 0),
      overwrote: 1,
    })
  },
  120_000,
)
