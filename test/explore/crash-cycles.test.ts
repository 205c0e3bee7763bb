// Searches: a hundred crashes in a row, each at some moment of the recovery from the one before. Nothing gathers.

import { expect, test } from 'vitest'
import { someState } from '../faulty-disk/crash-states.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { type DirectoryImage, filesBelow } from '../faulty-disk/image.ts'
import type { Pending, RenameModel } from '../faulty-disk/names.ts'
import { seeded, share } from '../support/effort.ts'
import type { Random } from '../support/random.ts'
import { assertTidy, observeImage } from './check.ts'
import { openOn, persistOf, STORE } from './model.ts'

const slow = process.env.HOLDFAST_SLOW === '1'
const CYCLES = slow ? 1000 : share(100, 25)

/**
 * A process that recovers what it finds, and goes on for a while. The power fails at any moment of it, the recovery
 * included.
 */
async function live(image: DirectoryImage | null, rename: RenameModel, cycle: number, random: Random) {
  const disk = createDisk(image, { rename, seed: cycle })
  const pendings: Pending[] = [disk.pending()]
  disk.onChange = () => pendings.push(disk.pending())
  const store = openOn(disk.start(), { keepLast: 2 })
  await store.persist(persistOf(`${random.pick(['a', 'b', 'c'])}/${cycle}`))
  await store.tag(random.pick(['one', 'two']))
  await store.persist({
    blobs: {
      index: async (path) => {
        const file = await disk.start('engine').fs.open(path, 'create')
        await file.write([random.bytes(700)], 0)
        await file.close()
      },
    },
    metadata: { label: 'engine' },
  })
  await using snapshot = await store.load()
  await snapshot!.blob('index').file()
  await store.rollback(random.pick(await store.snapshots()).sequence)
  return someState(random.pick(pendings), random)
}

test.each(['atomic', 'both', 'parts'] as const)(
  'nothing gathers over a hundred crashes, renames %s',
  async (rename) => {
    const random = seeded('cycles', rename.length)
    let image: DirectoryImage | null = null
    const most = { tmp: 0, packs: 0, files: 0 }
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      image = await live(image, rename, cycle, random)
      for (const name of ['tmp', 'packs', 'files'] as const) {
        most[name] = Math.max(most[name], filesBelow(image, `${STORE}/${name}`).length)
      }
      expect(filesBelow(image, `${STORE}/quarantine`)).toEqual([])
    }
    // Ten times as many cycles leave no more than this.
    expect(most.tmp).toBeLessThanOrEqual(12)
    expect(most.packs).toBeLessThanOrEqual(24)
    expect(most.files).toBeLessThanOrEqual(12)
    const disk = createDisk(image)
    const store = openOn(disk.start())
    for (const { tags } of await store.snapshots()) for (const tag of tags) await store.untag(tag)
    for (const label of ['last/1', 'last/2']) await store.persist({ ...persistOf(label), keepLast: 1 })
    assertTidy(disk.image(), 0)
    // Nothing that was laid out is needed any more.
    expect(filesBelow(disk.image(), `${STORE}/files`)).toEqual([])
  },
)

test('the same crash over and over, in the middle of every recovery, gathers nothing either', async () => {
  const random = seeded('the same crash', 5)
  let image: DirectoryImage | null = null
  let seen = ''
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const disk = createDisk(image, { rename: 'both', seed: cycle })
    const process = disk.start()
    // Dies when its pack and its temps are there and nothing names them.
    disk.onCall = ({ name, path }) => {
      if (cycle <= 3 || name !== 'rename' || !path.endsWith('/HEAD.json')) return undefined
      process.kill()
      return { error: 'EIO' }
    }
    await openOn(process)
      .persist(persistOf(`a/${cycle}`))
      .catch(() => undefined)
    expect(process.alive).toBe(cycle <= 3)
    image = someState(disk.pending(), random)
    const now = await observeImage(createDisk(image))
    if (cycle > 4) expect(now).toBe(seen)
    seen = now
    expect(filesBelow(image, `${STORE}/tmp`).length).toBeLessThanOrEqual(6)
    expect(filesBelow(image, `${STORE}/packs`).length).toBeLessThanOrEqual(6)
  }
})
