// Temporary files: made under random names, locked while their writer lives, and removed once it is dead.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { errorCode, ignoreMissing, ioError, isMissing, isSameFile, lstatOrNull } from './io.ts'
import type { DirectoryEntry, File, FileStat, FileSystem } from './port.ts'

// Everything in flight lies in a `tmp/` directory, as
//
//   <24 hex digits>.holdfast-tmp      a temp, exclusively locked by its creator for as long as it lives
//   <24 hex digits>.holdfast-tmp.d/   a work directory; it lives while the temp of the same name less `.d` does
//
// or, for files outside a store, beside the file that is written (`sibling-temps.ts` says under which names).
//
// The kernel drops the lock when its process dies, so whoever can lock a temp may remove it. Between `open` and
// `tryLock` a new temp has no lock yet and a reaper may take it: both sides, once they hold the lock, look whether the
// name still leads to the file they locked, and only go on if it does.

/** A file in flight. */
export interface Temp {
  path: string
  /** Open for reading and writing; locked if so asked. */
  file: File
  /** Removes and closes it; nothing once it was kept. Never throws. */
  discard(): Promise<void>
  /** It was renamed away: from here on, closing `file` is the owner's business. */
  keep(): void
}

/**
 * Digits alone would not do: caches and uploads are named by a hash as well, and what has a temp's name is deleted.
 */
const TEMP_SUFFIX = '.holdfast-tmp'
/** @internal */
export const workSuffix = '.d'
const nameTriesMax = 16

/** What a temp's name has around its random digits. */
export interface TempAffixes {
  prefix?: string | undefined
  suffix?: string | undefined
}

/** `if-possible`: unlocked where there are no locks; a reaper without locks goes by age. */
export type Locking = boolean | 'if-possible'

/**
 * Makes a temp under a name that cannot be guessed or collide (96 random bits, O_EXCL|O_NOFOLLOW).
 *
 * @param options.mode permission bits, given exactly whatever the umask
 * @param options.prefix goes before the random digits, `suffix` after them (default: `.holdfast-tmp`)
 * @throws NO_SPACE, IO_FAILED, LOCK_UNAVAILABLE
 */
export async function createTemp(
  fs: FileSystem,
  directory: string,
  options: { mode: number; lock: Locking } & TempAffixes,
): Promise<Temp> {
  const { prefix = '', suffix = TEMP_SUFFIX } = options
  try {
    for (let tries = 0; tries < nameTriesMax; tries += 1) {
      const path = join(directory, prefix + randomBytes(12).toString('hex') + suffix)
      const temp = await tryCreate(fs, path, options)
      if (temp !== null) return temp
    }
  } catch (error) {
    throw ioError(error, `making a temporary file in ${directory}`)
  }
  throw new HoldfastError(
    'IO_FAILED',
    `${nameTriesMax} new files in ${directory} were each removed at once by another`,
    {
      details: { path: directory },
    },
  )
}

/** Null: a reaper was faster. */
async function tryCreate(fs: FileSystem, path: string, options: { mode: number; lock: Locking }): Promise<Temp | null> {
  const temp = asTemp(fs, path, await fs.open(path, 'create', options.mode))
  try {
    // The reaper that holds the lock removes the file itself.
    const ours = lockTemp(temp.file, options.lock) !== 'held'
    const opened = await temp.file.stat()
    if (ours && isSameFile(opened, await lstatOrNull(fs, path))) {
      if ((opened.mode & 0o777) !== options.mode) await chmodIfPossible(temp.file, options.mode)
      return temp
    }
  } catch (error) {
    await temp.discard()
    throw error
  }
  temp.keep()
  await temp.file.close()
  return null
}

function lockTemp(
  file: File,
  lock: Locking,
  mode: 'exclusive' | 'shared' = 'exclusive',
): 'locked' | 'held' | 'unlocked' {
  if (lock === false) return 'unlocked'
  try {
    return file.tryLock(mode) ? 'locked' : 'held'
  } catch (error) {
    if (lock !== 'if-possible' || !isHoldfastError(error, 'LOCK_UNAVAILABLE')) throw error
    return 'unlocked'
  }
}

/**
 * Takes over a file that somebody else wrote into a work directory of ours.
 *
 * @param mode permission bits it gets
 * @throws Node's errors
 */
export async function adoptTemp(fs: FileSystem, path: string, mode: number): Promise<Temp> {
  // It may have been made read-only, and Windows fsyncs only what is open for writing.
  await chmodIfPossible({ chmod: (bits) => fs.chmod(path, bits) }, 0o600)
  const temp = asTemp(fs, path, await fs.open(path, 'update'))
  try {
    await chmodIfPossible(temp.file, mode)
    return temp
  } catch (error) {
    await temp.discard()
    throw error
  }
}

/**
 * A second name, in a directory of temps, of a file that is open: by a rename of it that file replaces another, without
 * being written again. A reaper may remove it like any temp, so only whoever keeps reapers out may count on it. The
 * file stays its owner's to close.
 *
 * @param stat of `file`
 * @returns null where there are no links, or when `existing` leads to another file by now
 */
export async function linkTemp(
  fs: FileSystem,
  directory: string,
  existing: string,
  { file, stat }: { file: File; stat: FileStat },
): Promise<Temp | null> {
  const path = join(directory, randomBytes(12).toString('hex') + TEMP_SUFFIX)
  // The owner's file is not closed with the name.
  const temp = asTemp(fs, path, { ...file, close: async () => undefined })
  try {
    await fs.link(existing, path)
    if (isSameFile(await lstatOrNull(fs, path), stat)) return temp
  } catch {
    // What links cannot do can be done by a copy, which has an error of its own if the disk is at fault.
  }
  await temp.discard()
  return null
}

/** FAT, some network mounts and Windows have no permission bits to set. */
async function chmodIfPossible(file: Pick<File, 'chmod'>, mode: number): Promise<void> {
  try {
    await file.chmod(mode)
  } catch (error) {
    if (!['EPERM', 'EINVAL', 'ENOSYS', 'ENOTSUP'].includes(errorCode(error) ?? '')) throw error
  }
}

function asTemp(fs: FileSystem, path: string, file: File): Temp {
  let done = false
  return {
    path,
    file,
    async discard() {
      if (done) return
      done = true
      // Unlinked while it is still locked: after the close the name might be anybody's to remove. What cannot be
      // removed now is removed by the next reaper.
      await fs.unlink(path).catch(() => undefined)
      await file.close().catch(() => undefined)
    },
    keep() {
      done = true
    },
  }
}

/** A directory for something that can only save into a path. */
export interface WorkDirectory {
  path: string
  /** Removes it with everything in it. Never throws. */
  discard(): Promise<void>
}

/**
 * Makes an empty directory (mode 0700) that lives as long as a locked temp beside it. The temp is made first and
 * removed last, so that a work directory without one is always dead.
 *
 * @throws NO_SPACE, IO_FAILED, LOCK_UNAVAILABLE
 */
export async function createWorkDirectory(
  fs: FileSystem,
  directory: string,
  options: { lock: Locking } & TempAffixes,
): Promise<WorkDirectory> {
  const temp = await createTemp(fs, directory, { mode: 0o600, ...options })
  const path = temp.path + workSuffix
  try {
    await fs.mkdir(path, 0o700)
  } catch (error) {
    await temp.discard()
    throw ioError(error, `making the work directory ${path}`)
  }
  return {
    path,
    async discard() {
      try {
        await removeTree(fs, path)
      } catch {
        // Left for a reaper: unlocked by the close, but with its temp, by which the reaper knows it.
        temp.keep()
        await temp.file.close().catch(() => undefined)
        return
      }
      await temp.discard()
    },
  }
}

/** Whether a file or directory in `tmp/` is named as only ours are. */
export function isOwnTempName(name: string, kind: DirectoryEntry['kind']): boolean {
  if (kind === 'directory') return /^[0-9a-f]{24}\.holdfast-tmp\.d$/.test(name)
  return kind === 'file' && /^[0-9a-f]{24}\.holdfast-tmp$/.test(name)
}

/**
 * What lies in a `tmp/` directory under a name that we give; nothing when there is none.
 *
 * @throws IO_FAILED, also when it is not a directory of its own but a link to one
 */
export async function listTemps(fs: FileSystem, directory: string): Promise<DirectoryEntry[]> {
  try {
    const [stat, entries] = await Promise.all([lstatOrNull(fs, directory), ignoreMissing(fs.readdir(directory))])
    if (stat === null) return []
    if (stat.kind !== 'directory') {
      throw new HoldfastError('IO_FAILED', `${directory} is not a directory but a ${stat.kind}: nothing was removed`, {
        details: { path: directory },
      })
    }
    return (entries ?? []).filter(({ name, kind }) => isOwnTempName(name, kind))
  } catch (error) {
    throw ioError(error, `looking for what dead processes left in ${directory}`)
  }
}

/**
 * Removes the temps and work directories of the dead. Links, and whatever cannot be opened, are left alone, and nothing
 * outside `directory` is touched. One that fails does not keep the others from being removed.
 *
 * @param options.lock true: what can be locked is dead. False (no locks here): what nobody wrote to for `olderThanMs`
 * @param options.nowMs the time, in milliseconds since 1970
 * @param options.entries what `listTemps` found, if it was asked already
 * @returns names removed; a work directory goes under its temp's name, or under its own if it had none
 * @throws IO_FAILED, LOCK_UNAVAILABLE
 */
export async function reapTemps(
  fs: FileSystem,
  directory: string,
  options: { lock: boolean; olderThanMs: number; nowMs: number; entries?: readonly DirectoryEntry[] },
): Promise<string[]> {
  const entries = options.entries ?? (await listTemps(fs, directory))
  try {
    return await reapEntries(fs, directory, entries, options)
  } catch (error) {
    throw ioError(error, `removing what dead processes left in ${directory}`)
  }
}

async function reapEntries(
  fs: FileSystem,
  directory: string,
  entries: readonly DirectoryEntry[],
  options: { lock: boolean; olderThanMs: number; nowMs: number },
): Promise<string[]> {
  const removed: string[] = []
  const failures: unknown[] = []
  for (const entry of entries) {
    const path = join(directory, entry.name)
    try {
      if (entry.kind === 'file' && (await reapTemp(fs, path, options)) === 'removed') removed.push(entry.name)
      const work = entry.kind === 'directory' && entry.name.endsWith(workSuffix)
      if (work && (await reapWorkDirectory(fs, path))) removed.push(entry.name)
    } catch (error) {
      failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
  return removed
}

/** Not ours to open. EISDIR and ELOOP: it became something else. */
const leaveAlone = new Set(['EISDIR', 'ELOOP', 'EACCES', 'EPERM', 'EBUSY', 'ENXIO'])

/** What became of a temp. `foreign`: it cannot be opened. */
export type TempFate = 'removed' | 'gone' | 'in-use' | 'young' | 'foreign'

/**
 * Removes one temp, with its work directory, if its creator is dead: if it can be locked or, without locks, if nobody
 * wrote to it for `olderThanMs`.
 *
 * @param options.ageCounts what can be locked must be that old as well
 * @throws Node's errors
 */
export async function reapTemp(
  fs: FileSystem,
  path: string,
  options: { lock: Locking; olderThanMs: number; nowMs: number; ageCounts?: boolean },
): Promise<TempFate> {
  const opened = await openToLock(fs, path)
  if (typeof opened === 'string') return opened
  const { file, mode } = opened
  try {
    const locked = lockTemp(file, options.lock, mode)
    if (locked === 'held') return 'in-use'
    // The creator may have renamed or removed it between our `open` and our lock.
    if (!isSameFile(await file.stat(), await lstatOrNull(fs, path))) return 'gone'
    const ageCounts = options.ageCounts === true || locked === 'unlocked'
    if (ageCounts && (await newestMs(fs, path)) + options.olderThanMs > options.nowMs) return 'young'
    // The file goes last: as long as it is there and locked, no other reaper takes the work directory.
    await removeTree(fs, path + workSuffix)
    await ignoreMissing(fs.unlink(path))
    return 'removed'
  } finally {
    await file.close().catch(() => undefined)
  }
}

/** Opens a temp of another. One that is to become a read-only file can be opened for reading at least. */
async function openToLock(
  fs: FileSystem,
  path: string,
): Promise<{ file: File; mode: 'exclusive' | 'shared' } | 'gone' | 'foreign'> {
  try {
    try {
      // For writing too, which an exclusive lock asks for on Linux (EBADF otherwise).
      return { file: await fs.open(path, 'update'), mode: 'exclusive' }
    } catch (error) {
      if (errorCode(error) !== 'EACCES') throw error
      // Held by nobody who holds it exclusively: as good for us, and a creator who comes late sees it as well.
      return { file: await fs.open(path, 'read'), mode: 'shared' }
    }
  } catch (error) {
    if (isMissing(error)) return 'gone'
    if (leaveAlone.has(errorCode(error) ?? '')) return 'foreign'
    throw error
  }
}

/**
 * Removes a work directory that has no temp. The temp is looked up now, not in the listing, which may have missed it:
 * it was made before the directory, so if there is one it can be seen.
 */
export async function reapWorkDirectory(fs: FileSystem, path: string): Promise<boolean> {
  if ((await lstatOrNull(fs, path.slice(0, -workSuffix.length))) !== null) return false
  // Already gone with a temp that was reaped after the listing was made.
  if ((await lstatOrNull(fs, path)) === null) return false
  await removeTree(fs, path)
  return true
}

/** Milliseconds since 1970 of the last write to the temp or anything in its work directory. */
async function newestMs(fs: FileSystem, path: string): Promise<number> {
  let newest = 0
  const seen = [path, path + workSuffix]
  for (let next = seen.pop(); next !== undefined; next = seen.pop()) {
    const stat = await lstatOrNull(fs, next)
    if (stat === null) continue
    newest = Math.max(newest, Number(stat.mtimeNs / 1_000_000n))
    if (stat.kind !== 'directory') continue
    for (const entry of (await ignoreMissing(fs.readdir(next))) ?? []) seen.push(join(next, entry.name))
  }
  return newest
}

/** Removes whatever is at `path`, if anything. Links are removed, never followed. */
export async function removeTree(fs: FileSystem, path: string): Promise<void> {
  const stat = await lstatOrNull(fs, path)
  if (stat === null) return
  if (stat.kind !== 'directory') {
    await ignoreMissing(fs.unlink(path))
    return
  }
  for (const entry of (await ignoreMissing(fs.readdir(path))) ?? []) await removeTree(fs, join(path, entry.name))
  await ignoreMissing(fs.rmdir(path))
}

/** Temps of writers without locks are taken for dead after this long without a write. */
export const UNLOCKED_TEMP_AGE_MS = 24 * 60 * 60 * 1000
