import { expect, test } from 'vitest'
import { assertCurrent } from './check.ts'
import { leastState } from './crash-states.ts'
import { createDisk, type Process } from './disk.ts'
import type { Context } from './explore.ts'
import { contentOf as bytesAt, filesBelow } from './image.ts'
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
      expect(explored.distinct).toBeGreaterThan(40)
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

test.each(restorations)('%s without an fsync is made durable before anything is acknowledged', async (_, restore) => {
  const disk = createDisk(stored)
  await restore(disk.start())
  expect(await openOn(disk.start()).persist(persistOf('a/2'))).toMatchObject({ unchanged: true, sequence: 2 })
  expect(filesBelow(disk.image(), STORE)).toContain('HEAD.json')
  await assertCurrent(leastState(disk.pending()), 'a/2', 2)
})
