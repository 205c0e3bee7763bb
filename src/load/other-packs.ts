// Where a block is looked for that a snapshot's own packs do not give: in the other packs of the store.

import type { BlockSource } from '../blocks/block-source.ts'
import { lazySourceOf, openPacks, packsByLikelihood, sourceOf } from '../blocks/open-packs.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { StoredHead } from '../storage/port.ts'
import type { Resources } from './snapshot-resources.ts'

/** Asked when a block is missing or bad. What it opens is released with `resources`; null: there are no others. */
export function otherPacks(
  ctx: StoreContext,
  stored: StoredHead,
  entry: HeadSnapshot,
  resources: Resources,
): () => Promise<BlockSource | null> {
  if (!ctx.storage.supports.pins) return createNewestOthers(ctx, stored, entry, resources)
  return once(() => openOthers(ctx, stored, new Set(entry.packs), resources))
}

/**
 * The packs of the store that a snapshot does not name: they may hold a good copy of a block that is bad in its own.
 * Opened once.
 */
async function openOthers(
  ctx: StoreContext,
  stored: StoredHead,
  needed: ReadonlySet<number>,
  resources: Resources,
): Promise<BlockSource | null> {
  const names = stored.head.packs.filter(({ id }) => !needed.has(id)).map(({ name }) => name)
  if (names.length === 0 || resources.disposed) return null
  const { packs, failures } = await openPacks(ctx, stored, names)
  resources.packs.push(...packs)
  return sourceOf(ctx, packs, failures)
}

/**
 * The packs of the newest HEAD, where a pack that is open may be deleted: a compaction may have moved the block. Each
 * is opened when it is looked into, those that the snapshot needs now first.
 *
 * @throws SNAPSHOT_GONE when the newest HEAD does not have the snapshot
 */
function createNewestOthers(
  ctx: StoreContext,
  stored: StoredHead,
  entry: HeadSnapshot,
  resources: Resources,
): () => Promise<BlockSource | null> {
  const opened = new Set(entry.packs.map((id) => stored.head.packs.find((pack) => pack.id === id)!.name))
  let newest: { revision: number; source: BlockSource } | null = null
  return async () => {
    const { head } = (await ctx.storage.readHead()) ?? stored
    const now = head.snapshots.find(
      ({ sequence, manifest }) => sequence === entry.sequence && manifest === entry.manifest,
    )
    if (now === undefined) throw snapshotGone(ctx, entry, head)
    if (resources.disposed) return null
    if (newest?.revision === head.revision) return newest.source
    const storeId = fromHex(head.storeId, STORE_ID_BYTES)
    const openers = packsByLikelihood(head, now)
      .filter((name) => !opened.has(name))
      .map((name) => async () => {
        const pack = await ctx.packCache.open(name, storeId)
        resources.packs.push(pack)
        return pack
      })
    newest = { revision: head.revision, source: lazySourceOf(ctx, openers) }
    return newest.source
  }
}

function snapshotGone(ctx: StoreContext, { sequence }: HeadSnapshot, { revision }: Head): HoldfastError {
  return new HoldfastError(
    'SNAPSHOT_GONE',
    `snapshot ${sequence} of ${ctx.storage.location} was dropped by a writer while it was read, and its packs are deleted: load again`,
    { details: { sequence, revision } },
  )
}

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | null = null
  return () => {
    if (result === null) {
      result = work()
      // A disk that does not answer now may do so for the next who asks.
      result.catch(() => {
        result = null
      })
    }
    return result
  }
}
