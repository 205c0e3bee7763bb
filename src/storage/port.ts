// The port that a storage serves: HEAD, swapped if unchanged, and immutable packs. Everything above it is the same for every storage.

import type { HoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'

/**
 * What a store lies on. Two kinds of things exist: immutable packs, and HEAD, the one cell that changes. Everything
 * above this port is the same for a directory, memory or an object store.
 *
 * Errors are `HoldfastError`s: an unreadable thing is never reported as a missing one.
 */
export interface Storage {
  /** For messages: a path, a URL. */
  readonly location: string
  /** Null when no store was ever made here. HEAD missing or damaged in a store that was made is an error. */
  readHead(): Promise<StoredHead | null>
  /** What lies there, good or bad; throws only for what cannot be read at all. For verify and repair. */
  inspect(): Promise<Inspection>
  /** Pins a pack: it stays readable until closed, even when deleted meanwhile. `PACK_MISSING` when it is not there. */
  openPack(name: string): Promise<PackFile>
  /** Runs `task` as the only writer. */
  write<T>(options: WriteOptions, task: (session: WriteSession) => Promise<T>): Promise<T>
}

export interface StoredHead {
  head: Head
  /** Exactly as stored: the compare-and-swap token. */
  bytes: Uint8Array
  /** Fields or `requires` of a newer version: such a store is read, not written. */
  unknown: readonly string[]
}

/** A file of a store as it was found. */
export type Found<T> =
  | { state: 'good'; value: T }
  | { state: 'missing' }
  /** `original`: what it says, when only its layout was changed. */
  | { state: 'damaged'; error: HoldfastError; original?: T | undefined }

/** The files of a store that are not packs. */
export type StoreFileName = 'STORE.json' | 'HEAD.json' | 'HEAD.prev.json'

export interface Inspection {
  /** The store id in STORE.json. */
  store: Found<string>
  head: Found<StoredHead>
  previous: Found<StoredHead>
  /** See `WriteSession.putBack`. */
  putBack: boolean
  packs: { name: string; bytes: number }[]
}

interface WriteOptions {
  /** How long to wait for the writer before us. `STORE_LOCKED` after that. */
  waitMs: number
  /** Opens the session also when HEAD or STORE.json is missing or damaged; `stored` is null then. */
  repair?: boolean
  signal?: AbortSignal | undefined
  onWait?: ((waitedMs: number) => void) | undefined
}

/** Held by the one writer. */
export interface WriteSession {
  /** HEAD, durable: what was read is fsynced before it is shown here. Null when there is no store yet. */
  readonly stored: StoredHead | null
  /** The HEAD before, from `HEAD.prev.json`; null when there is none that can be believed. */
  readonly previous: Head | null
  /** HEAD seems to be a copy of HEAD.prev.json, put there by hand: packs of the next revision may be an acknowledged snapshot's. */
  readonly putBack: boolean
  /** An earlier swap's outcome is unknown: "unchanged" must not be acknowledged without a new revision. */
  readonly uncertain: boolean
  /** A lock keeps every other writer out: packs without a name are nobody's. */
  readonly alone: boolean
  /** Makes an empty store at revision 0. Only when `stored` is null. */
  create(storeId: string, created: string): Promise<void>
  createPack(): Promise<PackSink>
  /** Size in bytes of a committed pack, null when it is not there. */
  packBytes(name: string): Promise<number | null>
  listPacks(): Promise<string[]>
  /** The first `target.length` bytes of a pack; fewer when it is shorter. Null: it is gone, though it was listed. */
  readPackStart(name: string, target: Uint8Array): Promise<number | null>
  /**
   * Puts a new HEAD in the place of whatever is there, and a STORE.json beside it unless a good one of the same store is. What is damaged or
   * another store's must be in quarantine by then.
   */
  restoreHead(next: Head): Promise<void>
  /**
   * Replaces HEAD, atomically and durably. What it names must be durable before: when what `ready` answers resolves. Until then nothing is
   * replaced, and when it rejects nothing will be. It is called once the new HEAD is written, so that fsyncs it begins run beside HEAD's.
   * `HEAD_CONFLICT`: another writer was there. `COMMIT_UNKNOWN`: perhaps done.
   */
  swapHead(next: Head, ready?: () => Promise<unknown>): Promise<void>
  deletePack(name: string): Promise<void>
  /** Moves a pack aside; answers where it went. */
  quarantinePack(name: string, reason: string, details: Record<string, unknown>): Promise<string>
  /** Moves one of the store's own files aside, or with `copy` leaves it and puts a copy there; answers where. */
  quarantineFile(
    name: StoreFileName,
    reason: string,
    details: Record<string, unknown>,
    options?: { copy?: boolean },
  ): Promise<string>
  /** What writers have in flight, or left behind. */
  listTemps(): Promise<Temps>
}

interface Temps {
  /** Removes what dead writers left behind; leaves what a living one still uses. */
  reap(): Promise<void>
}

export interface PackSink {
  /** Appends at `position`; the views are not kept after the promise settles. */
  write(views: readonly Uint8Array[], position: number): Promise<void>
  /** Makes the pack durable under its name. */
  commit(name: string): Promise<void>
  /** Removes the pack, committed or not. Never throws. */
  discard(): Promise<void>
}

export interface PackFile {
  readonly name: string
  /** Size of the file in bytes. */
  readonly bytes: number
  /** Fills `target`; `PACK_DAMAGED` when the file ends before. */
  read(target: Uint8Array, position: number): Promise<void>
  close(): Promise<void>
  closeSync(): void
}
