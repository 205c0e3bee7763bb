// Looks at a store's journal without opening it: for `verify`, and to warn whoever loads a snapshot that the journal is ahead of.

import { join } from 'node:path'
import type { StoreContext } from '../blocks/store-context.ts'
import { type HoldfastError, isHoldfastError } from '../errors.ts'
import { attempt, lstatOrNull } from '../fs/io.ts'
import { JOURNAL_LOCK, takeLockIfThere } from '../journal/lock.ts'
import { currentCovers, DIRECTORY, type JournalFiles, journalHeadOf, segmentOf } from './place.ts'

/**
 * Tells once who loads the current snapshot without the journal that the journal has more. A look that fails says nothing: whoever opens the
 * journal is told.
 */
export function aheadWarning(ctx: StoreContext, files: JournalFiles | null): NonNullable<StoreContext['loaded']> {
  let isWarned = false
  return async (head, snapshot) => {
    const { journal } = head
    if (isWarned || files === null || journal === undefined || ctx.journal !== null) return
    if (snapshot.sequence !== head.current) return
    const covers = currentCovers(head, journal)
    const after = covers?.sequence ?? 0
    const mark = covers?.mark
    const from = mark == null ? { segment: journal.first, offset: 0 } : mark
    const { firstEntryAfter } = await import('../journal/read-segments.ts')
    const begin = { segment: segmentOf(from.segment), offset: from.offset }
    const found = firstEntryAfter(files.fs, join(files.root, DIRECTORY), begin, after)
    const first = await found.catch(() => null)
    if (first === null) return
    isWarned = true
    ctx.warn({
      code: 'JOURNAL_AHEAD',
      message:
        `${ctx.storage.location}: the journal has entries from ${first} on that snapshot ${snapshot.sequence} does not hold. Open the journal ` +
        'and replay them (openEngine does), or take this for the state at the snapshot',
      details: { sequence: snapshot.sequence, covers: after, first },
    })
  }
}

/** What a look at a journal found. `skipped`: something seemed wrong, and an owner that has it open may be why. */
interface JournalCheck {
  state: 'none' | 'checked' | 'skipped'
  error: HoldfastError | null
}

/**
 * Looks at the journal without keeping an owner out of it. What seems wrong is looked at again with the lock held, because an owner that writes
 * meanwhile can make it seem so.
 */
export async function checkStoreJournal(ctx: StoreContext, files: JournalFiles | null): Promise<JournalCheck> {
  if (files === null) return { state: 'none', error: null }
  const { fs, root, lock, readOnly } = files
  const first = await look(ctx, files)
  if (first.error === null) return first
  if (readOnly || !lock) {
    // It cannot be locked. An owner at work is not twice at the same place.
    const second = await look(ctx, files)
    return second.error?.message === first.error.message ? second : { state: 'skipped', error: null }
  }
  if (ctx.journal !== null) return { state: 'skipped', error: null }
  try {
    const held = await takeLockIfThere(fs, join(root, JOURNAL_LOCK))
    try {
      return await look(ctx, files)
    } finally {
      await held?.release()
    }
  } catch (error) {
    if (isHoldfastError(error, 'JOURNAL_LOCKED')) return { state: 'skipped', error: null }
    throw error
  }
}

async function look(ctx: StoreContext, { fs, root }: JournalFiles): Promise<JournalCheck> {
  const stored = await ctx.storage.readHead()
  const directory = join(root, DIRECTORY)
  if (stored === null) return { state: 'none', error: null }
  const { storeId, journal } = stored.head
  if (journal === undefined && (await attempt(lstatOrNull(fs, directory), `looking at ${directory}`)) === null) {
    return { state: 'none', error: null }
  }
  const { checkJournal } = await import('../journal/recover.ts')
  try {
    await checkJournal({ fs, directory }, journal === undefined ? null : journalHeadOf(storeId, journal))
    return { state: 'checked', error: null }
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    return { state: 'checked', error }
  }
}
