import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { nodeFileSystem } from './fs/node.ts'
import type { LoadOptions } from './load/load.ts'
import type { Snapshot } from './load/snapshot.ts'
import type { PersistOptions, PersistResult } from './persist/persist.ts'
import { destroyDirectory, setDirectoryAside } from './storage/directory/remove.ts'
import { directoryStorage } from './storage/directory/storage.ts'
import { memoryStorage } from './storage/memory.ts'
import type { Storage } from './storage/port.ts'
import { createStore, LOCK_WAIT_MS, type Store, type StoreOptions } from './store.ts'

// The composition root: the one place that knows which storage serves which location.

export interface OpenOptions extends StoreOptions {
  /** Never writes a byte, not even a lock file. */
  readOnly?: boolean
  /** Where `file()` lays blobs out; default `files/` in the store. With `readOnly`, the only place that is written. */
  filesDir?: string | URL
  /** `none`: no file locks; you make sure yourself that there is one writer at a time. */
  lock?: 'os' | 'none'
}

/** Opens the store in a directory. The directory is made by the first persist. */
export async function openStore(location: string | URL, options: OpenOptions = {}): Promise<Store> {
  return createStore(storageAt(location, options), nodeFileSystem, options)
}

/** A store without a disk, for tests. */
export function memory(options: StoreOptions = {}): Store {
  return createStore(memoryStorage(nodeFileSystem), nodeFileSystem, options)
}

/** Persists one snapshot; see `Store.persist`. */
export async function persistSnapshot(
  location: string | URL | Store,
  options: PersistOptions & OpenOptions,
): Promise<PersistResult> {
  if (isStore(location)) return await location.persist(options)
  const store = await openStore(location, options)
  try {
    return await store.persist(options)
  } finally {
    await store.close()
  }
}

/** Opens the current snapshot, or null when nothing was ever persisted; see `Store.load`. */
export async function loadSnapshot<Names extends string = string, Metadata = Record<string, unknown>>(
  location: string | URL | Store,
  options: LoadOptions<Names, Metadata> & OpenOptions = {},
): Promise<Snapshot<Names, Metadata> | null> {
  if (isStore(location)) return await location.load(options)
  const store = await openStore(location, options)
  try {
    return await store.load(options)
  } finally {
    await store.close()
  }
}

/**
 * Moves a whole store directory aside, so that the next persist starts afresh. Nothing is deleted; answers the new path, or null when
 * there was nothing.
 */
export async function setAside(
  location: string | URL,
  options: { reason: string; lockWaitMs?: number },
): Promise<string | null> {
  if (typeof options?.reason !== 'string' || options.reason === '') throw new TypeError('setAside: give a reason')
  return await setDirectoryAside(nodeFileSystem, pathAt(location), options.reason, options.lockWaitMs ?? LOCK_WAIT_MS)
}

/** Deletes a store and everything in its directory. Refuses a directory that is not a store. False: there was none. */
export async function destroyStore(location: string | URL, options: { lockWaitMs?: number } = {}): Promise<boolean> {
  return await destroyDirectory(nodeFileSystem, pathAt(location), options.lockWaitMs ?? LOCK_WAIT_MS)
}

function storageAt(location: string | URL, options: OpenOptions): Storage {
  const { readOnly = false, lock = 'os', filesDir } = options
  if (lock !== 'os' && lock !== 'none') throw new TypeError(`lock must be 'os' or 'none', got ${JSON.stringify(lock)}`)
  return directoryStorage({
    fs: nodeFileSystem,
    path: pathAt(location),
    readOnly,
    lock,
    filesDir: filesDir === undefined ? undefined : pathAt(filesDir),
  })
}

function pathAt(location: string | URL): string {
  if (location instanceof URL) {
    if (location.protocol === 'file:') return fileURLToPath(location)
    throw new TypeError(`only file: URLs are stores, got ${location.href}`)
  }
  if (typeof location !== 'string' || location === '') {
    throw new TypeError(`expected the path or file: URL of a store, got ${String(location)}`)
  }
  return resolve(location)
}

function isStore(location: string | URL | Store): location is Store {
  return typeof location === 'object' && !(location instanceof URL) && typeof location?.persist === 'function'
}
