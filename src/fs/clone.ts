// Makes a file that is a clone of another one: both share their blocks on the disk until one of them is written to.
// btrfs, XFS, APFS and ReFS can do that. It takes a millisecond, whatever the size.

import { basename, dirname, join } from 'node:path'
import { publishSaved } from './durable.ts'
import { ioError } from './io.ts'
import type { File, FileSystem } from './port.ts'
import { siblingAffixes } from './sibling-temps.ts'
import { createWorkDirectory } from './temps.ts'

/**
 * Replaces `target` durably with a clone of `from`, if `accepts` finds the clone to be what it should be.
 *
 * @param options.mode permission bits, where there is no file whose bits are kept
 * @param options.accepts looks at the clone, which nobody else writes to
 * @returns whether it was accepted; null where the file system cannot clone. Nothing was replaced unless true
 * @throws NO_SPACE, IO_FAILED, what `accepts` throws; DirectorySyncFailed
 */
export async function writeClone(
  fs: FileSystem,
  from: string,
  target: string,
  options: { mode: number; accepts: (file: File) => Promise<boolean> },
): Promise<boolean | null> {
  const work = await createWorkDirectory(fs, dirname(target), {
    lock: 'if-possible',
    ...siblingAffixes(basename(target)),
  })
  try {
    const clone = join(work.path, basename(target))
    try {
      await fs.clone(from, clone)
    } catch {
      // Whatever it is, the caller writes the bytes then, and meets it again if it is more than that.
      return null
    }
    return await publishSaved(fs, clone, target, { mode: options.mode, keepMode: true, accepts: options.accepts })
  } catch (error) {
    throw ioError(error, `writing ${target}`)
  } finally {
    await work.discard()
  }
}
