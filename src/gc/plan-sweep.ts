// Plans which packs to delete or to quarantine, from HEAD and from the headers of the packs, and carries out the plan.

import { HoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'
import type { WriteSession } from '../storage/port.ts'
import { term } from '../terms.ts'
import type { PackClaim } from './pack-claims.ts'

export interface SweepPlan {
  delete: string[]
  quarantine: { name: string; reason: 'not-a-pack' | 'other-store'; details: Record<string, unknown> }[]
  /**
   * Files of a later revision than the writer after this HEAD could use: HEAD is an old copy, and nothing may be
   * deleted.
   */
  future: { name: string; revision: number }[]
}

/**
 * Plans what to do with each pack in the store. A retired pack is deleted only when `HEAD.prev.json` also records it as
 * retired. So whichever of the two is read after a crash, everything that it needs exists.
 *
 * @param options.locked no other writer can be running, so a pack for the next revision that HEAD does not name was
 *   left by a dead writer. Without this deletion, a process that dies in every persist would fill the disk
 * @param options.putBack HEAD seems to be a copy of the HEAD before it: packs of the next revision may belong to an
 *   acknowledged snapshot
 */
export function planSweep(
  head: Head,
  previous: Head | null,
  packs: ReadonlyMap<string, PackClaim | null>,
  { locked = false, putBack = false }: { locked?: boolean; putBack?: boolean } = {},
): SweepPlan {
  const named = new Set(head.packs.map(({ name }) => name))
  const retired = new Set(head.retired.map(({ name }) => name))
  const retiredBefore = new Set(previous?.retired.map(({ name }) => name))
  const plan: SweepPlan = { delete: [], quarantine: [], future: [] }
  // HEAD.prev.json is made from HEAD before HEAD is replaced, so it is never the newer one.
  if (previous !== null && previous.revision > head.revision) {
    plan.future.push({ name: 'HEAD.prev.json', revision: previous.revision })
  }
  for (const [name, claim] of packs) {
    if (named.has(name)) continue
    if (retired.has(name)) {
      if (claim !== null && 'unreadable' in claim) {
        // A foreign file with the name of a pack.
        plan.quarantine.push({ name, reason: 'not-a-pack', details: { why: claim.unreadable } })
      } else if (retiredBefore.has(name)) plan.delete.push(name)
    } else if (claim === null) {
      // The header was not read.
    } else if ('unreadable' in claim) {
      plan.quarantine.push({ name, reason: 'not-a-pack', details: { why: claim.unreadable } })
    } else if (claim.storeId !== head.storeId) {
      plan.quarantine.push({ name, reason: 'other-store', details: { storeId: claim.storeId, expected: head.storeId } })
    } else if (claim.revision === head.revision + 1 && putBack) {
      plan.future.push({ name, revision: claim.revision })
    } else if (claim.revision <= head.revision || (locked && claim.revision === head.revision + 1)) {
      plan.delete.push(name)
    } else if (claim.revision > head.revision + 1) {
      plan.future.push({ name, revision: claim.revision })
    }
    // A pack for the next revision: another writer may be about to name it.
  }
  if (plan.future.length > 0) return { ...plan, delete: [], quarantine: [] }
  return plan
}

/** Carries out a plan. Returns what was moved to quarantine. */
export async function applySweep(
  session: WriteSession,
  plan: SweepPlan,
): Promise<{ name: string; reason: string; to: string }[]> {
  for (const name of plan.delete) await session.deletePack(name)
  const moved: { name: string; reason: string; to: string }[] = []
  for (const { name, reason, details } of plan.quarantine) {
    moved.push({ name, reason, to: await session.quarantinePack(name, reason, details) })
  }
  return moved
}

export function rolledBack(location: string, head: Head, plan: SweepPlan): HoldfastError {
  const { name, revision: newest } = plan.future.reduce((a, b) => (b.revision > a.revision ? b : a))
  return new HoldfastError(
    'STORE_ROLLED_BACK',
    `${location}: HEAD is at revision ${head.revision}, but ${name === 'HEAD.prev.json' ? name : `pack ${name}`} beside it is of revision ` +
      `${newest}: an old HEAD was put back. Nothing was deleted. Put the newer HEAD.json back, or say which way to go on: ` +
      `${term('repairNewer')} adopts the snapshots made after this HEAD, ${term('repairOlder')} goes on without them`,
    { details: { revision: head.revision, newest, files: plan.future } },
  )
}
