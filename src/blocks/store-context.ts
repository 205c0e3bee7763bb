// What every operation of one open store works with. It holds no logic.

import type { BlobEntry } from '../format/manifest.ts'
import type { FileSystem } from '../fs/port.ts'
import type { Local } from '../local/local.ts'
import type { OnWarning } from '../progress.ts'
import type { Storage } from '../storage/port.ts'
import type { BadBlocks } from './bad-blocks.ts'
import type { CheckedBlobs } from './checked-blobs.ts'
import type { PackCache } from './pack-cache.ts'
import type { ReachableCache } from './reachable-cache.ts'

export interface StoreContext {
  storage: Storage
  /** For the caller's own files: blob sources and targets. */
  fs: FileSystem
  /** What this machine keeps beside the storage. */
  local: Local
  packCache: PackCache
  reachable: ReachableCache
  warn: OnWarning
  badBlocks: BadBlocks
  checkedBlobs: CheckedBlobs
  /** The blobs of the snapshot that this process persisted last: the next persist need not read its manifest. */
  lastPersisted: { manifest: string; blobs: ReadonlyMap<string, BlobEntry> } | null
}
