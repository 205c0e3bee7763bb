// Puts a finished file under its name and keeps the old file under another, so that a crash never leaves a part of
// either.

import { basename, dirname } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { commitUnknown, syncAfterRename, withDirectory } from './durable.ts'
import { attempt, errorCode, ioError, lstatOrNull } from './io.ts'
import type { Directory, FileSystem } from './port.ts'
import { removeTree } from './temps.ts'

interface PutInPlaceOptions {
  /** The new file: durable, in the directory of `path`. */
  fresh: string
  path: string
  /** Where the old file of `path` is kept, in the same directory. An existing file there is removed. */
  kept: string
  /** Suffixes of the names of companion files, such as `-wal`. Beside another file they would be misread as its own. */
  companions: readonly string[]
}

/**
 * Puts `fresh` at `path` and the old file at `kept`. Each has its own companions and never those of the other. The
 * result is durable when this resolves. After a crash, `path` has the old file with its companions, or the new file. It
 * may also have none, if the old file has companions or cannot have a second name; another call then completes the
 * work.
 *
 * Each step is durable before the next:
 *
 *  1. companions left behind by an interrupted call follow their file;
 *  2. the previously kept file is removed, with its companions, which would be taken for those of the next kept file;
 *  3. the old file moves to `kept`, and then its companions. A file without companions gets `kept` as a second name;
 *  4. the new file moves to `path`, where no companion of another file is left.
 *
 * @throws IO_FAILED, NO_SPACE; COMMIT_UNKNOWN: the new file is in place, but may be gone after a power loss
 */
export async function putInPlace(fs: FileSystem, options: PutInPlaceOptions): Promise<void> {
  const { fresh, path, kept, companions } = options
  const directory = dirname(path)

  async function hasCompanions(): Promise<boolean> {
    for (const suffix of companions) if ((await lstatOrNull(fs, path + suffix)) !== null) return true
    return false
  }

  async function moveCompanions(opened: Directory): Promise<void> {
    let moved = false
    for (const suffix of companions) {
      if ((await lstatOrNull(fs, path + suffix)) === null) continue
      await fs.rename(path + suffix, kept + suffix)
      moved = true
    }
    if (moved) await opened.sync()
  }

  async function put(opened: Directory): Promise<void> {
    if ((await lstatOrNull(fs, path)) !== null) {
      for (const suffix of ['', ...companions]) await removeTree(fs, kept + suffix)
      await opened.sync()
      if ((await hasCompanions()) || !(await linked(fs, path, kept))) await fs.rename(path, kept)
    }
    // Needed even if nothing was moved: a process may have been killed before its fsync.
    await opened.sync()
    await moveCompanions(opened)
    await fs.rename(fresh, path)
    await syncAfterRename(opened, directory)
  }

  try {
    await withDirectory(fs, directory, put)
  } catch (error) {
    const failure = ioError(error, `putting ${basename(fresh)} in the place of ${path}`)
    throw commitUnknown(failure, path, 'was replaced', `what was there before may be back. It is also at ${kept}`)
  }
}

/**
 * Only regular files are replaced, moved or removed: a directory under one of these names is somebody else's, and a
 * link leads elsewhere.
 *
 * @throws IO_FAILED, before anything is changed
 */
export async function assertReplaceable(fs: FileSystem, { fresh, path, kept, companions }: PutInPlaceOptions) {
  const beside = companions.flatMap((suffix) => [path + suffix, kept + suffix])
  for (const each of [path, fresh, kept, ...beside]) {
    const there = await attempt(lstatOrNull(fs, each), `looking at ${each}`)
    if (there === null || there.kind === 'file') continue
    const is = { directory: 'a directory', link: 'a symbolic link', other: 'a pipe, a socket or a device' }[there.kind]
    throw new HoldfastError(
      'IO_FAILED',
      `Nothing was written: ${each} is ${is}, and is to become a file; move it away`,
      {
        details: { code: there.kind === 'directory' ? 'EISDIR' : 'EINVAL', path: each },
      },
    )
  }
}

/** Where a file cannot have two names. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'EMLINK']

async function linked(fs: FileSystem, existing: string, path: string): Promise<boolean> {
  try {
    await fs.link(existing, path)
    return true
  } catch (error) {
    if (!NO_LINKS.includes(errorCode(error) ?? '')) throw error
    return false
  }
}
