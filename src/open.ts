// The composition root: the one place that knows which storage serves which location.

import { resolve } from 'node:path'
import { memoryFileSystem } from './fs/memory.ts'
import { nodeFileSystem } from './fs/node.ts'
import { LOAD_OPTIONS, type LoadOptions } from './load/load.ts'
import type { Snapshot } from './load/snapshot.ts'
import { localBesideStore, localScratch } from './local/local.ts'
import { isStore, pathOf } from './location.ts'
import { assertOptions, type OptionTable, pickOptions } from './misuse.ts'
import { PERSIST_OPTIONS, type PersistOptions, type PersistResult } from './persist/options.ts'
import { openRemote, remoteAt, type StoreLocation } from './remote.ts'
import { destroyDirectory, setDirectoryAside } from './storage/directory/remove.ts'
import { LOCAL, OBJECTS, onFirstUse } from './storage/on-first-use.ts'
import type { Storage } from './storage/port.ts'
import { createStore, LOCK_WAIT_MS, type Place, STORE_OPTIONS, type Store, type StoreOptions } from './store.ts'

/** How a store in a directory is opened. */
export interface OpenOptions extends StoreOptions {
  /** Never writes a byte, not even a lock file. */
  readOnly?: boolean | undefined
  /** Where `file()` lays blobs out; default `files/` in the store. With `readOnly`, the only place that is written. */
  filesDir?: string | URL | undefined
  /** `none`: no file locks; you make sure yourself that there is one writer at a time. */
  lock?: 'os' | 'none' | undefined
}

const OPEN_OPTIONS: OptionTable<OpenOptions> = {
  ...STORE_OPTIONS,
  readOnly: 'boolean',
  filesDir: 'any',
  lock: 'any',
}

/**
 * Opens the store in a directory, or at a place that another entry gives, such as `s3()`. It is made by the first
 * persist.
 */
export async function openStore(location: StoreLocation, options: OpenOptions = {}): Promise<Store> {
  return openStoreNow(location, options)
}

/** Internal: as `openStore`, at once. Nothing is read before the first operation. */
export function openStoreNow(location: StoreLocation, options: OpenOptions): Store {
  assertOptions('openStore', options, OPEN_OPTIONS)
  return createStore(placeAt(location, options), options)
}

const MEMORY_ROOT = '/memory'

/** A store without a disk, its journal included, for tests. */
export function memory(options: StoreOptions = {}): Store {
  assertOptions('memory', options, STORE_OPTIONS)
  const storage = onFirstUse('memory', LOCAL, async () => (await import('./storage/memory.ts')).memoryStorage())
  const journal = { fs: memoryFileSystem(MEMORY_ROOT), root: MEMORY_ROOT, lock: false, readOnly: false }
  return createStore({ storage, fs: nodeFileSystem, local: localScratch(nodeFileSystem), journal, storageAt }, options)
}

/** Persists one snapshot; see `Store.persist`. */
export async function persistSnapshot(
  location: StoreLocation | Store,
  options: PersistOptions & OpenOptions,
): Promise<PersistResult> {
  if (isStore<Store>(location)) return await location.persist(options)
  assertOptions('persistSnapshot', options, { ...OPEN_OPTIONS, ...PERSIST_OPTIONS })
  const store = await openStore(location, pickOptions(options, OPEN_OPTIONS))
  try {
    return await store.persist(pickOptions(options, PERSIST_OPTIONS))
  } finally {
    await store.close()
  }
}

/** Opens the current snapshot, or null when nothing was ever persisted; see `Store.load`. */
export async function loadSnapshot<Names extends string = string, Metadata = Record<string, unknown>>(
  location: StoreLocation | Store,
  options: LoadOptions<Names, Metadata> & OpenOptions = {},
): Promise<Snapshot<Names, Metadata> | null> {
  if (isStore<Store>(location)) return await location.load(options)
  assertOptions('loadSnapshot', options, { ...OPEN_OPTIONS, ...LOAD_OPTIONS })
  const store = await openStore(location, pickOptions(options, OPEN_OPTIONS))
  try {
    return await store.load(pickOptions(options, LOAD_OPTIONS))
  } finally {
    await store.close()
  }
}

/**
 * Moves a whole store aside, so that the next persist starts afresh. Nothing is deleted; answers the new path, or null
 * when there was nothing. It goes into `<path>.quarantine/`. Its files alone go, into `quarantine/` below it, when its
 * directory cannot be moved (a mount point, the end of a link, a parent directory of another user) or has other files
 * in it.
 */
export async function setAside(
  location: string | URL,
  options: { reason: string; lockWaitMs?: number | undefined },
): Promise<string | null> {
  assertOptions('setAside', options, { reason: 'any', lockWaitMs: 'ms' })
  if (typeof options?.reason !== 'string' || options.reason === '') throw new TypeError('setAside: give a reason')
  return await setDirectoryAside(
    nodeFileSystem,
    directoryPath('setAside', location, 'open a new store with another prefix, and leave the objects of this one'),
    options.reason,
    options.lockWaitMs ?? LOCK_WAIT_MS,
  )
}

/**
 * Deletes a store: its own files, and its directory if nothing else is in it. Refuses a directory that is not a store.
 * False: there was none.
 */
export async function destroyStore(
  location: string | URL,
  options: { lockWaitMs?: number | undefined } = {},
): Promise<boolean> {
  assertOptions('destroyStore', options, { lockWaitMs: 'ms' })
  const next = 'delete the objects below its prefix with the tools of the object store'
  return await destroyDirectory(
    nodeFileSystem,
    directoryPath('destroyStore', location, next),
    options.lockWaitMs ?? LOCK_WAIT_MS,
  )
}

/** @throws TypeError for a store that is not in a directory, with what to do instead */
function directoryPath(what: string, location: string | URL, next: string): string {
  const remote = remoteAt(location)
  if (remote === null) return storePath(location)
  throw new TypeError(`${what}: ${remote.location} is no directory: ${next}`)
}

function placeAt(location: StoreLocation, options: OpenOptions): Place {
  const { readOnly = false, lock = 'os', filesDir } = options
  if (lock !== 'os' && lock !== 'none') throw new TypeError(`lock must be 'os' or 'none', got ${JSON.stringify(lock)}`)
  const fs = nodeFileSystem
  const remote = remoteAt(location)
  if (remote !== null) {
    if (options.lock !== undefined || filesDir !== undefined) {
      throw new TypeError(`${remote.location}: lock and filesDir are for a store in a directory`)
    }
    const storage = onFirstUse(remote.location, OBJECTS, () => openRemote(remote, { readOnly }))
    return { fs, storage, local: localScratch(fs), journal: null, storageAt: null }
  }
  const path = storePath(location as string | URL)
  return {
    fs,
    storage: directoryAt(path, { readOnly, lock }),
    local: localBesideStore({
      fs,
      directory: path,
      lock: lock === 'os',
      readOnly,
      filesDir: filesDir === undefined ? undefined : resolve(pathOf(filesDir, 'filesDir')),
    }),
    journal: { fs, root: path, lock: lock === 'os', readOnly },
    async storageAt(to) {
      const { assertElsewhere } = await import('./fs/elsewhere.ts')
      await assertElsewhere(fs, 'copy', path, resolve(pathOf(to, 'copy')))
      return storageAt(to)
    },
  }
}

/** The storage of another store, to copy into. */
function storageAt(to: string | URL): Storage {
  return directoryAt(resolve(pathOf(to, 'copy')), { readOnly: false, lock: 'os' })
}

function directoryAt(path: string, options: { readOnly: boolean; lock: 'os' | 'none' }): Storage {
  return onFirstUse(path, LOCAL, async () => {
    const { directoryStorage } = await import('./storage/directory/storage.ts')
    return directoryStorage({ fs: nodeFileSystem, path, ...options })
  })
}

function storePath(location: string | URL): string {
  return resolve(pathOf(location, 'store'))
}
