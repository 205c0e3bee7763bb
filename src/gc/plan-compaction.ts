// Decides which packs to merge and which to rewrite, from HEAD alone. Pure.

import type { HeadPack } from '../format/head.ts'
import { PACK_BLOCKS_MAX } from '../format/limits.ts'

/**
 * Packs of at least this size, or with at least this many blocks, are left alone until half of their bytes are garbage.
 */
const SMALL_PACK_BYTES = 64 * 1024 * 1024
const SMALL_PACK_BLOCKS = PACK_BLOCKS_MAX / 2
/**
 * This many packs of about the same size are merged, so the number of packs grows with the logarithm of what was
 * written.
 */
const TIER_PACKS = 8
const TIER_BASE_BYTES = 64 * 1024
const TIER_FACTOR = 4
/** Less garbage than this is not worth a measurement. */
const GARBAGE_BYTES_MIN = 4 * 1024 * 1024
/** In one persist, compaction copies at most this much for garbage collection, or an eighth of the store. */
const MOVE_BYTES_MAX = 64 * 1024 * 1024

/** What a persist compacts and measures before it commits. */
export interface CompactionPlan {
  /** Ids of small packs to merge into the pack being written. */
  small: number[]
  /** Whether to measure the live bytes of each pack. */
  measure: boolean
  /** Whether to rewrite packs that are mostly garbage, too. */
  rewrite: boolean
}

/**
 * Plans the compaction of one persist. Without compaction, packs would accumulate without bound, each kept for its last
 * live block. Measuring live bytes walks every kept snapshot, so it waits until the bytes written since the last
 * measurement are half of the live bytes then.
 *
 * @param rewrite whether packs may be rewritten for their garbage: where nothing else does it
 */
export function planCompaction(
  packs: readonly HeadPack[],
  damaged: ReadonlySet<string>,
  rewrite: boolean,
): CompactionPlan {
  const healthy = packs.filter(({ name }) => !damaged.has(name))
  const tiers = new Map<number, HeadPack[]>()
  for (const pack of healthy) {
    if (pack.bytes >= SMALL_PACK_BYTES || pack.blocks >= SMALL_PACK_BLOCKS) continue
    const tier = Math.max(0, Math.floor(Math.log(pack.bytes / TIER_BASE_BYTES) / Math.log(TIER_FACTOR)))
    tiers.set(tier, [...(tiers.get(tier) ?? []), pack])
  }
  const full = Math.max(-1, ...[...tiers].filter(([, members]) => members.length >= TIER_PACKS).map(([tier]) => tier))
  const small = [...tiers].filter(([tier]) => tier <= full).flatMap(([, members]) => members.map(({ id }) => id))

  return { small, measure: small.length > 0 || (rewrite && isWorthMeasuring(healthy)), rewrite }
}

/**
 * Whether so much was written since the last measurement that there may be garbage worth rewriting, or that one has
 * found some.
 */
export function isWorthMeasuring(packs: readonly HeadPack[]): boolean {
  const measured = sum(packs.map(({ live }) => live ?? 0))
  const unmeasured = sum(packs.filter(({ live }) => live === null).map(({ bytes }) => bytes))
  return unmeasured >= Math.max(GARBAGE_BYTES_MIN, measured / 2) || packs.some(isMostlyGarbage)
}

function isMostlyGarbage({ bytes, live }: HeadPack): boolean {
  return live !== null && live * 2 < bytes
}

/**
 * Chooses the packs to rewrite once their live bytes are known: the small ones, and those with the most garbage, up to
 * a budget.
 */
export function chooseCompacted(
  plan: CompactionPlan,
  packs: readonly HeadPack[],
  live: ReadonlyMap<number, number>,
  damaged: ReadonlySet<string>,
): number[] {
  const chosen = new Set(plan.small)
  if (!plan.rewrite) return [...chosen]
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
