// Searches: a power loss at every call of a repair, on the simulated disk.

import { expect, test } from 'vitest'
import { crashStates } from '../faulty-disk/crash-states.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { contentOf as bytesAt, type DirectoryImage, filesBelow, keyOf, walk } from '../faulty-disk/image.ts'
import type { Pending, RenameModel } from '../faulty-disk/names.ts'
import { sample, seeded, share } from '../support/effort.ts'
import { createRandom } from '../support/random.ts'
import { RENAME_MODELS } from './explore.ts'
import { observe, openOn, persistOf, STORE } from './model.ts'

// A repair that crashes is repaired by another one, and loses no evidence.

const damages: Record<string, (disk: ReturnType<typeof createDisk>) => Promise<void> | void> = {
  'HEAD.json is gone': async (disk) => await disk.start().fs.unlink(`${STORE}/HEAD.json`),
  'both heads are gone': async (disk) => {
    for (const name of ['HEAD.json', 'HEAD.prev.json']) await disk.start().fs.unlink(`${STORE}/${name}`)
  },
  'both heads are damaged': (disk) => {
    for (const name of ['HEAD.json', 'HEAD.prev.json']) disk.rot(`${STORE}/${name}`, createRandom(3))
  },
  'STORE.json is gone': async (disk) => await disk.start().fs.unlink(`${STORE}/STORE.json`),
  'a pack is gone': async (disk) => {
    await disk.start().fs.unlink(`${STORE}/packs/${packs(disk.image())[0]}`)
  },
  'a pack is damaged': (disk) => disk.rot(`${STORE}/packs/${packs(disk.image())[0]}`, createRandom(4)),
}

function packs(image: DirectoryImage): string[] {
  return filesBelow(image, `${STORE}/packs`)
}

async function damaged(damage: (typeof damages)[string]): Promise<DirectoryImage> {
  const disk = createDisk()
  const store = openOn(disk.start())
  for (const label of ['a/1', 'b/2', 'c/3']) await store.persist(persistOf(label))
  await damage(disk)
  disk.settle()
  return disk.image()
}

/** What is seen, less sequences: a repair that had to begin anew may jump further ahead. */
async function contents(image: DirectoryImage): Promise<string> {
  const seen = await observe(openOn(createDisk(image).start()))
  return seen.replaceAll(/^\d+ /gm, '')
}

function assertNothingDeleted(before: DirectoryImage, after: DirectoryImage): void {
  const there = [...walk(after)].map(([, node]) => (node.kind === 'file' ? node.content : null))
  for (const name of filesBelow(before, STORE)) {
    // A head that can be read is replaced as by any write.
    if (!name.startsWith('packs/')) continue
    const bytes = bytesAt(before, `${STORE}/${name}`)
    if (!there.some((each) => each !== null && Buffer.compare(each, bytes) === 0)) throw new Error(`${name} is gone`)
  }
}

async function repaired(image: DirectoryImage, rename: RenameModel, pendings: Pending[] = []): Promise<DirectoryImage> {
  const disk = createDisk(image, { rename })
  disk.onChange = () => pendings.push(disk.pending())
  const store = openOn(disk.start())
  await store.repair()
  pendings.push(disk.pending())
  const report = await store.verify()
  if (!report.ok) throw new Error(`verify after the repair: ${JSON.stringify(report.problems)} ${report.advice}`)
  return disk.image()
}

test.each(Object.keys(damages))('%s: a repair cut short anywhere is finished by the next', async (name) => {
  const start = await damaged(damages[name]!)
  const random = seeded(name, 1)
  let states = 0
  for (const rename of RENAME_MODELS) {
    const pendings: Pending[] = []
    const end = await repaired(start, rename, pendings)
    const expected = await contents(end)
    expect(expected).toContain('current')
    if (rename !== 'parts') assertNothingDeleted(start, end)
    const checked = new Set<string>()
    for (const pending of sample(`${name}, ${rename}`, pendings, 5)) {
      for (const image of crashStates(pending, { limit: share(8, 4), random }).states) {
        if (checked.has(keyOf(image))) continue
        checked.add(keyOf(image))
        states += 1
        const again = await repaired(image, rename).catch((cause: unknown) => {
          throw new Error(`${rename}: ${(cause as Error).message}\n${filesBelow(image, STORE).join('\n')}`, { cause })
        })
        expect(await contents(again), `${rename}\n${filesBelow(image, STORE).join('\n')}`).toBe(expected)
        if (rename !== 'parts') assertNothingDeleted(start, again)
      }
    }
  }
  expect(states).toBeGreaterThan(10)
})
