// What `autosave` is told, and what it tells.

import type { OptionTable } from '../misuse.ts'
import type { PersistEngineOptions, PersistEngineResult, RestoredEngine } from './adapter.ts'

/** When `autosave` saves, how it retries, and what it tells. */
export interface AutosaveOptions<Engine>
  extends Pick<
    PersistEngineOptions<Engine>,
    'alongside' | 'attempts' | 'chunking' | 'image' | 'keep' | 'keepLast' | 'lockWaitMs'
  > {
  /**
   * A change is saved after this many ms; default 30,000. Without `changed()` and a `revision`, it is saved this often.
   */
  everyMs?: number | undefined
  /** Or after this many changes told by `changed()`; default none. */
  afterChanges?: number | undefined
  /** A save that is due waits until nothing changed for this long, in ms; default 500. */
  quietMs?: number | undefined
  /** But for no longer than this, in ms; default 10,000. */
  quietLimitMs?: number | undefined
  /** After an error the next try is this many ms later, then twice as many, and so on; default 1,000. */
  retryMs?: number | undefined
  /** But no more than this; default 60,000. */
  retryLimitMs?: number | undefined
  /**
   * A save that takes longer, in ms, is given up and tried again: an adapter or a disk may hang. Default 30 minutes.
   */
  saveLimitMs?: number | undefined
  /**
   * How much of the main thread a save in the background may take, above 0 and up to 1; default 0.25. One that a flush
   * waits for takes all that it needs.
   */
  cpuShare?: number | undefined
  /**
   * Every so many saves, what was captured is restored into a new engine before it is committed: `check` of
   * `persistEngine`. Default: never.
   */
  checkEvery?: number | undefined
  /**
   * Called once for every save that failed; default a process warning. The error stays in `lag().error` until a save
   * works. `retryInMs` is `Infinity` when it is not tried again.
   */
  onError?: ((error: unknown, next: { failures: number; retryInMs: number }) => void) | undefined
  /** Called for every snapshot, and for saves that found nothing new. */
  onSave?: ((result: PersistEngineResult) => void) | undefined
  /**
   * Signals on which to flush and then to end as the signal would have, unless somebody else listens to it. None by
   * default: a library must not decide when a program ends.
   */
  signals?: readonly NodeJS.Signals[] | undefined
  /** How long a flush for a signal, or on disposal, may take in ms; default 8,000, below the 10 s that Docker gives. */
  deadlineMs?: number | undefined
  /**
   * What `restoreEngine` or `startEngine` gave: its snapshot counts as the last durable one, and the first save may
   * replace only what was the current snapshot then; null: only an empty store. Without this option the first save
   * replaces whatever there is.
   */
  restored?: RestoredEngine<Engine, unknown> | null | undefined
  /**
   * What to do when somebody else made another snapshot the current one: another process saved, or rolled back. `stop`,
   * the default: saves no more, and tells `HEAD_CONFLICT` once. `overwrite`: saves over it. Saves of this process are
   * no conflict.
   */
  onConflict?: 'stop' | 'overwrite' | undefined
}

export const AUTOSAVE_OPTIONS: OptionTable<AutosaveOptions<unknown>> = {
  alongside: 'any',
  attempts: 'any',
  chunking: 'any',
  image: 'any',
  keep: 'any',
  keepLast: 'any',
  lockWaitMs: 'ms',
  everyMs: 'any',
  afterChanges: 'any',
  quietMs: 'any',
  quietLimitMs: 'any',
  retryMs: 'any',
  retryLimitMs: 'any',
  saveLimitMs: 'any',
  checkEvery: 'any',
  cpuShare: 'any',
  onError: 'function',
  onSave: 'function',
  signals: 'list',
  deadlineMs: 'any',
  restored: 'any',
  onConflict: 'any',
}

/** Where the durable snapshot stands behind the engine. */
export interface Lag {
  /** Age of the state that is durable, in ms; null if none is known to be. */
  ageMs: number | null
  /** Changes told by `changed()` that are not durable. */
  changes: number
  /** Age of the oldest of them in ms; 0 when there are none. */
  behindMs: number
  /** Saves that failed since the last that worked. */
  failures: number
  /** Why the last save failed; null when it worked. */
  error: unknown
  saving: boolean
  /** Nothing is saved any more: closed, or stopped by `HEAD_CONFLICT`, which is then the `error`. */
  stopped: boolean
}
