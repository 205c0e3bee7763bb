// An engine that loses nothing that was acknowledged: each change is applied, journalled and made durable, and
// snapshots are made in the background. After a crash the newest snapshot is restored, and the changes after it are
// replayed.
//
// What makes that hold: a change is decoded from the bytes that go into the journal, so that replay applies what was
// applied (live-changes.ts). An engine is captured between two changes, with the number of the last one
// (live-saves.ts). So what a snapshot covers is exactly what it holds.

import { clock } from '../clock.ts'
import {
  isHoldfastError,
  type Journal,
  type OpenOptions,
  openStore,
  type SnapshotInfo,
  type Store,
  type Watermark,
} from '../index.ts'
import { isStore } from '../location.ts'
import { assertOptions, pickOptions } from '../misuse.ts'
import type { StoreLocation } from '../remote.ts'
import { type EngineAdapter, restoreEngine } from './adapter.ts'
import { assertAdapter, OPEN_OPTIONS } from './engine-options.ts'
import { type AppliedChange, createChanges } from './live-changes.ts'
import {
  assertLiveOptions,
  type ChangeContext,
  LIVE_OPTIONS,
  LIVE_ROLLBACK_OPTIONS,
  type LiveEngine,
  type LiveLag,
  type OpenEngineOptions,
  SAVE_CALL_OPTIONS,
} from './live-options.ts'
import { readOnlyEngine } from './live-read-only.ts'
import { createSaves } from './live-saves.ts'
import { type Started, start } from './replay.ts'
import { noteStartingHead } from './starting-head.ts'

export type { ChangeContext, LiveEngine, LiveLag, OpenEngineOptions }

const READ_ONLY_TRIES = 3
/** As the default of `autosave`. */
const CLOSE_MS = 8_000

/**
 * Restores an engine, replays the changes after its snapshot, and goes on from there. One process has it open at a
 * time. With `readOnly`, or a store that was opened so, any process may: the engine is then for queries.
 *
 * @throws JOURNAL_LOCKED, JOURNAL_DAMAGED, JOURNAL_GAP, REPLAY_FAILED, ENGINE_MISMATCH, and what opening a store throws
 */
export async function openEngine<Engine, Change = unknown>(
  location: StoreLocation | Store,
  adapter: EngineAdapter<Engine>,
  options: OpenEngineOptions<Engine, Change> & OpenOptions,
): Promise<LiveEngine<Engine, Change>> {
  const given = isStore<Store>(location) ? location : null
  assertAdapter('openEngine', adapter)
  assertOptions('openEngine', options, { ...(given === null ? OPEN_OPTIONS : {}), ...LIVE_OPTIONS })
  assertLiveOptions(options)
  // This `lockWaitMs` is for the journal's lock, not for the writer lock.
  const { lockWaitMs: _wait, ...storeOptions } = pickOptions<OpenOptions>(options, OPEN_OPTIONS)
  const store = given ?? (await openStore(location as StoreLocation, storeOptions))
  try {
    for (let tries = 1; ; tries++) {
      // Lock before reading, so that no other owner changes what is read.
      const journal = await store.openJournal({
        lockWaitMs: options.lockWaitMs ?? 0,
        startOver: options.startOver ?? false,
        maxJournalBytes: options.maxJournalBytes,
      })
      try {
        const started = await start(store, journal, adapter, options)
        const parts = { store, journal, adapter, options, started, closeStore: given === null }
        if (journal.readOnly) return readOnlyEngine(parts)
        const live = liveEngine(parts)
        if (started.replayed.skipped.length > 0) await saveSkipped(live)
        return live
      } catch (error) {
        await journal.close()
        // Its owner may have deleted a segment between the opening and the replay.
        const mayBeNewer = journal.readOnly && isHoldfastError(error, 'JOURNAL_DAMAGED', 'JOURNAL_GAP')
        if (!mayBeNewer || tries === READ_ONLY_TRIES) throw error
      }
    }
  } catch (error) {
    if (given === null) await store.close()
    throw error
  }
}

/** What was left out is decided once a snapshot says so. */
async function saveSkipped(live: LiveEngine<unknown, never>): Promise<void> {
  try {
    await live.save()
  } catch (error) {
    await live.close().catch(() => undefined)
    throw error
  }
}

async function currentOf(store: Store): Promise<SnapshotInfo | null> {
  return (await store.snapshots()).find(({ current }) => current) ?? null
}

interface LiveParts<Engine, Change> {
  store: Store
  journal: Journal
  adapter: EngineAdapter<Engine>
  options: OpenEngineOptions<Engine, Change>
  started: Started<Engine>
  closeStore: boolean
}

function liveEngine<Engine, Change>(parts: LiveParts<Engine, Change>): LiveEngine<Engine, Change> {
  const { store, journal, adapter, options, started, closeStore } = parts
  const { replayed } = started
  let { engine, watermark } = started
  const restored = started.restored === null ? [] : [started.restored]
  let closing: Promise<void> | null = null

  const changes = createChanges({
    journal,
    options,
    engine: () => engine,
    revision: () => adapter.revision?.(engine),
    onApplied,
  })
  const saves = createSaves({ store, journal, adapter, options, changes, watermark: () => watermark })
  saves.begin({ engine, restored: started.restored, covers: started.restored?.snapshot.covers ?? 0, ...replayed })

  function onApplied(change: AppliedChange): void {
    if (change.watermark !== undefined) watermark = change.watermark
    saves.applied(change)
  }

  async function rollback(to: number | string, request: { message?: string | undefined } = {}): Promise<SnapshotInfo> {
    assertOptions('rollback', request, LIVE_ROLLBACK_OPTIONS)
    return await changes.alone(() => rollbackAlone(to, request))
  }

  /** While no change is applied. */
  async function rollbackAlone(to: number | string, request: { message?: string | undefined }): Promise<SnapshotInfo> {
    await saves.save()
    // Before anything is changed: this one can be restored.
    const target = (await restoreEngine(store, adapter, { at: to }))!
    restored.push(target)
    await saves.pause()
    const before = await currentOf(store)
    let info: SnapshotInfo
    try {
      info = await journal.rollback(to, request)
    } catch (error) {
      const current = await currentOf(store).catch(() => null)
      // HEAD may be the one of the rollback now, or become it again: then this engine is not of its line.
      if (current === null || current.sequence !== before?.sequence) changes.spoil(error)
      else goOn(current)
      throw error
    }
    engine = target.engine
    watermark = target.snapshot.watermark as Watermark | undefined
    goOn(info)
    return info
  }

  /** Saves the engine from now on, over this snapshot. */
  function goOn({ sequence, covers = 0 }: SnapshotInfo): void {
    noteStartingHead(engine, sequence)
    saves.begin({ engine, restored: null, covers, entries: 0, bytes: 0, ms: 0 })
  }

  async function save(request?: { deadlineMs?: number | undefined }): Promise<void> {
    assertOptions('save', request, SAVE_CALL_OPTIONS)
    changes.assertOpen('save')
    await saves.save(request)
  }

  async function close(): Promise<void> {
    let late: unknown = null
    const deadlineMs = options.deadlineMs ?? CLOSE_MS
    const endMs = clock.monotonicMs() + deadlineMs
    try {
      await changes.close(deadlineMs)
    } catch (error) {
      late = error
    }
    try {
      await closeParts(Math.max(1, Math.ceil(endMs - clock.monotonicMs())))
    } catch (error) {
      // That the engine could not be saved follows from it.
      throw late ?? error
    }
    if (late !== null) throw late
  }

  /** `deadlineMs`: what is left for the save. */
  async function closeParts(deadlineMs: number): Promise<void> {
    try {
      await saves.end(deadlineMs)
    } finally {
      try {
        await journal.close()
      } finally {
        for (const each of restored) await each.dispose()
        if (closeStore) await store.close()
      }
    }
  }

  async function closeOnce(): Promise<void> {
    changes.assertOutside('close')
    closing ??= close()
    await closing
  }

  return {
    get engine() {
      return engine
    },
    get watermark() {
      return watermark
    },
    get last() {
      return journal.last
    },
    replayed,
    change: changes.change,
    durable: saves.durable,
    save,
    rollback,
    lag: () => ({
      ...saves.lag(),
      heldMs: changes.heldMs,
      pendingBytes: journal.pendingBytes,
      journalError: journal.error,
    }),
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  }
}
