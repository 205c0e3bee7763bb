// Searches: a kill at every call that changes the simulated disk, what another process then does, and a power loss
// after that.

import { expect, test } from 'vitest'
import { parseHead } from '../../src/format/head.ts'
import { leastState } from '../faulty-disk/crash-states.ts'
import { createDisk, type Disk, type Process } from '../faulty-disk/disk.ts'
import { contentOf as bytesAt, type DirectoryImage, filesBelow } from '../faulty-disk/image.ts'
import { share } from '../support/effort.ts'
import { assertCurrent, observeImage } from './check.ts'
import type { Context } from './explore.ts'
import { exploreSuccession } from './killed.ts'
import { openOn, persistOf, STORE } from './model.ts'
import { histories, persists, writeFile } from './scenarios.ts'
import { tally } from './tally.ts'

// A process dies, another goes on from the page cache that it left, and only then the power fails.

const count = tally('killed writers and their successors')

const again =
  (label: string) =>
  async ({ store }: Context): Promise<void> =>
    void (await store.persist(persistOf(label)))

const tag = async ({ store }: Context): Promise<void> => {
  if ((await store.snapshots()).length > 0) await store.tag('mine')
}

test.each([
  ['the first persist', 'the same persist', persists[0]!, again('a/1')],
  ['a persist', 'the same persist', persists[1]!, again('a/3')],
  ['a persist', 'a tag', persists[1]!, tag],
  ['a tag', 'a persist', histories[0]!, again('b/3')],
  ['a persist that retires packs', 'the same persist', histories[2]!, again('e/1')],
])(
  '%s is killed anywhere, %s of another process is acknowledged, and survives a power loss',
  async (_first, _second, scenario, then) => {
    for (const rename of ['atomic', 'both'] as const) {
      const explored = await exploreSuccession({ scenario, then }, { seed: 1, rename, pointsEach: 1, limit: 2 })
      count(explored)
      expect(explored.distinct).toBeGreaterThan(share(30))
    }
  },
  300_000,
)

/** Somebody else's doing: nothing of it is fsynced. */
const restorations: [string, (process: Process) => Promise<void>][] = [
  [
    'a HEAD that was copied into its place',
    async ({ fs }) => {
      const process = { fs } as Process
      const bytes = bytesAt(stored, `${STORE}/HEAD.json`)
      await fs.unlink(`${STORE}/HEAD.json`)
      await writeFile(process, `${STORE}/HEAD.json`, bytes)
    },
  ],
  [
    'a store that was moved there',
    async ({ fs }) => {
      await fs.rename(STORE, '/srv/elsewhere')
      await fs.syncDirectory('/srv')
      await fs.rename('/srv/elsewhere', STORE)
    },
  ],
  [
    'a store whose parent was moved there',
    async ({ fs }) => {
      await fs.rename('/srv', '/elsewhere')
      await fs.syncDirectory('/')
      await fs.rename('/elsewhere', '/srv')
    },
  ],
]

const stored = await (async () => {
  const disk = createDisk()
  for (const label of ['a/1', 'a/2']) await openOn(disk.start()).persist(persistOf(label))
  return disk.image()
})()

/** All that a new process sees, of a disk as it is and after a power loss that leaves the least. */
async function seenBeforeAndAfter(disk: Disk): Promise<[string, string]> {
  const seen = async (image: DirectoryImage): Promise<string> => await observeImage(createDisk(image))
  return [await seen(disk.image()), await seen(leastState(disk.pending()))]
}

/** What is left of a store, and the files that are gone. */
const remains: [string, string[]][] = [
  ['without HEAD', ['HEAD.json']],
  ['without any HEAD', ['HEAD.json', 'HEAD.prev.json']],
  ['without STORE.json', ['STORE.json']],
]

test.each(
  restorations
    .flatMap(([name, restore]) => remains.map(([what, gone]) => [name, what, restore, gone] as const))
    // A HEAD that was copied is not gone.
    .filter(([, , restore, gone]) => restore !== restorations[0]![1] || !gone.includes('HEAD.json')),
)('%s without an fsync, %s, is repaired: what is acknowledged is durable', async (_name, _what, restore, gone) => {
  const disk = createDisk(stored)
  const { fs } = disk.start()
  for (const name of gone) await fs.unlink(`${STORE}/${name}`)
  await restore(disk.start())
  expect(await openOn(disk.start()).repair()).toMatchObject({ ok: false, applied: true })
  const [before, after] = await seenBeforeAndAfter(disk)
  expect(before).toMatch(/a\/2 current\n1 a\/1$/)
  expect(after).toBe(before)
  // The one before counts as well: it says what may be deleted.
  const image = leastState(disk.pending())
  for (const name of filesBelow(image, STORE).filter((each) => each.startsWith('HEAD.'))) {
    expect(parseHead(bytesAt(image, `${STORE}/${name}`), name).unknown).toEqual([])
  }
})

test.each(remains)(
  'a persist is killed anywhere, a store %s is repaired: what is acknowledged is durable',
  async (_, gone) => {
    let applied = 0
    for (const rename of ['atomic', 'both'] as const) {
      for (let killAt = 1, finished = false; !finished; killAt++) {
        const disk = createDisk(stored, { rename })
        const victim = disk.start()
        let seen = 0
        disk.onChange = () => {
          if (++seen === killAt) victim.kill()
        }
        await openOn(victim)
          .persist(persistOf('b/3'))
          .catch(() => undefined)
        disk.onChange = null
        finished = victim.alive
        victim.kill()
        const { fs } = disk.start()
        for (const name of gone) await fs.unlink(`${STORE}/${name}`).catch(() => undefined)
        await fs.syncDirectory(STORE)
        const report = await openOn(disk.start()).repair()
        if (report.applied) applied += 1
        const [before, after] = await seenBeforeAndAfter(disk)
        expect(before).toContain('a/2')
        expect(after, `killed at its change ${killAt} of the disk`).toBe(before)
      }
    }
    expect(applied).toBeGreaterThan(10)
  },
)

test.each(restorations)('%s without an fsync is made durable before anything is acknowledged', async (_, restore) => {
  const disk = createDisk(stored)
  await restore(disk.start())
  expect(await openOn(disk.start()).persist(persistOf('a/2'))).toMatchObject({ unchanged: true, sequence: 2 })
  expect(filesBelow(disk.image(), STORE)).toContain('HEAD.json')
  await assertCurrent(leastState(disk.pending()), 'a/2', 2)
})
