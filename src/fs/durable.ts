// Makes a file durable under its name, in this order and no other:
//
//   write, all of it → open the target's directory → fsync of the file → rename → fsync of the directory
//
// If a file is renamed before its fsync, its name can survive a power loss that its content does not. Without the fsync
// of the directory, an acknowledged name is lost on ext4, xfs and btrfs (measured: docs/durability.md). Nothing is
// opened after the rename, so a lack of descriptors fails a write before it replaces anything.

import { randomBytes } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { ioError, lstatOrNull, writeFully } from './io.ts'
import type { Directory, File, FileSystem } from './port.ts'
import { adoptTemp, createTemp, type Locking, type Temp, type TempAffixes } from './temps.ts'

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
  const { lock, prefix, suffix } = options
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
 * Makes a file durable as `target`, replacing what is there, that somebody else wrote into a work directory of ours.
 *
 * @param options.accepts looks at the file before it gets its name; false: nothing is replaced
 * @throws Node's errors, IO_FAILED, what `accepts` throws; DirectorySyncFailed
 */
export async function publishSaved(
  fs: FileSystem,
  saved: string,
  target: string,
  options: { mode: number; keepMode: boolean; accepts: (file: File) => Promise<boolean> },
): Promise<boolean> {
  const mode = options.keepMode ? await modeOf(fs, target, options.mode) : options.mode
  const temp = await adoptTemp(fs, saved, mode)
  try {
    if (!(await options.accepts(temp.file))) return false
    // A failed write-back that was not yet reported is reported to this descriptor, too (fsync(2), Linux 4.13).
    await publish(fs, temp, target)
    return true
  } finally {
    await temp.file.close().catch(() => undefined)
  }
}

/**
 * The mode of the regular file at `target`; `otherwise` when there is none.
 *
 * @throws IO_FAILED
 */
async function modeOf(fs: FileSystem, target: string, otherwise: number): Promise<number> {
  try {
    const stat = await lstatOrNull(fs, target)
    return stat?.kind === 'file' ? stat.mode & 0o777 : otherwise
  } catch (error) {
    throw ioError(error, `looking at ${target}, which is to be replaced`)
  }
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
