// Which snapshots a persist keeps beside the one that it makes.

import type { StoreContext } from '../blocks/store-context.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { describePolicy, type Policy } from '../history/keep.ts'
import { planRetention } from '../history/retention.ts'

/** Which snapshots stay and why, newest first. `reasons`: `current`, `tag v1`, `last 2`, `daily 2026-11-20`, `undo`. */
export type KeptReasons = readonly { sequence: number; reasons: readonly string[] }[]

/**
 * Which older snapshots are kept beside the new one, the sequences of those that are dropped, and why the others and
 * the new one stay.
 */
export function planKept(
  head: Head,
  { sequence, time }: Pick<HeadSnapshot, 'sequence' | 'time'>,
  policy: Policy,
): { kept: HeadSnapshot[]; dropped: number[]; reasons: KeptReasons } {
  const newest = { sequence, time, tags: [], abandoned: false }
  const plan = planRetention([newest, ...head.snapshots], sequence, policy)
  const dropped = plan.dropped.map((snapshot) => snapshot.sequence)
  const gone = new Set(dropped)
  const reasons = plan.kept.map((each) => ({ sequence: each.snapshot.sequence, reasons: each.reasons }))
  return { kept: head.snapshots.filter((snapshot) => !gone.has(snapshot.sequence)), dropped, reasons }
}

/** A store of at least this many snapshots that loses more than half of them at once has another policy than before. */
const MANY_SNAPSHOTS = 8

/** A persist with another policy than before may drop what a service kept for years. Told once it is done. */
export function warnOfManyDropped(ctx: StoreContext, head: Head, dropped: readonly number[], policy: Policy): void {
  const before = head.snapshots.length
  if (before < MANY_SNAPSHOTS || dropped.length * 2 <= before) return
  ctx.warn({
    code: 'MANY_DROPPED',
    message:
      `${ctx.storage.location}: this persist dropped ${dropped.length} of ${before} snapshots, because it keeps ${describePolicy(policy)}. ` +
      'Give it the keep of the program that made them, or tag those that must stay',
    details: { location: ctx.storage.location, dropped, kept: before - dropped.length, keep: policy },
  })
}
