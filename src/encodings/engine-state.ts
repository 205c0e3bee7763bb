// An engine's state on its way into a snapshot and out of it.

import type { Region } from '../format/regions.ts'
import type { BlobDirectory, BlobInput, Chunking, SnapshotBlob } from '../index.ts'
import type { FileBytes } from '../local/saved-file.ts'

/** A file that an engine saved by `context.saveFile`. It is gone when the save is over. */
export type EngineFile = FileBytes

/** What an adapter's `save` gives: blobs, a file, or both. */
export interface EngineState {
  /** By the adapter's own names; they become `engine/<name>`. Those of `file` are added. */
  blobs: Readonly<Record<string, BlobInput>> | Iterable<readonly [string, BlobInput]>
  /**
   * What `context.saveFile` gave. It is stored as the blob `index`, or split into `regions`; `saved.file()` gives it
   * back.
   */
  file?: EngineFile | undefined
  /**
   * How the file is split into columns, each of which becomes a blob of that name. Regions that do not add up to the
   * file are left out, and the file is stored whole.
   */
  regions?: readonly Region[] | undefined
  /**
   * How the blobs of the file are cut; default: columns in whole records of about 4 KiB, a file that is one blob by its
   * content.
   */
  chunking?: Chunking | undefined
  /**
   * The adapter's own metadata. Keep out what changes without the engine changing: it would make every snapshot new.
   */
  metadata?: Record<string, unknown>
  /** Overrides the adapter's. */
  version?: string | undefined
  /**
   * True: the blobs are copies, and the engine may change while they are read. Otherwise its `revision` must stay what
   * it was until then.
   */
  captured?: boolean
  /** Called when the blobs have been read, or will not be: removes temporary files. */
  release?(): void | Promise<void>
}

/** A snapshot as its adapter sees it. */
export interface SavedEngine {
  readonly version: string | undefined
  /** As given by `save`; `{}` if nothing was. */
  readonly metadata: Readonly<Record<string, unknown>>
  /** The adapter's names. */
  readonly names: readonly string[]
  has(name: string): boolean
  blob(name: string): SnapshotBlob
  /** The blobs that came from `{ directory }` under this name: `writeTo` lays them out again. */
  directory(name: string): BlobDirectory
  /**
   * The path of the file that the engine saved: the image, where there is a good one, or else put together from the
   * blobs. Every byte of it was verified. It is read-only, and stays until `restore` is done.
   */
  file(options?: EngineFileOptions): Promise<string>
}

/** How `SavedEngine.file` gives the file. */
export interface EngineFileOptions {
  /**
   * The engine maps the file: it stays until the engine that `restore` gives is collected as garbage. Default false.
   */
  mapped?: boolean | undefined
  /** Where it is put together, without an image; default the store's own directory, or `os.tmpdir()`. */
  temporaryDirectory?: string | undefined
}
