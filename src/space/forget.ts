// Drops snapshots: those that are named, or those that a policy does not keep. Deletes no pack that any other snapshot
// needs.

import type { BlockSource } from '../blocks/block-source.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { cleanUp, cleanUpAfter } from '../gc/collect.ts'
import { HISTORY_OPTIONS, type HistoryOptions } from '../history/history.ts'
import { type Keep, keepPolicy, type Policy } from '../history/keep.ts'
import { nextHead } from '../history/next-head.ts'
import { planRetention } from '../history/retention.ts'
import { assertExpected, assertWritable, watchWait } from '../history/write-guards.ts'
import { find, nothingThere } from '../load/load.ts'
import { assertOptions, type OptionTable, refusePromise } from '../misuse.ts'
import { withReadablePacks } from './open-all.ts'
import { measureUsage } from './usage.ts'

/** Snapshots by sequence and by tag, or a policy: what it does not keep goes. */
export type ForgetWhich = number | string | readonly (number | string)[] | { keep: Keep }

/** How snapshots are dropped. */
export interface ForgetOptions extends HistoryOptions {
  /** Answers what would be done, and changes nothing. */
  dryRun?: boolean | undefined
}

export const FORGET_OPTIONS: OptionTable<ForgetOptions> = { ...HISTORY_OPTIONS, dryRun: 'boolean' }

/** What `forget` dropped, and why the others stay. */
export interface Forgotten {
  /** Sequences, newest first. */
  dropped: readonly number[]
  /**
   * Newest first. `reasons`: `current`, `tag v1`, `last 2`, `daily 2026-11-20`, `undo`; `not named` of those that
   * nobody asked to forget.
   */
  kept: readonly { sequence: number; reasons: readonly string[] }[]
  /**
   * Stored bytes of blocks that only dropped snapshots have, index entries included. They are given back by later
   * persists, or at once by `gc`. Null when a snapshot that cannot be read or another writer makes that unknown.
   */
  freesBytes: number | null
}

type Plan = Omit<Forgotten, 'freesBytes'>
type Selection = { policy: Policy } | { named: readonly (number | string)[] }

/** @throws SNAPSHOT_CURRENT, SNAPSHOT_TAGGED, SNAPSHOT_NOT_FOUND, HEAD_CONFLICT */
export async function forget(
  ctx: StoreContext,
  which: ForgetWhich,
  options: ForgetOptions & { lockWaitMs: number },
): Promise<Forgotten> {
  const selection = selectionOf(which)
  // Counted before the lock is taken, because it may take long.
  const counted = await countAndPlan(ctx, selection, options).catch((error: unknown) => {
    if (options.dryRun === true || !isHoldfastError(error, 'SNAPSHOT_NOT_FOUND')) throw error
    return null
  })
  if (options.dryRun === true && counted !== null) return counted.answer
  // Also if nothing is left to drop: what an earlier call dropped is made durable before that is said.
  return await ctx.storage.write(
    { waitMs: options.lockWaitMs, signal: options.signal, onWait: watchWait(ctx, undefined) },
    async (session) => {
      const { stored } = session
      if (stored === null) throw nothingThere(ctx.storage.location)
      assertWritable(ctx, stored)
      // Somebody wrote meanwhile: what goes is planned from what there is now.
      const isSame = stored.head.revision === counted?.revision
      let { answer } = isSame ? counted : await countAndPlan(ctx, selection, options)
      if (answer.dropped.length === 0 && !session.uncertain) return answer
      const seen = await cleanUp(ctx, session)
      await session.swapHead((base) => {
        assertWritable(ctx, base)
        assertExpected(ctx, base.head, options.expectedHead)
        if (base.head.revision !== stored.head.revision) {
          answer = { ...planForget(ctx.storage.location, base.head, selection), freesBytes: null }
        }
        const gone = new Set(answer.dropped)
        return nextHead(base.head, { snapshots: base.head.snapshots.filter(({ sequence }) => !gone.has(sequence)) })
      })
      await cleanUpAfter(ctx, session, seen)
      return answer
    },
  )
}

async function countAndPlan(
  ctx: StoreContext,
  selection: Selection,
  options: ForgetOptions,
): Promise<{ answer: Forgotten; revision: number }> {
  const counted = await withReadablePacks(ctx, async ({ head }, source) => {
    assertExpected(ctx, head, options.expectedHead)
    const plan = planForget(ctx.storage.location, head, selection)
    const freesBytes = plan.dropped.length === 0 ? 0 : await freedBy(head, plan, source, options.signal)
    return { answer: { ...plan, freesBytes }, revision: head.revision }
  })
  if (counted === null) throw nothingThere(ctx.storage.location)
  return counted
}

/** What goes and what stays. */
function planForget(location: string, head: Head, selection: Selection): Plan {
  if ('policy' in selection) {
    const { kept, dropped } = planRetention(head.snapshots, head.current, selection.policy)
    return {
      dropped: dropped.map(({ sequence }) => sequence),
      kept: kept.map(({ snapshot, reasons }) => ({ sequence: snapshot.sequence, reasons })),
    }
  }
  const named = new Set(selection.named.map((at) => find(location, head, at)))
  for (const snapshot of named) assertMayGo(location, head, snapshot, selection.named)
  const kept = head.snapshots.filter((snapshot) => !named.has(snapshot))
  return {
    dropped: head.snapshots.filter((snapshot) => named.has(snapshot)).map(({ sequence }) => sequence),
    kept: kept.map(({ sequence, tags }) => {
      const reasons = [...(sequence === head.current ? ['current'] : []), ...tags.map((tag) => `tag ${tag}`)]
      return { sequence, reasons: reasons.length > 0 ? reasons : ['not named'] }
    }),
  }
}

/**
 * The current snapshot is what a start loads. A tag says that somebody wants the snapshot, so each of its tags has to
 * be named.
 */
function assertMayGo(
  location: string,
  head: Head,
  { sequence, tags }: HeadSnapshot,
  named: readonly (number | string)[],
): void {
  if (sequence === head.current) {
    throw new HoldfastError(
      'SNAPSHOT_CURRENT',
      `${location}: snapshot ${sequence} is the current one, which a load gives: roll back to another one or persist first`,
      { details: { sequence } },
    )
  }
  const others = tags.filter((tag) => !named.includes(tag))
  if (others.length === 0) return
  throw new HoldfastError(
    'SNAPSHOT_TAGGED',
    `${location}: snapshot ${sequence} is tagged ${others.map((tag) => JSON.stringify(tag)).join(', ')}: untag it first, or name its tags ` +
      'instead of its number',
    { details: { sequence, tags: others } },
  )
}

/** What only dropped snapshots have; null when a snapshot cannot be read. */
async function freedBy(
  head: Head,
  { dropped }: Plan,
  source: BlockSource,
  signal: AbortSignal | undefined,
): Promise<number | null> {
  const gone = new Set(dropped)
  const isGone = ({ sequence }: HeadSnapshot): boolean => gone.has(sequence)
  const inOrder = [...head.snapshots.filter((each) => !isGone(each)), ...head.snapshots.filter(isGone)]
  const { added, damaged, unread } = await measureUsage(source, inOrder, { signal })
  return damaged.length + unread.length > 0 ? null : dropped.reduce((sum, sequence) => sum + added.get(sequence)!, 0)
}

function selectionOf(which: ForgetWhich): Selection {
  refusePromise(which, 'forget: which')
  if (typeof which === 'number' || typeof which === 'string') return { named: [which] }
  if (Array.isArray(which)) {
    if (which.length === 0) throw new TypeError('forget: name at least one snapshot, or give { keep }')
    return { named: which }
  }
  if (typeof which !== 'object' || which === null || !('keep' in which) || which.keep === undefined) {
    throw new TypeError(
      'forget: give sequences and tags, or { keep: { last, hourly, daily, weekly, monthly, yearly } }',
    )
  }
  assertOptions('forget', which, { keep: 'any' })
  return { policy: keepPolicy('forget', which.keep) }
}
