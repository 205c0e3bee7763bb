// Puts a finished file under its name, and keeps the one that was there, so that a crash never leaves half of either.

import { basename, dirname } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { commitUnknown, syncAfterRename, withDirectory } from './durable.ts'
import { attempt, errorCode, ioError, lstatOrNull } from './io.ts'
import type { Directory, FileSystem } from './port.ts'
import { removeTree } from './temps.ts'

interface PutInPlaceOptions {
  /** A file that is durable already, in the directory of `path`. */
  fresh: string
  path: string
  /** Where what was at `path` is kept, in the same directory. What was there goes. */
  kept: string
  /** Ends of the names of files that belong to a file of that name, and mean something else beside another. */
  companions: readonly string[]
}

/**
 * Puts `fresh` at `path`, and what was there at `kept`, each with its own companions and with no other's. When this resolves it survives
 * power loss. After a crash there is at `path` the old file with its companions, or the new one; or, if the old one has companions or no
 * second name can be had for it, none yet: then another call brings all of it to its end.
 *
 * The order, of which each step is durable before the next:
 *
 *  1. companions that an earlier call left behind, which was cut short, follow their file;
 *  2. what was kept goes: its companions would be taken for those of what is kept next;
 *  3. the file goes to `kept`, and only then its companions: it is never seen without them. One that has none gets that name as its second;
 *  4. the new file comes when no companion of another is left for it to meet.
 *
 * @throws IO_FAILED, NO_SPACE; COMMIT_UNKNOWN: the new file is there, and may be gone after a power loss
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
    // Also when nothing was done here: another process may have been killed before it came to this.
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
 * Only regular files are replaced, moved or removed: a directory under one of these names is somebody else's, and a link leads elsewhere.
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
