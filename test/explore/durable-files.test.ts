// Searches: a power loss, a kill and an error at every call of a durable write, and a power loss at every call of a
// move into quarantine.

import { describe, expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import { reapSiblings } from '../../src/fs/orphans.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { quarantinePath } from '../../src/fs/quarantine.ts'
import { isTempName } from '../../src/fs/sibling-temps.ts'
import { type DurableData, type SaveToTemp, writeFile } from '../../src/fs/write-file.ts'
import { crashStates } from '../faulty-disk/crash-states.ts'
import { createDisk, type Disk, type Process } from '../faulty-disk/disk.ts'
import { type DirectoryImage, walk } from '../faulty-disk/image.ts'
import type { RenameModel } from '../faulty-disk/names.ts'
import { createRandom } from '../support/random.ts'

const path = '/config/registry.json'
const old = 'o'.repeat(9_000)
const fresh = 'n'.repeat(10_000)
const newest = 'z'.repeat(100)

function write(fs: FileSystem, data: DurableData | SaveToTemp, makeDirectories = false): Promise<unknown> {
  const signal = new AbortController().signal
  const options = { mode: 0o600, keepMode: true, symlinks: 'follow', encoding: 'utf8', extraFiles: 'refuse' } as const
  return writeFile(fs, path, data, { ...options, makeDirectories, signal })
}

/** An engine that writes in place on that disk, in two parts, and does not fsync. */
function engineOn(fs: FileSystem, content: string): SaveToTemp {
  return async (temp) => {
    const file = await fs.open(temp, 'create')
    try {
      await file.write([Buffer.from(content.slice(0, 5_000))], 0)
      await file.write([Buffer.from(content.slice(5_000))], 5_000)
    } finally {
      await file.close()
    }
  }
}

interface Work {
  name: string
  prepare: boolean
  run(process: Process): Promise<unknown>
  /** What files there may be: while it runs, and once it has resolved. */
  meanwhile: (string | null)[]
  after: (string | null)[]
}

const works: Work[] = [
  {
    name: 'replacing a file',
    prepare: true,
    run: ({ fs }) => write(fs, fresh),
    meanwhile: [old, fresh],
    after: [fresh],
  },
  {
    name: 'replacing a file by an engine that saves',
    prepare: true,
    run: ({ fs }) => write(fs, engineOn(fs, fresh)),
    meanwhile: [old, fresh],
    after: [fresh],
  },
  {
    name: 'making a file and its directory',
    prepare: false,
    run: ({ fs }) => write(fs, fresh, true),
    meanwhile: [null, fresh],
    after: [fresh],
  },
]

const models: RenameModel[] = ['atomic', 'both', 'parts']

async function prepared(work: Pick<Work, 'prepare'>): Promise<DirectoryImage> {
  const disk = createDisk()
  const process = disk.start()
  if (work.prepare) await write(process.fs, old, true)
  disk.settle()
  disk.kill()
  return disk.image()
}

/** Text of each file, by path. */
function texts(image: DirectoryImage): Map<string, string> {
  const found = new Map<string, string>()
  for (const [at, node] of walk(image)) {
    if (node.kind === 'file') found.set(at, Buffer.from(node.content).toString())
  }
  return found
}

const temps = (image: DirectoryImage) =>
  [...walk(image)].map(([at]) => at).filter((at) => isTempName(at.split('/').at(-1)!))

/** The next process finds whole content, removes what was left, and writes anew. */
async function expectRecovers(image: DirectoryImage, allowed: (string | null)[]): Promise<void> {
  expect(allowed).toContain(texts(image).get(path) ?? null)
  const disk = createDisk(image)
  const process = disk.start()
  await reapSiblings(process.fs, path, { olderThanMs: 0, nowMs: disk.nowMs + 1_000_000, patterns: [] })
  expect(temps(disk.image())).toEqual([])
  await write(process.fs, newest, true)
  expect([...texts(disk.image())]).toEqual([[path, newest]])
  disk.kill()
}

describe.each(works)('$name', (work) => {
  test.each(models)('is done or not after a power loss at any instant (rename: %s)', async (rename) => {
    const disk = createDisk(await prepared(work), { rename })
    const random = createRandom(1)
    const points: { pending: ReturnType<Disk['pending']>; allowed: (string | null)[] }[] = []
    disk.onChange = () => points.push({ pending: disk.pending(), allowed: work.meanwhile })
    await work.run(disk.start())
    disk.onChange = null
    points.push({ pending: disk.pending(), allowed: work.after })
    disk.kill()
    let states = 0
    for (const { pending, allowed } of points) {
      for (const image of crashStates(pending, { limit: 60, random }).states) {
        await expectRecovers(image, allowed)
        states += 1
      }
    }
    expect([points.length > 5, states > 50], `${points.length} points, ${states} states`).toEqual([true, true])
  })

  test('is done or not when the process is killed at any call', async () => {
    const image = await prepared(work)
    let kills = 0
    for (let at = 1; ; at += 1) {
      const disk = createDisk(image)
      const process = disk.start()
      disk.onCall = ({ number }) => {
        if (number === at) process.kill()
        return undefined
      }
      const done = await work.run(process).then(
        () => true,
        () => false,
      )
      if (process.alive) break
      kills += 1
      await expectRecovers(disk.image(), done ? work.after : work.meanwhile)
    }
    expect(kills).toBeGreaterThan(8)
  })

  test.each(['EIO', 'ENOSPC', 'EMFILE'])(
    'that meets %s at any call says so, and is undone unless it says otherwise',
    async (code) => {
      const image = await prepared(work)
      const before = work.prepare ? old : null
      let failures = 0
      for (let at = 1; ; at += 1) {
        const disk = createDisk(image)
        const process = disk.start()
        let failed = ''
        disk.onCall = ({ number, name }) => {
          if (number !== at) return undefined
          failed = name
          return { error: code }
        }
        const error = await work.run(process).catch((thrown: unknown) => thrown)
        disk.onCall = null
        if (failed === '') break
        const now = texts(disk.image()).get(path) ?? null
        if (isHoldfastError(error, 'COMMIT_UNKNOWN')) expect(now).toBe(fresh)
        else if (error instanceof Error)
          expect([now, (error as { code?: string }).code], `${at}: ${failed}`).toEqual([
            before,
            expect.stringMatching(/^(IO_FAILED|NO_SPACE|E[A-Z]+)$/),
          ])
        else
          expect([now, ['unlink', 'close', 'lock', 'rmdir', 'readdir', 'lstat']], failed).toEqual([
            fresh,
            expect.arrayContaining([failed]),
          ])
        expect([failed, process.openFiles()]).toEqual([failed, []])
        // What could not be removed, or whose removal failed, the next one removes.
        if (!['unlink', 'rmdir', 'readdir', 'lstat'].includes(failed))
          expect([failed, temps(disk.image())]).toEqual([failed, []])
        failures += 1
        await expectRecovers(disk.image(), [now])
      }
      expect(failures).toBeGreaterThan(8)
    },
  )
})

test.each(models)('quarantine never loses what it moves (rename: %s)', async (rename) => {
  const disk = createDisk(await prepared({ prepare: true }), { rename })
  const random = createRandom(2)
  const points: { pending: ReturnType<Disk['pending']>; moved: boolean }[] = []
  disk.onChange = () => points.push({ pending: disk.pending(), moved: false })
  const { fs } = disk.start()
  const to = await quarantinePath(fs, path, { reason: 'x', directory: '/aside', details: {}, now: new Date(0) })
  disk.onChange = null
  points.push({ pending: disk.pending(), moved: true })
  disk.kill()
  for (const { pending, moved } of points) {
    for (const image of crashStates(pending, { limit: 60, random }).states) {
      const found = texts(image)
      const places = [path, to!].filter((at) => found.get(at) === old)
      if (moved) expect(places).toEqual([to])
      // Half a rename between directories may take the old name away and not bring the new one.
      else if (rename !== 'parts') expect(places.length).toBeGreaterThanOrEqual(1)
      // Whatever was moved is explained.
      if (found.has(to!)) expect(JSON.parse(found.get(`${to}.json`)!)).toMatchObject({ original: path })
    }
  }
})
