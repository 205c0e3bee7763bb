// Lists snapshots, tags them, and makes an older one the current one again.

import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import type { Head } from '../format/head.ts'
import { cleanUp } from '../gc/collect.ts'
import { find, nothingThere } from '../load/load.ts'
import { describe, openSnapshot, type SnapshotInfo } from '../load/snapshot.ts'
import type { OptionTable } from '../misuse.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { coversOfRollback, type JournalEnd } from './covers.ts'
import { type HeadChange, nextHead } from './next-head.ts'
import { noteSave } from './own-saves.ts'
import { assertExpected, assertWritable, watchWait } from './write-guards.ts'

/** How a tag, an untag or a rollback is made. */
export interface HistoryOptions {
  /** `HEAD_CONFLICT` unless this is the current sequence. */
  expectedHead?: number | null | undefined
  lockWaitMs?: number | undefined
  signal?: AbortSignal | undefined
}

export const HISTORY_OPTIONS: OptionTable<HistoryOptions> = {
  expectedHead: 'head',
  lockWaitMs: 'ms',
  signal: 'signal',
}

/** How a rollback is made. */
export interface RollbackOptions extends HistoryOptions {
  message?: string | undefined
  /** Steps over entries of the journal that are in no snapshot. Otherwise `ENTRIES_UNSAVED`. */
  discard?: boolean | undefined
}

export const ROLLBACK_OPTIONS: OptionTable<RollbackOptions> = { ...HISTORY_OPTIONS, message: 'any', discard: 'boolean' }

/** Kept snapshots, newest first; none when nothing was ever persisted. */
export async function listSnapshots(ctx: StoreContext): Promise<SnapshotInfo[]> {
  const stored = await ctx.storage.readHead()
  return stored === null ? [] : stored.head.snapshots.map((entry) => describe(entry, stored.head))
}

/** Names a snapshot; a tag that another one has moves. Tagged snapshots are not dropped by retention. */
export async function tag(
  ctx: StoreContext,
  name: string,
  at: number | string | undefined,
  options: HistoryOptions & { lockWaitMs: number },
): Promise<SnapshotInfo> {
  assertTag(name)
  return await changeHead(ctx, options, async (head) => {
    const target = find(ctx.storage.location, head, at === undefined ? (head.current ?? 0) : at)
    if (target.tags.includes(name)) return { sequence: target.sequence, change: null }
    const snapshots = head.snapshots.map((entry) => {
      const others = entry.tags.filter((tag) => tag !== name)
      return { ...entry, tags: entry === target ? [...others, name].sort(byCodeUnits) : others }
    })
    return { sequence: target.sequence, change: { snapshots } }
  })
}

/** Takes a tag away; the snapshot stays until retention drops it. */
export async function untag(
  ctx: StoreContext,
  name: string,
  options: HistoryOptions & { lockWaitMs: number },
): Promise<SnapshotInfo> {
  assertTag(name)
  return await changeHead(ctx, options, async (head) => {
    const target = find(ctx.storage.location, head, name)
    const snapshots = head.snapshots.map((entry) =>
      entry === target ? { ...entry, tags: entry.tags.filter((tag) => tag !== name) } : entry,
    )
    return { sequence: target.sequence, change: { snapshots } }
  })
}

/**
 * Makes an older snapshot the current one by appending a new entry that names its manifest; no block is written. The
 * entries stepped over are marked as abandoned, and `fallback` never chooses them.
 */
export async function rollback(
  ctx: StoreContext,
  to: number | string,
  options: RollbackOptions & { lockWaitMs: number; journalEnd?: JournalEnd | null },
): Promise<SnapshotInfo> {
  const { journalEnd = null, discard = false } = options
  const calledMs = clock.monotonicMs()
  return await changeHead(ctx, options, async (head, stored) => {
    const target = find(ctx.storage.location, head, to)
    if (target.sequence === head.current) return { sequence: target.sequence, change: null }
    // An unreadable snapshot must not become the current one.
    await (await openSnapshot(ctx, stored, target)).dispose()
    const sequence = head.sequence + 1
    const covers = journalEnd === null ? undefined : coversOfRollback(head, target, journalEnd, discard)
    const entry = {
      ...target,
      ...(covers === undefined ? {} : { covers }),
      sequence,
      time: clock.now().toISOString(),
      message: options.message ?? `rollback to ${target.sequence}`,
      tags: [],
      abandoned: false,
    }
    const older = head.snapshots.map((snapshot) => ({
      ...snapshot,
      abandoned: snapshot !== target && (snapshot.abandoned || snapshot.sequence > target.sequence),
    }))
    return { sequence, change: { current: sequence, snapshots: [entry, ...older] }, rolledBackMs: calledMs }
  })
}

interface Planned {
  sequence: number
  /** Null: there is nothing to change. */
  change: HeadChange | null
  /** When a rollback was called. */
  rolledBackMs?: number
}

async function changeHead(
  ctx: StoreContext,
  options: HistoryOptions & { lockWaitMs: number },
  plan: (head: Head, stored: StoredHead) => Promise<Planned>,
): Promise<SnapshotInfo> {
  function assertMayChange(stored: StoredHead): void {
    assertWritable(ctx, stored)
    assertExpected(ctx, stored.head, options.expectedHead)
  }
  // Before the write, which makes directories: a mistyped path must not leave some.
  if ((await ctx.storage.readHead()) === null) throw nothingThere(ctx.storage.location)
  return await ctx.storage.write(
    { waitMs: options.lockWaitMs, signal: options.signal, onWait: watchWait(ctx, undefined) },
    async (session) => {
      if (session.stored === null) throw nothingThere(ctx.storage.location)
      assertMayChange(session.stored)
      await cleanUp(ctx, session)
      let sequence = 0
      let save: { done(): void } | null = null
      await session.swapHead(async (stored) => {
        assertMayChange(stored)
        const planned = await plan(stored.head, stored)
        sequence = planned.sequence
        if (planned.change === null && !session.uncertain) return null
        const next = nextHead(stored.head, planned.change ?? {})
        const { rolledBackMs } = planned
        save = rolledBackMs === undefined ? null : noteSave(next, stored.head.current, rolledBackMs)
        return next
      })
      ;(save as { done(): void } | null)?.done()
      return infoOf(session, sequence)
    },
  )
}

function infoOf(session: WriteSession, sequence: number): SnapshotInfo {
  const { head } = session.stored!
  return describe(head.snapshots.find((entry) => entry.sequence === sequence)!, head)
}

const TAG_LENGTH_MAX = 256

function assertTag(name: string): void {
  if (typeof name !== 'string' || name === '' || name.length > TAG_LENGTH_MAX || /[\p{Cc}\p{Cs}]/u.test(name)) {
    throw new TypeError(
      `a tag is text of 1 to ${TAG_LENGTH_MAX} characters without control characters; got ${JSON.stringify(name)}`,
    )
  }
}

function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
