// Collects garbage where there are other writers. No persist deletes there: a pack goes when HEAD has given it up and
// readers had their grace. The storage knows how; this checks first that nothing which is needed was given up.

import { visitBlob } from '../blocks/blob-dag.ts'
import { BadBlock } from '../blocks/block-source.ts'
import { lazySourceOf, packsByLikelihood } from '../blocks/open-packs.ts'
import type { OpenPack } from '../blocks/pack-cache.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { HoldfastError, isDamage } from '../errors.ts'
import { parseCid } from '../format/cid.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { DIGEST_BYTES, STORE_ID_BYTES } from '../format/limits.ts'
import type { Collected } from '../storage/port.ts'
import { term } from '../terms.ts'
import { nextHead } from './next-head.ts'
import { assertWritable } from './write-guards.ts'

interface CollectLimits {
  waitMs: number
  /** A pack that HEAD has retired stays readable for so long. */
  graceMs: number
  /** A pack that no HEAD has named is kept for so long. */
  orphanMs: number
  /** Answers what would be deleted. */
  dryRun?: boolean | undefined
  signal: AbortSignal | undefined
}

/** The check opens at most this many packs: two requests each. */
const CHECKED_PACKS_MAX = 4

/**
 * Deletes what HEADs have given up.
 *
 * @throws SNAPSHOT_DAMAGED when a kept snapshot needs what HEAD does not name: nothing was deleted
 */
export async function collectGivenUp(ctx: StoreContext, limits: CollectLimits): Promise<Collected> {
  return await ctx.storage.write({ waitMs: limits.waitMs, signal: limits.signal }, async (session) => {
    const { stored, collect } = session
    if (collect === null) throw new Error('bug: each write of this storage collects')
    if (stored === null) return { deletedPacks: 0, deletedBytes: 0, retiredBytes: 0, waitingPacks: 0 }
    if (stored.head.retired.length > 0) await assertNothingNeededIsRetired(ctx, stored.head)
    assertWritable(ctx, stored)
    return await collect(limits, (change) =>
      session.swapHead((base) => {
        assertWritable(ctx, base)
        return nextHead(base.head, change)
      }),
    )
  })
}

/**
 * Walks the current snapshot and a random one, as far as few packs tell, and finds each block in a pack that HEAD
 * names. For a HEAD that deletes, and for one that is to retire what it does not name.
 *
 * @throws SNAPSHOT_DAMAGED when it does not find one
 */
export async function assertNothingNeededIsRetired(ctx: StoreContext, head: Head): Promise<void> {
  const current = head.snapshots.find(({ sequence }) => sequence === head.current)
  const random = head.snapshots[Math.floor(clock.random() * head.snapshots.length)]
  for (const snapshot of new Set([current, random])) if (snapshot !== undefined) await walk(ctx, head, snapshot)
}

async function walk(ctx: StoreContext, head: Head, snapshot: HeadSnapshot): Promise<void> {
  const storeId = fromHex(head.storeId, STORE_ID_BYTES)
  const opened: OpenPack[] = []
  let asked = 0
  const source = lazySourceOf(
    ctx,
    packsByLikelihood(head, snapshot).map((name) => async () => {
      if (++asked > CHECKED_PACKS_MAX) throw new Enough()
      const pack = await ctx.packCache.open(name, storeId)
      opened.push(pack)
      return pack
    }),
  )
  const damageContext = {
    code: 'SNAPSHOT_DAMAGED' as const,
    what: `snapshot ${snapshot.sequence} of ${ctx.storage.location}`,
    details: { sequence: snapshot.sequence },
  }
  try {
    const { blobs } = await readManifest(source, parseCid(snapshot.manifest).digest, damageContext)
    const seen: { digests: Uint8Array; count: number }[] = []
    for (const { root } of blobs.values()) {
      await visitBlob(source, root, damageContext, {
        node: () => true,
        chunks: (digests, count) => void seen.push({ digests, count }),
      })
      for (const { digests, count } of seen.splice(0)) await assertFound(digests, count)
    }
  } catch (error) {
    if (error instanceof Enough) return
    if (!isDamage(error) && !(error instanceof BadBlock)) throw error
    // Dropped by another writer since: its packs may be deleted.
    if (await isDropped(ctx, snapshot)) return
    throw new HoldfastError(
      'SNAPSHOT_DAMAGED',
      `${damageContext.what} needs what HEAD does not name, so nothing was deleted: ${(error as Error).message}. Run ${term('verify')}`,
      { details: damageContext.details, cause: error },
    )
  } finally {
    for (const pack of opened) await pack.release()
  }

  async function assertFound(digests: Uint8Array, count: number): Promise<void> {
    await source.loadIndexesFor(digests, count)
    for (let i = 0; i < count; i++) {
      if (source.find(digests, i * DIGEST_BYTES) === -1) throw new BadBlock('a chunk is in no pack that HEAD names')
    }
  }
}

async function isDropped(ctx: StoreContext, { sequence }: HeadSnapshot): Promise<boolean> {
  const now = await ctx.storage.readHead()
  return now === null || !now.head.snapshots.some((snapshot) => snapshot.sequence === sequence)
}

/** Internal: the check has seen as many packs as it may. */
class Enough extends Error {}
