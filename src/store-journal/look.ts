// Looks at a store's journal without opening it: for `verify`, and to warn whoever loads a snapshot that the journal is
// ahead of.

import { join } from 'node:path'
import type { StoreContext } from '../blocks/store-context.ts'
import { type HoldfastError, isHoldfastError } from '../errors.ts'
import type { HeadJournal } from '../format/head.ts'
import { attempt, lstatOrNull } from '../fs/io.ts'
import { JOURNAL_LOCK, takeLockIfThere } from '../journal/lock.ts'
import type { JournalCheck } from '../recovery/check-journal.ts'
import type { Problem } from '../recovery/problem.ts'
import { term } from '../terms.ts'
import { currentCovers, DIRECTORY, type JournalFiles, journalHeadOf, segmentOf } from './place.ts'

/**
 * Warns, once, who loads the current snapshot without the journal although the journal has more entries. Errors are
 * ignored here, because whoever opens the journal gets them.
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
        `${ctx.storage.location}: the journal has entries from ${first} on that snapshot ${snapshot.sequence} does not hold. ${term('replay')}` +
        ', or take this for the state at the snapshot',
      details: { sequence: snapshot.sequence, covers: after, first },
    })
  }
}

/** What a look found. */
interface Look {
  state: JournalCheck['state']
  error: HoldfastError | null
  /** What a repair recorded as lost, in words; null: nothing. */
  recorded: string | null
}

const SKIPPED: Look = { state: 'skipped', error: null, recorded: null }
const NONE: Look = { state: 'none', error: null, recorded: null }

/** Looks at the whole journal, for `verify` and `scrub`. */
export async function checkStoreJournal(ctx: StoreContext, files: JournalFiles | null): Promise<JournalCheck> {
  const { state, error, recorded } = await lookTwice(ctx, files)
  const what = 'journal'
  const problems: Problem[] = []
  if (recorded !== null) problems.push({ code: 'JOURNAL_DAMAGED', what, message: recorded, recorded: true })
  if (error !== null) problems.push({ code: error.code, what, message: error.message })
  return { state, problems }
}

/**
 * Looks at the journal without keeping an owner out of it. What seems wrong is looked at again with the lock held,
 * because an owner that writes meanwhile can make it seem so.
 */
async function lookTwice(ctx: StoreContext, files: JournalFiles | null): Promise<Look> {
  if (files === null) return NONE
  const { fs, root, lock, readOnly } = files
  const first = await look(ctx, files)
  if (first.error === null) return first
  if (readOnly || !lock) {
    // There is no lock to take. If an owner is writing, a second look finds something else.
    const second = await look(ctx, files)
    return second.error?.message === first.error.message ? second : SKIPPED
  }
  if (ctx.journal !== null) return SKIPPED
  try {
    const held = await takeLockIfThere(fs, join(root, JOURNAL_LOCK))
    try {
      return await look(ctx, files)
    } finally {
      await held?.release()
    }
  } catch (error) {
    if (isHoldfastError(error, 'JOURNAL_LOCKED')) return SKIPPED
    throw error
  }
}

async function look(ctx: StoreContext, { fs, root }: JournalFiles): Promise<Look> {
  const stored = await ctx.storage.readHead()
  const directory = join(root, DIRECTORY)
  if (stored === null) return NONE
  const { storeId, journal } = stored.head
  if (journal === undefined && (await attempt(lstatOrNull(fs, directory), `looking at ${directory}`)) === null) {
    return NONE
  }
  const { checkJournal } = await import('../journal/recover.ts')
  try {
    await checkJournal({ fs, directory }, journal === undefined ? null : journalHeadOf(storeId, journal))
    return { state: 'checked', error: null, recorded: lostIn(journal) }
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    return { state: 'checked', error, recorded: lostIn(journal) }
  }
}

function lostIn(journal: HeadJournal | undefined): string | null {
  if (journal?.lost === undefined) return null
  const entries = journal.lost.entries.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`))
  return `a repair recorded damage up to byte ${journal.lost.offset} of ${journal.lost.segment}.log; ${
    entries.length === 0 ? 'no entry is lost' : `lost are entries ${entries.join(', ')}`
  }`
}
