// Opens the packs that a persist builds on: blocks that are in them are not written again.

import type { BlockSource } from '../blocks/block-source.ts'
import { lazySourceOf, packsByLikelihood } from '../blocks/open-packs.ts'
import type { OpenPack } from '../blocks/pack-cache.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import type { Head } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { Seen } from '../gc/collect.ts'

interface KnownPacks {
  source: BlockSource
  /** Releases the packs that were opened. It may be called twice. */
  release(): Promise<void>
}

/** Stores below this many blocks load every index up front (2 ms), so that no block is stored twice. */
const EAGER_BLOCKS = 20_000

/** Packs that cannot be read stay as they are. Blocks that only they hold are written again. */
export async function openKnownPacks(ctx: StoreContext, head: Head, seen: Seen | null): Promise<KnownPacks> {
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
  const source = lazySourceOf(ctx, openers)
  try {
    if (head.packs.reduce((sum, { blocks }) => sum + blocks, 0) <= EAGER_BLOCKS) await source.loadAllIndexes()
    return { source, release }
  } catch (error) {
    await release()
    throw error
  }
}
