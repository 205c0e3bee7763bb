// Opens all packs of a store and reads all their indexes, for operations that judge every block.

import type { BlockSource, BlockSourceOptions } from '../blocks/block-source.ts'
import { openPacks, sourceOf } from '../blocks/open-packs.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { isHoldfastError } from '../errors.ts'
import type { StoredHead } from '../storage/port.ts'

/** How often HEAD is read again when a pack that it named is gone because a writer has committed since. */
const HEAD_READS_MAX = 16

export interface AllPacks {
  /** All indexes are read. Packs that are missing or damaged are left out. */
  source: BlockSource
  release(): Promise<void>
}

/** @param tables see `BlockSourceOptions` */
export async function openAllPacks(
  ctx: StoreContext,
  stored: StoredHead,
  tables?: BlockSourceOptions['tables'],
): Promise<AllPacks> {
  const { packs, failures } = await openPacks(
    ctx,
    stored,
    stored.head.packs.map(({ name }) => name),
  )
  async function release(): Promise<void> {
    for (const pack of packs) await pack.release()
  }
  try {
    const source = sourceOf(ctx, packs, failures, { tables })
    await source.loadAllIndexes()
    return { source, release }
  } catch (error) {
    await release()
    throw error
  }
}

/**
 * Reads HEAD and gives `use` all packs that it names, held open. When a pack is gone because somebody wrote meanwhile, it begins anew. Null
 * when nothing was ever persisted.
 */
export async function withAllPacks<T>(
  ctx: StoreContext,
  use: (stored: StoredHead, source: BlockSource) => Promise<T>,
): Promise<T | null> {
  for (let reads = 1; ; reads++) {
    const stored = await ctx.storage.readHead()
    if (stored === null) return null
    const { source, release } = await openAllPacks(ctx, stored)
    try {
      if (source.packs.length === stored.head.packs.length || reads >= HEAD_READS_MAX) return await use(stored, source)
      const now = await ctx.storage.readHead()
      // Without a new HEAD the packs are damaged, and the rest is judged without them.
      if (now !== null && now.head.revision === stored.head.revision) return await use(stored, source)
    } catch (error) {
      if (!isHoldfastError(error, 'SNAPSHOT_GONE') || reads >= HEAD_READS_MAX) throw error
    } finally {
      await release()
    }
  }
}
