import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  read,
  readFileSync,
  rmSync,
  write,
} from 'node:fs'
import { lstat, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { locksAvailable, tryLockDescriptor } from '../fs/lock.ts'
import { nodeFileSystem } from '../fs/node.ts'
import { putInPlace as putFileInPlace } from '../fs/put-in-place.ts'
import { HoldfastError } from '../index.ts'

// Native engines save into a path and load from one. These are the files in between: private, and of no worth after a crash, so that nothing
// here is fsynced. On POSIX a file that was saved loses its name as soon as it is open. What a process leaves that is killed before, the next
// one removes.

/** Bytes read or written at a time. */
export const STEP_BYTES = 4 * 1024 * 1024

/** A file that an engine saved, to be read. */
export interface SavedFile {
  readonly size: number
  /** Fills `target` from `position`; fewer bytes only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>
  /** Waits for reads in flight, then removes the file. */
  release(): Promise<void>
}

const readAt = promisify(read)
const writeAt = promisify(write)

/** Lets `save` write a file at once, and opens it. */
export function captureFile(directory: string | undefined, save: (path: string) => void): SavedFile {
  const home = makeDirectory(directory)
  try {
    save(join(home, 'saved'))
    return openSaved(home)
  } catch (error) {
    remove(home)
    throw error
  }
}

/** The same for what saves by and by. */
export async function captureFileLater(
  directory: string | undefined,
  save: (path: string) => Promise<void>,
): Promise<SavedFile> {
  const home = makeDirectory(directory)
  try {
    await save(join(home, 'saved'))
    return openSaved(home)
  } catch (error) {
    remove(home)
    throw error
  }
}

/** The bytes of a small file that `save` writes at once. */
export function captureBytes(directory: string | undefined, save: (path: string) => void): Buffer {
  const home = makeDirectory(directory)
  try {
    save(join(home, 'saved'))
    return attempt('reading', join(home, 'saved'), (path) => readFileSync(path))
  } finally {
    remove(home)
  }
}

function openSaved(home: string): SavedFile {
  const file = attempt('reading', join(home, 'saved'), (path) => openSync(path, 'r'))
  // Windows keeps the name for as long as the file is open, and the directory with it.
  const nameless = process.platform !== 'win32'
  if (nameless) remove(home)
  const reads = new Set<Promise<unknown>>()

  async function readFully(target: Uint8Array, position: number): Promise<number> {
    let filled = 0
    while (filled < target.length) {
      const { bytesRead } = await readAt(file, target, filled, target.length - filled, position + filled)
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return filled
  }

  return {
    size: fstatSync(file).size,
    async read(target, position) {
      const reading = readFully(target, position).catch((error: unknown) => {
        throw ioFailed(error, 'reading', home)
      })
      reads.add(reading)
      try {
        return await reading
      } finally {
        reads.delete(reading)
      }
    },
    async release() {
      // A descriptor closed under a read may be somebody else's by the time that the read comes to it.
      await Promise.allSettled(reads)
      closeSync(file)
      if (!nameless) remove(home)
    },
  }
}

/** The buffer is used again: a part is good until the next one is asked for. */
export async function* wholeBytes(file: SavedFile): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.min(STEP_BYTES, file.size))
  for (let position = 0; position < file.size; ) {
    const got = await file.read(buffer, position)
    if (got === 0) throw new Error('bug: the file became shorter')
    yield buffer.subarray(0, got)
    position += got
  }
}

/** Writes a file from `parts`, gives its path to `load`, and removes it. */
export async function withFile<T>(
  directory: string | undefined,
  parts: AsyncIterable<Uint8Array>,
  load: (path: string) => T | Promise<T>,
): Promise<T> {
  const home = makeDirectory(directory)
  try {
    const path = join(home, 'verified')
    await writeFile(path, parts)
    return await load(path)
  } finally {
    remove(home)
  }
}

async function writeFile(path: string, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const file = attempt('writing', path, () => openSync(path, 'wx', 0o600))
  try {
    let position = 0
    for await (const part of parts) {
      for (let at = 0; at < part.length; ) {
        const { bytesWritten } = await writeAt(file, part, at, part.length - at, position).catch((error: unknown) => {
          throw ioFailed(error, 'writing', path)
        })
        at += bytesWritten
        position += bytesWritten
      }
    }
  } finally {
    closeSync(file)
  }
}

/**
 * Of this process's own, 0700, and removed by `remove`. In it is a file that is locked for as long as the process lives: whoever can lock it
 * may remove the directory.
 */
export function makeDirectory(directory: string = tmpdir()): string {
  return attempt('making a directory in', directory, () => {
    mkdirSync(directory, { recursive: true })
    if (!reaped.has(directory)) {
      reaped.add(directory)
      reapDirectories(directory).catch(() => undefined)
    }
    for (;;) {
      const home = mkdtempSync(join(directory, PREFIX))
      if (lockDirectory(home)) return home
    }
  })
}

const PREFIX = 'holdfast-scratch-'
const LOCK_FILE = 'lock'
/** Descriptors by directory. */
const locks = new Map<string, number>()
/** Where the leavings of the dead were looked for. Once: most come from the process before this one. */
const reaped = new Set<string>()

/** False: one who looks for the leavings of the dead came between, and removes it. */
function lockDirectory(home: string): boolean {
  // Where nothing can be locked there is no such file, and nobody takes the directory for dead.
  if (!locksAvailable().available) return true
  const path = join(home, LOCK_FILE)
  let lock: number
  try {
    lock = openSync(path, 'wx+', 0o600)
  } catch (error) {
    remove(home)
    throw error
  }
  locks.set(home, lock)
  try {
    if (tryLockDescriptor(lock, 'exclusive') && existsSync(path)) return true
  } catch {
    // This file system has no locks.
    rmSync(path, { force: true })
    return true
  }
  locks.delete(home)
  closeSync(lock)
  return false
}

/** Removes the scratch directories of processes that were killed. */
async function reapDirectories(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith(PREFIX)) await reapDirectory(join(directory, name)).catch(() => undefined)
  }
}

async function reapDirectory(home: string): Promise<void> {
  const { uid, mode } = await lstat(home)
  // Nobody else can put anything into such a one: links least of all.
  if (uid !== (process.getuid?.() ?? uid) || (process.platform !== 'win32' && (mode & 0o777) !== 0o700)) return
  const lock = await nodeFileSystem.open(join(home, LOCK_FILE), 'update')
  try {
    if (lock.tryLock('exclusive')) await rm(home, { recursive: true, force: true })
  } finally {
    await lock.close()
  }
}

/** A file that is this process's own until it exits. */
export function privateFile(directory: string | undefined, name: string): { path: string; discard(): void } {
  const home = makeDirectory(directory)
  if (!listening) process.on('exit', removeHomes)
  listening = true
  homes.add(home)
  return {
    path: join(home, name),
    discard() {
      homes.delete(home)
      remove(home)
    },
  }
}

const homes = new Set<string>()
let listening = false

function removeHomes(): void {
  for (const home of homes) remove(home)
}

/** What belongs to an SQLite database of that name. A log beside a database that is not its own would be played into it. */
const COMPANIONS = ['-wal', '-shm', '-journal']

/** Has `write` make a new database, durably, and puts it at `path`; what was there is `<path>.old` then. */
export async function putInPlace(path: string, write: (path: string) => Promise<void>): Promise<void> {
  const fresh = `${path}.new`
  await write(fresh)
  await putFileInPlace(nodeFileSystem, { fresh, path, kept: `${path}.old`, companions: COMPANIONS })
}

/** Best effort: what is left is for whoever comes next. */
export function remove(home: string): void {
  const lock = locks.get(home)
  locks.delete(home)
  try {
    rmSync(home, { recursive: true, force: true })
  } catch {
    // Somebody has it open.
  }
  if (lock !== undefined) closeSync(lock)
}

function attempt<T>(doing: string, path: string, work: (path: string) => T): T {
  try {
    return work(path)
  } catch (error) {
    throw ioFailed(error, doing, path)
  }
}

function ioFailed(error: unknown, doing: string, path: string): unknown {
  const { code, syscall, message } = error as NodeJS.ErrnoException
  if (typeof code !== 'string' || typeof syscall !== 'string') return error
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  return new HoldfastError(full ? 'NO_SPACE' : 'IO_FAILED', `${doing} ${path}: ${message}`, {
    details: { code, syscall, path },
    cause: error,
  })
}
