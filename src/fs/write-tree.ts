// Makes a directory tree appear under its name as a whole, or not at all.

import { basename, dirname } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { DirectorySyncFailed, syncAfterRename, withDirectory } from './durable.ts'
import { errorCode, ioError, lstatOrNull } from './io.ts'
import type { FileSystem } from './port.ts'
import { siblingAffixes } from './sibling-temps.ts'
import { createWorkDirectory } from './temps.ts'

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
