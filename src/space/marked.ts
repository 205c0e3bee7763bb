// HEAD with its packs held open and what its snapshots need marked, for a garbage collection that goes on from one HEAD
// to the next.

import type { BlockSource } from '../blocks/block-source.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import type { Head } from '../format/head.ts'
import type { PackUse } from '../gc/plan-gc.ts'
import type { Reach } from '../gc/reach.ts'
import { mergeDamaged } from '../history/next-head.ts'
import type { StoredHead } from '../storage/port.ts'
import { type AllPacks, openAllPacks } from './open-all.ts'
import { packUses } from './pack-use.ts'

/** HEAD with its packs held open, and what its snapshots need marked. */
export interface Marked {
  sync(stored: StoredHead, pause?: () => Promise<unknown> | undefined): Promise<void>
  readonly source: BlockSource
  readonly reach: Reach
  uses(head: Head): Promise<PackUse[]>
  release(): Promise<void>
}

export function createMarked(
  ctx: StoreContext,
  reach: Reach,
  options: { complete?: boolean | undefined; signal: AbortSignal },
): Marked {
  let all: AllPacks | null = null
  // A step replaces a few packs of many. To build the table of all anew took 0.15 s for a million blocks, in each step.
  const tables = { last: null }
  let of: string | null = null
  const bad = (head: Head) => [mergeDamaged(head.damaged, ctx.badBlocks.noted)]
  return {
    reach,
    get source() {
      return all!.source
    },
    async sync(stored, pause) {
      const { head } = stored
      const packs = head.packs.map(({ name }) => name).join()
      if (all === null || of !== packs) {
        // Packs that stay are shared with those that were open, and their indexes are not read again.
        const before = all
        all = await openAllPacks(ctx, stored, tables)
        of = packs
        await before?.release()
      }
      await reach.sync(head, all.source, bad(head), options.signal, pause)
    },
    uses: (head) => packUses(head, all!.source, reach, bad(head), options.complete === true),
    release: async () => await all?.release(),
  }
}
