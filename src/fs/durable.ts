// The one place that renames. A file becomes durable under its name in this order and no other:
//
//   write, all of it → open the target's directory → fsync of the file → rename → fsync of the directory
//
// If a file is renamed before its fsync, its name can survive a power loss that its content does not. Without the fsync
// of the directory, an acknowledged name is lost on ext4, xfs and btrfs (measured: docs/durability.md). Nothing is
// opened after the rename, so a lack of descriptors fails a write before it replaces anything.

import { randomBytes } from 'node:crypto'
import { basename, dirname, join, resolve } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { errorCode, ioError, lstatOrNull, statOrNull, writeFully } from './io.ts'
import type { Directory, File, FileSystem } from './port.ts'
import { siblingAffixes } from './sibling-temps.ts'
import { createTemp, createWorkDirectory, type Locking, removeTree, type Temp, type TempAffixes } from './temps.ts'

/**
 * The rename succeeded, but its directory could not be fsynced. After a power loss either the old or the new file may
 * be there, so nothing that the old file needs may be deleted.
 *
 * @internal
 */
export class DirectorySyncFailed extends Error {
  readonly directory: string

  constructor(directory: string, cause: unknown) {
    super(`${directory} could not be fsynced after a rename into it`, { cause })
    this.name = 'DirectorySyncFailed'
    this.directory = directory
  }
}

/**
 * The error for a caller outside: `COMMIT_UNKNOWN` for `DirectorySyncFailed`, any other error as it is.
 *
 * @param path what was changed
 * @param was what was done, as in "was replaced"
 * @param may what a power loss may do to it, and what to do
 */
export function commitUnknown(error: unknown, path: string, was: string, may: string): unknown {
  if (!(error instanceof DirectorySyncFailed)) return error
  return new HoldfastError(
    'COMMIT_UNKNOWN',
    `${path} ${was}, but ${error.directory} could not be fsynced: after a power loss ${may}`,
    { details: { path }, cause: error.cause },
  )
}

/**
 * Opens the directory of a name that `work` changes, for the fsync after the change. It is opened before the change,
 * because this process may have no descriptors left or may not read the directory.
 *
 * @throws IO_FAILED when it cannot be opened; what `work` throws
 */
export async function withDirectory<T>(
  fs: FileSystem,
  path: string,
  work: (directory: Directory) => Promise<T>,
): Promise<T> {
  let directory: Directory
  try {
    directory = await fs.openDirectory(path)
  } catch (error) {
    throw ioError(error, `opening ${path}`)
  }
  try {
    return await work(directory)
  } finally {
    directory.closeSync()
  }
}

/**
 * Makes a rename durable.
 *
 * @param path of `directory`
 * @throws DirectorySyncFailed
 */
export async function syncAfterRename(directory: Directory, path: string): Promise<void> {
  try {
    await directory.sync()
  } catch (cause) {
    throw new DirectorySyncFailed(path, cause)
  }
}

/**
 * Makes a written temp durable as `target`, replacing what is there. The temp's descriptor stays open; after the rename
 * the caller must close it. On any failure but `DirectorySyncFailed`, `target` is untouched and the caller must discard
 * the temp.
 *
 * @param options.synced true: the caller has fsynced the temp after its last write. For callers that check something
 *   right before the rename
 * @param options.directory the target's directory, if it is open; null leaves its fsync to the caller, who has another
 *   rename in it
 * @throws NO_SPACE, IO_FAILED; DirectorySyncFailed
 */
export async function publish(
  fs: FileSystem,
  temp: Temp,
  target: string,
  options: { synced?: boolean; directory?: Directory | null } = {},
): Promise<void> {
  const { synced = false, directory } = options
  if (directory === undefined) {
    return await withDirectory(fs, dirname(target), (opened) =>
      publish(fs, temp, target, { synced, directory: opened }),
    )
  }
  try {
    // The fsync uses the descriptor that wrote the file: the kernel reports write-back errors to descriptors that were
    // open then.
    if (!synced) await temp.file.sync()
    await fs.rename(temp.path, target)
  } catch (error) {
    throw ioError(error, `making ${target} durable`)
  }
  temp.keep()
  if (directory !== null) await syncAfterRename(directory, dirname(target))
}

/** What to write: bytes, or a function that writes them. */
type DurableContent =
  | { bytes: Uint8Array; write?: undefined }
  | { write: (file: File) => Promise<void>; bytes?: undefined }

/**
 * Writes a file durably, replacing what is there. After a crash the file has the old content or the new, never a part
 * of it.
 *
 * @param options.tempDirectory where the temp is written, on the target's file system
 * @param options.mode permission bits
 * @param options.keepMode keep the mode of a regular file that is replaced
 * @param options.prefix of the temp's name, and `suffix`
 * @throws NO_SPACE, IO_FAILED, LOCK_UNAVAILABLE, what `write` throws; DirectorySyncFailed
 */
export async function writeDurable(
  fs: FileSystem,
  options: DurableContent & {
    tempDirectory: string
    target: string
    mode: number
    keepMode?: boolean
    lock: Locking
  } & TempAffixes,
): Promise<void> {
  const { target } = options
  const mode = options.keepMode === true ? await modeOf(fs, target, options.mode) : options.mode
  const { lock, prefix = '', suffix = '' } = options
  const temp = await createTemp(fs, options.tempDirectory, { mode, lock, prefix, suffix })
  try {
    if (options.write === undefined) await writeFully(temp.file, [options.bytes], 0)
    else await options.write(temp.file)
    await publish(fs, temp, target)
  } catch (error) {
    await temp.discard()
    throw ioError(error, `writing ${target}`)
  } finally {
    // After the fsync a close has nothing left to report. Before it, the first error is the one to report.
    await temp.file.close().catch(() => undefined)
  }
}

/**
 * The mode of the regular file at `target`; `otherwise` when there is none.
 *
 * @throws IO_FAILED
 */
export async function modeOf(fs: FileSystem, target: string, otherwise: number): Promise<number> {
  try {
    const stat = await lstatOrNull(fs, target)
    return stat?.kind === 'file' ? stat.mode & 0o777 : otherwise
  } catch (error) {
    throw ioError(error, `looking at ${target}, which is to be replaced`)
  }
}

/**
 * Makes a directory and its missing parents. Each becomes durable in its parent before anything is put into it.
 *
 * @param mode exact permission bits of the directories that are made, whatever the umask
 * @returns whether it was made; false if it was there
 * @throws IO_FAILED, also when something other than a directory is there; NO_SPACE
 */
export async function makeDirectory(fs: FileSystem, path: string, mode: number): Promise<boolean> {
  try {
    return await makeWithParents(fs, resolve(path), mode)
  } catch (error) {
    throw ioError(error, `making the directory ${path}`)
  }
}

async function makeWithParents(fs: FileSystem, path: string, mode: number): Promise<boolean> {
  if (await isDirectory(fs, path)) return false
  const parent = dirname(path)
  if (parent !== path) await makeWithParents(fs, parent, mode)
  return await withDirectory(fs, parent, async (directory) => {
    const made = await makeOne(fs, path, mode)
    // Needed even if another process made the directory: it may not have fsynced it yet, or may die before.
    await directory.sync()
    return made
  })
}

async function makeOne(fs: FileSystem, path: string, mode: number): Promise<boolean> {
  try {
    await fs.mkdir(path, mode)
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
    if (await isDirectory(fs, path)) return false
    throw notADirectory(path, 'a link that leads nowhere')
  }
  const made = await fs.stat(path)
  // Keeps the set-group-id bit that a parent passes on.
  if ((made.mode & 0o777) !== mode) await fs.chmod(path, (made.mode & ~0o777) | mode).catch(() => undefined)
  return true
}

async function isDirectory(fs: FileSystem, path: string): Promise<boolean> {
  const stat = await statOrNull(fs, path)
  if (stat === null) return false
  if (stat.kind === 'directory') return true
  throw notADirectory(path, stat.kind === 'file' ? 'a file' : 'something else')
}

function notADirectory(path: string, found: string): HoldfastError {
  return new HoldfastError(
    'IO_FAILED',
    `${path} should be a directory and is ${found}: move it away, or use another path`,
    {
      details: { code: 'ENOTDIR', path },
    },
  )
}

/**
 * Moves a doubtful file or directory into quarantine, as `<name>.<reason>.<UTC time>.<random>`, with a `.json` beside
 * it that says why. A missing quarantine directory is made with its parent's mode. Nothing is overwritten, and both
 * names are durable when this resolves. The `.json` is written first: a crash may leave a `.json` without its file, but
 * never a file without an explanation.
 *
 * @param options.reason a few words; characters that file names cannot have become `-`
 * @param options.details facts for the `.json`
 * @param options.original what it is a copy of; default `from` itself
 * @returns the new path
 * @throws NO_SPACE, IO_FAILED: the file is then still where it was; DirectorySyncFailed: it is moved, perhaps not durably
 */
export async function moveAside(
  fs: FileSystem,
  options: {
    from: string
    quarantineDirectory: string
    reason: string
    now: Date
    details: Readonly<Record<string, unknown>>
    original?: string
  },
): Promise<string> {
  const { from, quarantineDirectory, original = from } = options
  const target = join(quarantineDirectory, asideName(basename(original), options.reason, options.now))
  const note = `${target}.json`

  async function move(into: Directory, outOf: Directory): Promise<void> {
    const { mode } = await fs.stat(quarantineDirectory)
    await writeNote(fs, note, mode & 0o666, { ...options, original })
    try {
      // The note's name becomes durable first. Otherwise a crash could keep the rename and lose the note.
      await into.sync()
      await fs.rename(from, target)
    } catch (error) {
      await fs.unlink(note).catch(() => undefined)
      throw error
    }
    // The new name becomes durable before the loss of the old one. The reverse order could lose both.
    await syncAfterRename(into, quarantineDirectory)
    await syncAfterRename(outOf, dirname(from))
  }

  try {
    const parent = await fs.stat(dirname(resolve(quarantineDirectory)))
    await makeDirectory(fs, quarantineDirectory, parent.mode & 0o777)
    await withDirectory(fs, quarantineDirectory, (into) =>
      withDirectory(fs, dirname(from), (outOf) => move(into, outOf)),
    )
    return target
  } catch (error) {
    throw ioError(error, `moving ${from} into quarantine`)
  }
}

/**
 * As `moveAside`, for some of the files in a directory that cannot itself be renamed.
 *
 * @param options.names paths below `from`, in the order in which they are moved
 * @returns the new directory, with the names below it
 */
export async function moveIntoAside(
  fs: FileSystem,
  options: {
    from: string
    names: readonly string[]
    quarantineDirectory: string
    reason: string
    now: Date
    details: Readonly<Record<string, unknown>>
  },
): Promise<string> {
  const { from, names, quarantineDirectory } = options
  const target = join(quarantineDirectory, asideName(basename(from), options.reason, options.now))
  const note = `${target}.json`
  const moved: string[] = []
  try {
    const mode = (await fs.stat(from)).mode & 0o777
    await makeDirectory(fs, quarantineDirectory, mode)
    await writeNote(fs, note, mode & 0o666, { ...options, original: from })
    for (const folder of new Set(names.map(dirname))) await makeDirectory(fs, join(target, folder), mode)
    await fs.syncDirectory(quarantineDirectory)
    for (const name of names) {
      await fs.rename(join(from, name), join(target, name))
      moved.push(name)
    }
  } catch (error) {
    if (moved.length === 0) {
      await removeTree(fs, target).catch(() => undefined)
      await fs.unlink(note).catch(() => undefined)
    }
    throw ioError(
      error,
      `moving what is in ${from} into quarantine (${moved.length} of ${names.length} files were moved)`,
    )
  }
  // The new names become durable before the loss of the old ones.
  for (const place of [target, from]) {
    for (const folder of new Set(names.map(dirname))) {
      const path = join(place, folder)
      await withDirectory(fs, path, (directory) => syncAfterRename(directory, path))
    }
  }
  return target
}

/**
 * Renames something before it is deleted, so that a crash during the deletion leaves no part of it under its old name.
 *
 * @param ending of the new name
 * @returns the new path, in the same directory
 * @throws Node's errors: nothing was renamed; DirectorySyncFailed
 */
export async function renameAway(fs: FileSystem, path: string, ending: string): Promise<string> {
  const above = dirname(path)
  const away = join(above, `${basename(path)}.${randomBytes(12).toString('hex')}${ending}`)
  await withDirectory(fs, above, async (directory) => {
    await fs.rename(path, away)
    await syncAfterRename(directory, above)
  })
  return away
}

/** Leaves room for `.json` within the 255 bytes that file systems allow a name. */
const NAME_BYTES_MAX = 120
const REASON_LENGTH_MAX = 40

function asideName(original: string, reason: string, now: Date): string {
  const name = Buffer.from(original).subarray(0, NAME_BYTES_MAX).toString()
  const word = reason.replaceAll(/[^A-Za-z0-9_-]+/g, '-').slice(0, REASON_LENGTH_MAX)
  const time = now.toISOString().replaceAll(':', '')
  return `${name}.${word}.${time}.${randomBytes(8).toString('hex')}`
}

/** Whether a name is that of a file in quarantine, or of its `.json`. */
export function isAsideName(name: string): boolean {
  return /^.+\.[A-Za-z0-9_-]*\.\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z\.[0-9a-f]{16}(\.json)?$/s.test(name)
}

async function writeNote(
  fs: FileSystem,
  path: string,
  mode: number,
  options: { original: string; reason: string; now: Date; details: Readonly<Record<string, unknown>> },
): Promise<void> {
  const { original, reason, now, details } = options
  const plain = (_key: string, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)
  const text = JSON.stringify({ original, reason, time: now.toISOString(), details }, plain, 2)
  const file = await fs.open(path, 'create', mode)
  try {
    if (((await file.stat()).mode & 0o777) !== mode) await file.chmod(mode).catch(() => undefined)
    await writeFully(file, [Buffer.from(`${text}\n`)], 0)
    await file.sync()
  } catch (error) {
    await fs.unlink(path).catch(() => undefined)
    throw error
  } finally {
    await file.close().catch(() => undefined)
  }
}

/** Where a directory tree is to appear. */
interface TreeTarget {
  /** Behind all links. */
  path: string
  /** Permission bits of the empty directory that is there; null when there is nothing. */
  emptyMode: number | null
}

/**
 * Checks that `path`, links followed, is nothing or an empty directory.
 *
 * @throws TARGET_EXISTS for anything else, IO_FAILED
 */
export async function resolveTree(fs: FileSystem, path: string): Promise<TreeTarget> {
  try {
    const there = await lstatOrNull(fs, path)
    if (there === null) return { path, emptyMode: null }
    const target = there.kind === 'link' ? await fs.realpath(path) : path
    const stat = await fs.stat(target)
    if (stat.kind !== 'directory' || (await fs.readdir(target)).length > 0) throw targetExists(path)
    return { path: target, emptyMode: stat.mode & 0o7777 }
  } catch (error) {
    throw ioError(error, `looking at ${path}, where a directory is to be written`)
  }
}

function targetExists(path: string): HoldfastError {
  return new HoldfastError(
    'TARGET_EXISTS',
    `${path} exists; give a path where there is nothing yet, or an empty directory`,
    { details: { path } },
  )
}

/**
 * Makes a directory tree appear as a whole. `fill` writes into a temporary directory beside it and makes its files
 * durable; then that directory is renamed.
 *
 * @throws TARGET_EXISTS, IO_FAILED, NO_SPACE, what `fill` throws; DirectorySyncFailed
 */
export async function writeTree(
  fs: FileSystem,
  { path, emptyMode }: TreeTarget,
  fill: (path: string) => Promise<void>,
): Promise<void> {
  const parent = dirname(path)
  await withDirectory(fs, parent, async (directory) => {
    const work = await createWorkDirectory(fs, parent, { lock: 'if-possible', ...siblingAffixes(basename(path)) })
    try {
      await fill(work.path)
      if (emptyMode !== null) await fs.chmod(work.path, emptyMode)
      // Windows replaces no directory.
      if (emptyMode !== null && process.platform === 'win32') await fs.rmdir(path)
      else if (emptyMode === null && (await lstatOrNull(fs, path)) !== null) throw targetExists(path)
      await fs.rename(work.path, path)
    } catch (error) {
      // Another process put something there meanwhile.
      if (['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(errorCode(error) ?? '')) throw targetExists(path)
      // The unfinished tree is removed, so the outcome is known.
      throw ioError(error instanceof DirectorySyncFailed ? error.cause : error, `writing ${path}`)
    } finally {
      await work.discard()
    }
    await syncAfterRename(directory, parent)
  })
}
