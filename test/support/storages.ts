import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { localScratch } from '../../src/local/local.ts'
import { memory, openStore } from '../../src/open.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { ObjectClient } from '../../src/storage/object/client.ts'
import { objectStorage } from '../../src/storage/object/storage.ts'
import { LOCAL, OBJECTS } from '../../src/storage/on-first-use.ts'
import type { Capabilities, Storage } from '../../src/storage/port.ts'
import { createStore, type Store, type StoreOptions } from '../../src/store.ts'
import { serverClient, serverEndpoint } from './s3-server.ts'
import { makeScratch, scratch } from './scratch.ts'
import { simulatedObjects } from './simulated-objects.ts'

/** One way to keep a store. The same suite runs over each. */
export interface Kind {
  name: 'directory' | 'memory' | 'object' | 's3'
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

/** A kind over the object storage. */
function objectKind(name: Kind['name'], client: () => ObjectClient): Kind {
  const storage = (): Storage => objectStorage({ client: client() })
  function make(options: StoreOptions = {}): Store {
    const place = {
      storage: storage(),
      fs: nodeFileSystem,
      local: localScratch(nodeFileSystem),
      journal: null,
      storageAt: null,
    }
    return createStore(place, options)
  }
  return {
    name,
    supports: OBJECTS,
    storage,
    async open(options) {
      const store = make(options)
      onTestFinished(() => store.close())
      return store
    },
    async using(options, use) {
      const store = make(options)
      try {
        return await use(store)
      } finally {
        await store.close()
      }
    },
  }
}

/** For `describe.each`. With a server of `npm run test:s3`, only stores on that one. */
export const kinds: readonly Kind[] =
  serverEndpoint === undefined
    ? [directory, inMemory, objectKind('object', () => simulatedObjects().client())]
    : [objectKind('s3', () => serverClient())]

/** The storage of a directory store, as `openStore` makes it. */
export function directoryAt(path: string): Storage {
  return directoryStorage({ fs: nodeFileSystem, path, readOnly: false, lock: 'os' })
}
