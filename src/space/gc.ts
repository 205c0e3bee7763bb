// Gives back what nothing needs, on demand. It drops no snapshot.
//
// What snapshots need is marked without the lock, as a reader does. Then packs are dropped and rewritten in steps, each
// of which holds the writer lock for a moment and lets waiting writers go first. Under the lock the marks take in the
// snapshots committed since, before anything is retired: a persist may have reused a block that was garbage when it was
// looked for.

import type { BlockSource } from '../blocks/block-source.ts'
import { createWindowMemory } from '../blocks/copy-blocks.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { isHoldfastError } from '../errors.ts'
import { cidText, parseCid } from '../format/cid.ts'
import type { Head } from '../format/head.ts'
import { cleanUp, cleanUpAfter, type Seen } from '../gc/collect.ts'
import { type PackAction, type PackUse, planGc, withinBudget } from '../gc/plan-gc.ts'
import type { Reach } from '../gc/reach.ts'
import { nextHead } from '../history/next-head.ts'
import { settleHead } from '../history/settle-head.ts'
import { assertWritable, watchWait } from '../history/write-guards.ts'
import type { WriteSession } from '../storage/port.ts'
import { type GcOptions, type GcResult, NOTHING, type Untouched } from './gc-options.ts'
import { collectShared } from './gc-shared.ts'
import { gcStep } from './gc-step.ts'
import { createMarked, type Marked } from './marked.ts'

interface GcSettings {
  lockWaitMs: number
  packBytesMax: number
  /**
   * Nobody asked for it: only what is mostly garbage is rewritten, in shorter steps, and without anything to do not
   * even the lock is taken.
   */
  automatic?: boolean
  /** While marking without the lock, what is more urgent is waited for. */
  pause?: () => Promise<unknown> | undefined
}

/** Longer than another process that waits for the lock pauses between two tries. */
const GAP_MS = 60

export async function collectGarbage(
  ctx: StoreContext,
  reach: Reach,
  options: GcOptions & { signal: AbortSignal },
  settings: GcSettings,
): Promise<GcResult> {
  const { budgetBytes } = options
  if (budgetBytes !== undefined && !(typeof budgetBytes === 'number' && budgetBytes >= 0)) {
    throw new TypeError(`gc: budgetBytes is a number of bytes, 0 or more; got ${String(budgetBytes)}`)
  }
  options.signal.throwIfAborted()
  if (!ctx.storage.supports.alone) {
    return await collectShared(ctx, reach, options, settings)
  }
  if (options.graceMs !== undefined) throw new TypeError('gc: graceMs is for a store in an object store')
  const marked = createMarked(ctx, reach, options)
  try {
    const stored = await ctx.storage.readHead()
    if (stored === null) return NOTHING
    await marked.sync(stored, settings.pause)
    // What earlier writes left to be deleted is given back too.
    const retiredBytes = await retiredBytesOf(ctx, stored.head)
    if (options.dryRun === true) return await planOnly(ctx, stored.head, marked, options, retiredBytes)
    if (settings.automatic === true && planGc(await marked.uses(stored.head), settings).length === 0) return NOTHING
    return await run(ctx, marked, options, settings, retiredBytes)
  } finally {
    await marked.release()
  }
}

/** Of packs that HEAD retired and that are still there. */
async function retiredBytesOf(ctx: StoreContext, { retired }: Head): Promise<number> {
  if (retired.length === 0) return 0
  const { packs } = await ctx.storage.inspect()
  const there = new Map(packs.map(({ name, bytes }) => [name, bytes]))
  return retired.reduce((sum, { name }) => sum + (there.get(name) ?? 0), 0)
}

async function planOnly(
  ctx: StoreContext,
  head: Head,
  marked: Marked,
  options: GcOptions,
  retiredBytes: number,
): Promise<GcResult> {
  const uses = await marked.uses(head)
  const plan = planGc(uses, { complete: options.complete === true })
  const packs = withinBudget(plan, options.budgetBytes ?? Number.POSITIVE_INFINITY)
  const untouched = options.complete === true ? await untouchedOf(ctx, head, uses, marked) : []
  return { ...resultOf(uses, plan, packs, retiredBytes), untouched }
}

/** What is left of `plan` once `packs` are done. */
function resultOf(
  uses: readonly PackUse[],
  plan: readonly PackAction[],
  packs: readonly PackAction[],
  retiredBytes: number,
): Omit<GcResult, 'untouched'> {
  const done = new Set(packs.map(({ pack }) => pack))
  const planned = new Set(plan.map(({ pack }) => pack))
  const left = uses.filter(({ name }) => !done.has(name))
  return {
    done: plan.every(({ pack }) => done.has(pack)),
    freedBytes: packs.reduce((sum, { bytes, liveBytes }) => sum + bytes - liveBytes, retiredBytes),
    movedBytes: packs.reduce((sum, { liveBytes }) => sum + liveBytes, 0),
    remainingBytes: deadIn(left.filter(({ name }) => planned.has(name))),
    deadBytes: deadIn(left),
    packs,
  }
}

function deadIn(uses: readonly PackUse[]): number {
  return uses.reduce((sum, { deadBytes }) => sum + deadBytes, 0)
}

async function run(
  ctx: StoreContext,
  marked: Marked,
  options: GcOptions & { signal: AbortSignal },
  settings: GcSettings,
  retiredBytes: number,
): Promise<GcResult> {
  const { signal, onProgress, complete = false } = options
  const { automatic = false } = settings
  const untilMs = clock.monotonicMs() + (options.budgetMs ?? Number.POSITIVE_INFINITY)
  const budgetBytes = options.budgetBytes ?? Number.POSITIVE_INFINITY
  const finished: PackAction[] = []
  /** As they were when they were begun, by pack: of a large pack one step moves only a part. */
  const begun = new Map<string, PackAction>()
  let movedBytes = 0
  const memory = createWindowMemory()
  /** Packs that stay as they are in this call, because damage was met in them. */
  const damaged = new Set<string>()

  /** What may be done in the next step. What was begun is finished, and one pack is always done. */
  function allowed(plan: readonly PackAction[]): PackAction[] {
    const isLate = clock.monotonicMs() >= untilMs
    let used = [...begun.values()].reduce((sum, { liveBytes }) => sum + liveBytes, 0)
    return plan.filter(({ pack, liveBytes }, i) => {
      if (begun.has(pack)) return true
      if (begun.size === 0 && i === 0) {
        used += liveBytes
        return true
      }
      if (isLate || used + liveBytes > budgetBytes) return false
      used += liveBytes
      return true
    })
  }

  async function step(session: WriteSession): Promise<GcResult | null> {
    if (session.stored === null) return NOTHING
    assertWritable(ctx, session.stored)
    // First what needs no write: a full disk gets room by it.
    const seen = await cleanUp(ctx, session)
    await settleHead(session)
    await marked.sync(session.stored)
    const { head } = session.stored
    const uses = await marked.uses(head)
    const plan = planGc(
      uses.map((use) => ({ ...use, isPinned: use.isPinned || damaged.has(use.name) })),
      { complete, automatic },
    )
    const actions = allowed(plan)
    if (actions.length === 0) {
      await swapOnceMore(ctx, session, seen, complete)
      const left = { ...resultOf(uses, plan, [], 0), done: plan.length === 0 }
      const untouched = complete ? await untouchedOf(ctx, head, uses, marked) : []
      const { freedBytes, movedBytes } = resultOf([], [], finished, retiredBytes)
      return { ...left, freedBytes, movedBytes, packs: finished, untouched }
    }
    const totalBytes = actions.reduce((sum, { liveBytes }) => sum + liveBytes, movedBytes)
    const { done, damagedAt, began } = await gcStep(ctx, {
      session,
      seen,
      source: marked.source,
      reach: marked.reach,
      actions,
      packBytesMax: settings.packBytesMax,
      automatic,
      memory,
      signal,
      onMoved(bytes) {
        movedBytes += bytes
        onProgress?.({ phase: 'compacting', bytes: movedBytes, totalBytes })
      },
    })
    if (damagedAt !== null) {
      damaged.add(damagedAt)
      // The marks are made again, and prefer the good copies.
      marked.reach.reset()
    }
    for (const action of began) if (!begun.has(action.pack)) begun.set(action.pack, action)
    for (const { pack } of done) finished.push(begun.get(pack)!)
    return null
  }

  const onWait = watchWait(ctx, onProgress)
  for (;;) {
    const result = await ctx.storage.write({ waitMs: settings.lockWaitMs, signal, onWait }, async (session) => {
      try {
        return await step(session)
      } catch (error) {
        if (!automatic && isHoldfastError(error, 'NO_SPACE') && (await makeRoom(session))) return null
        throw error
      }
    })
    if (result !== null) return result
    // Another process that waits for the lock looks for it in this time.
    await clock.sleep(GAP_MS, { signal, ref: !automatic }).catch(() => signal.throwIfAborted())
  }
}

/**
 * A pack is deleted when HEAD and HEAD.prev.json both say that it is retired, so an idle store needs one more swap. To
 * erase, it is needed also because HEAD.prev.json names the dropped snapshots, with their messages and tags.
 */
async function swapOnceMore(
  ctx: StoreContext,
  session: WriteSession,
  seen: Seen | null,
  complete: boolean,
): Promise<void> {
  const { head } = session.stored!
  const present = seen?.packs ?? new Set(await session.listPacks())
  const isWaiting = head.retired.some(({ name }) => present.has(name))
  const names = (of: Head | null): string => JSON.stringify(of?.snapshots ?? [])
  const hasOldNames = complete && names(session.previous) !== names(head)
  if (!isWaiting && !hasOldNames && !session.uncertain) return
  const gone = new Set(head.retired.map(({ name }) => name).filter((name) => !present.has(name)))
  await session.swapHead(nextHead(head, { gone }))
  await cleanUpAfter(ctx, session, seen)
}

/**
 * On a full disk there may be no room for another HEAD, and packs wait only for HEAD.prev.json to say that nothing
 * needs them. Without it HEAD alone decides: it is durable, and complete. A new HEAD.prev.json is made by the swap that
 * fits then. Answers whether there was anything to gain.
 */
async function makeRoom(session: WriteSession): Promise<boolean> {
  const { head } = session.stored!
  const present = new Set(await session.listPacks())
  const waiting = head.retired.map(({ name }) => name).filter((name) => present.has(name))
  if (waiting.length === 0 || session.dropPrevious === undefined || session.uncertain || session.putBack) return false
  await session.dropPrevious()
  for (const name of waiting) await session.deletePack(name)
  await session.swapHead(nextHead(head, { gone: new Set(waiting) }))
  return true
}

/** What may still hold bytes of dropped snapshots after everything was erased. */
async function untouchedOf(
  ctx: StoreContext,
  head: Head,
  uses: readonly PackUse[],
  { source }: Marked,
): Promise<Untouched[]> {
  const evidence = uses.filter(({ isPinned, deadBytes }) => isPinned && deadBytes > 0)
  const inUse = await hasOldFiles(ctx, head, source)
  return [
    ...evidence.map(({ name }): Untouched => ({ what: 'evidence', pack: name })),
    ...(inUse ? [{ what: 'files' } as const] : []),
    ...(head.journal === undefined ? [] : [{ what: 'journal' } as const]),
  ]
}

/** Whether a blob that no kept snapshot has is laid out as a file: somebody uses it. */
async function hasOldFiles(ctx: StoreContext, head: Head, source: BlockSource): Promise<boolean> {
  const laidOut = (await ctx.local.files?.list())?.cids ?? []
  if (laidOut.length === 0) return false
  const kept = new Set<string>()
  for (const { sequence, manifest } of head.snapshots) {
    const what = { code: 'SNAPSHOT_DAMAGED' as const, what: `snapshot ${sequence}`, details: { sequence } }
    const { blobs } = await readManifest(source, parseCid(manifest).digest, what)
    for (const { root } of blobs.values()) kept.add(cidText(root))
  }
  return laidOut.some((cid) => !kept.has(cid))
}
