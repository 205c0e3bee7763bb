import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { memory, openStore } from '../../src/open.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/port.ts'
import type { Store, StoreOptions } from '../../src/store.ts'
import { makeScratch, scratch } from './scratch.ts'

/** One way to keep a store. The same suite runs over each. */
export interface Kind {
  name: 'directory' | 'memory'
  /** An empty storage that goes when the test ends. */
  storage(): Storage
  /** An empty store that is closed, and gone, when the test ends. */
  open(options?: StoreOptions): Promise<Store>
  /** As `open`, for loops: it is closed and gone when `use` is done. */
  using<T>(options: StoreOptions, use: (store: Store) => Promise<T>): Promise<T>
}

const directory: Kind = {
  name: 'directory',
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

/** For `describe.each`. */
export const kinds: readonly Kind[] = [directory, inMemory]

/** The storage of a directory store, as `openStore` makes it. */
export function directoryAt(path: string): Storage {
  return directoryStorage({ fs: nodeFileSystem, path, readOnly: false, lock: 'os' })
}
