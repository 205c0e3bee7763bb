// Blobs laid out as plain read-only files, for engines that can only open a path or memory-map it.

import { join } from 'node:path'
import { clock } from '../clock.ts'
import { HoldfastError } from '../errors.ts'
import { parseCid } from '../format/cid.ts'
import { DirectorySyncFailed, withDirectory, writeDurable } from '../fs/durable.ts'
import {
  assertNoLink,
  attempt,
  errorCode,
  ignoreMissing,
  ioError,
  isMissing,
  isSameFile,
  lstatOrNull,
  readFully,
  statOrNull,
} from '../fs/io.ts'
import { makeDirectory } from '../fs/make-directory.ts'
import { moveAside } from '../fs/move-aside.ts'
import type { File, FileSystem } from '../fs/port.ts'
import { sparseWriter } from '../fs/sparse.ts'
import { listTemps, reapTemps, UNLOCKED_TEMP_AGE_MS } from '../fs/temps.ts'
import { imageDigest, LOCK_SUFFIX } from './images.ts'
import { TEMPS } from './work-home.ts'

/** Blobs as plain read-only files, named by content. */
export interface LocalFiles {
  /**
   * A path holding the blob `cid`. An existing file is given to `verify` first; when it fails, or there is none, `fill`
   * writes one. The file is not deleted until released.
   */
  use(
    cid: string,
    size: number,
    work: {
      verify: (read: (target: Uint8Array, position: number) => Promise<number>) => Promise<boolean>
      fill: (write: (views: readonly Uint8Array[], position: number) => Promise<void>) => Promise<void>
    },
  ): Promise<{ path: string; release(): Promise<void>; releaseSync(): void }>
  /**
   * A file named as the blob `cid`, of its size; null when there is none. It was not verified, and may go any moment.
   */
  find(cid: string, size: number): Promise<string | null>
  /** CIDs laid out, or begun to be; the digests of images; and whether anything was ever in flight there. */
  list(): Promise<{ cids: string[]; images: string[]; temps: boolean }>
  /** Deletes a file unless somebody uses it. */
  remove(cid: string): Promise<boolean>
  /** Removes what processes left that died while they laid out a file. */
  reapTemps(): Promise<void>
}

interface LocalFilesOptions {
  fs: FileSystem
  directory: string
  lock: boolean
  quarantineDirectory: string
  /** A directory whose bits `directory` gets if it has to be made; default 0700. */
  like?: string | undefined
  /** What lies there already is given out, and nothing is written; default false. */
  readOnly?: boolean
  /** `directory` is in a store's own directory, so it must not be a link to elsewhere; default false. */
  insideStore?: boolean
}

type HeldFile = Awaited<ReturnType<LocalFiles['use']>>
type Verify = (read: (target: Uint8Array, position: number) => Promise<number>) => Promise<boolean>

/** The directory may be the caller's own, with files in it that are nobody's to delete. */
function isCid(name: string): boolean {
  try {
    parseCid(name)
    return true
  } catch {
    return false
  }
}

/** A collector holds the exclusive lock only while it deletes one file. */
const LOCK_TRIES = 200
const LOCK_PAUSE_MS = 10

/**
 * `<directory>/<cid>`: a blob as a read-only file; `<cid>.lock` beside it, locked shared by everybody who uses the file
 * and exclusively by whoever deletes it. Files appear by rename and are never truncated: a process may have them
 * memory-mapped.
 */
export function createLocalFiles(options: LocalFilesOptions): LocalFiles {
  const { fs, directory, lock, quarantineDirectory, readOnly = false, insideStore = false } = options
  const tempDirectory = join(directory, TEMPS)

  async function holdLock(path: string, how: 'read' | 'readWrite', mode?: number): Promise<File | null> {
    if (!lock) return null
    for (let tries = 0; tries < LOCK_TRIES; tries++) {
      const file = await fs.open(path, how, mode)
      try {
        const opened = await file.stat()
        if (file.tryLock('shared') && isSameFile(opened, await lstatOrNull(fs, path))) {
          // Whatever the umask: another user of the group locks it too.
          if (mode !== undefined && (opened.mode & 0o777) !== mode) await file.chmod(mode).catch(() => undefined)
          return file
        }
      } catch (error) {
        await file.close()
        throw error
      }
      await file.close()
      await clock.sleep(LOCK_PAUSE_MS)
    }
    throw new HoldfastError(
      'STORE_LOCKED',
      `${path} is locked by somebody who deletes it and does not come to an end`,
      {
        details: { path, waitedMs: LOCK_TRIES * LOCK_PAUSE_MS, holder: null },
      },
    )
  }

  function heldFile(path: string, held: File | null): HeldFile {
    return {
      path,
      release: async () => await held?.close().catch(() => undefined),
      releaseSync: () => held?.closeSync(),
    }
  }

  /**
   * A file that was laid out before, where nothing may be written (a snapshot inside an image); null when there is
   * none.
   */
  async function useAsItIs(path: string, size: number, verify: Verify): Promise<HeldFile | null> {
    let held: File | null = null
    try {
      // A shared lock needs no right to write. Whoever removed the lock file too has nobody who would delete the other.
      held = (await ignoreMissing(holdLock(path + LOCK_SUFFIX, 'read'))) ?? null
      const there = await lstatOrNull(fs, path)
      if (there?.kind === 'file' && there.size === size && (await verified(path, verify))) return heldFile(path, held)
    } catch (error) {
      await held?.close().catch(() => undefined)
      throw ioError(error, `looking for ${path}`)
    }
    await held?.close().catch(() => undefined)
    return null
  }

  return {
    async use(cid, size, work) {
      const path = join(directory, cid)
      if (readOnly) {
        const found = await useAsItIs(path, size, work.verify)
        if (found !== null) return found
        throw new HoldfastError(
          'FILES_UNSUPPORTED',
          `file(): the store is opened read-only, and ${path} was not laid out before (materialize() does that): open it with a filesDir ` +
            'that can be written, or use bytes(), stream() or writeTo()',
          { details: { path } },
        )
      }
      // A directory of the caller's may be a link itself.
      for (const own of insideStore ? [directory, tempDirectory, quarantineDirectory] : [tempDirectory]) {
        await attempt(assertNoLink(fs, own), `looking at ${own}`)
      }
      let held: File | null = null
      try {
        const above = await statOrNull(fs, options.like ?? directory)
        await makeDirectory(fs, directory, (above?.mode ?? 0o700) & 0o777)
        const directoryMode = (await fs.stat(directory)).mode & 0o777
        const mode = directoryMode & 0o666
        held = await holdLock(path + LOCK_SUFFIX, 'readWrite', mode)
        const there = await lstatOrNull(fs, path)
        if (there !== null && (there.kind !== 'file' || there.size !== size || !(await verified(path, work.verify)))) {
          await moveAside(fs, {
            from: path,
            quarantineDirectory,
            reason: 'not-the-blob',
            now: clock.now(),
            details: { cid, size, found: there.size },
          })
        }
        if (there === null || (await lstatOrNull(fs, path)) === null) {
          // The lock says that the file is ours: after a crash it must not be missing beside the file.
          if (lock) await fs.syncDirectory(directory)
          await makeDirectory(fs, tempDirectory, directoryMode)
          await writeDurable(fs, {
            async write(file) {
              const writer = sparseWriter(file)
              await work.fill(writer.write)
              await writer.end()
            },
            tempDirectory,
            target: path,
            mode: mode & 0o444,
            lock,
          })
        }
      } catch (error) {
        await held?.close().catch(() => undefined)
        const refused = ['EROFS', 'EACCES', 'EPERM'].includes(errorCode(error) ?? '')
        const found = refused ? await useAsItIs(path, size, work.verify) : null
        if (found !== null) return found
        throw ioError(error instanceof DirectorySyncFailed ? error.cause : error, `laying out ${path}`)
      }
      return heldFile(path, held)
    },
    async find(cid, size) {
      const path = join(directory, cid)
      const there = await lstatOrNull(fs, path).catch(() => null)
      return there?.kind === 'file' && there.size === size ? path : null
    },
    async list() {
      try {
        const entries = await fs.readdir(directory)
        // What a link leads to is not ours to delete.
        if (insideStore && entries.length > 0 && (await lstatOrNull(fs, directory))?.kind === 'link') {
          return { cids: [], images: [], temps: false }
        }
        const files = entries.filter(({ kind }) => kind === 'file').map(({ name }) => name)
        // A lock alone was left by one who died before the file was there.
        const cids = files.map((name) => (name.endsWith(LOCK_SUFFIX) ? name.slice(0, -LOCK_SUFFIX.length) : name))
        const temps = entries.some(({ name }) => name === TEMPS)
        const images = new Set(files.flatMap((name) => imageDigest(name) ?? []))
        return { cids: [...new Set(cids.filter(isCid))], images: [...images], temps }
      } catch (error) {
        if (isMissing(error)) return { cids: [], images: [], temps: false }
        throw ioError(error, `listing ${directory}`)
      }
    },
    async remove(cid) {
      // Without locks nobody knows who uses it.
      if (!lock) return false
      const path = join(directory, cid)
      // Whatever was laid out has its lock beside it: a file without one is somebody else's.
      const opening = ignoreMissing(fs.open(path + LOCK_SUFFIX, 'update'))
      const file = await attempt(opening, `deleting ${path}`)
      if (file === undefined) return false
      try {
        if (!file.tryLock('exclusive')) return false
        // Another collector may have removed the lock file, and somebody made and locked a new one since.
        if (!isSameFile(await file.stat(), await lstatOrNull(fs, path + LOCK_SUFFIX))) return false
        await withDirectory(fs, directory, async (opened) => {
          await ignoreMissing(fs.unlink(path))
          // The lock says that the file is ours: after a crash it must not be gone while the file is still there.
          await opened.sync()
          await ignoreMissing(fs.unlink(path + LOCK_SUFFIX))
        })
        return true
      } catch (error) {
        throw ioError(error, `deleting ${path}`)
      } finally {
        await file.close()
      }
    },
    async reapTemps() {
      if (insideStore && (await lstatOrNull(fs, tempDirectory))?.kind === 'link') return
      const entries = await listTemps(fs, tempDirectory)
      await reapTemps(fs, tempDirectory, { lock, olderThanMs: UNLOCKED_TEMP_AGE_MS, nowMs: clock.nowMs(), entries })
    },
  }

  async function verified(path: string, verify: Verify): Promise<boolean> {
    const file = await fs.open(path, 'read')
    try {
      return await verify((target, position) => readFully(file, target, position))
    } finally {
      await file.close()
    }
  }
}
