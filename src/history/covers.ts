// What snapshots cover of a journal, and what a rollback makes of it.

import { HoldfastError } from '../errors.ts'
import type { Head, HeadCovers, HeadMark, HeadSnapshot } from '../format/head.ts'
import { term } from '../terms.ts'

/** Where a journal ends that nobody has open. */
export interface JournalEnd {
  /** The last entry. */
  last: number
  mark: HeadMark | null
}

/** Up to which entry of a journal a snapshot covers it. */
export function coveredBy(snapshot: HeadSnapshot | null | undefined, journal: string): number {
  return snapshot?.covers?.journal === journal ? snapshot.covers.sequence : 0
}

/**
 * What the entry covers that makes `target` current again: the whole journal, less what came after `target`. So nothing
 * of the line that is left is ever replayed on it.
 *
 * @throws ENTRIES_UNSAVED when entries are in no snapshot, unless they are to be discarded
 */
export function coversOfRollback(
  head: Head,
  target: HeadSnapshot,
  { last, mark }: JournalEnd,
  discard: boolean,
): HeadCovers | undefined {
  const { journal } = head
  if (journal === undefined) return undefined
  const covered = coveredBy(
    head.snapshots.find(({ sequence }) => sequence === head.current),
    journal.id,
  )
  if (last > covered && !discard) {
    throw new HoldfastError(
      'ENTRIES_UNSAVED',
      `Entries ${covered + 1} to ${last} of the journal are in no snapshot, and a rollback would step over them. Replay them and persist first, ` +
        term('discardEntries'),
      { details: { first: covered + 1, last } },
    )
  }
  const end = Math.max(last, covered)
  const from = coveredBy(target, journal.id) + 1
  const skips = target.covers?.journal === journal.id ? target.covers.skips : []
  if (from > end) return { journal: journal.id, sequence: end, mark, skips }
  return { journal: journal.id, sequence: end, mark, skips: [...skips.filter(([, last]) => last < from), [from, end]] }
}
