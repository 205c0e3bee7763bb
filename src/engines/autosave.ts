// Saves an engine in the background. A save starts some time after a change, at a quiet moment if there is one. Only
// one save runs at a time, a failed save is tried again, and nothing is saved when nothing changed.

import { constants } from 'node:os'
import { isMainThread } from 'node:worker_threads'
import { type OpenOptions, openStore, type Store } from '../index.ts'
import { interruptHousekeeping } from '../inside.ts'
import { isStore, pathOf } from '../location.ts'
import { assertOptions, nearest, pickOptions, refusePromise } from '../misuse.ts'
import { remoteAt, type StoreLocation } from '../remote.ts'
import type { EngineAdapter } from './adapter.ts'
import { AUTOSAVE_OPTIONS, type AutosaveOptions, type Lag } from './autosave-options.ts'
import { assertAdapter, assertCpuShare, assertImage, OPEN_OPTIONS } from './engine-options.ts'
import { isJournalled, watchExit } from './exit-watch.ts'
import { createSaveScheduler } from './save-scheduler.ts'
import { type StartEngineOptions, type StartedEngine, startEngine } from './start.ts'

export type { AutosaveOptions, Lag, StartEngineOptions, StartedEngine }
export { startEngine }

/** Saves an engine in the background, until it is closed. */
export interface Autosave {
  /**
   * Tells that the engine changed. Without a call, saves are tried by the clock, and cost time even when nothing is
   * new.
   */
  changed(count?: number): void
  /**
   * Saves at once, unless nothing changed: what was changed before the call is durable when this resolves. Rejects with
   * the error of the save, or with `SAVE_TIMEOUT` after `deadlineMs`: then nothing of that save is committed.
   * `HEAD_CONFLICT`: somebody else made another snapshot the current one, and nothing is saved over it.
   */
  flush(options?: { deadlineMs?: number | undefined }): Promise<void>
  lag(): Lag
  /** Flushes, within `deadlineMs` (default: the option), and ends. Rejects if that fails. */
  close(options?: { deadlineMs?: number | undefined }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Docker kills a container 10 s after SIGTERM. What is left is for an aborted save to notice, and for the process to
 * end.
 */
const DEADLINE_MS = 8_000

/** Far above what a save takes: it is for one that hangs. */
const SAVE_LIMIT_MS = 30 * 60_000

/** So that queries beside a save wait little for it. */
const CPU_SHARE = 0.25

/** Saves `engine` in the background from now on. Its timers do not keep the process alive. */
export function autosave<Engine>(
  location: StoreLocation | Store,
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: AutosaveOptions<Engine> & OpenOptions = {},
): Autosave {
  const given = isStore<Store>(location) ? location : null
  for (const [what, value] of Object.entries({ adapter, engine, restored: options?.restored })) {
    refusePromise(value, `autosave: ${what}`)
  }
  // A save in the background would be the first to tell.
  if (given === null && remoteAt(location) === null) pathOf(location as string | URL, 'autosave')
  assertRestored(options?.restored)
  assertAdapter('autosave', adapter)
  assertOptions('autosave', options, { ...(given === null ? OPEN_OPTIONS : {}), ...AUTOSAVE_OPTIONS })
  const deadlineMs = atLeast('deadlineMs', options.deadlineMs ?? DEADLINE_MS, 1)
  assertOnConflict(options.onConflict)
  assertImage('autosave', options.image)
  assertCpuShare('autosave', options.cpuShare)
  if (adapter.readOnly === true) {
    throw new TypeError(
      `autosave: this adapter of ${adapter.name} restores engines that cannot be changed: there is nothing to save`,
    )
  }
  assertSignals(options.signals)
  const opened =
    given === null
      ? openStore(location as StoreLocation, pickOptions<OpenOptions>(options, OPEN_OPTIONS))
      : Promise.resolve(given)
  // Whoever saves first meets the error.
  opened.catch(() => {})
  if (options.checkEvery !== undefined && !(Number.isInteger(options.checkEvery) && options.checkEvery >= 1)) {
    throw new RangeError(`autosave: checkEvery must be a whole number from 1, got ${String(options.checkEvery)}`)
  }
  const saver = createSaveScheduler(opened, adapter, engine, {
    ...options,
    cpuShare: options.cpuShare ?? CPU_SHARE,
    everyMs: atLeast('everyMs', options.everyMs ?? 30_000, 1),
    afterChanges: atLeast('afterChanges', options.afterChanges ?? Number.POSITIVE_INFINITY, 1),
    quietMs: atLeast('quietMs', options.quietMs ?? 500, 0),
    quietLimitMs: atLeast('quietLimitMs', options.quietLimitMs ?? 10_000, 0),
    saveLimitMs: atLeast('saveLimitMs', options.saveLimitMs ?? SAVE_LIMIT_MS, 1),
    retryMs: atLeast('retryMs', options.retryMs ?? 1000, 1),
    retryLimitMs: atLeast('retryLimitMs', options.retryLimitMs ?? 60_000, 1),
  })
  const release = onSignals(
    options.signals ?? [],
    () => {
      // The process is about to end: nothing but this save matters.
      opened.then(interruptHousekeeping, () => undefined)
      return saver.flush(deadlineMs, { isCall: false, isLast: true })
    },
    saver.reportOnce,
  )
  const unwatch = isJournalled(engine) ? () => undefined : watchExit(adapter.name, saver.unsaved)

  let closing: Promise<void> | null = null
  async function close(withinMs: number): Promise<void> {
    try {
      await saver.stop(withinMs)
    } finally {
      release()
      unwatch()
      if (given === null) await (await opened).close()
    }
  }
  function closeOnce(request: { deadlineMs?: number | undefined } = {}): Promise<void> {
    closing ??= close(request.deadlineMs ?? deadlineMs)
    return closing
  }

  return {
    changed: saver.changed,
    flush: async (request = {}) => {
      assertOptions('flush', request, { deadlineMs: 'any' })
      await saver.flush(request.deadlineMs === undefined ? undefined : atLeast('deadlineMs', request.deadlineMs, 1))
    },
    lag: saver.lag,
    async close(request = {}) {
      assertOptions('close', request, { deadlineMs: 'any' })
      if (request.deadlineMs !== undefined) atLeast('deadlineMs', request.deadlineMs, 1)
      await closeOnce(request)
    },
    [Symbol.asyncDispose]: () => closeOnce(),
  }
}

function atLeast(name: string, value: number, least: number): number {
  if (typeof value === 'number' && value >= least) return value
  throw new RangeError(`autosave: ${name} must be a number from ${least}, got ${String(value)}`)
}

function assertRestored(restored: unknown): void {
  if (restored === undefined || restored === null) return
  const { snapshot } = restored as { snapshot?: { time?: unknown } }
  if (snapshot?.time instanceof Date) return
  throw new TypeError('autosave: restored is what restoreEngine answered, or null when it answered null')
}

function assertOnConflict(value: unknown): void {
  if (value === undefined || value === 'stop' || value === 'overwrite') return
  throw new TypeError(`autosave: onConflict must be 'stop' or 'overwrite', got ${String(value)}`)
}

/** Names that no process can listen for. */
const UNHEARD = ['SIGKILL', 'SIGSTOP']

function assertSignals(signals: readonly NodeJS.Signals[] | undefined): void {
  const names = Object.keys(constants.signals).filter((name) => !UNHEARD.includes(name))
  for (const signal of signals ?? []) {
    if (names.includes(signal)) continue
    const near = nearest(String(signal), names)
    const advice = UNHEARD.includes(signal) ? 'no process can listen for it' : `did you mean ${near ?? 'SIGTERM'}?`
    throw new TypeError(`autosave: signals has ${JSON.stringify(signal)}: ${advice}`)
  }
  if (isMainThread || signals === undefined || signals.length === 0) return
  throw new TypeError(
    `autosave: signals (${signals.join(', ')}) are delivered to the main thread only, and this is a worker thread; ` +
      'leave the option out, listen in the main thread, and call flush() here by a message from there',
  )
}

/** Flushes on a signal, then lets it do what it would have done. */
function onSignals(
  signals: readonly NodeJS.Signals[],
  flush: () => Promise<void>,
  report: (error: unknown) => void,
): () => void {
  let ending = false
  function listener(signal: NodeJS.Signals): void {
    // A second signal (a supervisor and a terminal both send one) must not cost the save. The deadline ends the wait.
    if (ending) return
    ending = true
    flush()
      .catch(report)
      .finally(() => end(signal))
  }
  function end(signal: NodeJS.Signals): void {
    release()
    // Somebody else who listens decides when the process ends.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
  }
  function release(): void {
    for (const signal of signals) process.off(signal, listener)
  }
  for (const signal of signals) process.on(signal, listener)
  return release
}
