// After a HEAD was lost: which snapshots are on the line that the journal goes on from. Rollbacks are in no pack, but
// the journal's newest segment has what they stepped over. Pure.

import type { HeadSnapshot } from '../format/head.ts'
import type { RepairedJournal } from './repair-plan.ts'

/**
 * The snapshot as it belongs into a HEAD that is made from this journal: abandoned when a rollback stepped over entries
 * that it holds.
 */
export function onLineOf({ journal, skips }: RepairedJournal, snapshot: HeadSnapshot): HeadSnapshot {
  const { covers } = snapshot
  if (skips === null || covers === undefined || covers.journal !== journal?.id) return snapshot
  const before = skips.filter(([, last]) => last <= covers.sequence)
  const isInside = skips.some(([first, last]) => first <= covers.sequence && covers.sequence <= last)
  // One that is known to leave out other entries was made on another line.
  const isOther = covers.skips.length > 0 && JSON.stringify(covers.skips) !== JSON.stringify(before)
  if (isInside || isOther) return { ...snapshot, abandoned: true }
  return { ...snapshot, abandoned: false, covers: { ...covers, skips } }
}
