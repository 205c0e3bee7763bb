// Opens packs of a store for reading, and makes block sources over them whose bad blocks are noted in the store's
// context.

import { type HoldfastError, isDamage } from '../errors.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { StoredHead } from '../storage/port.ts'
import { type BlockSource, type BlockSourceOptions, lazyBlockSource, type PackOpener } from './block-source.ts'
import type { OpenPack } from './pack-cache.ts'
import { readSizesOf } from './read-sizes.ts'
import type { StoreContext } from './store-context.ts'

/** Opens packs by name. Returns damaged and missing packs as failures, because their blocks may be in other packs. */
export async function openPacks(
  ctx: StoreContext,
  stored: Pick<StoredHead, 'head'>,
  names: readonly string[],
): Promise<{ packs: OpenPack[]; failures: HoldfastError[] }> {
  const storeId = fromHex(stored.head.storeId, STORE_ID_BYTES)
  const opened = await Promise.allSettled(names.map((name) => ctx.packCache.open(name, storeId)))
  const packs = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failures: HoldfastError[] = []
  for (const result of opened) {
    if (result.status === 'fulfilled') continue
    if (isDamage(result.reason)) {
      failures.push(result.reason)
      continue
    }
    for (const pack of packs) await pack.release()
    throw result.reason
  }
  return { packs, failures }
}

/** A source over open packs. It reads the index of each when a look-up needs it. */
export function sourceOf(
  ctx: StoreContext,
  packs: readonly OpenPack[],
  failures: readonly unknown[],
  options: Pick<BlockSourceOptions, 'others' | 'tables'> = {},
): BlockSource {
  return lazyBlockSource(
    packs.map((pack) => async () => pack),
    { failures, ...options, ...noting(ctx) },
  )
}

/** As `sourceOf`, but opens each pack, too, only when a look-up needs it. */
export function lazySourceOf(ctx: StoreContext, openers: readonly PackOpener[]): BlockSource {
  return lazyBlockSource(openers, noting(ctx))
}

function noting(ctx: StoreContext): Pick<BlockSourceOptions, 'reads' | 'onGoodBlock' | 'onBadBlock'> {
  return {
    reads: readSizesOf(ctx.storage.supports),
    // So a persist reads what it reuses once, and not again when the walk of the snapshot before has read it.
    onGoodBlock: (digest) => ctx.checkedBlocks.note(digest),
    onBadBlock: (pack, digest) => ctx.badBlocks.note(pack, digest),
  }
}

/**
 * Names of packs in the order in which they are likely to hold a snapshot's blocks: the manifest's pack, then the
 * newest first.
 */
export function packsByLikelihood(head: Head, snapshot: HeadSnapshot): string[] {
  const rank = (id: number): number => (id === snapshot.pack ? 2 : snapshot.packs.includes(id) ? 1 : 0)
  return [...head.packs].sort((a, b) => rank(b.id) - rank(a.id) || b.id - a.id).map(({ name }) => name)
}
