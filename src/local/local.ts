// What a store keeps on this machine, whatever its storage is: blobs laid out as files, and work directories for
// sources that can only save into a path. Nothing here is needed to read a snapshot.

import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { clock } from '../clock.ts'
import { ignoreMissing } from '../fs/io.ts'
import { makeDirectory } from '../fs/make-directory.ts'
import { withSyncCalls } from '../fs/node.ts'
import type { FileSystem } from '../fs/port.ts'
import { createWorkDirectory, removeTree, type WorkDirectory } from '../fs/temps.ts'
import { createLocalFiles, type LocalFiles } from './files.ts'
import { createImages, type Images } from './images.ts'

export interface Local {
  /** Blobs laid out as plain files; null where that is not possible. */
  readonly files: LocalFiles | null
  /** Files of native engines, kept beside their blobs; null where that is not possible. */
  readonly images: Images | null
  /** A directory for a source that can only save into a path. */
  workDirectory(): Promise<WorkDirectory>
  /**
   * A directory for an engine whose own temporary directory has no room; null where nothing may be written, or nothing
   * could say later that the directory is still in use.
   */
  room(): Promise<WorkDirectory | null>
  /** Removes what lives only as long as the store is open. */
  close(): Promise<void>
}

export interface LocalOptions {
  fs: FileSystem
  /** Of the store. */
  directory: string
  lock: boolean
  readOnly: boolean
  /** Where to lay blobs out; default `<directory>/files`, where a read-only store only uses what it finds. */
  filesDir?: string | undefined
}

/** For so long after it was listed the kernel is taken to have the directory in memory. */
const WARM_MS = 10_000

/** In and beside a store's own directory. */
export function localBesideStore({ fs, directory, lock, readOnly, filesDir }: LocalOptions): Local {
  const at = filesDir ?? join(directory, 'files')
  const options = {
    directory: at,
    lock,
    // Nothing is written outside of what was given.
    quarantineDirectory: filesDir === undefined ? join(directory, 'quarantine') : join(filesDir, 'quarantine'),
    like: filesDir === undefined ? directory : undefined,
    readOnly: readOnly && filesDir === undefined,
    insideStore: filesDir === undefined,
  }
  const files = createLocalFiles({ ...options, fs })
  const warmFiles = createLocalFiles({ ...options, fs: withSyncCalls(fs) })
  let listedMs = Number.NEGATIVE_INFINITY

  const { insideStore, readOnly: onlyRead } = options
  const images = createImages({ fs, directory: at, store: insideStore ? directory : null, readOnly: onlyRead })
  async function workDirectory(): Promise<WorkDirectory> {
    const tmp = join(directory, 'tmp')
    await makeDirectory(fs, tmp, 0o700)
    return await createWorkDirectory(fs, tmp, { lock })
  }

  return {
    // Without locks nobody knows who uses one, and none could ever be removed.
    images: lock || onlyRead ? images : null,
    files: {
      ...files,
      async list() {
        // Every write lists it.
        const isWarm = clock.monotonicMs() - listedMs < WARM_MS
        const listed = await (isWarm ? warmFiles : files).list()
        listedMs = clock.monotonicMs()
        return listed
      },
    },
    workDirectory,
    async room() {
      if (readOnly || !lock || !(await isStoreOrEmpty(fs, directory))) return null
      return await workDirectory()
    },
    async close() {},
  }
}

/** A first save may need room before there is a store. A directory of somebody else's gets nothing from us. */
async function isStoreOrEmpty(fs: FileSystem, directory: string): Promise<boolean> {
  const entries = (await ignoreMissing(fs.readdir(directory))) ?? []
  const before = ['tmp', 'lost+found']
  return entries.some(({ name }) => name === 'STORE.json') || entries.every(({ name }) => before.includes(name))
}

/** In the temporary directory, for a store that has no directory; removed when the store is closed. */
export function localScratch(fs: FileSystem): Local {
  const scratch = join(tmpdir(), `holdfast-memory-${process.pid}-${randomBytes(8).toString('hex')}`)
  return {
    images: null,
    files: createLocalFiles({
      fs,
      directory: join(scratch, 'files'),
      lock: false,
      quarantineDirectory: join(scratch, 'quarantine'),
    }),
    async workDirectory() {
      await makeDirectory(fs, scratch, 0o700)
      return await createWorkDirectory(fs, scratch, { lock: false })
    },
    room: async () => null,
    async close() {
      await removeTree(fs, scratch)
    },
  }
}
