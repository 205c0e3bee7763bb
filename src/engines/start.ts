// Starts an engine: restores it from the newest snapshot that can be used, or makes a new one, and says what to replay.

import {
  type Freshness,
  type HoldfastError,
  isHoldfastError,
  type OpenOptions,
  openStore,
  type Store,
} from '../index.ts'
import { isStore } from '../location.ts'
import { assertOptions, pickOptions } from '../misuse.ts'
import type { StoreLocation } from '../remote.ts'
import { type EngineAdapter, type RestoredEngine, type RestoreEngineOptions, restoreEngine } from './adapter.ts'
import { OPEN_OPTIONS, RESTORE_ENGINE_OPTIONS } from './engine-options.ts'
import { noteStartingHead } from './starting-head.ts'

/** How `startEngine` restores, and how it makes a new engine. */
export interface StartEngineOptions<Engine, Metadata> extends RestoreEngineOptions<Metadata> {
  /** Makes a new engine when nothing was ever persisted. */
  create: () => Engine | Promise<Engine>
  /**
   * What to do with a snapshot of another engine, other options, or an unreadable version: `throw` `ENGINE_MISMATCH`,
   * the default, or `create` a new engine, as after a change of the fields. `autosave` may then replace the snapshot.
   */
  onMismatch?: 'throw' | 'create' | undefined
}

/** An engine that is ready, and what of its source it lacks. */
export interface StartedEngine<Engine, Metadata = Record<string, unknown>> {
  engine: Engine
  /** Null on a fresh start. For `autosave`, and for the sidecars. */
  restored: RestoredEngine<Engine, Metadata> | null
  /** Why the snapshot there was not restored, with `onMismatch: 'create'`; null otherwise. */
  mismatch: HoldfastError | null
  /** What the engine lacks. */
  replay: {
    /**
     * The watermark of the snapshot: replay what came after it. Undefined on a fresh start, or when none was persisted:
     * replay all.
     */
    after: unknown
    /** `fresh`, or how the snapshot's watermark compares with `source`. */
    state: 'fresh' | Freshness['state']
    /** How much that is, in the watermark's units, where it can be said. */
    by: unknown
  }
}

/**
 * The start-up call: the engine of the newest intact snapshot that is not ahead of its source, or a new one; and what
 * of the source is to be replayed. `fallback` is on unless you say otherwise; so is `source.ahead: 'fallback'`.
 */
export async function startEngine<Engine, Metadata = Record<string, unknown>>(
  location: StoreLocation | Store,
  adapter: EngineAdapter<Engine>,
  options: StartEngineOptions<Engine, Metadata> & OpenOptions,
): Promise<StartedEngine<Engine, Metadata>> {
  assertOptions('startEngine', options, {
    ...(isStore(location) ? {} : OPEN_OPTIONS),
    ...RESTORE_ENGINE_OPTIONS,
    create: 'function',
    onMismatch: 'any',
  })
  const { create, onMismatch = 'throw', ...rest } = options
  if (onMismatch !== 'throw' && onMismatch !== 'create') {
    throw new TypeError(`startEngine: onMismatch must be 'throw' or 'create', got ${String(onMismatch)}`)
  }
  const { source } = rest
  let restored: RestoredEngine<Engine, Metadata> | null = null
  let head: number | null = null
  let mismatch: HoldfastError | null = null
  try {
    restored = await restoreEngine(location, adapter, {
      ...rest,
      fallback: rest.fallback ?? true,
      ...(source === undefined ? {} : { source: { ...source, ahead: source.ahead ?? 'fallback' } }),
    })
  } catch (error) {
    if (onMismatch !== 'create' || !isHoldfastError(error, 'ENGINE_MISMATCH')) throw error
    mismatch = error
    head = await currentSequence(location, options)
  }
  if (restored === null) {
    const engine = await create()
    noteStartingHead(engine, head)
    return { engine, restored, mismatch, replay: { after: undefined, state: 'fresh', by: undefined } }
  }
  const { watermark, freshness } = restored.snapshot
  const by = 'by' in freshness ? freshness.by : undefined
  return { engine: restored.engine, restored, mismatch, replay: { after: watermark, state: freshness.state, by } }
}

async function currentSequence(location: StoreLocation | Store, options: OpenOptions): Promise<number | null> {
  const given = isStore<Store>(location) ? location : null
  const store = given ?? (await openStore(location as StoreLocation, pickOptions<OpenOptions>(options, OPEN_OPTIONS)))
  try {
    return (await store.snapshots()).find(({ current }) => current)?.sequence ?? null
  } finally {
    if (given === null) await store.close()
  }
}
