// The packs that a persist builds on: what lies in them is not written again.

import type { BlockSource } from '../blocks/block-source.ts'
import type { OpenPack } from '../blocks/pack-cache.ts'
import { lazySourceOf, packsByLikelihood, type StoreContext } from '../blocks/store-context.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { Seen } from '../gc/collect.ts'
import type { StoredHead } from '../storage/port.ts'

/** Packs of the store that a persist builds on. */
export interface KnownPacks {
  source: BlockSource
  /** What the clean-up before saw. */
  seen: Seen | null
  /** Lets go of the packs that were opened; may be called before the commit, and twice. */
  release(): Promise<void>
}

/** Up to so many blocks, all indexes are read at once: 2 ms, and nothing is stored twice. */
const EAGER_BLOCKS = 20_000

/** Packs that cannot be read are left where they are; what only they hold is written again. */
export async function openKnownPacks(ctx: StoreContext, { head }: StoredHead, seen: Seen | null): Promise<KnownPacks> {
  const storeId = fromHex(head.storeId, STORE_ID_BYTES)
  const current = head.snapshots.find(({ sequence }) => sequence === head.current)
  const packs: OpenPack[] = []
  const openers = (current === undefined ? [] : packsByLikelihood(head, current)).map((name) => async () => {
    const pack = await (seen?.packs.has(name)
      ? ctx.packCache.openLater(name, storeId)
      : ctx.packCache.open(name, storeId))
    packs.push(pack)
    return pack
  })
  async function release(): Promise<void> {
    await Promise.all(packs.map((pack) => pack.release()))
  }
  const source = lazySourceOf(ctx, openers, [])
  try {
    if (head.packs.reduce((sum, { blocks }) => sum + blocks, 0) <= EAGER_BLOCKS) await source.loadAllIndexes()
    return { source, seen, release }
  } catch (error) {
    await release()
    throw error
  }
}
