import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { localScratch } from '../../src/local/local.ts'
import { memory, openStore } from '../../src/open.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { OBJECTS, objectStorage } from '../../src/storage/object/storage.ts'
import { LOCAL } from '../../src/storage/on-first-use.ts'
import type { Capabilities, Storage } from '../../src/storage/port.ts'
import { createStore, type Store, type StoreOptions } from '../../src/store.ts'
import { makeScratch, scratch } from './scratch.ts'
import { simulatedObjects } from './simulated-objects.ts'

/** One way to keep a store. The same suite runs over each. */
export interface Kind {
  name: 'directory' | 'memory' | 'object'
  supports: Capabilities
  /** An empty storage that goes when the test ends. */
  storage(): Storage
  /** An empty store that is closed, and gone, when the test ends. */
  open(options?: StoreOptions): Promise<Store>
  /** As `open`, for loops: it is closed and gone when `use` is done. */
  using<T>(options: StoreOptions, use: (store: Store) => Promise<T>): Promise<T>
}

const directory: Kind = {
  name: 'directory',
  supports: LOCAL,
  storage: () => directoryAt(join(scratch(), 'store')),
  async open(options = {}) {
    const store = await openStore(join(scratch(), 'store'), options)
    onTestFinished(() => store.close())
    return store
  },
  async using(options, use) {
    const path = makeScratch()
    try {
      const store = await openStore(join(path, 'store'), options)
      const result = await use(store)
      await store.close()
      return result
    } finally {
      rmSync(path, { recursive: true, force: true })
    }
  },
}

const inMemory: Kind = {
  name: 'memory',
  supports: LOCAL,
  storage() {
    return memoryStorage()
  },
  async open(options) {
    const store = memory(options)
    onTestFinished(() => store.close())
    return store
  },
  async using(options, use) {
    const store = memory(options)
    try {
      return await use(store)
    } finally {
      await store.close()
    }
  },
}

const inObjects: Kind = {
  name: 'object',
  supports: OBJECTS,
  storage: () => objectStorage({ client: simulatedObjects().client() }),
  async open(options) {
    const store = objectStore(options)
    onTestFinished(() => store.close())
    return store
  },
  async using(options, use) {
    const store = objectStore(options)
    try {
      return await use(store)
    } finally {
      await store.close()
    }
  },
}

function objectStore(options: StoreOptions = {}): Store {
  const storage = objectStorage({ client: simulatedObjects().client() })
  return createStore({ storage, fs: nodeFileSystem, local: localScratch(nodeFileSystem), journal: null }, options)
}

/** For `describe.each`. */
export const kinds: readonly Kind[] = [directory, inMemory, inObjects]

/** The storage of a directory store, as `openStore` makes it. */
export function directoryAt(path: string): Storage {
  return directoryStorage({ fs: nodeFileSystem, path, readOnly: false, lock: 'os' })
}
