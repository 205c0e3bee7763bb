import type { HeadPack } from '../format/head.ts'
import { PACK_BLOCKS_MAX } from '../format/limits.ts'

/** Packs from this size on, or with so many blocks, are left alone until half of them is garbage. */
const SMALL_PACK_BYTES = 64 * 1024 * 1024
const SMALL_PACK_BLOCKS = PACK_BLOCKS_MAX / 2
/** So many packs of about the same size become one: their number grows with the logarithm of what was written. */
const TIER_PACKS = 8
const TIER_BASE_BYTES = 64 * 1024
const TIER_FACTOR = 4
/** Below this, garbage is not worth looking for. */
const GARBAGE_BYTES_MIN = 4 * 1024 * 1024
/** Garbage collection moves at most this much in one persist, or an eighth of the store. */
const MOVE_BYTES_MAX = 64 * 1024 * 1024

/** What is worth finding out before a persist commits. */
export interface CompactionPlan {
  /** Ids of small packs to merge into the pack being written. */
  small: number[]
  /** Whether to measure how much of each pack is alive. */
  measure: boolean
}

/**
 * Decides from HEAD alone. Without it a store that is persisted to for ever would gather packs without bound, each held by its last
 * live block. Measuring reachable every kept snapshot, so it waits until half as much was written as was alive the last time.
 */
export function planCompaction(packs: readonly HeadPack[], damaged: ReadonlySet<string>): CompactionPlan {
  const healthy = packs.filter(({ name }) => !damaged.has(name))
  const tiers = new Map<number, HeadPack[]>()
  for (const pack of healthy) {
    if (pack.bytes >= SMALL_PACK_BYTES || pack.blocks >= SMALL_PACK_BLOCKS) continue
    const tier = Math.max(0, Math.floor(Math.log(pack.bytes / TIER_BASE_BYTES) / Math.log(TIER_FACTOR)))
    tiers.set(tier, [...(tiers.get(tier) ?? []), pack])
  }
  const full = Math.max(-1, ...[...tiers].filter(([, members]) => members.length >= TIER_PACKS).map(([tier]) => tier))
  const small = [...tiers].filter(([tier]) => tier <= full).flatMap(([, members]) => members.map(({ id }) => id))

  const measured = sum(healthy.map(({ live }) => live ?? 0))
  const unmeasured = sum(healthy.filter(({ live }) => live === null).map(({ bytes }) => bytes))
  const due = unmeasured >= Math.max(GARBAGE_BYTES_MIN, measured / 2)
  return { small, measure: small.length > 0 || due || healthy.some(isMostlyGarbage) }
}

function isMostlyGarbage({ bytes, live }: HeadPack): boolean {
  return live !== null && live * 2 < bytes
}

/** Which packs to rewrite, once it is known how much of each is alive: the small ones, and the emptiest up to a budget. */
export function chooseCompacted(
  plan: CompactionPlan,
  packs: readonly HeadPack[],
  live: ReadonlyMap<number, number>,
  damaged: ReadonlySet<string>,
): number[] {
  const chosen = new Set(plan.small)
  let budget = Math.max(MOVE_BYTES_MAX, sum(packs.map(({ bytes }) => bytes)) / 8)
  const candidates = packs
    .filter(({ id, name }) => !damaged.has(name) && live.has(id))
    .map((pack) => ({ ...pack, live: live.get(pack.id)! }))
    .filter(isMostlyGarbage)
    .sort((a, b) => a.live / a.bytes - b.live / b.bytes)
  for (const { id, live } of candidates) {
    if (chosen.has(id)) continue
    if (live > budget) break
    budget -= live
    chosen.add(id)
  }
  return [...chosen]
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}
