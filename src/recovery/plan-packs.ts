// Plans for each pack of a repair whether it is kept, adopted, copied from, or moved to quarantine. Pure.

import type { Head } from '../format/head.ts'
import type { Direction, KeptSnapshot, PackPlan } from './repair-plan.ts'
import type { SalvagedPack } from './salvage.ts'

export function knownPacks(head: Head): Set<string> {
  return new Set([...head.packs, ...head.retired].map(({ name }) => name))
}

/**
 * Orders packs by trust: first those that HEAD names, then those that it could name, newest first (the results of
 * compactions). A block is used from the first pack that has it.
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

  for (const [packNumber, { name, intact: whole, why, bytes, intactIndex: good, header }] of packs.entries()) {
    const said = saidOf.get(name)
    const needed = kept.some(({ packNumbers }) => packNumbers.has(packNumber))
    const hasBlocks = marks[packNumber]!.includes(1)
    const aside = (reason: string, because: string): void =>
      void packPlan.toQuarantine.push({ packNumber, reason, why: because })
    if (retired.has(name)) {
      // A retired pack cannot be named again, because it is deleted soon.
      if (hasBlocks) packPlan.rescued.add(packNumber)
    } else if (!whole) {
      if (hasBlocks) packPlan.rescued.add(packNumber)
      if (said !== undefined) packPlan.lost.add(said.id)
      aside('damaged', why)
    } else if (said !== undefined) {
      if (!needed && !listed.has(said.id)) {
        aside('unneeded', 'only snapshots that are dropped needed it')
        continue
      }
      packPlan.named.add(packNumber)
      if (said.bytes !== bytes || said.blocks !== good.blocks) {
        packPlan.wrong.push(
          `pack ${name} has ${bytes} bytes and ${good.blocks} blocks, HEAD says ${said.bytes} and ${said.blocks}`,
        )
      }
    } else if (needed) {
      packPlan.named.add(packNumber)
      packPlan.adopted.push(packNumber)
    } else if (adopting) {
      aside('unneeded', 'no snapshot that could be rebuilt needs it')
    } else if (rolledBack && header!.revision > base.revision) {
      aside('newer-than-head', 'the store goes on from the older HEAD')
    }
    // A pack that is left was written by a writer that died. The next writer deletes it.
  }
  const there = new Set(packs.map(({ name }) => name))
  for (const { id, name } of base.packs) {
    if (there.has(name)) continue
    packPlan.missing.push(name)
    packPlan.lost.add(id)
  }
  return packPlan
}
