import { type Freshness, type OpenOptions, openStore, type Store } from '../index.ts'
import { isStore, pathOf } from '../location.ts'
import { assertOptions, pickOptions, refusePromise } from '../misuse.ts'
import { type EngineAdapter, type RestoredEngine, type RestoreEngineOptions, restoreEngine } from './adapter.ts'
import { AUTOSAVE_OPTIONS, type AutosaveOptions, type Lag } from './autosave-options.ts'
import { assertAdapter, OPEN_OPTIONS, RESTORE_ENGINE_OPTIONS } from './engine-options.ts'
import { createSaver } from './saver.ts'

// When to save. An engine that changes all day is saved in the background: some time after a change, at a quiet moment if there is one, one
// save at a time, again and again until it worked, and never when there is nothing to save.

export type { AutosaveOptions, Lag }

/** Saves an engine in the background, until it is closed. */
export interface Autosave {
  /** Tells that the engine changed. Without a call, saves are tried by the clock, and cost time even when nothing is new. */
  changed(count?: number): void
  /**
   * Saves at once, unless nothing changed: what was changed before the call is durable when this resolves. Rejects with the error of the
   * save, or with a `TimeoutError` after `deadlineMs`: then nothing of that save is committed.
   */
  flush(options?: { deadlineMs?: number }): Promise<void>
  lag(): Lag
  /** Flushes, within the option `deadlineMs`, and ends. Rejects if that fails. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const DEADLINE_MS = 10_000

/** Saves `engine` in the background from now on. Its timers do not keep the process alive. */
export function autosave<Engine>(
  location: string | URL | Store,
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: AutosaveOptions<Engine> & OpenOptions = {},
): Autosave {
  const given = isStore<Store>(location) ? location : null
  for (const [what, value] of Object.entries({ adapter, engine, restored: options?.restored })) {
    refusePromise(value, `autosave: ${what}`)
  }
  // A save in the background would be the first to tell.
  if (given === null) pathOf(location as string | URL, 'autosave')
  assertAdapter('autosave', adapter)
  assertOptions('autosave', options, { ...(given === null ? OPEN_OPTIONS : {}), ...AUTOSAVE_OPTIONS })
  const deadlineMs = atLeast('deadlineMs', options.deadlineMs ?? DEADLINE_MS, 1)
  const opened =
    given === null
      ? openStore(location as string | URL, pickOptions<OpenOptions>(options, OPEN_OPTIONS))
      : Promise.resolve(given)
  // Whoever saves first meets the error.
  opened.catch(() => {})
  if (options.checkEvery !== undefined && !(Number.isInteger(options.checkEvery) && options.checkEvery >= 1)) {
    throw new RangeError(`autosave: checkEvery must be a whole number from 1, got ${String(options.checkEvery)}`)
  }
  const saver = createSaver(opened, adapter, engine, {
    ...options,
    everyMs: atLeast('everyMs', options.everyMs ?? 30_000, 1),
    afterChanges: atLeast('afterChanges', options.afterChanges ?? Number.POSITIVE_INFINITY, 1),
    quietMs: atLeast('quietMs', options.quietMs ?? 500, 0),
    quietLimitMs: atLeast('quietLimitMs', options.quietLimitMs ?? 10_000, 0),
    retryMs: atLeast('retryMs', options.retryMs ?? 1000, 1),
    retryLimitMs: atLeast('retryLimitMs', options.retryLimitMs ?? 60_000, 1),
  })
  const release = onSignals(options.signals ?? [], () => saver.flush(deadlineMs), saver.report)

  let closing: Promise<void> | null = null
  async function close(): Promise<void> {
    release()
    try {
      await saver.stop(deadlineMs)
    } finally {
      if (given === null) await (await opened).close()
    }
  }
  function closeOnce(): Promise<void> {
    closing ??= close()
    return closing
  }

  return {
    changed: saver.changed,
    flush: async (request = {}) => {
      assertOptions('flush', request, { deadlineMs: 'any' })
      await saver.flush(request.deadlineMs === undefined ? undefined : atLeast('deadlineMs', request.deadlineMs, 1))
    },
    lag: saver.lag,
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  }
}

function atLeast(name: string, value: number, least: number): number {
  if (typeof value === 'number' && value >= least) return value
  throw new RangeError(`autosave: ${name} must be a number from ${least}, got ${String(value)}`)
}

/** Flushes on a signal, then lets it do what it would have done. */
function onSignals(
  signals: readonly NodeJS.Signals[],
  flush: () => Promise<void>,
  report: (error: unknown) => void,
): () => void {
  let ending = false
  function listener(signal: NodeJS.Signals): void {
    if (ending) {
      // Asked twice: at once, then.
      end(signal)
      return
    }
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

/** How `startEngine` restores, and how it makes a new engine. */
export interface StartEngineOptions<Engine, Metadata> extends RestoreEngineOptions<Metadata> {
  /** Makes a new engine when nothing was ever persisted. */
  create: () => Engine | Promise<Engine>
}

/** An engine that is ready, and what of its source it lacks. */
export interface StartedEngine<Engine, Metadata = Record<string, unknown>> {
  engine: Engine
  /** Null on a fresh start. For `autosave`, and for the sidecars. */
  restored: RestoredEngine<Engine, Metadata> | null
  /** What the engine lacks. */
  replay: {
    /** The watermark of the snapshot: replay what came after it. Undefined on a fresh start, or when none was persisted: replay all. */
    after: unknown
    /** `fresh`, or how the snapshot's watermark compares with `source`. */
    state: 'fresh' | Freshness['state']
    /** How much that is, in the watermark's units, where it can be said. */
    by: unknown
  }
}

/**
 * The start-up call: the engine of the newest intact snapshot that is not ahead of its source, or a new one; and what of the source is to be
 * replayed. `fallback` is on unless you say otherwise; so is `source.ahead: 'fallback'`.
 */
export async function startEngine<Engine, Metadata = Record<string, unknown>>(
  location: string | URL | Store,
  adapter: EngineAdapter<Engine>,
  options: StartEngineOptions<Engine, Metadata> & OpenOptions,
): Promise<StartedEngine<Engine, Metadata>> {
  assertOptions('startEngine', options, {
    ...(isStore(location) ? {} : OPEN_OPTIONS),
    ...RESTORE_ENGINE_OPTIONS,
    create: 'function',
  })
  const { create, ...rest } = options
  const { source } = rest
  const restored = await restoreEngine(location, adapter, {
    ...rest,
    fallback: rest.fallback ?? true,
    ...(source === undefined ? {} : { source: { ...source, ahead: source.ahead ?? 'fallback' } }),
  })
  if (restored === null) {
    return { engine: await create(), restored, replay: { after: undefined, state: 'fresh', by: undefined } }
  }
  const { watermark, freshness } = restored.snapshot
  const by = 'by' in freshness ? freshness.by : undefined
  return { engine: restored.engine, restored, replay: { after: watermark, state: freshness.state, by } }
}
