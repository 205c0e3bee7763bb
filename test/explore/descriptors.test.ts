import { describe, expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import { parseHead } from '../../src/format/head.ts'
import { makeDirectory } from '../../src/fs/make-directory.ts'
import { moveAside } from '../../src/fs/move-aside.ts'
import { putInPlace } from '../../src/fs/put-in-place.ts'
import { quarantinePath } from '../../src/fs/quarantine.ts'
import { type WriteFileOptions, writeFile as writeDurably } from '../../src/fs/write-file.ts'
import { destroyDirectory, setDirectoryAside } from '../../src/storage/directory/remove.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import type { Store } from '../../src/store.ts'
import { type CallName, createDisk, type Process } from '../faulty-disk/disk.ts'
import { contentOf as bytesAt, type DirectoryImage, filesBelow, walk } from '../faulty-disk/image.ts'
import { storeOver } from '../support/store-over.ts'
import { openOn, persistOf, STORE } from './model.ts'
import { writeFile } from './scenarios.ts'
import { tally } from './tally.ts'

// Every way in which something gets a name, with each call that needs a descriptor refused in turn. What is needed
// after a rename must have been opened before it: either nothing has got that name, or all of it is done.

const count = tally('descriptors refused')
const FILE = '/data/state.json'
const old = Buffer.from('old')
const now = new Date(1_700_000_000_000)
const writing: WriteFileOptions = {
  mode: 0o600,
  keepMode: true,
  symlinks: 'refuse',
  encoding: 'utf8',
  extraFiles: 'refuse',
  makeDirectories: true,
  signal: new AbortController().signal,
}

interface Place {
  name: string
  prepare?: (process: Process) => Promise<void>
  put: (process: Process, store: Store, other: Process) => Promise<unknown>
  /** What gets a name, is moved or is taken away. It may lie there in one piece, or not at all. */
  seen: (image: DirectoryImage) => string
  /** It may also be gone when the call fails, and the next has nothing to do. */
  gone?: (seen: string) => boolean
}

/** The bytes of one file, or that there is none. */
function file(path: string): Place['seen'] {
  return (image) => {
    const found = [...walk(image)].find(([each]) => each === path)?.[1]
    return found?.kind === 'file' ? Buffer.from(found.content).toString('base64') : `${found?.kind}`
  }
}

/** The names of the files below a path. */
function names(path: string): Place['seen'] {
  return (image) =>
    filesBelow(image, path)
      .filter((name) => !/^\.tmp|\.lock$/.test(name))
      .join()
}

/** The newest snapshot that HEAD names. */
function sequence(image: DirectoryImage): string {
  const head = filesBelow(image, STORE).includes('HEAD.json') ? bytesAt(image, `${STORE}/HEAD.json`) : null
  return head === null ? '0' : String(parseHead(head, 'HEAD.json').head.sequence)
}

const dataDirectory = async ({ fs }: Process) => await fs.mkdir('/data', 0o700)

async function oldFile(process: Process): Promise<void> {
  await dataDirectory(process)
  await writeFile(process, FILE, old)
}

async function persisted(process: Process): Promise<void> {
  const store = openOn(process)
  for (const label of ['tree/1', 'tree/2']) await store.persist(persistOf(label))
  await store.close()
}

async function fromSnapshot(store: Store, use: (snapshot: NonNullable<Awaited<ReturnType<Store['load']>>>) => unknown) {
  await using snapshot = await store.load()
  await use(snapshot!)
}

const blobName = Object.keys(persistOf('tree/1').blobs)[0]!
const aside = { reason: 'test', details: {}, now }

const places: Place[] = [
  {
    name: 'a file of the caller',
    prepare: oldFile,
    put: ({ fs }) => writeDurably(fs, FILE, 'new', writing),
    seen: file(FILE),
  },
  {
    name: 'a file of the caller that is saved into a path',
    prepare: oldFile,
    // What saves asks for descriptors of its own.
    put: ({ fs }, _store, other) =>
      writeDurably(fs, FILE, (path: string) => writeFile(other, path, Buffer.from('new')), writing),
    seen: file(FILE),
  },
  {
    name: 'directories above a file',
    prepare: dataDirectory,
    put: ({ fs }) => makeDirectory(fs, '/data/a/b', 0o700),
    seen: (image) => String([...walk(image)].some(([path]) => path === '/data/a/b')),
  },
  {
    name: 'a file moved into quarantine beside it',
    prepare: oldFile,
    put: ({ fs }) => quarantinePath(fs, FILE, aside),
    seen: file(FILE),
  },
  {
    name: 'a file moved into a quarantine of its own',
    prepare: oldFile,
    put: ({ fs }) => moveAside(fs, { ...aside, from: FILE, quarantineDirectory: '/data/quarantine' }),
    seen: file(FILE),
  },
  {
    name: 'a database in the place of another with its log',
    async prepare(process) {
      await oldFile(process)
      await writeFile(process, `${FILE}-wal`, old)
      await writeFile(process, `${FILE}.old`, old)
      await writeFile(process, `${FILE}.new`, Buffer.from('new'))
    },
    put: ({ fs }) =>
      putInPlace(fs, { fresh: `${FILE}.new`, path: FILE, kept: `${FILE}.old`, companions: ['-wal', '-shm'] }),
    seen: file(FILE),
  },
  {
    name: 'a blob written to a path',
    prepare: async (process) => {
      await persisted(process)
      await oldFile(process)
    },
    put: (_process, store) => fromSnapshot(store, (snapshot) => snapshot.blob(blobName).writeTo(FILE)),
    seen: file(FILE),
  },
  {
    name: 'a blob that is laid out, cloned to a path',
    prepare: async (process) => {
      await persisted(process)
      await openOn(process).materialize({ blobs: [blobName] })
      await oldFile(process)
    },
    put: (_process, store) => fromSnapshot(store, (snapshot) => snapshot.blob(blobName).writeTo(FILE)),
    seen: file(FILE),
  },
  {
    name: 'a directory of blobs written out',
    prepare: persisted,
    put: (_process, store) => fromSnapshot(store, (snapshot) => snapshot.directory('tree').writeTo('/data/out')),
    seen: names('/data/out'),
  },
  {
    name: 'a blob laid out as a file',
    prepare: persisted,
    put: (_process, store) => fromSnapshot(store, (snapshot) => snapshot.blob(blobName).file()),
    seen: names(`${STORE}/files`),
  },
  {
    name: 'all blobs laid out elsewhere',
    prepare: persisted,
    put: ({ fs }) => {
      const storage = directoryStorage({ fs, path: STORE, readOnly: true, lock: 'os' })
      return storeOver(storage, fs, {}, { readOnly: true, filesDir: '/data/files' }).materialize({ blobs: [blobName] })
    },
    seen: names('/data/files'),
  },
  {
    name: 'HEAD, STORE.json and the first pack',
    put: (_process, store) => store.persist(persistOf('a/1')),
    seen: sequence,
  },
  {
    name: 'HEAD, the one before and a pack',
    prepare: persisted,
    put: (_process, store) => store.persist(persistOf('tree/3')),
    seen: sequence,
  },
  {
    name: 'a store that is set aside',
    prepare: persisted,
    put: ({ fs }) => setDirectoryAside(fs, STORE, 'test', 100),
    seen: file(`${STORE}/HEAD.json`),
  },
  {
    name: 'a store that is destroyed',
    prepare: persisted,
    put: ({ fs }) => destroyDirectory(fs, STORE, 100),
    seen: file(`${STORE}/HEAD.json`),
    // What could not be deleted has lost its name already, for good.
    gone: (seen) => seen === 'undefined',
  },
]

/** Calls that take a descriptor for themselves. */
const takeOne: readonly CallName[] = ['open', 'readdir']

async function imageFor({ prepare }: Place): Promise<DirectoryImage> {
  const disk = createDisk()
  await prepare?.(disk.start())
  disk.settle()
  return disk.image()
}

describe.each(['once', 'from then on'] as const)('no descriptor can be had, %s', (when) => {
  test.each(places.map((place) => [place.name, place] as const))(
    '%s: nothing was changed, or all of it; it is never in doubt, and the next try goes well',
    async (_name, place) => {
      const start = await imageFor(place)
      let refused = 0
      let failed = 0
      for (let at = 1, met = true; met; at++) {
        const disk = createDisk(start)
        const process = disk.start()
        const other = disk.start()
        const store = openOn(process)
        let asked = 0
        disk.onCall = ({ name, process: by }) => {
          if (by !== process.name || !takeOne.includes(name)) return undefined
          asked += 1
          return asked === at || (asked > at && when === 'from then on') ? { error: 'EMFILE' } : undefined
        }
        const error = await place.put(process, store, other).then(
          () => null,
          (thrown: unknown) => thrown,
        )
        met = asked >= at
        if (!met) break
        disk.onCall = null
        refused += 1
        const where = `refused at the ${at}th:\n${disk.log.slice(-30).join('\n')}`
        if (error !== null) {
          failed += 1
          if (!isHoldfastError(error, 'IO_FAILED')) throw new Error(`${String(error)}, ${where}`, { cause: error })
          expect(error.details.code, where).toBe('EMFILE')
          const seen = place.seen(disk.image())
          if (seen !== place.seen(start) && !place.gone?.(seen))
            throw new Error(`changed, and yet ${error.message}; ${where}`)
          await place.put(process, store, other)
        }
        const now = place.seen(disk.image())
        if (now === place.seen(start)) throw new Error(`not done, ${where}`)
        await store.close()
        expect(process.openFiles(), where).toEqual([])
      }
      count({ refused, failed })
      expect(failed).toBeGreaterThan(0)
    },
    60_000,
  )
})
