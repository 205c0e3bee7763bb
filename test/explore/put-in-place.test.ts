// Searches: a power loss and a kill at every call that puts a restored database in its place.

import { describe, expect, test } from 'vitest'
import { putInPlace } from '../../src/fs/put-in-place.ts'
import { crashStates } from '../faulty-disk/crash-states.ts'
import { createDisk, type Disk, type Process } from '../faulty-disk/disk.ts'
import { contentOf as bytesAt, type DirectoryImage, filesBelow, keyOf } from '../faulty-disk/image.ts'
import type { Pending } from '../faulty-disk/names.ts'
import { createRandom } from '../support/random.ts'
import { writeFile } from './scenarios.ts'
import { tally } from './tally.ts'

// A database is replaced, whose log lies beside it. What a log means depends on the file that it lies beside.

const count = tally('files put in place')
const PATH = '/data/live.db'
const COMPANIONS = ['-wal', '-journal']

/** The files of a directory, each with what is in it. */
type Files = Record<string, string>

function filesIn(image: DirectoryImage): Files {
  const names = filesBelow(image, '/data')
  return Object.fromEntries(names.map((name) => [name, Buffer.from(bytesAt(image, `/data/${name}`)).toString()]))
}

async function diskOf(files: Files): Promise<DirectoryImage> {
  const disk = createDisk()
  const process = disk.start()
  await process.fs.mkdir('/data', 0o700)
  for (const [name, text] of Object.entries(files)) await writeFile(process, `/data/${name}`, Buffer.from(text))
  disk.settle()
  return disk.image()
}

/** As a restore does: the new file is durable, and then put in its place. */
async function restore({ fs }: Process): Promise<void> {
  const process = { fs } as Process
  await fs.unlink(`${PATH}.new`).catch(() => undefined)
  await writeFile(process, `${PATH}.new`, Buffer.from('new'))
  const file = await fs.open(`${PATH}.new`, 'read')
  await file.sync()
  await file.close()
  await fs.syncDirectory('/data')
  await putInPlace(fs, { fresh: `${PATH}.new`, path: PATH, kept: `${PATH}.old`, companions: COMPANIONS })
}

/** What lies at a path with its companions, less those that were never there. */
function family(files: Files, base: string): string {
  return ['', ...COMPANIONS].map((suffix) => files[base + suffix] ?? '').join('|')
}

const starts: Record<string, { files: Files; old: string }> = {
  nothing: { files: {}, old: '||' },
  'a database': { files: { 'live.db': 'old' }, old: 'old||' },
  'a database with its log': { files: { 'live.db': 'old', 'live.db-wal': 'log of old' }, old: 'old|log of old|' },
  'a database with its log and one kept from before with its': {
    files: {
      'live.db': 'old',
      'live.db-journal': 'journal of old',
      'live.db.old': 'oldest',
      'live.db.old-wal': 'log of oldest',
      'live.db.old-journal': 'journal of oldest',
    },
    old: 'old||journal of old',
  },
}

/** What must hold whenever the power fails. */
function assertNoStranger(files: Files, old: string, at: string, links: boolean): void {
  const here = family(files, 'live.db')
  const isOld = here === old
  // Nothing yet, and what belongs to it on its way. One without a log is never away.
  const none = here.startsWith('|') && !(old === 'old||' && links)
  if (!(here === 'new||' || isOld || none)) throw new Error(`${at}: at the path lies ${here}`)
  if (here === 'new||' && family(files, 'live.db.old') !== old) {
    throw new Error(`${at}: kept is ${family(files, 'live.db.old')} and not ${old}`)
  }
}

async function assertFinished(image: DirectoryImage, old: string, at: string, links: boolean): Promise<void> {
  const before = filesIn(image)
  assertNoStranger(before, old, at, links)
  if (family(before, 'live.db') === 'new||') return
  const disk = createDisk(image)
  await restore(disk.start())
  const files = filesIn(disk.image())
  if (family(files, 'live.db') !== 'new||') throw new Error(`${at}: the next leaves ${family(files, 'live.db')}`)
  if (family(files, 'live.db.old') !== old) throw new Error(`${at}: the next keeps ${family(files, 'live.db.old')}`)
  expect(Object.keys(files).filter((name) => name.endsWith('.new'))).toEqual([])
}

/** Every state that a power loss may leave after any change of the disk. */
async function assertStates(pendings: Pending[], check: (image: DirectoryImage) => Promise<void>): Promise<void> {
  const random = createRandom(1)
  const seen = new Set<string>()
  let states = 0
  for (const pending of pendings) {
    for (const image of crashStates(pending, { limit: 64, random }).states) {
      states += 1
      if (seen.has(keyOf(image))) continue
      seen.add(keyOf(image))
      await check(image)
    }
  }
  count({ points: pendings.length, states, distinct: seen.size })
}

describe.each([
  ['atomic', true],
  ['atomic', false],
  ['both', true],
  ['both', false],
] as const)('renames %s, two names for a file: %s', (rename, links) => {
  function diskWith(image: DirectoryImage): Disk {
    const disk = createDisk(image, { rename })
    if (!links) disk.onCall = ({ name }) => (name === 'link' ? { error: 'EPERM' } : undefined)
    return disk
  }

  test.each(Object.entries(starts))(
    'in the place of %s: after a power loss there is the old with its log, or the new, or none yet, and no log of another',
    async (_name, { files, old }) => {
      const disk = diskWith(await diskOf(files))
      const pendings: Pending[] = []
      disk.onChange = () => pendings.push(disk.pending())
      await restore(disk.start())
      disk.onChange = null
      await assertStates(pendings, async (image) => {
        // Where both names may stay, what was there may stand under the one that it left.
        if (rename === 'atomic') await assertFinished(image, old, 'a power loss', links)
        else assertWithBoth(filesIn(image), old)
      })
      await assertStates([disk.pending()], async (image) => {
        expect(family(filesIn(image), 'live.db')).toBe('new||')
        expect(family(filesIn(image), 'live.db.old')).toBe(old)
      })
    },
  )

  test.each(Object.entries(starts))(
    'in the place of %s: killed anywhere, and done by another process, it survives a power loss at any moment',
    async (_name, { files, old }) => {
      const start = await diskOf(files)
      for (let killAt = 1, finished = false; !finished; killAt++) {
        const disk = diskWith(start)
        const victim = disk.start()
        let changes = 0
        disk.onChange = () => {
          if (++changes === killAt) victim.kill()
        }
        await restore(victim).catch(() => undefined)
        finished = victim.alive
        victim.kill()
        // Then what it put there is what is kept.
        const isOver = family(filesIn(disk.image()), 'live.db') === 'new||'
        const pendings: Pending[] = []
        disk.onChange = () => pendings.push(disk.pending())
        await restore(disk.start())
        disk.onChange = null
        await assertStates(pendings, async (image) => {
          const found = filesIn(image)
          if (rename === 'atomic' && !isOver) assertNoStranger(found, old, `killed at ${killAt}`, links)
          else assertWithBoth(found, old)
        })
      }
    },
  )
})

/** A new file meets no log of another, and an old one misses none of its own. */
function assertWithBoth(files: Files, old: string): void {
  const [main, ...companions] = family(files, 'live.db').split('|')
  const [, ...ofOld] = old.split('|')
  if (main === 'new') expect(companions).toEqual(['', ''])
  if (main === 'old') expect(companions).toEqual(ofOld)
}
