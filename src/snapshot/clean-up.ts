import { HoldfastError } from '../errors.ts'
import { cidText, parseCid } from '../format/cid.ts'
import { decodeManifest } from '../format/manifest.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { type Environment, lazySourceOf, openPacks } from './environment.ts'
import { applySweep, inspectPacks, planSweep, rolledBack } from './sweep.ts'

/**
 * Removes what nobody needs: dead temps, packs whose retirement both HEADs know, orphans, unused laid-out files. It is done before a write, so that a full disk
 * gets room without a HEAD write, and after it. Only an old HEAD stops the write; what cannot be deleted is a warning.
 */
export async function cleanUp(env: Environment, session: WriteSession): Promise<void> {
  // After an uncertain commit either HEAD may be the one that survives: nothing is deleted under it.
  if (session.stored === null || session.uncertain) return
  const { head } = session.stored
  const plan = planSweep(head, session.previous, await inspectPacks(session, head), session.alone)
  if (plan.future.length > 0) {
    await assertNotOvertaken(env, session.stored)
    throw rolledBack(env.storage.location, head, plan)
  }
  try {
    for (const { name, reason, to } of await applySweep(session, plan)) {
      env.warn({
        code: 'QUARANTINED',
        message: `pack ${name} does not belong to ${env.storage.location} (${reason}); moved to ${to}`,
        details: { pack: name, reason, to },
      })
    }
    await session.reapTemps()
    await collectFiles(env, session.stored)
  } catch (error) {
    env.warn({
      code: 'SWEEP_FAILED',
      message: `${env.storage.location}: some files that nobody needs could not be removed: ${(error as Error).message}`,
      details: { error },
    })
  }
}

/** A writer that was stopped for long, and whose lock file was deleted meanwhile, has an old HEAD in hand; the store has not. */
async function assertNotOvertaken(env: Environment, stored: StoredHead): Promise<void> {
  const now = await env.storage.readHead()
  if (now !== null && now.head.revision === stored.head.revision) return
  throw new HoldfastError(
    'HEAD_CONFLICT',
    `${env.storage.location} was written to by another writer while this one worked; persist again`,
    { details: { revision: stored.head.revision, current: now?.head.revision ?? null } },
  )
}

/** Removes laid-out files of blobs that no kept snapshot has, unless somebody uses them. */
async function collectFiles(env: Environment, stored: StoredHead): Promise<void> {
  const { files } = env.storage
  if (files === null) return
  await files.reapTemps()
  const laidOut = await files.list()
  if (laidOut.length === 0) return
  const { head } = stored
  const withManifests = new Set(head.snapshots.map(({ pack }) => pack))
  const { packs, failures } = await openPacks(
    env,
    stored,
    head.packs.filter(({ id }) => withManifests.has(id)).map(({ name }) => name),
  )
  try {
    const source = lazySourceOf(
      env,
      packs.map((pack) => async () => pack),
      failures,
    )
    const kept = new Set<string>()
    for (const { sequence, manifest } of head.snapshots) {
      const blame = { code: 'SNAPSHOT_DAMAGED' as const, what: `snapshot ${sequence}`, details: { sequence } }
      const { blobs } = decodeManifest(await source.read(parseCid(manifest).digest, blame))
      for (const { root } of blobs.values()) kept.add(cidText(root))
    }
    for (const cid of laidOut) if (!kept.has(cid)) await files.remove(cid)
  } finally {
    for (const pack of packs) await pack.release()
  }
}
