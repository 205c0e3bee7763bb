// What `openEngine` is told, and what an open engine offers.

import type { SnapshotInfo, Watermark } from '../index.ts'
import { assertOptions, type OptionTable } from '../misuse.ts'
import { AUTOSAVE_OPTIONS, type AutosaveOptions, type Lag } from './autosave-options.ts'

/** What `apply` is told of a change. */
export interface ChangeContext {
  /** The change's number: growing by one, never given twice. */
  sequence: number
  /**
   * Version of the program that made the change: `changes.version` of then. `upgrade` has made it one of this version.
   */
  version: number
  /** It is applied again after a start. */
  replay: boolean
  /**
   * In a replay: earlier changes are missing. `repair({ journal: 'skip' })` recorded that, or the engine was opened
   * with `acceptLoss`.
   */
  afterLoss: boolean
}

/** What becomes of a change that cannot be replayed. */
type ReplayAnswer = 'skip' | 'stop' | undefined

/** How a live engine is made, changed and saved. */
export interface OpenEngineOptions<Engine, Change>
  extends Omit<AutosaveOptions<Engine>, 'alongside' | 'restored' | 'signals'> {
  /** Makes a new engine when nothing was ever persisted. */
  create: () => Engine | Promise<Engine>
  /**
   * Applies a change, all of it or nothing. The same change on the same engine always does the same: no clock, no
   * randomness, no look at anything else. While it has given a promise, further changes and saves wait for it.
   */
  apply: (engine: Engine, change: Change, context: ChangeContext) => unknown
  /** Version of the changes, and what makes a change of an earlier version one of this. Default version 1. */
  changes?: { version: number; upgrade?: ((change: unknown, version: number) => Change) | undefined } | undefined
  /**
   * Decides on a change that cannot be replayed; default `stop`, which is `REPLAY_FAILED`. A start that skips changes
   * makes a snapshot which records them before it resolves: no later start applies them or asks again.
   */
  onReplayError?:
    | ((entry: { sequence: number; change: unknown }, error: unknown) => ReplayAnswer | Promise<ReplayAnswer>)
    | undefined
  /** How long to wait for the owner before, in ms: for a restart while the old process ends. Default 0. */
  lockWaitMs?: number | undefined
  /**
   * Starts also when changes are missing between the snapshot and what is left of the journal (`JOURNAL_GAP`): a start
   * that falls back further than the third-newest snapshot. Those behind the gap are applied with `afterLoss`.
   */
  acceptLoss?: boolean | undefined
  /**
   * Begins a new journal: see `openJournal`. The engine starts from its newest snapshot, without the changes after it.
   * A snapshot of another engine or other options (`ENGINE_MISMATCH`) is left, and a new engine is made.
   */
  startOver?: boolean | undefined
  /** Changes that no snapshot holds may take this much of the disk, in bytes: see `openJournal`. */
  maxJournalBytes?: number | undefined
  /**
   * A save is due when the changes that no snapshot holds have so many bytes; default 64 MiB, or a quarter of the
   * snapshot if that is more.
   */
  saveAfterBytes?: number | undefined
}

/** Where a live engine stands. */
export interface LiveLag extends Lag {
  /** Changes that no snapshot holds: a start would replay them. */
  entries: number
  /** Their size. */
  bytes: number
  /** About the time that a start would need to apply them: how long it took before. */
  replayMs: number
  /**
   * For how long saves have held changes back since the opening, in ms. It happens when an engine changed while it was
   * saved.
   */
  heldMs: number
  /** Bytes of changes that are applied and not durable yet. */
  pendingBytes: number
  /** Why the journal takes no changes; null when it does. */
  journalError: unknown
}

/** The changes that a start replayed. */
export interface Replayed {
  entries: number
  bytes: number
  /** How long it took, reading included. */
  ms: number
  /** Those that `onReplayError` left out. They count as entries too. */
  skipped: number[]
}

/** An engine whose changes are durable. */
export interface LiveEngine<Engine, Change> {
  /** For queries. Change it only by `change`. A `rollback` replaces it. */
  readonly engine: Engine
  /** The watermark of the last change that carried one, or of the snapshot: where a consumer of a queue goes on. */
  readonly watermark: Watermark | undefined
  /** The last change that was applied. */
  readonly last: number
  readonly replayed: Replayed
  /**
   * Applies a change. Queries see it at once; it is durable when this resolves. Changes are applied in the order of the
   * calls.
   *
   * @throws METADATA_INVALID for what cannot be kept, what `apply` throws, JOURNAL_FAILED, JOURNAL_FULL: nothing was
   *   changed. CHANGE_UNKNOWN: it is applied, and durable with the next snapshot, perhaps after a crash too. Do not
   *   repeat it: give the `sequence` in the error's details to `durable`
   */
  change(change: Change, options?: { watermark?: Watermark | undefined }): Promise<{ sequence: number }>
  /**
   * Resolves when a change of this opening is durable, by the journal or, after `CHANGE_UNKNOWN`, by a snapshot.
   *
   * @throws RangeError, ENGINE_UNSOUND, STORE_CLOSED: it was closed, and no snapshot holds the change
   */
  durable(sequence: number): Promise<void>
  /**
   * Makes a snapshot at once. Rejects with the error of the save, or with `SAVE_TIMEOUT` after `deadlineMs`; default:
   * no limit.
   */
  save(options?: { deadlineMs?: number | undefined }): Promise<void>
  /**
   * Saves, and makes an older snapshot, by sequence or tag, the current one again. `engine` is another object
   * afterwards, restored from that snapshot, and `watermark` is that of the snapshot. Changes wait meanwhile. It can be
   * undone by a rollback to the snapshot that was saved.
   *
   * @throws SNAPSHOT_NOT_FOUND, ENGINE_MISMATCH, what a save and `store.rollback` throw: the engine is what it was, and
   * goes on
   */
  rollback(to: number | string, options?: { message?: string | undefined }): Promise<SnapshotInfo>
  lag(): LiveLag
  /**
   * Saves, within the option `deadlineMs` in all, and lets others open the engine. Rejects with `SAVE_TIMEOUT` when
   * `apply` or the save takes longer.
   */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const { alongside: _alongside, restored: _restored, signals: _signals, ...SAVE_OPTIONS } = AUTOSAVE_OPTIONS

export const LIVE_OPTIONS: OptionTable<OpenEngineOptions<unknown, unknown>> = {
  ...SAVE_OPTIONS,
  create: 'function',
  apply: 'function',
  changes: 'any',
  onReplayError: 'function',
  lockWaitMs: 'ms',
  acceptLoss: 'boolean',
  startOver: 'boolean',
  maxJournalBytes: 'any',
  saveAfterBytes: 'any',
}

const CHANGES_OPTIONS: OptionTable<NonNullable<OpenEngineOptions<unknown, unknown>['changes']>> = {
  version: 'any',
  upgrade: 'function',
}

export const SAVE_CALL_OPTIONS: OptionTable<{ deadlineMs?: number | undefined }> = { deadlineMs: 'ms' }

export const LIVE_ROLLBACK_OPTIONS: OptionTable<{ message?: string | undefined }> = { message: 'any' }

export const CHANGE_OPTIONS: OptionTable<{ watermark?: Watermark | undefined }> = { watermark: 'any' }

/** @throws TypeError, RangeError for what the table does not say */
export function assertLiveOptions<Engine, Change>(options: OpenEngineOptions<Engine, Change> | undefined): void {
  for (const name of ['create', 'apply'] as const) {
    if (options?.[name] === undefined) throw new TypeError(`openEngine: ${name} is missing; pass { create, apply }`)
  }
  const { changes = { version: 1 }, saveAfterBytes = 1 } = options!
  assertOptions('openEngine: changes', changes, CHANGES_OPTIONS)
  if (!Number.isSafeInteger(changes?.version) || changes.version < 1) {
    throw new RangeError(`openEngine: changes.version is an integer from 1, got ${String(changes?.version)}`)
  }
  if (!(typeof saveAfterBytes === 'number' && saveAfterBytes >= 1)) {
    throw new RangeError(`openEngine: saveAfterBytes is a number of bytes from 1, got ${String(saveAfterBytes)}`)
  }
}
