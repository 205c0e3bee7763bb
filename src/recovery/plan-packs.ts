// Plans what becomes of each pack in a repair: kept, adopted, copied from, or moved to quarantine. Pure.

import type { Head } from '../format/head.ts'
import type { Direction, KeptSnapshot, PackPlan } from './repair-plan.ts'
import type { SalvagedPack } from './salvage.ts'

export function knownPacks(head: Head): Set<string> {
  return new Set([...head.packs, ...head.retired].map(({ name }) => name))
}

/**
 * Orders packs by trust: first those that HEAD names, then those that it could name, newest first (the results of
 * compactions). A block stays in the first pack that has it. From all other packs it must be copied.
 */
export function inOrderOfTrust(packs: readonly SalvagedPack[], base: Head): SalvagedPack[] {
  const named = new Set(base.packs.map(({ name }) => name))
  const retired = new Set(base.retired.map(({ name }) => name))
  const rank = ({ name, intact: whole }: SalvagedPack): number => {
    if (!whole || retired.has(name)) return 2
    return named.has(name) ? 0 : 1
  }
  return [...packs].sort(
    (a, b) => rank(a) - rank(b) || (b.header?.revision ?? 0) - (a.header?.revision ?? 0) || (a.name < b.name ? -1 : 1),
  )
}

export function planPacks(
  packs: readonly SalvagedPack[],
  { base, rolledBack, adopting }: Direction,
  marks: readonly Uint8Array[],
  kept: readonly KeptSnapshot[],
): PackPlan {
  const packPlan: PackPlan = {
    named: new Set(),
    adopted: [],
    rescued: new Set(),
    toQuarantine: [],
    missing: [],
    lost: new Set(),
    wrong: [],
  }
  const saidOf = new Map(base.packs.map((pack) => [pack.name, pack]))
  const retired = new Set(base.retired.map(({ name }) => name))
  const listed = new Set(kept.flatMap(({ snapshot }) => snapshot.packs))

  for (const [slot, { name, intact: whole, why, bytes, intactIndex: good, header }] of packs.entries()) {
    const said = saidOf.get(name)
    const needed = kept.some(({ slots }) => slots.has(slot))
    const hasBlocks = marks[slot]!.includes(1)
    const aside = (reason: string, because: string): void =>
      void packPlan.toQuarantine.push({ slot, reason, why: because })
    if (retired.has(name)) {
      // A name never comes back from there: it is deleted soon.
      if (hasBlocks) packPlan.rescued.add(slot)
    } else if (!whole) {
      if (hasBlocks) packPlan.rescued.add(slot)
      if (said !== undefined) packPlan.lost.add(said.id)
      aside('damaged', why)
    } else if (said !== undefined) {
      if (!needed && !listed.has(said.id)) {
        aside('unneeded', 'only snapshots that are dropped needed it')
        continue
      }
      packPlan.named.add(slot)
      if (said.bytes !== bytes || said.blocks !== good.blocks) {
        packPlan.wrong.push(
          `pack ${name} has ${bytes} bytes and ${good.blocks} blocks, HEAD says ${said.bytes} and ${said.blocks}`,
        )
      }
    } else if (needed) {
      packPlan.named.add(slot)
      packPlan.adopted.push(slot)
    } else if (adopting) {
      aside('unneeded', 'no snapshot that could be rebuilt needs it')
    } else if (rolledBack && header!.revision > base.revision) {
      aside('newer-than-head', 'the store goes on from the older HEAD')
    }
    // What is left is what a writer that died left behind: the next one deletes it.
  }
  const there = new Set(packs.map(({ name }) => name))
  for (const { id, name } of base.packs) {
    if (there.has(name)) continue
    packPlan.missing.push(name)
    packPlan.lost.add(id)
  }
  return packPlan
}
