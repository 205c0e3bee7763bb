// Deletes what nobody needs, before a write and after it. A pack goes only when both HEADs know that it is retired.

import { lazySourceOf, openPacks } from '../blocks/open-packs.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import { cidText, parseCid } from '../format/cid.ts'
import { decodeManifest } from '../format/manifest.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { inspectPacks, type PackClaim } from './pack-claims.ts'
import { applySweep, planSweep, rolledBack, type SweepPlan } from './plan-sweep.ts'

/** What a clean-up saw and left: in a session whose lock keeps others out, it need not be looked for again. */
export interface Seen {
  /** Packs that lie there, and what those that HEAD does not name say of themselves. */
  packs: ReadonlyMap<string, PackClaim | null>
  /** Blobs are laid out as files. */
  files: boolean
}

/**
 * Removes what nobody needs: dead temps, packs whose retirement both HEADs know, orphans, unused laid-out files. It is done before a write,
 * so that a full disk gets room without a HEAD write. Only an old HEAD stops the write; what cannot be deleted is a warning. Null when nothing
 * could be looked at.
 */
export async function cleanUp(ctx: StoreContext, session: WriteSession): Promise<Seen | null> {
  // After an uncertain commit either HEAD may be the one that survives: nothing is deleted under it.
  if (session.stored === null || session.uncertain) return null
  const { head } = session.stored
  // Looked for at once; nothing is removed before it is known that HEAD is no old copy.
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
    files = (laidOut?.cids.length ?? 0) > 0
    if (laidOut?.temps === true) await ctx.local.files?.reapTemps()
    if (files) await collectFiles(ctx, session.stored)
  } catch (error) {
    warnOfFailure(ctx, error)
  }
  return { packs, files }
}

/**
 * After a commit, which is durable and stays so: what fails from here on is a warning. Removes what the write before and this one have made useless, known by name. What came to lie there meanwhile was made by
 * somebody who shut the lock out, and is for the next clean-up.
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

/** A writer that was stopped for long, and whose lock file was deleted meanwhile, has an old HEAD in hand; the store has not. */
async function assertNotOvertaken(ctx: StoreContext, stored: StoredHead): Promise<void> {
  const now = await ctx.storage.readHead()
  if (now !== null && now.head.revision === stored.head.revision) return
  throw new HoldfastError(
    'HEAD_CONFLICT',
    `${ctx.storage.location} was written to by another writer while this one worked; persist again`,
    { details: { revision: stored.head.revision, current: now?.head.revision ?? null } },
  )
}

/** Removes laid-out files of blobs that no kept snapshot has, unless somebody uses them. */
async function collectFiles(ctx: StoreContext, stored: StoredHead): Promise<void> {
  const { files } = ctx.local
  if (files === null) return
  const { cids: laidOut } = await files.list()
  if (laidOut.length === 0) return
  const { head } = stored
  const withManifests = new Set(head.snapshots.map(({ pack }) => pack))
  const { packs, failures } = await openPacks(
    ctx,
    stored,
    head.packs.filter(({ id }) => withManifests.has(id)).map(({ name }) => name),
  )
  try {
    const source = lazySourceOf(
      ctx,
      packs.map((pack) => async () => pack),
      failures,
    )
    const kept = new Set<string>()
    for (const { sequence, manifest } of head.snapshots) {
      const damageContext = { code: 'SNAPSHOT_DAMAGED' as const, what: `snapshot ${sequence}`, details: { sequence } }
      const { blobs } = decodeManifest(await source.read(parseCid(manifest).digest, damageContext))
      for (const { root } of blobs.values()) kept.add(cidText(root))
    }
    for (const cid of laidOut) if (!kept.has(cid)) await files.remove(cid)
  } finally {
    for (const pack of packs) await pack.release()
  }
}
