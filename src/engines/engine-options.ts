// How an engine is persisted and restored: the options, and the tables by which unknown ones are refused before
// anything is done.

import type { BlobInput, LoadOptions, OpenOptions, PersistOptions, Watermark } from '../index.ts'
import type { OptionTable } from '../misuse.ts'

/** What belongs to the same instant as the engine's state. */
export interface Alongside {
  /**
   * Any blobs but `engine/…`, by name or as entries. Captured: bytes must not change after, a stream must yield what is
   * true now. A stream can be read once, and a save may be tried again: give `alongside` as a function that makes a new
   * one.
   */
  blobs?: Readonly<Record<string, BlobInput>> | Iterable<readonly [string, BlobInput]> | undefined
  /** Any keys but `engine`. */
  metadata?: Record<string, unknown> | undefined
  /** The position of the source of truth that the engine has caught up with. */
  watermark?: Watermark | undefined
  /** The last entry of the store's journal that the engine holds the effect of. */
  covers?: number | undefined
}

/** What `persistEngine` keeps beside the engine, and how it commits. */
export interface PersistEngineOptions<Engine>
  extends Omit<PersistOptions, 'blobs' | 'metadata' | 'watermark' | 'covers' | 'sameBlobs' | 'dryRun'> {
  /**
   * Sidecars, metadata and watermark to keep in the same snapshot. The function is called in the instant in which the
   * engine is captured, so that the two can never disagree; the object is for what does not change.
   */
  alongside?: Alongside | ((engine: Engine) => Alongside) | undefined
  /** How often to try while the engine changes during the save; then `SOURCE_CHANGED`. Default 3. */
  attempts?: number | undefined
  /**
   * Restores what was captured into a new engine, and drops that, before anything is committed: `ENGINE_CHECK_FAILED`
   * if it cannot be restored. Needs the time and memory of a restore, and room for the blobs in `os.tmpdir()`, or in
   * the store's `tmp/`. Default false.
   */
  check?: boolean | undefined
  /**
   * How much of the main thread the work of the adapter may take, above 0 and up to 1: less means pauses, and a longer
   * save. Adapters of text engines heed it; the capture and the engine's own calls are not cut. Default 1: somebody
   * waits for it.
   */
  cpuShare?: number | undefined
  /** Whether the file that a native engine saves is kept as an image, for the next restore; default `last`. */
  image?: ImageChoice | undefined
}

/**
 * When the file of a native engine is kept beside its blobs, as an image. `last`: by `persistEngine`, by the last flush
 * of `autosave` (on a signal, or `close()`), and by a restore that had to put the file together. `always`: by every
 * save of `autosave`, too. `none`: never.
 */
export type ImageChoice = 'last' | 'always' | 'none'

/** @throws TypeError */
export function assertImage(where: string, image: unknown): void {
  if (image === undefined || image === 'last' || image === 'always' || image === 'none') return
  throw new TypeError(`${where}: image must be 'last', 'always' or 'none', got ${String(image)}`)
}

/** @throws RangeError */
export function assertCpuShare(where: string, share: unknown): void {
  if (share === undefined || (typeof share === 'number' && share > 0 && share <= 1)) return
  throw new RangeError(`${where}: cpuShare is a part of the main thread, above 0 and up to 1; got ${String(share)}`)
}

/** Which snapshot `restoreEngine` takes, and which sidecars it must have. */
export interface RestoreEngineOptions<Metadata = Record<string, unknown>>
  extends Omit<LoadOptions<string, Metadata>, 'blobs'> {
  /** Sidecars that must be there; `BLOB_NOT_FOUND` otherwise. */
  blobs?: readonly string[] | undefined
  /** `none`: a file that had to be put together is not kept as an image. Default `last`. */
  image?: ImageChoice | undefined
}

/** Taken by whoever opens the store. */
export const OPEN_OPTIONS: OptionTable<OpenOptions> = {
  readOnly: 'boolean',
  filesDir: 'any',
  lock: 'any',
  keep: 'any',
  keepLast: 'any',
  lockWaitMs: 'ms',
  compression: 'any',
  packBytesMax: 'any',
  onWarning: 'function',
}

export const PERSIST_ENGINE_OPTIONS: OptionTable<PersistEngineOptions<unknown>> = {
  alongside: 'any',
  attempts: 'any',
  check: 'boolean',
  cpuShare: 'any',
  image: 'any',
  message: 'any',
  chunking: 'any',
  keep: 'any',
  keepLast: 'any',
  expectedHead: 'head',
  sourceVersion: 'function',
  lockWaitMs: 'ms',
  signal: 'signal',
  onProgress: 'function',
}

export const RESTORE_ENGINE_OPTIONS: OptionTable<RestoreEngineOptions> = {
  at: 'any',
  blobs: 'list',
  metadataSchema: 'schema',
  fallback: 'any',
  required: 'boolean',
  minSequence: 'count',
  source: 'any',
  signal: 'signal',
  onProgress: 'function',
  image: 'any',
}

export const ALONGSIDE: OptionTable<Alongside> = {
  blobs: 'any',
  metadata: 'any',
  watermark: 'any',
  covers: 'any',
}

/** Refuses what is no adapter, before the engine is touched. */
export function assertAdapter(where: string, adapter: { save?: unknown; restore?: unknown }): void {
  if (typeof adapter?.save === 'function' && typeof adapter.restore === 'function') return
  throw new TypeError(`${where}: give the location, then an adapter (an object with save and restore), then the rest`)
}
