// Keeps owners of the journal out while the history of the store is changed.

import { join } from 'node:path'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import type { JournalEnd } from '../history/covers.ts'
import { JOURNAL_LOCK, takeLockIfThere } from '../journal/lock.ts'
import { type JournalFiles, markOf, placeOf } from './place.ts'

/**
 * Runs a rollback with the journal's lock held, and tells it where the journal ends.
 *
 * @throws JOURNAL_LOCKED while the journal is open, JOURNAL_DAMAGED, IO_FAILED
 */
export async function withJournalEnd<T>(
  ctx: StoreContext,
  files: JournalFiles | null,
  work: (end: JournalEnd | null) => Promise<T>,
): Promise<T> {
  return await withJournalLocked(ctx, files, async (lockedFiles) => {
    const stored = await ctx.storage.readHead()
    if (lockedFiles === null || stored?.head.journal === undefined) return await work(null)
    const { readJournalEnd } = await import('../journal/recover.ts')
    const { last, mark } = await readJournalEnd(await placeOf(ctx, lockedFiles))
    return await work({ last, mark: markOf(mark) })
  })
}

/** Keeps owners of the journal out while the store's history is changed. @throws JOURNAL_LOCKED while it is open */
export async function withJournalLocked<T>(
  ctx: StoreContext,
  files: JournalFiles | null,
  work: (files: JournalFiles | null) => Promise<T>,
): Promise<T> {
  if (ctx.journal !== null) {
    throw new HoldfastError(
      'JOURNAL_LOCKED',
      `${ctx.storage.location}: this store object has the journal open; close it first`,
      { details: { path: ctx.storage.location, holder: 'this process' } },
    )
  }
  if (files === null || files.readOnly || !files.lock) return await work(files)
  const lock = await takeLockIfThere(files.fs, join(files.root, JOURNAL_LOCK))
  try {
    return await work(files)
  } finally {
    await lock?.release()
  }
}
