// Plans which snapshots are kept. Pure: it reads no clock, so a store that nobody writes to loses nothing as time
// passes.

import type { HeadSnapshot } from '../format/head.ts'
import { PERIODS, type Policy } from './keep.ts'

type Candidate = Pick<HeadSnapshot, 'sequence' | 'time' | 'tags' | 'abandoned'>

/** What a policy makes of the snapshots. Both lists are newest first. */
interface RetentionPlan<S> {
  /** `reasons`: `current`, `tag v1`, `last 2` (the second newest), `daily 2026-11-20`, `undo`. At least one. */
  kept: { snapshot: S; reasons: string[] }[]
  dropped: S[]
}

/**
 * Which of `snapshots` (newest first) stay. The current one and tagged ones always stay. Each rule of the policy walks
 * by itself from the newest to the oldest by sequence, and keeps a snapshot whose period differs from that of the one
 * which the same rule kept before it, until it has as many as it may. So a clock that jumps and comes back costs each
 * rule two places, and never the newest snapshots.
 *
 * Snapshots that a rollback stepped over take no place in any rule. They stay while they are among the newest `last` of
 * all, so that a rollback can be taken back for a while.
 */
export function planRetention<S extends Candidate>(
  snapshots: readonly S[],
  current: number | null,
  policy: Policy,
): RetentionPlan<S> {
  const rules = [
    lastRule(policy.last),
    ...PERIODS.map(({ name, periodOf }) => periodRule(name, policy[name], periodOf)),
  ]
  const plan: RetentionPlan<S> = { kept: [], dropped: [] }
  for (const [age, snapshot] of snapshots.entries()) {
    const reasons = [
      ...(snapshot.sequence === current ? ['current'] : []),
      ...snapshot.tags.map((tag) => `tag ${tag}`),
      ...(snapshot.abandoned && age < policy.last ? ['undo'] : []),
      ...(snapshot.abandoned ? [] : rules.flatMap((rule) => rule(snapshot) ?? [])),
    ]
    if (reasons.length > 0) plan.kept.push({ snapshot, reasons })
    else plan.dropped.push(snapshot)
  }
  return plan
}

/** Asked of one snapshot after the other; answers why it keeps one, or null. */
type Rule = (snapshot: Candidate) => string | null

function lastRule(places: number): Rule {
  let taken = 0
  return () => (taken < places ? `last ${++taken}` : null)
}

function periodRule(name: string, places: number, periodOf: (time: string) => string): Rule {
  let taken = 0
  let before: string | null = null
  return ({ time }) => {
    if (taken === places) return null
    const period = periodOf(time)
    if (period === before) return null
    taken += 1
    before = period
    return `${name} ${period}`
  }
}
