// The context that all operations of an open store share. It has no logic.

import type { BlobEntry } from '../format/blob-entry.ts'
import type { Head, HeadJournal, HeadMark, HeadSnapshot } from '../format/head.ts'
import type { Manifest } from '../format/manifest.ts'
import type { FileSystem } from '../fs/port.ts'
import type { Local } from '../local/local.ts'
import type { OnWarning } from '../progress.ts'
import type { Storage } from '../storage/port.ts'
import type { BadBlocks } from './bad-blocks.ts'
import type { CheckedBlobs } from './checked-blobs.ts'
import type { CheckedBlocks } from './checked-blocks.ts'
import type { LinkCache } from './link-cache.ts'
import type { PackCache } from './pack-cache.ts'

export interface StoreContext {
  storage: Storage
  /** For the caller's own files: blob sources and targets. */
  fs: FileSystem
  /** Files that this machine keeps beside the storage. */
  local: Local
  packCache: PackCache
  links: LinkCache
  warn: OnWarning
  badBlocks: BadBlocks
  checkedBlobs: CheckedBlobs
  checkedBlocks: CheckedBlocks
  /** The snapshot that this process persisted last: the next persist need not read its manifest. */
  lastPersisted: { manifest: string; blobs: ReadonlyMap<string, BlobEntry>; metadata: Manifest['metadata'] } | null
  /** The journal of this store, while this store object has it open. */
  journal: JournalOwner | null
  /** Called with the snapshot that was loaded as the current one. Never rejects. */
  loaded?: (head: Head, snapshot: HeadSnapshot) => Promise<void>
}

/** What a persist asks of the open journal. */
interface JournalOwner {
  /** 32 hex digits. */
  readonly id: string
  /** The last entry that was given a sequence. */
  readonly last: number
  /** Up to where it is durable. */
  readonly seen: HeadJournal['seen']
  /** Entries that no snapshot from now on holds the effect of, ascending: whoever replayed them left them out. */
  readonly skips: readonly [number, number][]
  /** A frame at or before an entry. */
  mark(sequence: number): HeadMark | null
  /**
   * Resolves when an entry is durable, or the journal has failed: then the snapshot is what makes its effect durable.
   */
  settle(sequence: number): Promise<void>
  /** HEAD names a snapshot that covers entries; segments before `first` are needed by no HEAD. */
  committed(covers: number, snapshot: number, first: string | null): Promise<void>
}
