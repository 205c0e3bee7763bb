// A store over a storage of the test's own: watched, faulty, read-only.

import { createBadBlocks } from '../../src/blocks/bad-blocks.ts'
import { createCheckedBlobs } from '../../src/blocks/checked-blobs.ts'
import { createCheckedBlocks } from '../../src/blocks/checked-blocks.ts'
import { createLinkCache } from '../../src/blocks/link-cache.ts'
import { createPackCache } from '../../src/blocks/pack-cache.ts'
import type { StoreContext } from '../../src/blocks/store-context.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { type LocalOptions, localBesideStore, localScratch } from '../../src/local/local.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import type { Storage } from '../../src/storage/port.ts'
import { createStore, type Store, type StoreOptions } from '../../src/store.ts'

/**
 * `local`: how laid-out files are kept, where it matters to the test. Without a `keep` the store keeps the newest
 * three: what a test expects must not depend on whether an hour begins while it runs.
 */
export function storeOver(
  storage: Storage,
  fs: FileSystem,
  options: StoreOptions = {},
  local: Partial<LocalOptions> = {},
): Store {
  const { location: directory } = storage
  const beside = { fs, directory, lock: true, readOnly: false, ...local }
  const { lock, readOnly } = beside
  const storageAt = (to: string | URL): Storage =>
    directoryStorage({ fs, path: String(to), readOnly: false, lock: lock === true ? 'os' : 'none' })
  return createStore(
    directory === 'memory' || !storage.supports.alone
      ? { storage, fs, local: localScratch(fs), journal: null, storageAt }
      : {
          storage,
          fs,
          local: localBesideStore(beside),
          journal: { fs, root: directory, lock: lock === true, readOnly },
          storageAt,
        },
    options.keep === undefined ? { keepLast: 3, ...options } : options,
  )
}

/** What the operations of such a store share, to call one of them by itself. */
export function contextOver(storage: Storage): StoreContext {
  return {
    storage,
    fs: nodeFileSystem,
    local: localScratch(nodeFileSystem),
    packCache: createPackCache(storage),
    links: createLinkCache(),
    warn: () => undefined,
    badBlocks: createBadBlocks(),
    checkedBlobs: createCheckedBlobs(),
    checkedBlocks: createCheckedBlocks(),
    lastPersisted: null,
    journal: null,
  }
}
