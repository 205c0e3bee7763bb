// Plans which snapshots a persist keeps. Pure.

import type { HeadSnapshot } from '../format/head.ts'

/**
 * Which of `snapshots` (newest first) stay: the current one, tagged ones, the newest `keepLast` that `fallback` may choose, and what a
 * rollback stepped over as long as it is among the newest `keepLast` of all, so that a rollback can be taken back for a while.
 */
export function planRetention(snapshots: readonly HeadSnapshot[], current: number, keepLast: number): HeadSnapshot[] {
  let good = 0
  return snapshots.filter((snapshot, age) => {
    const counts = snapshot.abandoned ? age < keepLast : good++ < keepLast
    return counts || snapshot.sequence === current || snapshot.tags.length > 0
  })
}
