// What an adapter of an engine is, and what it is given.

import type { EngineFile, EngineState, SavedEngine } from '../encodings/engine-state.ts'
import type { PersistResult, Snapshot } from '../index.ts'
import type { EngineRecord } from './engine-record.ts'

/** Turns one kind of engine into named blobs and back. */
export interface EngineAdapter<Engine> {
  /** The engine's package, or your own name for it: `minisearch`. */
  readonly name: string
  /** Version of the blobs that `save` makes; raise it when they change so that an older adapter could not read them. */
  readonly layout: number
  /**
   * What must be the same on save and restore for the bytes to mean the same: fields, tokenizer id, dimensions, metric.
   * Plain values, as in a snapshot's metadata.
   */
  readonly options: Readonly<Record<string, unknown>>
  /**
   * The options of a snapshot in the words of `options`, where an earlier version of this adapter used others for the
   * same. Compared with `options` before a restore.
   */
  recorded?(saved: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>
  /** Of the engine's package, where it can be known. */
  readonly version?: string | undefined
  /**
   * Captures the engine. The blobs of one save belong to one state of the engine, the one at the call: everything is
   * copied before the first `await`, or the adapter has a `revision` that notices when the engine changes while its
   * blobs are read, or `save` itself throws `SOURCE_CHANGED` when it changed while it was copied.
   */
  save(engine: Engine, context: SaveContext): EngineState | Promise<EngineState>
  /**
   * Makes an engine of what was saved. Called only when name, layout and options fit; every byte it reads is verified.
   * Never give a native engine bytes that were not read to the end: a stream throws where the damage is.
   */
  restore(saved: SavedEngine, context: RestoreContext): Engine | Promise<Engine>
  /**
   * An answer that is the same (`Object.is`) twice says that the engine's state did not change in between. Cheap: it is
   * called several times a save. Leave it out, or answer undefined, where the engine cannot tell.
   */
  revision?(engine: Engine): unknown
  /**
   * What to wait for before the engine may be captured: it is between two states, because a change takes more than one
   * turn of the event loop. Undefined: it may be captured now. Asked again after the wait, and right before `save`.
   */
  ready?(engine: Engine): PromiseLike<unknown> | undefined
  /** Frees an engine that was restored only for a check, where it is not garbage-collected. */
  close?(engine: Engine): void | Promise<void>
  /** What `restore` gives cannot be changed: `autosave` refuses it. */
  readonly readOnly?: boolean | undefined
  /** Why what was saved cannot be read by this engine, for people; undefined when nothing is known against it. */
  refuses?(saved: EngineRecord, context: RestoreContext): string | undefined
}

/** What an adapter is given besides the engine. */
export interface SaveContext {
  /**
   * Counts from 1: the engine changed while it was saved the time before. An adapter that can save at one go may do so
   * now.
   */
  attempt: number
  /**
   * Has the engine save into a new path, at once, and gives the file for `EngineState.file`. `save` may answer a
   * Promise. Such a file can be kept as an image, from which a restore loads without putting it together. Once a save;
   * where the store has no room for it, `save` is called again with a path in a directory for temporary files.
   */
  saveFile(
    save: (path: string) => unknown,
    options?: {
      /** Save there, and keep no image. */
      temporaryDirectory?: string | undefined
    },
  ): Promise<EngineFile>
  /**
   * Called between the steps of long work on the main thread; await what it gives, if it gives anything. It lets the
   * event loop turn after 5 ms, and pauses, so that the work takes no more of the thread than `cpuShare` allows.
   */
  turn(): Promise<void> | undefined
  signal?: AbortSignal | undefined
  /** True: the caller's `sourceVersion` tells whether the engine changed while it was saved. */
  watched?: boolean | undefined
  /** Where to put files in between: set when `os.tmpdir()` had no room for them, to a directory of the store. */
  temporaryDirectory?: string | undefined
}

/** What an adapter is given besides the snapshot. */
export interface RestoreContext {
  signal?: AbortSignal | undefined
  /** As for a save. */
  temporaryDirectory?: string | undefined
  /** The engine is restored to see whether it can be, and dropped: put nothing in the place of what is in use. */
  check?: boolean
}

/** An engine as it was saved. Dispose of it when sidecars and laid-out files are needed no more; the engine stays. */
export interface RestoredEngine<Engine, Metadata = Record<string, unknown>> {
  readonly engine: Engine
  /** Still open: sidecars, metadata, watermark, freshness, what was skipped. */
  readonly snapshot: Snapshot<string, Metadata>
  readonly record: EngineRecord
  dispose(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** What a save of an engine made. */
export interface PersistEngineResult extends PersistResult {
  bytes: PersistResult['bytes'] & {
    /** Of the image that was put beside the packs; it is never fsynced, and no part of `written`. */
    image: number
  }
}
