// An engine's state on its way into a snapshot and out of it.

import type { BlobDirectory, BlobInput, SnapshotBlob } from '../index.ts'

/** What an adapter's `save` gives. */
export interface EngineState {
  /** By the adapter's own names; they become `engine/<name>`. */
  blobs: Readonly<Record<string, BlobInput>> | Iterable<readonly [string, BlobInput]>
  /** The adapter's own metadata. Keep out what changes without the engine changing: it would make every snapshot new. */
  metadata?: Record<string, unknown>
  /** Overrides the adapter's. */
  version?: string | undefined
  /** True: the blobs are copies, and the engine may change while they are read. Otherwise its `revision` must stay what it was until then. */
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
}
