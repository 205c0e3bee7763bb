// The lock of a journal: held by its owner for as long as the journal is open, and for a moment by whoever changes the
// store's history. It is taken before the writer lock, never after it.

import { hostname } from 'node:os'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { acquireFileLock, type FileLock } from '../fs/file-lock.ts'
import { attempt, lstatOrNull } from '../fs/io.ts'
import type { FileSystem } from '../fs/port.ts'
import { term } from '../terms.ts'

export const JOURNAL_LOCK = 'journal.lock'

/** @throws JOURNAL_LOCKED, LOCK_UNAVAILABLE, IO_FAILED, NO_SPACE, `signal.reason` */
export async function takeJournalLock(
  fs: FileSystem,
  path: string,
  options: { mode: number; waitMs: number; signal?: AbortSignal | undefined },
): Promise<FileLock> {
  try {
    return await acquireFileLock(fs, path, { ...options, hint: Buffer.from(`pid ${process.pid} on ${hostname()}`) })
  } catch (error) {
    if (!isHoldfastError(error, 'STORE_LOCKED')) throw error
    const { waitedMs, holder } = error.details
    throw new HoldfastError(
      'JOURNAL_LOCKED',
      `The journal is open elsewhere${typeof holder === 'string' ? ` (${holder})` : ''}; gave up after ${String(waitedMs)} ms. ` +
        `Wait for its owner to close it, or ${term('raiseLockWait')}. The lock ends with its process: never delete the file`,
      { details: { path, waitedMs, holder }, cause: error },
    )
  }
}

/** Takes the lock of a journal that was opened before. Null when there is no lock file: none is made. */
export async function takeLockIfThere(fs: FileSystem, path: string): Promise<FileLock | null> {
  const there = await attempt(lstatOrNull(fs, path), `looking at ${path}`)
  return there === null ? null : await takeJournalLock(fs, path, { mode: there.mode & 0o666, waitMs: 0 })
}
