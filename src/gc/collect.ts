// Deletes what is not needed any more, before and after a write. A pack is deleted only when both HEADs record it as
// retired.

import { lazySourceOf } from '../blocks/open-packs.ts'
import type { OpenPack } from '../blocks/pack-cache.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import { cidText, parseCid } from '../format/cid.ts'
import { engineFileDigest } from '../format/engine-file.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import { decodeManifest } from '../format/manifest.ts'
import type { LocalFiles } from '../local/files.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { inspectPacks, type PackClaim } from './pack-claims.ts'
import { applySweep, planSweep, rolledBack, type SweepPlan } from './plan-sweep.ts'

/** What a clean-up found and kept. While the lock keeps other writers out, the session need not list it again. */
export interface Seen {
  /** The packs in the store, with the headers of those that HEAD does not name. */
  packs: ReadonlyMap<string, PackClaim | null>
  /** Whether there are blobs laid out as files, or images. */
  files: boolean
}

/**
 * Removes what is not needed: dead temps, packs that both HEADs record as retired, orphans, and unused laid-out files.
 * It runs before a write, so that a full disk gets room without a HEAD write. Only an old HEAD stops the write; a
 * failed deletion is a warning. Returns null if nothing could be listed.
 */
export async function cleanUp(ctx: StoreContext, session: WriteSession): Promise<Seen | null> {
  // Another writer may be about to name the packs that HEAD does not name. Only `collectGivenUp` deletes there.
  if (!ctx.storage.supports.alone) return null
  // After an uncertain commit either HEAD may survive a power loss, so nothing is deleted.
  if (session.stored === null || session.uncertain) return null
  const { head } = session.stored
  // Everything is listed at once. Nothing is removed before HEAD is known not to be an old copy.
  const looking = Promise.all([session.listTemps(), ctx.local.files?.list()])
  looking.catch(() => undefined)
  const packs = await inspectPacks(session, head)
  const plan = planSweep(head, session.previous, packs, session)
  if (plan.future.length > 0) {
    await assertNotOvertaken(ctx, session.stored)
    throw rolledBack(ctx.storage.location, head, plan)
  }
  let files = true
  try {
    await sweep(ctx, session, plan)
    for (const name of [...plan.delete, ...plan.quarantine.map(({ name }) => name)]) packs.delete(name)
    const [temps, laidOut] = await looking
    await temps.reap()
    files = laidOut !== undefined && laidOut.cids.length + laidOut.images.length > 0
    if (laidOut?.temps === true) await ctx.local.files?.reapTemps()
    if (files) await collectFiles(ctx, session.stored)
  } catch (error) {
    warnOfFailure(ctx, error)
  }
  return { packs, files }
}

/**
 * Runs after a durable commit, so a failure is only a warning. Removes by name what this write and the previous one
 * made unnecessary. Files that appeared meanwhile were made by a writer without the lock; the next clean-up handles
 * them.
 */
export async function cleanUpAfter(ctx: StoreContext, session: WriteSession, seen: Seen | null): Promise<void> {
  if (session.stored === null) return
  try {
    if (seen === null) {
      await cleanUp(ctx, session)
      return
    }
    await sweep(ctx, session, planSweep(session.stored.head, session.previous, seen.packs, session))
    if (seen.files) await collectFiles(ctx, session.stored)
  } catch (error) {
    warnOfFailure(ctx, error)
  }
}

async function sweep(ctx: StoreContext, session: WriteSession, plan: SweepPlan): Promise<void> {
  for (const { name, reason, to } of await applySweep(session, plan)) {
    ctx.warn({
      code: 'QUARANTINED',
      message: `pack ${name} does not belong to ${ctx.storage.location} (${reason}); moved to ${to}`,
      details: { pack: name, reason, to },
    })
  }
}

function warnOfFailure(ctx: StoreContext, error: unknown): void {
  ctx.warn({
    code: 'SWEEP_FAILED',
    message: `${ctx.storage.location}: some files that nobody needs could not be removed: ${(error as Error).message}`,
    details: { error },
  })
}

/**
 * If this writer was suspended for long and its lock file was deleted, another writer may have replaced the HEAD that
 * it read.
 */
async function assertNotOvertaken(ctx: StoreContext, stored: StoredHead): Promise<void> {
  const now = await ctx.storage.readHead()
  if (now !== null && now.head.revision === stored.head.revision) return
  throw new HoldfastError(
    'HEAD_CONFLICT',
    `${ctx.storage.location} was written to by another writer while this one worked; persist again`,
    { details: { revision: stored.head.revision, current: now?.head.revision ?? null } },
  )
}

/**
 * Removes laid-out files of blobs that no kept snapshot has, and images but those of docs/format.md, unless they are in
 * use.
 */
async function collectFiles(ctx: StoreContext, stored: StoredHead): Promise<void> {
  const { files, images } = ctx.local
  if (files === null) return
  const { cids, images: digests } = await files.list()
  if (cids.length > 0) await collectBlobs(ctx, stored, files, cids)
  if (digests.length === 0 || images === null) return
  await images.collect(digests, engineFileDigest(await currentMetadata(ctx, stored)))
}

async function currentMetadata(ctx: StoreContext, stored: StoredHead): Promise<unknown> {
  const { head } = stored
  const current = head.snapshots.find(({ sequence }) => sequence === head.current)
  if (current === undefined) return null
  if (ctx.lastPersisted?.manifest === current.manifest) return ctx.lastPersisted.metadata
  const name = head.packs.find(({ id }) => id === current.pack)!.name
  const pack = await ctx.packCache.open(name, fromHex(head.storeId, STORE_ID_BYTES))
  try {
    const source = lazySourceOf(ctx, [async () => pack])
    const damageContext = { code: 'SNAPSHOT_DAMAGED' as const, what: 'the current snapshot', details: {} }
    return decodeManifest(await source.read(parseCid(current.manifest).digest, damageContext)).metadata
  } finally {
    await pack.release()
  }
}

async function collectBlobs(
  ctx: StoreContext,
  stored: StoredHead,
  files: LocalFiles,
  laidOut: readonly string[],
): Promise<void> {
  const { head } = stored
  // Manifests are in a few packs. Their blob lists may be in others.
  const withManifests = new Set(head.snapshots.map(({ pack }) => pack))
  const byLikelihood = [...head.packs].sort(
    (a, b) => Number(withManifests.has(b.id)) - Number(withManifests.has(a.id)) || b.id - a.id,
  )
  const storeId = fromHex(head.storeId, STORE_ID_BYTES)
  const opened: OpenPack[] = []
  const source = lazySourceOf(
    ctx,
    byLikelihood.map(({ name }) => async () => {
      const pack = await ctx.packCache.open(name, storeId)
      opened.push(pack)
      return pack
    }),
  )
  try {
    const kept = new Set<string>()
    for (const { sequence, manifest } of head.snapshots) {
      const damageContext = { code: 'SNAPSHOT_DAMAGED' as const, what: `snapshot ${sequence}`, details: { sequence } }
      const { blobs } = await readManifest(source, parseCid(manifest).digest, damageContext)
      for (const { root } of blobs.values()) kept.add(cidText(root))
    }
    for (const cid of laidOut) if (!kept.has(cid)) await files.remove(cid)
  } finally {
    for (const pack of opened) await pack.release()
  }
}
