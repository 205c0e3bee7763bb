// Images: files of native engines, as the engines saved them, kept so that a restore need not put them together.
// `files/<digest>.image`, with `<digest>.image.lock` beside it, which is locked shared by whoever uses the image and
// exclusively by whoever removes or makes it. Images are never fsynced: a reader trusts none that it has not hashed.
// They appear by rename and are never written to: a process may have them mapped.

import { copyFile, constants as nodeConstants } from 'node:fs/promises'
import { join } from 'node:path'
import { clock } from '../clock.ts'
import { isHoldfastError } from '../errors.ts'
import { isHex } from '../format/hex.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import { errorCode, ignoreMissing, isSameFile, lstatOrNull, readFully, statOrNull, writeFully } from '../fs/io.ts'
import { makeDirectory } from '../fs/make-directory.ts'
import type { File, FileStat, FileSystem } from '../fs/port.ts'
import type { Home } from './saved-file.ts'
import { workHome } from './work-home.ts'

/** Fills `target` from `position`; fewer bytes only at the end of the file. */
type ReadAt = (target: Uint8Array, position: number) => Promise<number>

/** An image that is not removed until it is released. */
export interface HeldImage {
  readonly path: string
  release(): Promise<void>
  releaseSync(): void
}

/** How an image is verified, and made where there is none. */
interface ImageWork {
  /** Bytes that it must have. */
  size: number
  verify(read: ReadAt): Promise<boolean>
  /** Makes the file in `home`; answers its path. Null: it is not to be made. */
  assemble: ((home: Home) => Promise<string>) | null
  signal?: AbortSignal | undefined
}

/** The images of a store on this machine, by the digest of the file in hex. */
export interface Images {
  /**
   * Where an engine may save what is to become an image; null where none can be kept. At once, for an engine is
   * captured in one turn.
   */
  home(): Home | null
  /** Moves a file here, or copies it from another disk. Null where it cannot be kept. */
  put(from: string, digest: string): Promise<(HeldImage & { isNew: boolean }) | null>
  /**
   * The image, verified. One that is missing or wrong is made by one process, while others wait. Null where there is
   * none and none can be made, or when others take too long.
   */
  use(digest: string, work: ImageWork): Promise<HeldImage | null>
  /** Notes that this one was restored: the one that was restored last is kept. Best effort. */
  noteRestored(digest: string): Promise<void>
  /** Removes all of `listed` that nobody uses, but `current` and the one restored last. */
  collect(listed: readonly string[], current: string | null): Promise<void>
  /** Removes all that nobody uses, to make room. Answers how many. */
  free(): Promise<number>
}

const IMAGE_SUFFIX = '.image'
export const LOCK_SUFFIX = '.lock'

/** The digest in the name of an image or its lock; null for other names. */
export function imageDigest(name: string): string | null {
  const image = name.endsWith(LOCK_SUFFIX) ? name.slice(0, -LOCK_SUFFIX.length) : name
  if (!image.endsWith(IMAGE_SUFFIX)) return null
  const digest = image.slice(0, -IMAGE_SUFFIX.length)
  return isHex(digest, DIGEST_BYTES) ? digest : null
}

/** So long others are waited for while they make the image. */
const MAKING_WAIT_MS = 30_000
/** And so long while they use one that is wrong. */
const USED_WAIT_MS = 500
const PAUSE_MS = 20

interface ImagesOptions {
  fs: FileSystem
  /** Where blobs are laid out, too. */
  directory: string
  /** The store that `directory` is in; null when it is elsewhere. */
  store: string | null
  /** What is there is used, and nothing is written. */
  readOnly: boolean
}

/** Images in a directory, on a file system with locks. */
export function createImages({ fs, directory, store, readOnly }: ImagesOptions): Images {
  const pathOf = (digest: string): string => join(directory, digest + IMAGE_SUFFIX)

  function held(path: string, lock: File | null): HeldImage {
    return {
      path,
      release: async () => await lock?.close().catch(() => undefined),
      releaseSync: () => lock?.closeSync(),
    }
  }

  /** Null when another holds it, or removed the file meanwhile. */
  async function tryLock(path: string, mode: 'shared' | 'exclusive', bits: number): Promise<File | null> {
    const file = await fs.open(path + LOCK_SUFFIX, 'readWrite', bits)
    try {
      const opened = await file.stat()
      if (file.tryLock(mode) && isSameFile(opened, await lstatOrNull(fs, path + LOCK_SUFFIX))) {
        // Whatever the umask: another user of the group locks it too.
        if ((opened.mode & 0o777) !== bits) await file.chmod(bits).catch(() => undefined)
        return file
      }
    } catch (error) {
      await file.close().catch(() => undefined)
      throw error
    }
    await file.close().catch(() => undefined)
    return null
  }

  async function verified(path: string, { verify }: ImageWork): Promise<boolean> {
    const file = await fs.open(path, 'read')
    try {
      return await verify((target, position) => readFully(file, target, position))
    } catch (error) {
      // A disk that cannot read it has no image. The columns are elsewhere.
      if (errorCode(error) === undefined) throw error
      return false
    } finally {
      await file.close().catch(() => undefined)
    }
  }

  /** What lies there, where nothing may be written. */
  async function useAsItIs(digest: string, work: ImageWork): Promise<HeldImage | null> {
    const path = pathOf(digest)
    let lock: File | null = null
    try {
      // A shared lock needs no right to write. Without a lock file there is nobody who would remove the image.
      lock = (await ignoreMissing(fs.open(path + LOCK_SUFFIX, 'read'))) ?? null
      const isOurs = lock === null || lock.tryLock('shared')
      const there = await lstatOrNull(fs, path)
      if (isOurs && there?.kind === 'file' && there.size === work.size && (await verified(path, work))) {
        return held(path, lock)
      }
    } catch (error) {
      await lock?.close().catch(() => undefined)
      if (errorCode(error) === undefined) throw error
      return null
    }
    await lock?.close().catch(() => undefined)
    return null
  }

  /** Bits of files here; makes the directory. */
  async function ready(): Promise<number> {
    const above = await statOrNull(fs, store ?? directory)
    await makeDirectory(fs, directory, (above?.mode ?? 0o700) & 0o777)
    return (await fs.stat(directory)).mode & 0o666
  }

  /** Under the exclusive lock. */
  async function make(digest: string, assemble: NonNullable<ImageWork['assemble']>, bits: number): Promise<FileStat> {
    const home = workHome(directory, store)
    if (home === null) throw new CannotMake()
    try {
      const from = await assemble(home)
      await fs.chmod(from, bits & 0o444)
      await fs.rename(from, pathOf(digest))
      return await fs.lstat(pathOf(digest))
    } finally {
      home.discard()
    }
  }

  async function useOrMake(digest: string, work: ImageWork, bits: number): Promise<HeldImage | null> {
    const path = pathOf(digest)
    const startMs = clock.monotonicMs()
    let bad: FileStat | null = null
    let made: FileStat | null = null
    for (;;) {
      work.signal?.throwIfAborted()
      const lock = await tryLock(path, 'shared', bits)
      if (lock !== null) {
        try {
          const there = await lstatOrNull(fs, path)
          const isRight = there?.kind === 'file' && there.size === work.size && !isSameFile(there, bad)
          if (isRight && (isSameFile(there, made) || (await verified(path, work)))) return held(path, lock)
          bad = there
        } catch (error) {
          await lock.close().catch(() => undefined)
          throw error
        }
        await lock.close().catch(() => undefined)
        if (work.assemble === null) return null
      }
      const alone = lock === null ? null : await tryLock(path, 'exclusive', bits)
      if (alone !== null) {
        try {
          const there = await lstatOrNull(fs, path)
          // Another one is there by now, or the one that was found to be bad.
          if (there === null || isSameFile(there, bad)) {
            if (there !== null) await ignoreMissing(fs.unlink(path))
            made = await make(digest, work.assemble!, bits)
            // The new file may have got the inode of the one that was removed.
            bad = null
          }
        } finally {
          await alone.close().catch(() => undefined)
        }
        continue
      }
      const limitMs = lock === null ? MAKING_WAIT_MS : USED_WAIT_MS
      if (clock.monotonicMs() - startMs > limitMs) return null
      // Jitter, so that those who wait do not meet at every try.
      const pause = clock.sleep(
        PAUSE_MS * (0.5 + clock.random()),
        work.signal === undefined ? {} : { signal: work.signal },
      )
      await pause.catch(() => undefined)
    }
  }

  async function remove(digest: string): Promise<boolean> {
    const path = pathOf(digest)
    const lock = await tryLock(path, 'exclusive', 0o600)
    if (lock === null) return false
    try {
      await ignoreMissing(fs.unlink(path))
      await ignoreMissing(fs.unlink(path + LOCK_SUFFIX))
      return true
    } finally {
      await lock.close().catch(() => undefined)
    }
  }

  async function listed(): Promise<string[]> {
    const names = ((await ignoreMissing(fs.readdir(directory))) ?? []).filter(({ kind }) => kind === 'file')
    return [...new Set(names.flatMap(({ name }) => imageDigest(name) ?? []))]
  }

  /** When it was restored last, in ms since 1970; 0: never. */
  async function restoredMs(digest: string): Promise<number> {
    const file = await ignoreMissing(fs.open(pathOf(digest) + LOCK_SUFFIX, 'read'))
    if (file === undefined) return 0
    try {
      const bytes = new Uint8Array(NOTE_BYTES)
      const count = await readFully(file, bytes, 0)
      const ms = Date.parse(Buffer.from(bytes.subarray(0, count)).toString('latin1').trim())
      return Number.isNaN(ms) ? 0 : ms
    } finally {
      await file.close().catch(() => undefined)
    }
  }

  return {
    home: () => (readOnly ? null : workHome(directory, store)),
    async put(from, digest) {
      if (readOnly) return null
      let lock: File | null = null
      try {
        // A directory that is no store yet may be somebody else's.
        if (store !== null && (await lstatOrNull(fs, join(store, 'STORE.json'))) === null) return null
        const bits = await ready()
        const path = pathOf(digest)
        lock = await tryLock(path, 'shared', bits)
        // Somebody makes or removes it right now.
        if (lock === null) return null
        const { size } = await fs.lstat(from)
        const there = await lstatOrNull(fs, path)
        if (there !== null && there.size !== size) await ignoreMissing(fs.unlink(path))
        const isNew = there === null || there.size !== size
        if (isNew) await moveTo(from, path, bits)
        return { ...held(path, lock), isNew }
      } catch (error) {
        await lock?.close().catch(() => undefined)
        if (errorCode(error) === undefined && !isHoldfastError(error)) throw error
        return null
      }
    },
    async use(digest, work) {
      if (readOnly) return await useAsItIs(digest, work)
      try {
        return await useOrMake(digest, work, await ready())
      } catch (error) {
        if (error instanceof CannotMake) return null
        const code = errorCode(error)
        const why = code ?? (isHoldfastError(error, 'IO_FAILED', 'NO_SPACE', 'LOCK_UNAVAILABLE') ? error.code : null)
        if (why === null) throw error
        return await useAsItIs(digest, work)
      }
    },
    async noteRestored(digest) {
      if (readOnly) return
      try {
        const file = await fs.open(pathOf(digest) + LOCK_SUFFIX, 'update')
        try {
          await writeFully(file, [Buffer.from(`${clock.now().toISOString()}\n`)], 0)
        } finally {
          await file.close()
        }
      } catch {
        // A full or read-only disk.
      }
    },
    async collect(digests, current) {
      if (readOnly) return
      const others = digests.filter((digest) => digest !== current)
      const times = await Promise.all(others.map(restoredMs))
      const newest = Math.max(...times)
      for (const [i, digest] of others.entries()) if (times[i] === 0 || times[i] !== newest) await remove(digest)
    },
    async free() {
      if (readOnly) return 0
      let removed = 0
      for (const digest of await listed()) if (await remove(digest)) removed += 1
      return removed
    },
  }

  async function moveTo(from: string, path: string, bits: number): Promise<void> {
    await fs.chmod(from, bits & 0o444)
    try {
      await fs.rename(from, path)
    } catch (error) {
      if (errorCode(error) !== 'EXDEV') throw error
      const home = workHome(directory, store)
      if (home === null) throw error
      try {
        const copy = join(home.path, 'saved')
        await copyFile(from, copy, nodeConstants.COPYFILE_FICLONE)
        await fs.rename(copy, path)
      } finally {
        home.discard()
      }
    }
  }
}

/** Longer than an ISO 8601 time. */
const NOTE_BYTES = 32

/** Internal: there is no directory to make an image in. */
class CannotMake extends Error {}

const IMAGES = Symbol('holdfast images')

/** The images of an open store; null where it keeps none. */
export function imagesOf(store: object): Images | null {
  return (store as { [IMAGES]?: Images | null })[IMAGES] ?? null
}

/** Joins images to the store object that they are of. */
export function withImages<Store extends object>(store: Store, images: Images | null): Store {
  return Object.assign(store, { [IMAGES]: images })
}
