// An engine that loses nothing that was acknowledged: each change is applied, journalled and made durable, and
// snapshots are made in the background. After a crash the newest snapshot is restored, and the changes after it are
// replayed.
//
// What makes that hold: a change is decoded from the bytes that go into the journal, so that replay applies what was
// applied. It is applied and appended in one turn of the event loop, and an engine is captured in one turn too. So what
// a snapshot covers is exactly what it holds.

import { clock } from '../clock.ts'
import { encodeChange, readChange } from '../encodings/change.ts'
import { HoldfastError, type Journal, type OpenOptions, openStore, type Store, type Watermark } from '../index.ts'
import { isStore } from '../location.ts'
import { assertOptions, pickOptions } from '../misuse.ts'
import type { StoreLocation } from '../remote.ts'
import type { EngineAdapter } from './adapter.ts'
import { applyAtOnce, PromiseGiven } from './apply-change.ts'
import { type Autosave, autosave } from './autosave.ts'
import { AUTOSAVE_OPTIONS, type AutosaveOptions } from './autosave-options.ts'
import { assertAdapter, OPEN_OPTIONS } from './engine-options.ts'
import {
  assertLiveOptions,
  CHANGE_OPTIONS,
  type ChangeContext,
  LIVE_OPTIONS,
  type LiveEngine,
  type LiveLag,
  type OpenEngineOptions,
} from './live-options.ts'
import { savingAdapter } from './live-saves.ts'
import { type Started, start } from './replay.ts'

export type { ChangeContext, LiveEngine, LiveLag, OpenEngineOptions }

const SAVE_AFTER_BYTES = 64 * 1024 * 1024
/** Or a part of the snapshot, when that is more. */
const SAVE_AFTER_PART = 1 / 4
/** Size of changes that may wait for the disk: the default limit of the journal. */
const PENDING_BYTES_MAX = 64 * 1024 * 1024
const DISPOSE_MS = 10_000
/** As those of `autosave`. */
const HEAL_MS = 1000
const HEAL_LIMIT_MS = 60_000

/**
 * Restores an engine, replays the changes after its snapshot, and goes on from there. One process has it open at a time.
 *
 * @throws JOURNAL_LOCKED, JOURNAL_DAMAGED, JOURNAL_GAP, REPLAY_FAILED, ENGINE_MISMATCH, and what opening a store throws
 */
export async function openEngine<Engine, Change = unknown>(
  location: StoreLocation | Store,
  adapter: EngineAdapter<Engine>,
  options: OpenEngineOptions<Engine, Change> & Omit<OpenOptions, 'readOnly'>,
): Promise<LiveEngine<Engine, Change>> {
  const given = isStore<Store>(location) ? location : null
  assertAdapter('openEngine', adapter)
  assertOptions('openEngine', options, { ...(given === null ? OPEN_OPTIONS : {}), ...LIVE_OPTIONS })
  assertLiveOptions(options)
  // This `lockWaitMs` is for the journal's lock, not for the writer lock.
  const { lockWaitMs: _wait, ...storeOptions } = pickOptions<OpenOptions>(options, OPEN_OPTIONS)
  const store = given ?? (await openStore(location as StoreLocation, storeOptions))
  try {
    // Lock before reading, so that no other owner changes what is read.
    const journal = await store.openJournal({
      lockWaitMs: options.lockWaitMs ?? 0,
      startOver: options.startOver ?? false,
      maxJournalBytes: options.maxJournalBytes,
    })
    try {
      const started = await start(store, journal, adapter, options)
      return liveEngine({ store, journal, adapter, options, started, closeStore: given === null })
    } catch (error) {
      await journal.close()
      throw error
    }
  } catch (error) {
    if (given === null) await store.close()
    throw error
  }
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
  const { engine } = started
  // This `lockWaitMs` is for the journal's lock, not for the writer lock.
  const { lockWaitMs: _wait, ...saving } = pickOptions<AutosaveOptions<Engine>>(options, AUTOSAVE_OPTIONS)
  const { version } = options.changes ?? { version: 1 }
  let { watermark } = started
  let covered = started.restored?.snapshot.covers ?? 0
  let captured = covered
  /** Bytes of all changes so far, of those that the running save captured, and of those that a snapshot holds. */
  const bytes = { all: started.replayedBytes, captured: 0, saved: 0 }
  let snapshotBytes = started.restored?.snapshot.size ?? 0
  let isDue = false
  let isApplying = false
  let isHealing = false
  let unsound: HoldfastError | null = null
  /** Changes wait here while a save reads the engine, and while there is no room. */
  let waiting: Promise<unknown> | null = null
  let held: Promise<void> | null = null
  let closing: Promise<void> | null = null

  const saved = savingAdapter(adapter, {
    assertSound() {
      if (unsound !== null) throw unsound
    },
    hold(until) {
      held = until
      until.then(() => {
        if (held === until) held = null
      })
    },
  })
  const saver: Autosave = autosave(store, saved, engine, {
    ...saving,
    restored: started.restored,
    alongside() {
      captured = journal.last
      bytes.captured = bytes.all
      return { covers: captured, ...(watermark === undefined ? {} : { watermark }) }
    },
    onSave(result) {
      covered = Math.max(covered, captured)
      bytes.saved = bytes.captured
      snapshotBytes = Object.values(result.blobs).reduce((sum, { size }) => sum + size, 0)
      options.onSave?.(result)
    },
  })
  if (started.replayed > 0) saver.changed(started.replayed)
  saveWhenDue()

  function assertReady(): void {
    if (closing !== null)
      throw new HoldfastError('STORE_CLOSED', 'the engine was closed; open it again', { details: {} })
    if (unsound !== null) throw unsound
  }

  /** Both in one turn, so that a capture never sees a change that is applied and not in the journal. */
  function applyAndAppend(data: Uint8Array): { sequence: number; durable: Promise<void> } {
    if (unsound !== null) throw unsound
    // A change that the journal would refuse must not be applied.
    journal.assertTakes(data.length)
    const sequence = journal.last + 1
    const before = adapter.revision?.(engine)
    const { change, watermark: carried } = readChange(data)
    isApplying = true
    try {
      applyAtOnce(options, engine, change as Change, { sequence, replay: false, afterLoss: false })
    } catch (error) {
      const moved = before !== undefined && !Object.is(adapter.revision?.(engine), before)
      if (!moved && !(error instanceof PromiseGiven)) throw error
      unsound = unsoundError(sequence, error)
      throw unsound
    } finally {
      isApplying = false
    }
    const appended = journal.append(data)
    if (carried !== undefined) watermark = carried as Watermark
    bytes.all += data.length
    saver.changed()
    saveWhenDue()
    // Only a snapshot heals a journal that failed.
    appended.durable.catch(heal)
    return appended
  }

  /**
   * Saves again and again until one save works. Until then all changes are refused, so this does not wait for the next save that is due.
   */
  async function heal(): Promise<void> {
    if (isHealing) return
    isHealing = true
    const { retryMs = HEAL_MS, retryLimitMs = HEAL_LIMIT_MS } = options
    for (let waitMs = retryMs; closing === null && unsound === null; waitMs = Math.min(waitMs * 2, retryLimitMs)) {
      await saver.flush().catch(() => undefined)
      if (journal.error === null) break
      await clock.sleep(waitMs, { ref: false })
    }
    isHealing = false
  }

  /** Saves when a start would have to replay too much. */
  function saveWhenDue(): void {
    const { saveAfterBytes = Math.max(SAVE_AFTER_BYTES, snapshotBytes * SAVE_AFTER_PART) } = options
    if (isDue || bytes.all - bytes.saved < saveAfterBytes) return
    const { saving, failures } = saver.lag()
    // A running save makes it less, and `autosave` retries one that failed.
    if (saving || failures > 0) return
    isDue = true
    saver
      .flush()
      .catch(() => undefined)
      .finally(() => {
        isDue = false
      })
  }

  function hasRoom(data: Uint8Array): boolean {
    return journal.pendingBytes === 0 || journal.pendingBytes + data.length + 4 <= PENDING_BYTES_MAX
  }

  async function whenPossible(data: Uint8Array): Promise<{ sequence: number; durable: Promise<void> }> {
    while (held !== null || !hasRoom(data)) {
      if (held !== null) await held
      else await journal.flush()
    }
    return applyAndAppend(data)
  }

  async function change(value: Change, request: { watermark?: Watermark } = {}): Promise<{ sequence: number }> {
    assertOptions('change', request, CHANGE_OPTIONS)
    if (isApplying) {
      throw new TypeError(
        'openEngine: apply called change: the two would be in the journal in another order. Make one change of them',
      )
    }
    assertReady()
    const data = encodeChange({ version, change: value, watermark: request.watermark })
    let appended: { sequence: number; durable: Promise<void> }
    if (waiting === null && held === null && hasRoom(data)) appended = applyAndAppend(data)
    else {
      const turn = (waiting ?? Promise.resolve()).catch(() => undefined).then(() => whenPossible(data))
      waiting = turn
      try {
        appended = await turn
      } finally {
        if (waiting === turn) waiting = null
      }
    }
    await appended.durable
    return { sequence: appended.sequence }
  }

  async function close(): Promise<void> {
    await waiting?.catch(() => undefined)
    try {
      await saver.close()
    } finally {
      try {
        await journal.close()
      } finally {
        await started.restored?.dispose()
        if (closeStore) await store.close()
      }
    }
  }

  function closeOnce(): Promise<void> {
    closing ??= close()
    return closing
  }

  return {
    engine,
    get watermark() {
      return watermark
    },
    get last() {
      return journal.last
    },
    replayed: started.replayed,
    change,
    save: () => saver.flush({ deadlineMs: options.deadlineMs ?? DISPOSE_MS }),
    lag: () => ({
      ...saver.lag(),
      entries: journal.last - covered,
      pendingBytes: journal.pendingBytes,
      journalError: journal.error,
    }),
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  }
}

function unsoundError(sequence: number, cause: unknown): HoldfastError {
  return new HoldfastError(
    'ENGINE_UNSOUND',
    `Change ${sequence} failed and left the engine in a state that the journal does not describe; it is not saved. Close it and open it again`,
    { details: { sequence }, cause },
  )
}
