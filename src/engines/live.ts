// An engine that loses nothing that was acknowledged: each change is applied, journalled and made durable, and
// snapshots are made in the background. After a crash the newest snapshot is restored, and the changes after it are
// replayed.
//
// What makes that hold: a change is decoded from the bytes that go into the journal, so that replay applies what was
// applied. It is applied and appended in one turn of the event loop, and an engine is captured in one turn too. So what
// a snapshot covers is exactly what it holds.

import { encodeChange, readChange } from '../encodings/change.ts'
import {
  HoldfastError,
  isHoldfastError,
  type Journal,
  type OpenOptions,
  openStore,
  type Store,
  type Watermark,
} from '../index.ts'
import { isStore } from '../location.ts'
import { assertOptions, type OptionTable, pickOptions } from '../misuse.ts'
import type { EngineAdapter, SaveContext } from './adapter.ts'
import { type Autosave, autosave, startEngine } from './autosave.ts'
import { AUTOSAVE_OPTIONS, type AutosaveOptions, type Lag } from './autosave-options.ts'
import { assertAdapter, OPEN_OPTIONS } from './engine-options.ts'

/** What `apply` is told of a change. */
export interface ChangeContext {
  /** The change's number: growing by one, never given twice. */
  sequence: number
  /** It is applied again after a start. */
  replay: boolean
}

/** How a live engine is made, changed and saved. */
export interface OpenEngineOptions<Engine, Change>
  extends Omit<AutosaveOptions<Engine>, 'alongside' | 'restored' | 'signals'> {
  /** Makes a new engine when nothing was ever persisted. */
  create: () => Engine | Promise<Engine>
  /**
   * Applies a change, all of it or nothing, at once (no promise). The same change on the same engine always does the same: no clock, no
   * randomness, no look at anything else.
   */
  apply: (engine: Engine, change: Change, context: ChangeContext) => void
  /** Version of the changes, and what makes a change of an earlier version one of this. Default version 1. */
  changes?: { version: number; upgrade?: (change: unknown, version: number) => Change } | undefined
  /** Decides on a change that cannot be replayed; default `stop`, which is `REPLAY_FAILED`. */
  onReplayError?: ((entry: { sequence: number; change: unknown }, error: unknown) => 'skip' | 'stop') | undefined
  /** How long to wait for the owner before, in ms: for a restart while the old process ends. Default 0. */
  lockWaitMs?: number | undefined
  /** Begins a new journal: see `openJournal`. The engine starts from its newest snapshot, without the changes after it. */
  startOver?: boolean | undefined
  /** Changes that no snapshot holds may take this much of the disk, in bytes: see `openJournal`. */
  maxJournalBytes?: number | undefined
  /** A save is due when the changes since the last one have so many bytes; default 64 MiB. */
  saveAfterBytes?: number | undefined
}

/** Where a live engine stands. */
export interface LiveLag extends Lag {
  /** Changes that no snapshot holds: a start would replay them. */
  entries: number
  /** Bytes of changes that are applied and not durable yet. */
  pendingBytes: number
  /** Why the journal takes no changes; null when it does. */
  journalError: unknown
}

/** An engine whose changes are durable. */
export interface LiveEngine<Engine, Change> {
  /** For queries. Change it only by `change`. */
  readonly engine: Engine
  /** The watermark of the last change that carried one, or of the snapshot: where a consumer of a queue goes on. */
  readonly watermark: Watermark | undefined
  /** The last change that was applied. */
  readonly last: number
  /** How many changes the start replayed. */
  readonly replayed: number
  /**
   * Applies a change. Queries see it at once; it is durable when this resolves. Changes are applied in the order of the calls.
   *
   * @throws METADATA_INVALID for what cannot be kept, what `apply` throws, JOURNAL_FAILED, JOURNAL_FULL: nothing was changed. CHANGE_UNKNOWN: it is applied, and
   * durable with the next snapshot, perhaps after a crash too; do not repeat it
   */
  change(change: Change, options?: { watermark?: Watermark | undefined }): Promise<{ sequence: number }>
  /** Makes a snapshot at once. */
  save(): Promise<void>
  lag(): LiveLag
  /** Saves, and lets others open the engine. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const LIVE_OPTIONS: OptionTable<OpenEngineOptions<unknown, unknown>> = {
  ...AUTOSAVE_OPTIONS,
  create: 'function',
  apply: 'function',
  changes: 'any',
  onReplayError: 'function',
  lockWaitMs: 'ms',
  startOver: 'boolean',
  maxJournalBytes: 'any',
  saveAfterBytes: 'any',
}

const SAVE_AFTER_BYTES = 64 * 1024 * 1024
/** Of changes that wait for the disk. As many as the journal takes. */
const PENDING_BYTES_MAX = 64 * 1024 * 1024
const DISPOSE_MS = 10_000

/**
 * Restores an engine, replays the changes after its snapshot, and goes on from there. One process has it open at a time.
 *
 * @throws JOURNAL_LOCKED, JOURNAL_DAMAGED, JOURNAL_GAP, REPLAY_FAILED, ENGINE_MISMATCH, and what opening a store throws
 */
export async function openEngine<Engine, Change = unknown>(
  location: string | URL | Store,
  adapter: EngineAdapter<Engine>,
  options: OpenEngineOptions<Engine, Change> & Omit<OpenOptions, 'readOnly'>,
): Promise<LiveEngine<Engine, Change>> {
  const { version } = options.changes ?? { version: 1 }
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new RangeError(`openEngine: changes.version is an integer from 1, got ${String(version)}`)
  }
  const given = isStore<Store>(location) ? location : null
  assertAdapter('openEngine', adapter)
  assertOptions('openEngine', options, { ...(given === null ? OPEN_OPTIONS : {}), ...LIVE_OPTIONS })
  // It is how long to wait for the journal, and not for the writer lock.
  const { lockWaitMs: _wait, ...storeOptions } = pickOptions<OpenOptions>(options, OPEN_OPTIONS)
  const store = given ?? (await openStore(location as string | URL, storeOptions))
  try {
    // The lock first: what is read must not be changed by an owner that still runs.
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

interface Started<Engine> {
  engine: Engine
  restored: Awaited<ReturnType<typeof startEngine<Engine>>>['restored']
  watermark: Watermark | undefined
  replayed: number
}

async function start<Engine, Change>(
  store: Store,
  journal: Journal,
  adapter: EngineAdapter<Engine>,
  options: OpenEngineOptions<Engine, Change>,
): Promise<Started<Engine>> {
  const { engine, restored } = await startEngine(store, adapter, { create: options.create })
  const covers = restored?.snapshot.covers ?? 0
  let watermark = restored?.snapshot.watermark as Watermark | undefined
  let replayed = 0
  for await (const { sequence, data } of journal.read({ after: covers })) {
    const { change, carried } = replayOne(options, engine, sequence, data)
    if (change !== null && options.onReplayError?.({ sequence, change: change.value }, change.error) !== 'skip') {
      throw replayFailed(sequence, change.error)
    }
    if (carried !== undefined) watermark = carried as Watermark
    replayed += 1
  }
  return { engine, restored, watermark, replayed }
}

/** Null for a change that could be applied. */
type FailedChange = { value: unknown; error: unknown } | null

function replayOne<Engine, Change>(
  options: OpenEngineOptions<Engine, Change>,
  engine: Engine,
  sequence: number,
  data: Uint8Array,
): { change: FailedChange; carried: unknown } {
  let value: unknown
  let carried: unknown
  try {
    const entry = readChange(data)
    value = entry.change
    carried = entry.watermark
    applyAtOnce(options, engine, upgraded(options, entry.change, entry.version), { sequence, replay: true })
    return { change: null, carried }
  } catch (error) {
    return { change: { value, error }, carried }
  }
}

function upgraded<Engine, Change>(
  { changes = { version: 1 } }: OpenEngineOptions<Engine, Change>,
  change: unknown,
  version: number,
): Change {
  if (version === changes.version) return change as Change
  if (version < changes.version && changes.upgrade !== undefined) return changes.upgrade(change, version)
  throw new HoldfastError(
    'VERSION_UNSUPPORTED',
    `The journal has a change of version ${version}, and this program applies version ${changes.version}: give changes.upgrade, or ` +
      'start a newer version of the program',
    { details: { version } },
  )
}

function replayFailed(sequence: number, cause: unknown): unknown {
  if (isHoldfastError(cause, 'VERSION_UNSUPPORTED')) return cause
  const why = cause instanceof Error ? cause.message : String(cause)
  return new HoldfastError(
    'REPLAY_FAILED',
    `Change ${sequence} of the journal cannot be replayed: ${why}. Correct apply, or leave the change out with onReplayError`,
    { details: { sequence }, cause },
  )
}

/** The engine may be between two states when it is captured. */
class PromiseGiven extends TypeError {
  constructor() {
    super('openEngine: apply returned a promise; it has to apply a change at once')
  }
}

/** @throws PromiseGiven, what `apply` throws */
function applyAtOnce<Engine, Change>(
  { apply }: OpenEngineOptions<Engine, Change>,
  engine: Engine,
  change: Change,
  context: ChangeContext,
): void {
  const answer = apply(engine, change, context) as unknown
  if (typeof (answer as PromiseLike<unknown> | undefined)?.then === 'function') {
    throw new PromiseGiven()
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
  // It is how long to wait for the journal, and not for the writer lock.
  const { saveAfterBytes = SAVE_AFTER_BYTES } = options
  const { lockWaitMs: _wait, ...saving } = pickOptions<AutosaveOptions<Engine>>(options, AUTOSAVE_OPTIONS)
  const { version } = options.changes ?? { version: 1 }
  let { watermark } = started
  let covered = started.restored?.snapshot.covers ?? 0
  let captured = covered
  let bytesSinceSave = 0
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
      return { covers: captured, ...(watermark === undefined ? {} : { watermark }) }
    },
    onSave(result) {
      covered = Math.max(covered, captured)
      options.onSave?.(result)
    },
  })
  if (started.replayed > 0) saver.changed(started.replayed)

  function assertReady(): void {
    if (closing !== null)
      throw new HoldfastError('STORE_CLOSED', 'the engine was closed; open it again', { details: {} })
    if (unsound !== null) throw unsound
  }

  /** In one turn: nothing else sees a change that is applied and not in the journal. */
  function applyAndAppend(data: Uint8Array): { sequence: number; durable: Promise<void> } {
    if (unsound !== null) throw unsound
    // Nothing is applied that cannot be journalled.
    journal.assertTakes(data.length)
    const sequence = journal.last + 1
    const before = adapter.revision?.(engine)
    const { change, watermark: carried } = readChange(data)
    try {
      applyAtOnce(options, engine, change as Change, { sequence, replay: false })
    } catch (error) {
      const moved = before !== undefined && !Object.is(adapter.revision?.(engine), before)
      if (!moved && !(error instanceof PromiseGiven)) throw error
      unsound = unsoundError(sequence, error)
      throw unsound
    }
    const appended = journal.append(data)
    if (carried !== undefined) watermark = carried as Watermark
    bytesSinceSave += data.length
    saver.changed()
    if (bytesSinceSave >= saveAfterBytes) {
      bytesSinceSave = 0
      saver.flush().catch(() => undefined)
    }
    // Only a snapshot heals a journal that failed. When it does not work either, `autosave` tries again.
    appended.durable.catch(() => saver.flush().catch(() => undefined))
    return appended
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

/**
 * The adapter as saves use it. An engine whose blobs are read after the capture may change meanwhile: the first attempt lets changes pass, and
 * every later one holds them until the blobs are read.
 */
function savingAdapter<Engine>(
  adapter: EngineAdapter<Engine>,
  live: { assertSound: () => void; hold: (until: Promise<void>) => void },
): EngineAdapter<Engine> {
  return {
    ...adapter,
    async save(engine: Engine, context: SaveContext) {
      live.assertSound()
      let done = (): void => undefined
      if (context.attempt > 1) {
        live.hold(
          new Promise((resolve) => {
            done = resolve
          }),
        )
      }
      try {
        const state = await adapter.save(engine, context)
        const release = state.release?.bind(state)
        return {
          ...state,
          async release() {
            done()
            await release?.()
          },
        }
      } catch (error) {
        done()
        throw error
      }
    },
  }
}

function unsoundError(sequence: number, cause: unknown): HoldfastError {
  return new HoldfastError(
    'ENGINE_UNSOUND',
    `Change ${sequence} failed and left the engine in a state that the journal does not describe; it is not saved. Close it and open it again`,
    { details: { sequence }, cause },
  )
}
