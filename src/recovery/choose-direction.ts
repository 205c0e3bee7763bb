// Decides which way a repair goes on when HEAD is older than what lies beside it. It reads and changes nothing.

import { type BlockSource, openBlockSource } from '../blocks/block-source.ts'
import { type BaseHead, withoutHead } from './base-head.ts'
import { inOrderOfTrust, knownPacks } from './plan-packs.ts'
import { planSnapshots, type SnapshotPlan } from './plan-snapshots.ts'
import type { Direction, RepairOptions, RepairPlan } from './repair-plan.ts'
import type { SalvagedPack } from './salvage.ts'

type Chosen = Direction & { start: BaseHead }

/**
 * The direction that `rolledBack` says. Without it the caller has to choose, and learns what each way keeps. There is
 * nothing to choose when no snapshot of the old HEAD is whole and newer ones are, as in a copy by hand that took HEAD
 * first: then those are adopted.
 */
export async function chooseDirection(
  location: string,
  found: BaseHead,
  salvaged: readonly SalvagedPack[],
  options: RepairOptions,
): Promise<Chosen & { offers: RepairPlan['offers'] }> {
  const asked = directionOf(found, salvaged, options)
  if (asked.choice === null) return { ...asked, offers: null }
  const keptBy = async (rolledBack: 'newer' | 'older'): Promise<number[]> => {
    const { candidates } = await candidatesOf(location, salvaged, directionOf(found, salvaged, { rolledBack }))
    return candidates.kept.map(({ snapshot }) => snapshot.sequence)
  }
  const offers = { newer: await keptBy('newer'), older: await keptBy('older') }
  if (offers.older.length > 0 || offers.newer.length === 0) return { ...asked, offers }
  return { ...directionOf(found, salvaged, { rolledBack: 'newer' }), offers: null }
}

/** The snapshots that may be kept in a direction, and where their blocks are. */
export async function candidatesOf(
  location: string,
  salvaged: readonly SalvagedPack[],
  { base, adopting }: Pick<Direction, 'base' | 'adopting'>,
): Promise<{ packs: readonly SalvagedPack[]; source: BlockSource; candidates: SnapshotPlan }> {
  const packs = inOrderOfTrust(salvaged, base)
  const source = await openBlockSource(
    packs.map(({ pack, intactIndex: good }) => ({ ...pack, index: async () => good })),
  )
  await source.expectLookups(Number.POSITIVE_INFINITY)
  return { packs, source, candidates: await planSnapshots(location, source, packs, base, adopting) }
}

function directionOf(start: BaseHead, salvaged: readonly SalvagedPack[], { rolledBack: way }: RepairOptions): Chosen {
  const { previous, base } = start
  const there = start.currentHead ?? start.relaid
  if (there === null) {
    // Each acknowledged HEAD of a shared store has a copy, so where there is one, what it does not name was not
    // committed.
    const adopting = !start.isShared || start.from === 'commit records'
    return { start, base, rolledBack: false, choice: null, adopting, jump: true }
  }
  const known = knownPacks(there)
  const isNewer = ({ name, intact: whole, header }: SalvagedPack): boolean =>
    !known.has(name) && whole && header!.revision > there.revision + (start.putBack ? 0 : 1)
  const spareIsNewer = previous !== null && previous.revision > there.revision
  const rolledBack = spareIsNewer || salvaged.some(isNewer)
  const adopting = rolledBack && way === 'newer'
  if (adopting && spareIsNewer) return directionOf(withoutHead(start, previous), salvaged, {})
  const choice = rolledBack && way === undefined ? 'newer-or-older' : null
  return { start, base, rolledBack, choice, adopting, jump: rolledBack || start.currentHead === null }
}
