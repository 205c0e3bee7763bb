// Garbage collection where there are other writers. What HEADs have retired goes after the readers' grace, and what no
// HEAD has named for long goes at once. Then packs are rewritten that are mostly garbage: they are retired now, and go
// when a later collection finds their grace over.

import { createWindowMemory } from '../blocks/copy-blocks.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import type { Head } from '../format/head.ts'
import { isWorthMeasuring } from '../gc/plan-compaction.ts'
import { type PackAction, type PackUse, planGc, withinBudget } from '../gc/plan-gc.ts'
import type { Reach } from '../gc/reach.ts'
import { collectGivenUp } from '../history/collect-given-up.ts'
import { nextHead } from '../history/next-head.ts'
import { assertWritable } from '../history/write-guards.ts'
import type { WriteSession } from '../storage/port.ts'
import type { GcOptions, GcResult } from './gc-options.ts'
import { liveOf } from './gc-step.ts'
import { createMarked, type Marked } from './marked.ts'
import { rewriteShared } from './rewrite-shared.ts'

const GRACE_MS = 24 * 60 * 60 * 1000
/** Longer than any upload takes from its first pack to the HEAD that names it. */
const ORPHAN_MS = 7 * GRACE_MS
/**
 * To measure what is needed costs two requests for each pack. In a store of more packs it is done only when HEAD says
 * that it may be worth it.
 */
const ALWAYS_MEASURED_PACKS = 64
/** A step that came to nothing, because other writers were faster, is made again so often. */
const CONFLICTS_MAX = 3

type SharedOptions = GcOptions & { signal: AbortSignal }

interface SharedSettings {
  lockWaitMs: number
  packBytesMax: number
  orphanMs?: number
}

/** @throws TypeError for what such a store does not do */
export async function collectShared(
  ctx: StoreContext,
  reach: Reach,
  options: SharedOptions,
  settings: SharedSettings,
): Promise<GcResult> {
  if (options.complete === true) throw new TypeError('gc: complete is for a store in a directory')
  const { graceMs = GRACE_MS, dryRun = false, signal } = options
  const { lockWaitMs: waitMs, orphanMs = ORPHAN_MS } = settings
  const collected = await collectGivenUp(ctx, { waitMs, graceMs, orphanMs, dryRun, signal })
  const { done, left, dead } = await rewriteGarbage(ctx, reach, options, settings)
  const stored = await ctx.storage.readHead()
  const retiredNow = stored?.head.retired.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0
  const retiredBytes = dryRun ? retiredNow - collected.retiredBytes + bytesOf(done) : retiredNow
  return {
    done: collected.waitingPacks === 0 && done.length === 0 && left.length === 0,
    freedBytes: collected.deletedBytes,
    movedBytes: done.reduce((sum, { liveBytes }) => sum + liveBytes, 0),
    remainingBytes: retiredBytes + deadIn(dead, left),
    deadBytes: retiredBytes + deadIn(dead, dead.map(toName)),
    packs: done,
    untouched: [],
  }
}

interface Rewritten {
  done: PackAction[]
  /** Names of packs that a further call would rewrite. */
  left: string[]
  /** What is known of the packs that stay. */
  dead: readonly PackUse[]
}

async function rewriteGarbage(
  ctx: StoreContext,
  reach: Reach,
  options: SharedOptions,
  settings: SharedSettings,
): Promise<Rewritten> {
  const { signal } = options
  const stored = await ctx.storage.readHead()
  if (stored === null || !isWorthIt(stored.head)) return { done: [], left: [], dead: [] }
  const marked = createMarked(ctx, reach, { signal })
  try {
    await marked.sync(stored)
    if (options.dryRun === true) return await planOnly(stored.head, marked, options)
    const steps = createSteps(ctx, marked, options, settings)
    for (;;) {
      const rewritten = await ctx.storage.write({ waitMs: settings.lockWaitMs, signal }, steps)
      if (rewritten !== null) return rewritten
    }
  } finally {
    await marked.release()
  }
}

/** What the same call would rewrite from this HEAD. */
async function planOnly(head: Head, marked: Marked, { budgetBytes }: SharedOptions): Promise<Rewritten> {
  const uses = await marked.uses(head)
  const plan = planGc(uses)
  const done = withinBudget(plan, budgetBytes ?? Number.POSITIVE_INFINITY)
  const names = new Set(done.map(({ pack }) => pack))
  return {
    done,
    left: plan.map(({ pack }) => pack).filter((pack) => !names.has(pack)),
    dead: uses.filter(({ name }) => !names.has(name)),
  }
}

function isWorthIt({ packs }: Head): boolean {
  return packs.length <= ALWAYS_MEASURED_PACKS || isWorthMeasuring(packs)
}

/** Each call makes one step; null: there may be another one. */
function createSteps(
  ctx: StoreContext,
  marked: Marked,
  { budgetMs, budgetBytes = Number.POSITIVE_INFINITY, signal, onProgress }: SharedOptions,
  { packBytesMax }: SharedSettings,
): (session: WriteSession) => Promise<Rewritten | null> {
  const untilMs = clock.monotonicMs() + (budgetMs ?? Number.POSITIVE_INFINITY)
  const memory = createWindowMemory()
  /** Packs in which damage was met stay as they are. */
  const damaged = new Set<string>()
  const done: PackAction[] = []
  let movedBytes = 0
  let conflicts = 0

  return async (session) => {
    if (session.stored === null) return { done, left: [], dead: [] }
    assertWritable(ctx, session.stored)
    await marked.sync(session.stored)
    const uses = await marked.uses(session.stored.head)
    const plan = planGc(uses.map((use) => ({ ...use, isPinned: use.isPinned || damaged.has(use.name) })))
    const isEnough = done.length > 0 && clock.monotonicMs() >= untilMs
    const actions = isEnough ? [] : withinBudget(plan, budgetBytes - movedBytes, done.length === 0)
    if (actions.length === 0 || conflicts > CONFLICTS_MAX) {
      if (done.length === 0) await noteMeasured(session, marked.reach)
      return { done, left: plan.map(({ pack }) => pack), dead: uses }
    }
    const totalBytes = movedBytes + actions.reduce((sum, { liveBytes }) => sum + liveBytes, 0)
    let copied = movedBytes
    const step = await rewriteShared(ctx, {
      session,
      source: marked.source,
      reach: marked.reach,
      actions,
      packBytesMax,
      memory,
      signal,
      onMoved(bytes) {
        copied += bytes
        onProgress?.({ phase: 'compacting', bytes: copied, totalBytes })
      },
    })
    movedBytes += step.done.reduce((sum, { liveBytes }) => sum + liveBytes, 0)
    done.push(...step.done)
    if (step.damagedAt !== null) {
      damaged.add(step.damagedAt)
      // The marks are made again, and prefer the good copies.
      marked.reach.reset()
    } else if (step.done.length === 0) conflicts += 1
    return null
  }
}

/** In a large store HEAD keeps what was measured, so that the next collection need not measure again. */
async function noteMeasured(session: WriteSession, reach: Reach): Promise<void> {
  const { head } = session.stored!
  if (head.packs.length <= ALWAYS_MEASURED_PACKS) return
  await session.swapHead(({ head: base }) =>
    base.revision === head.revision ? nextHead(base, { live: liveOf(base, reach, new Set()) }) : null,
  )
}

function bytesOf(actions: readonly PackAction[]): number {
  return actions.reduce((sum, { bytes }) => sum + bytes, 0)
}

function deadIn(uses: readonly PackUse[], names: readonly string[]): number {
  const counted = new Set(names)
  return uses.reduce((sum, { name, deadBytes }) => sum + (counted.has(name) ? deadBytes : 0), 0)
}

function toName({ name }: PackUse): string {
  return name
}
