// Opens all packs of a store and reads all their indexes, for operations that judge every block.

import type { BlockSource, BlockSourceOptions } from '../blocks/block-source.ts'
import { openPacks, sourceOf } from '../blocks/open-packs.ts'
import type { OpenPack } from '../blocks/pack-cache.ts'
import { readSizesOf } from '../blocks/read-sizes.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { type HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { StoredHead } from '../storage/port.ts'

/** How often HEAD is read again when a pack that it named is gone because a writer has committed since. */
const HEAD_READS_MAX = 16

export interface AllPacks {
  /** All indexes are read. Packs that are missing or damaged are left out. */
  source: BlockSource
  release(): Promise<void>
}

/** Packs that HEAD names and that could not be read, by name: damaged, missing, or refused by the system. */
export type UnreadPacks = ReadonlyMap<string, HoldfastError>

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

/** As `openAllPacks`, for those who only count: passes over what cannot be read, and says what that is. */
async function openReadable(ctx: StoreContext, stored: StoredHead): Promise<AllPacks & { unread: UnreadPacks }> {
  const storeId = fromHex(stored.head.storeId, STORE_ID_BYTES)
  const names = stored.head.packs.map(({ name }) => name)
  const packs: OpenPack[] = []
  const unread = new Map<string, HoldfastError>()
  async function release(): Promise<void> {
    for (const pack of packs) await pack.release()
  }

  async function open(name: string): Promise<void> {
    try {
      const pack = await ctx.packCache.open(name, storeId)
      // Until its index is read, nothing is known of it.
      await pack.index().then(
        () => packs.push(pack),
        async (error: unknown) => {
          await pack.release()
          throw error
        },
      )
    } catch (error) {
      if (!isUnreadable(error)) throw error
      unread.set(name, error)
    }
  }
  try {
    const { indexesAtOnce } = readSizesOf(ctx.storage.supports)
    for (let at = 0; at < names.length; at += indexesAtOnce) {
      const opened = await Promise.allSettled(names.slice(at, at + indexesAtOnce).map(open))
      for (const result of opened) if (result.status === 'rejected') throw result.reason
    }
    const source = sourceOf(ctx, packs, [...unread.values()])
    await source.loadAllIndexes()
    return { source, release, unread }
  } catch (error) {
    await release()
    throw error
  }
}

/** Whether `error` says of stored bytes that they are damaged, or cannot be read now. */
export function isUnreadable(error: unknown): error is HoldfastError {
  return isDamage(error) || isHoldfastError(error, 'IO_FAILED')
}

/** As `withAllPacks`. What cannot be read is passed over, and `use` is told which packs those are. */
export async function withReadablePacks<T>(
  ctx: StoreContext,
  use: (stored: StoredHead, source: BlockSource, unread: UnreadPacks) => Promise<T>,
): Promise<T | null> {
  return await onOneHead(ctx, openReadable, (stored, { source, unread }) => use(stored, source, unread))
}

/**
 * Reads HEAD and gives `use` all packs that it names, held open. When a pack is gone because somebody wrote meanwhile,
 * it begins anew. Null when nothing was ever persisted.
 */
export async function withAllPacks<T>(
  ctx: StoreContext,
  use: (stored: StoredHead, source: BlockSource) => Promise<T>,
): Promise<T | null> {
  return await onOneHead(ctx, openAllPacks, (stored, { source }) => use(stored, source))
}

async function onOneHead<T, Opened extends AllPacks>(
  ctx: StoreContext,
  open: (ctx: StoreContext, stored: StoredHead) => Promise<Opened>,
  use: (stored: StoredHead, opened: Opened) => Promise<T>,
): Promise<T | null> {
  for (let reads = 1; ; reads++) {
    const stored = await ctx.storage.readHead()
    if (stored === null) return null
    const opened = await open(ctx, stored)
    try {
      const isWhole = opened.source.packs.length === stored.head.packs.length
      if (isWhole || reads >= HEAD_READS_MAX) return await use(stored, opened)
      const now = await ctx.storage.readHead()
      // Without a new HEAD the packs are damaged, and the rest is judged without them.
      if (now !== null && now.head.revision === stored.head.revision) return await use(stored, opened)
    } catch (error) {
      if (!isHoldfastError(error, 'SNAPSHOT_GONE') || reads >= HEAD_READS_MAX) throw error
    } finally {
      await opened.release()
    }
  }
}
