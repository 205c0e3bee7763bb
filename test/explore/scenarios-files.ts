import { basename, join } from 'node:path'
import { isAsideName } from '../../src/fs/move-aside.ts'
import { orphanPattern, reapSiblings } from '../../src/fs/orphans.ts'
import { quarantinePath } from '../../src/fs/quarantine.ts'
import { findLagging } from '../../src/fs/stale.ts'
import { removeTree } from '../../src/fs/temps.ts'
import { type WriteFileOptions, writeFile as writeDurably } from '../../src/fs/write-file.ts'
import { destroyDirectory, setDirectoryAside } from '../../src/storage/directory/remove.ts'
import { createDisk, type Process } from '../faulty-disk/disk.ts'
import { contentOf as bytesAt, type DirectoryImage, filesBelow, walk } from '../faulty-disk/image.ts'
import type { Context, Scenario } from './explore.ts'
import { contentOf, observe, openOn, STORE } from './model.ts'
import { persisted, writeFile } from './scenarios.ts'

/** Every operation that changes a caller's file, or a store as a whole. */

/** All of it is in that file, the old content or the new; the new one when that was acknowledged. */
function assertEither(
  image: DirectoryImage,
  path: string,
  old: Uint8Array,
  now: Uint8Array,
  acknowledged: boolean,
): void {
  const bytes = bytesAt(image, path)
  if (Buffer.compare(bytes, now) === 0 || (!acknowledged && Buffer.compare(bytes, old) === 0)) return
  throw new Error(`${path} has ${bytes.length} bytes of neither`)
}

const old = Buffer.from('what was there before\n'.repeat(100))
const writing: WriteFileOptions = {
  mode: 0o600,
  keepMode: true,
  symlinks: 'refuse',
  encoding: 'utf8',
  extraFiles: 'refuse',
  makeDirectories: true,
  signal: new AbortController().signal,
}

const HOUR_MS = 3_600_000
const STATE = '/srv/conf/state.json'

/**
 * Writers of that file died: before they wrote, with all of it written, and while something saved into a path of
 * theirs.
 */
async function killFileWriters(context: Context): Promise<void> {
  const { disk, process } = context
  await writeDurably(process.fs, STATE, old, writing)
  const save = (by: Context) => (path: string) => writeFile(by.process, path, old)
  for (const [victim, data] of [
    ['write', () => old],
    ['sync', () => old],
    ['sync', save],
  ] as const) {
    const by = { ...context, ...context.other() }
    disk.onCall = (call) => {
      if (call.process === by.process.name && call.name === victim) by.process.kill()
      return undefined
    }
    await writeDurably(by.process.fs, STATE, data(by), writing).catch(() => undefined)
    disk.onCall = null
    if (by.process.alive) throw new Error(`the writer survived its ${victim}`)
  }
  await writeFile(process, `${STATE}.1234`, old)
  for (const neighbour of NEIGHBOURS) await writeFile(process, neighbour, old)
}

/** Not that file's temps, though they look like it. */
const NEIGHBOURS = ['/srv/conf/.other.json.12-0-abc-0123456789abcdef01234567.tmp', '/srv/conf/state.json.bak']

async function reap(process: Process): Promise<number> {
  const nowMs = createDisk().nowMs + 1000 * HOUR_MS
  const patterns = [orphanPattern('{name}.{digits}')]
  const { removed, kept } = await reapSiblings(process.fs, STATE, { olderThanMs: HOUR_MS, nowMs, patterns })
  if (kept.length > 0) throw new Error(`kept ${kept.map(({ path, why }) => `${path} (${why})`).join()}`)
  return removed.length
}

/** Whatever was moved aside below a directory has a note that says why, and was not there before it. */
function assertNotes(image: DirectoryImage): void {
  const paths = new Set([...walk(image)].map(([path]) => path))
  for (const path of paths) {
    if (!isAsideName(basename(path)) || path.endsWith('.json')) continue
    if (!paths.has(`${path}.json`)) throw new Error(`${path} has no note`)
    JSON.parse(Buffer.from(bytesAt(image, `${path}.json`)).toString())
  }
}

/** A blob that is written over a file of the caller, once `prepare` is done. */
function writtenOut(name: string, prepare: (context: Context) => Promise<unknown>): Scenario {
  return {
    name,
    prepare: async (context) => {
      await persisted('a/1')(context)
      await prepare(context)
      await writeFile(context.process, '/out.bin', old)
    },
    steps: [
      async ({ store }) => {
        await using snapshot = await store.load()
        await snapshot!.blob('index').writeTo('/out.bin')
      },
    ],
    alsoCheck: (image, acknowledged) =>
      assertEither(image, '/out.bin', old, contentOf('a/1').index!, acknowledged === 1),
  }
}

/** Files outside any store. */
export const files: Scenario[] = [
  writtenOut('a blob written to a path', async () => undefined),
  writtenOut('a blob that is laid out, cloned to a path', ({ store }) => store.materialize()),
  {
    name: 'a directory of blobs written out',
    prepare: persisted('tree/1'),
    steps: [
      async ({ store, process }) => {
        // As the error says that an earlier attempt may have ended with.
        await removeTree(process.fs, '/srv/out').catch(() => undefined)
        await using snapshot = await store.load()
        await snapshot!.directory('tree').writeTo('/srv/out')
      },
    ],
    alsoCheck(image, acknowledged) {
      const found = filesBelow(image, '/srv/out')
      if (found.length === 0 && acknowledged === 0) return
      for (const [name, bytes] of Object.entries(contentOf('tree/1'))) {
        assertEither(image, `/srv/out/${name.slice('tree/'.length)}`, bytes, bytes, true)
      }
    },
  },
  {
    name: 'a file of the caller, from bytes and then from something that saves into a path',
    prepare: async ({ process }) => void (await writeDurably(process.fs, STATE, old, writing)),
    steps: [
      async ({ process }) => void (await writeDurably(process.fs, STATE, 'new'.repeat(2000), writing)),
      async ({ process }) => {
        const save = (path: string): Promise<void> => writeFile(process, path, Buffer.from('newest'.repeat(1000)))
        await writeDurably(process.fs, STATE, save, writing)
      },
    ],
    alsoCheck(image, acknowledged) {
      const contents = [old, Buffer.from('new'.repeat(2000)), Buffer.from('newest'.repeat(1000))]
      const before = contents[acknowledged]!
      assertEither(image, STATE, before, contents[acknowledged + 1] ?? before, false)
    },
  },
  {
    name: 'a file of the caller moved aside',
    prepare: async ({ process }) => void (await writeDurably(process.fs, STATE, old, writing)),
    steps: [
      async ({ process }) => {
        const options = { reason: 'test', details: {}, now: new Date() }
        await quarantinePath(process.fs, STATE, options)
      },
    ],
    alsoCheck(image, acknowledged, rename) {
      const names = filesBelow(image, '/srv/conf').filter((name) => !name.endsWith('.json') || name === 'state.json')
      if (acknowledged === 1 && names.includes('state.json')) throw new Error('it is back')
      const kept = names.some((name) => Buffer.compare(bytesAt(image, `/srv/conf/${name}`), old) === 0)
      if (!kept && rename !== 'parts') throw new Error('it is gone')
    },
  },
  {
    name: 'what dead writers left beside a file of the caller is removed',
    prepare: killFileWriters,
    steps: [
      async ({ process }) => {
        const removed = await reap(process)
        if (removed !== 4) throw new Error(`removed ${removed}`)
      },
    ],
    async alsoCheck(image) {
      const kept = [STATE, ...NEIGHBOURS].sort()
      for (const path of kept) assertEither(image, path, old, old, true)
      // A removal that is cut short, or taken back by the power loss, is finished by the next.
      const again = createDisk(image)
      await reap(again.start())
      const left = filesBelow(again.image(), '/srv/conf').map((name) => `/srv/conf/${name}`)
      if (left.join() !== kept.join()) throw new Error(`left are ${left.join()}`)
    },
  },
  {
    name: 'indexes older than their source are moved aside',
    async prepare({ disk, process: { fs }, process }) {
      for (const path of ['/srv', '/srv/index', '/srv/index/below']) await fs.mkdir(path, 0o700)
      for (const name of INDEX) await writeFile(process, `/srv/index/${name}`, old)
      await writeFile(process, '/srv/words', old)
      disk.nowMs += HOUR_MS
      await writeFile(process, '/srv/young', old)
      await writeFile(process, '/srv/source.db', old)
    },
    steps: [
      async ({ process }) => {
        const derived = ['/srv/index', '/srv/words', '/srv/young']
        const options = { derived, source: ['/srv/source.db'], olderThanMs: HOUR_MS / 2, files: () => true }
        for (const { path, ...details } of await findLagging(process.fs, options)) {
          await quarantinePath(process.fs, path, { reason: 'stale', details, now: new Date() })
        }
      },
    ],
    alsoCheck(image, acknowledged, rename) {
      assertNotes(image)
      for (const path of ['/srv/young', '/srv/source.db']) assertEither(image, path, old, old, true)
      const tops = [...new Set(filesBelow(image, '/srv').map((name) => name.split('/')[0]!))]
      const places = (name: string): string[] =>
        tops.filter((top) => top === name || (top.startsWith(`${name}.stale.`) && !top.endsWith('.json')))
      for (const name of ['index', 'words']) {
        if (acknowledged === 1 && places(name).includes(name)) throw new Error(`${name} is back`)
        if (places(name).length === 0 && !(name === 'words' && rename === 'parts')) throw new Error(`${name} is gone`)
      }
      for (const top of places('index')) {
        for (const name of INDEX) assertEither(image, `/srv/${top}/${name}`, old, old, true)
      }
      for (const top of places('words')) assertEither(image, `/srv/${top}`, old, old, true)
    },
  },
]

const INDEX = ['links', 'below/vectors']

/** The files of a store that is about to be destroyed. */
let doomed: string[] = []

export const removals: Scenario[] = [
  {
    name: 'a store is destroyed',
    async prepare(context) {
      await persisted('a/1', 'a/2')(context)
      doomed = filesBelow(context.disk.image(), STORE)
    },
    steps: [async ({ process }) => void (await destroyDirectory(process.fs, STORE, 100))],
    async alsoCheck(image, acknowledged) {
      const left = filesBelow(image, STORE)
      const isThere = [...walk(image)].some(([path]) => path === STORE)
      if (isThere && (acknowledged > 0 || left.join() !== doomed.join())) {
        throw new Error(`under its name there is ${left.join()} of ${doomed.join()}`)
      }
      // What is left under another name is gone with the next.
      const again = createDisk(image)
      await destroyDirectory(again.start().fs, STORE, 100)
      if (filesBelow(again.image(), '/srv').length > 0) throw new Error(`left are ${filesBelow(again.image(), '/srv')}`)
    },
  },
  {
    name: 'a store is set aside',
    prepare: persisted('a/1', 'a/2'),
    steps: [async ({ process }) => void (await setDirectoryAside(process.fs, STORE, 'test', 100))],
    async alsoCheck(image) {
      // Here or there, it is whole.
      if (filesBelow(image, STORE).includes('HEAD.json')) return
      const [head] = filesBelow(image, `${STORE}.quarantine`).filter((name) => name.endsWith('/HEAD.json'))
      if (head === undefined) throw new Error('the store is neither here nor there')
      const path = join(`${STORE}.quarantine`, head, '..')
      const seen = await observe(openOn(createDisk(image).start(), { path }))
      if (seen.split('\n').length !== 2) throw new Error(`what was set aside holds ${seen}`)
    },
  },
]
