// The port that a storage serves: HEAD, swapped if unchanged, and immutable packs. Everything above it is the same for
// every storage.

import type { HoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'

/**
 * Where a store keeps its data: immutable packs, and HEAD, the one cell that changes. Everything above this port is the
 * same for a directory, memory or an object store.
 *
 * Errors are `HoldfastError`s: an unreadable file is never reported as missing.
 */
export interface Storage {
  /** For messages: a path, a URL. */
  readonly location: string
  readonly supports: Capabilities
  /** The server and the place on it, the same in each process. Absent: `location` says it. */
  readonly address?: string | undefined
  /** Told of a HEAD that was read elsewhere: it says where packs are. Absent where their names say it. */
  learn?(head: Head): void
  /**
   * The outcome of an earlier write is unknown, and what is seen may be gone after a power loss: nothing may be said to
   * be done without a session. Absent: what is seen is durable.
   */
  uncertain?(): boolean
  /** Null if no store was ever made here. A missing or damaged HEAD in an existing store is an error. */
  readHead(): Promise<StoredHead | null>
  /** Reports the store's files, good or damaged, for verify and repair. Throws only for files that cannot be read. */
  inspect(): Promise<Inspection>
  /**
   * Opens a pack. It stays readable until it is closed, with `pins` even if it is deleted meanwhile. `PACK_MISSING` if
   * it does not exist, from here or from the first read.
   */
  openPack(name: string): Promise<PackFile>
  /** What lies beside HEAD and packs. Absent: this storage keeps nothing of the kind. */
  readonly beside?: Beside | undefined
  /** Runs `task` as the only writer. */
  write<T>(options: WriteOptions, task: (session: WriteSession) => Promise<T>): Promise<T>
}

/** Files, and how many bytes they have. */
export interface Weight {
  count: number
  bytes: number
}

/** Something in quarantine. What its note should say and does not is null. */
export interface Quarantined {
  /** In `quarantine/`. */
  name: string
  bytes: number
  isDirectory: boolean
  /** The path that it had. */
  original: string | null
  reason: string | null
  /** When it was moved there, ISO 8601 in UTC. */
  time: string | null
  details: Readonly<Record<string, unknown>>
}

/** What a storage keeps beside HEAD and packs. */
export interface Beside {
  /** By name. */
  quarantine(): Promise<Quarantined[]>
  /** The bytes of a file in quarantine. `NOT_IN_QUARANTINE` if it is not there. */
  read(name: string): AsyncIterable<Uint8Array>
  /** Deletes something in quarantine, with its note. `NOT_IN_QUARANTINE` if it is not there. */
  discard(name: string): Promise<void>
  /** What is in a folder. `counts`: of what lies directly in it, only these names. */
  weigh(folder: 'files' | 'journal' | 'quarantine', counts?: (name: string) => boolean): Promise<Weight>
}

/** What a storage promises beyond HEAD and immutable packs. Code above the port follows it. */
export interface Capabilities {
  /** A pack that is open stays readable when it is deleted. Without it, such a read is `PACK_MISSING`. */
  readonly pins: boolean
  /**
   * There is one writer at a time. Without it, others may swap HEAD meanwhile: a swap is made again from their HEAD,
   * and a pack that was completed is deleted by `collect` alone.
   */
  readonly alone: boolean
  /** Quarantine moves files. Without it, it marks them: they stay where they are, and no clean-up deletes them. */
  readonly moves: boolean
  /** A request takes as long as megabytes do: reads are few, large, and many at a time. */
  readonly far: boolean
}

export interface StoredHead {
  head: Head
  /** The stored bytes, which are the compare-and-swap token. */
  bytes: Uint8Array
  /** Fields or `requires` of a newer version. Such a store can be read, but not written. */
  unknown: readonly string[]
  /** It is from a cache, because the server cannot be reached. */
  offline?: Offline | undefined
}

/** Since when a server was not reached, and why. */
export interface Offline {
  /** When what is served was last seen to be the newest. */
  since: Date
  error: HoldfastError
}

/** A file of a store, as found. */
export type Found<T> =
  | { state: 'good'; value: T }
  | { state: 'missing' }
  /** `original`: the content, if only the layout of the file was changed. */
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
  obstacles: Obstacle[]
}

/** Something in the place of a part of the store that a writer needs. Snapshots can be loaded all the same. */
export interface Obstacle {
  /** The part: `packs/`, `writer.lock`. */
  what: string
  error: HoldfastError
}

interface WriteOptions {
  /** How long to wait for another writer; then `STORE_LOCKED`. */
  waitMs: number
  /** Opens the session even if HEAD or STORE.json is missing or damaged. `stored` is then null. */
  repair?: boolean
  signal?: AbortSignal | undefined
  onWait?: ((waitedMs: number) => void) | undefined
}

/** The operations of the one writer. */
export interface WriteSession {
  /** HEAD. It was made durable before this session could see it. Null if there is no store yet. */
  readonly stored: StoredHead | null
  /** The previous HEAD, from `HEAD.prev.json`; null if there is no trustworthy one. */
  readonly previous: Head | null
  /**
   * HEAD seems to be a copy of HEAD.prev.json that somebody put there. Packs of the next revision may belong to an
   * acknowledged snapshot.
   */
  readonly putBack: boolean
  /** An earlier swap's outcome is unknown: "unchanged" must not be acknowledged without a new revision. */
  readonly uncertain: boolean
  /** A lock excludes every other writer, so packs that HEAD does not name belong to nobody. */
  readonly locked: boolean
  /** Makes an empty store at revision 0. Only if `stored` is null. */
  create(storeId: string, created: string): Promise<void>
  /** @param revision that the pack is meant for, as in its header */
  createPack(revision: number): Promise<PackSink>
  /** Size in bytes of a committed pack; null if it does not exist. */
  packBytes(name: string): Promise<number | null>
  listPacks(): Promise<string[]>
  /**
   * Reads the first `target.length` bytes of a pack, or fewer if it is shorter. Null if it was deleted since it was
   * listed.
   */
  readPackStart(name: string, target: Uint8Array): Promise<number | null>
  /**
   * Replaces HEAD, whatever its state, and writes STORE.json unless a good one of the same store exists. Files that are
   * damaged or of another store must be in quarantine before.
   */
  restoreHead(next: Head): Promise<void>
  /**
   * Replaces HEAD atomically and durably. Everything that the new HEAD names must be durable when the promise of
   * `ready` resolves. HEAD is not replaced before that, nor if it rejects. `ready` is called after the new HEAD is
   * written, so that its fsyncs run beside HEAD's. `HEAD_CONFLICT`: another writer changed HEAD. `COMMIT_UNKNOWN`: HEAD
   * may or may not be replaced.
   *
   * A function makes the next HEAD, or null for none. It is called with `stored`, and where writers are not alone again
   * with each HEAD that another one put there. A HEAD that is given as it is counts for `stored` only.
   */
  swapHead(next: Head | MakeHead, ready?: () => Promise<unknown>): Promise<void>
  /**
   * Removes the previous HEAD, durably: then HEAD alone says which packs are needed. For a disk that has no room for
   * another HEAD. Absent: this storage needs no room to replace HEAD.
   */
  dropPrevious?(): Promise<void>
  deletePack(name: string): Promise<void>
  /** Moves a pack to quarantine, or marks it. Returns the path of what is there now. */
  quarantinePack(name: string, reason: string, details: Record<string, unknown>): Promise<string>
  /** Moves one of the store's own files to quarantine, or, with `copy`, a copy of it. Returns the new path. */
  quarantineFile(
    name: StoreFileName,
    reason: string,
    details: Record<string, unknown>,
    options?: { copy?: boolean },
  ): Promise<string>
  /** Lists the temporary files of living and dead writers. */
  listTemps(): Promise<Temps>
  /** Deletes what HEADs have given up. Null where each write does so itself. */
  readonly collect: Collect | null
}

/** Makes the next HEAD from the one that is there. Null: nothing is to be changed. */
export type MakeHead = (stored: StoredHead) => Head | null | Promise<Head | null>

/**
 * Deletes what HEADs have given up, and gives up what no writer has named for long. `swap` replaces HEAD by one with
 * these changes.
 *
 * @param limits.graceMs a retired pack is readable for so long
 * @param limits.orphanMs a pack that no HEAD names is kept for so long
 * @param limits.dryRun nothing is deleted or swapped; answers what would be
 */
type Collect = (
  limits: { graceMs: number; orphanMs: number; signal: AbortSignal | undefined; dryRun?: boolean | undefined },
  swap: (change: { gone: ReadonlySet<string>; floor: number }) => Promise<void>,
) => Promise<Collected>

export interface Collected {
  deletedPacks: number
  deletedBytes: number
  /** Those of them that HEAD had retired. */
  retiredBytes: number
  /** Retired packs that readers may still need. */
  waitingPacks: number
}

interface Temps {
  /** Removes the temporary files of dead writers. Those of living writers stay. */
  reap(): Promise<void>
}

export interface PackSink {
  /** Appends at `position`. The views are not used after the promise settles. */
  write(views: readonly Uint8Array[], position: number): Promise<void>
  /** Makes the pack durable under its name. */
  commit(name: string): Promise<void>
  /** Removes the pack, committed or not. Never throws. */
  discard(): Promise<void>
}

/** A part of a pack to be read into `target`. */
export interface PackPart {
  target: Uint8Array
  position: number
}

export interface PackFile {
  readonly name: string
  /** Size of the file in bytes. */
  readonly bytes: number
  /** Fills `target`. `PACK_DAMAGED` if the file is too short. */
  read(target: Uint8Array, position: number): Promise<void>
  /**
   * Fills several targets with one read that covers what lies between them. The parts ascend, do not overlap, and are
   * near each other: at most 512, in at most 2 MiB. Absent where that is no faster than reading each alone.
   */
  readParts?: ((parts: readonly PackPart[]) => Promise<void>) | undefined
  close(): Promise<void>
  closeSync(): void
}
