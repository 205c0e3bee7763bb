// Garbage collection where there are other writers: what HEADs have retired goes after the readers' grace, and what no HEAD has named for
// long goes at once. Packs are not rewritten for their garbage here; persists merge small ones.

import type { StoreContext } from '../blocks/store-context.ts'
import { collectGivenUp } from '../history/collect-given-up.ts'

const GRACE_MS = 24 * 60 * 60 * 1000
/** Longer than any upload takes from its first pack to the HEAD that names it. */
const ORPHAN_MS = 7 * GRACE_MS

interface SharedOptions {
  graceMs?: number | undefined
  signal: AbortSignal
}

/** What `gc` can be told about a store in a directory only. */
interface OwnOptions {
  dryRun?: boolean | undefined
  complete?: boolean | undefined
  budgetMs?: number | undefined
  budgetBytes?: number | undefined
}

/** @throws TypeError for what such a store does not do */
export async function collectShared(
  ctx: StoreContext,
  { dryRun, complete, budgetMs, budgetBytes, graceMs = GRACE_MS, signal }: SharedOptions & OwnOptions,
  { lockWaitMs }: { lockWaitMs: number },
): Promise<{ done: boolean; freedBytes: number; retiredBytes: number }> {
  for (const [name, value] of Object.entries({ dryRun, complete, budgetMs, budgetBytes })) {
    if (value !== undefined && value !== false) throw new TypeError(`gc: ${name} is for a store in a directory`)
  }
  const collected = await collectGivenUp(ctx, { waitMs: lockWaitMs, graceMs, orphanMs: ORPHAN_MS, signal })
  const stored = await ctx.storage.readHead()
  const retiredBytes = stored?.head.retired.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0
  return { done: collected.waitingPacks === 0, freedBytes: collected.deletedBytes, retiredBytes }
}
