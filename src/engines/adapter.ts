// How an engine becomes a snapshot and comes back. An adapter knows one engine; the two functions at the end know all
// adapters. In the snapshot, an engine has the blobs `engine/<name>` and the metadata key `engine`:
//
//    record     1                     version of this map
//    name       "minisearch"
//    layout     1                     version of the adapter's blobs
//    version?   "7.2.0"               of the engine, where it is known
//    options    { … }                 what must be equal for the bytes to mean the same
//    state?     { … }                 the adapter's own
//
// All other blobs and metadata of the snapshot are the caller's.

import type { EngineState, SavedEngine } from '../encodings/engine-state.ts'
import { endsWithin, orAborted } from '../foreign.ts'
import {
  type BlobInput,
  isHoldfastError,
  type OpenOptions,
  openStore,
  type PersistOptions,
  type PersistResult,
  persistSnapshot,
  type Snapshot,
  type SnapshotBlob,
  type Store,
} from '../index.ts'
import { roomIn, type WorkDirectory, withRoom } from '../local/room.ts'
import { isStore } from '../location.ts'
import { assertOptions, pickOptions, refusePromise } from '../misuse.ts'
import { namedEntries } from '../one-pass.ts'
import type { StoreLocation } from '../remote.ts'
import { checkedFirst } from './check.ts'
import {
  ALONGSIDE,
  type Alongside,
  assertAdapter,
  OPEN_OPTIONS,
  PERSIST_ENGINE_OPTIONS,
  type PersistEngineOptions,
  RESTORE_ENGINE_OPTIONS,
  type RestoreEngineOptions,
} from './engine-options.ts'
import { assertFits, type EngineRecord, KEY, recordOf } from './engine-record.ts'

export type { Alongside, EngineRecord, EngineState, PersistEngineOptions, RestoreEngineOptions, SavedEngine }

/** Turns one kind of engine into named blobs and back. */
export interface EngineAdapter<Engine> {
  /** The engine's package, or your own name for it: `minisearch`. */
  readonly name: string
  /** Version of the blobs that `save` makes; raise it when they change so that an older adapter could not read them. */
  readonly layout: number
  /**
   * What must be the same on save and restore for the bytes to mean the same: fields, tokenizer id, dimensions, metric. Plain values, as in
   * a snapshot's metadata.
   */
  readonly options: Readonly<Record<string, unknown>>
  /**
   * The options of a snapshot in the words of `options`, where an earlier version of this adapter used others for the same. Compared with
   * `options` before a restore.
   */
  recorded?(saved: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>
  /** Of the engine's package, where it can be known. */
  readonly version?: string | undefined
  /**
   * Captures the engine. The blobs of one save belong to one state of the engine, the one at the call: everything is copied before the first
   * `await`, or the adapter has a `revision` that notices when the engine changes while its blobs are read, or `save` itself throws
   * `SOURCE_CHANGED` when it changed while it was copied.
   */
  save(engine: Engine, context: SaveContext): EngineState | Promise<EngineState>
  /**
   * Makes an engine of what was saved. Called only when name, layout and options fit; every byte it reads is verified. Never give a native
   * engine bytes that were not read to the end: a stream throws where the damage is.
   */
  restore(saved: SavedEngine, context: RestoreContext): Engine | Promise<Engine>
  /**
   * An answer that is the same (`Object.is`) twice says that the engine's state did not change in between. Cheap: it is called several times
   * a save. Leave it out, or answer undefined, where the engine cannot tell.
   */
  revision?(engine: Engine): unknown
  /**
   * What to wait for before the engine may be captured: it is between two states, because a change takes more than one turn of the event loop.
   * Undefined: it may be captured now. Asked again after the wait, and right before `save`.
   */
  ready?(engine: Engine): PromiseLike<unknown> | undefined
  /** Frees an engine that was restored only for a check, where it is not garbage-collected. */
  close?(engine: Engine): void | Promise<void>
  /** Why what was saved cannot be read by this engine, for people; undefined when nothing is known against it. */
  refuses?(saved: EngineRecord, context: RestoreContext): string | undefined
}

/** What an adapter is given besides the engine. */
export interface SaveContext {
  /** Counts from 1: the engine changed while it was saved the time before. An adapter that can save at one go may do so now. */
  attempt: number
  signal?: AbortSignal | undefined
  /** True: the caller's `sourceVersion` tells whether the engine changed while it was saved. */
  watched?: boolean | undefined
  /** Where to put files in between: set when `os.tmpdir()` had no room for them, to a directory of the store. */
  temporaryDirectory?: string | undefined
}

/** What an adapter is given besides the snapshot. */
export interface RestoreContext {
  signal?: AbortSignal | undefined
  /** As for a save. */
  temporaryDirectory?: string | undefined
  /** The engine is restored to see whether it can be, and dropped: put nothing in the place of what is in use. */
  check?: boolean
}

/** An engine as it was saved. Dispose of it when sidecars and laid-out files are needed no more; the engine stays. */
export interface RestoredEngine<Engine, Metadata = Record<string, unknown>> {
  readonly engine: Engine
  /** Still open: sidecars, metadata, watermark, freshness, what was skipped. */
  readonly snapshot: Snapshot<string, Metadata>
  readonly record: EngineRecord
  dispose(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** The folder of the adapter's blobs. */
const FOLDER = 'engine/'
const ATTEMPTS = 3

/** Persists the engine and what belongs to it as one snapshot. When this resolves it survives power loss. */
export async function persistEngine<Engine>(
  location: StoreLocation | Store,
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: PersistEngineOptions<Engine> & OpenOptions = {},
): Promise<PersistResult> {
  const where = 'persistEngine'
  refusePromise(adapter, `${where}: the adapter`)
  assertAdapter(where, adapter)
  refusePromise(engine, `${where}: the engine`)
  const open = isStore(location) ? {} : OPEN_OPTIONS
  assertOptions(where, options, { ...open, ...PERSIST_ENGINE_OPTIONS })
  const { alongside: _alongside, attempts = ATTEMPTS, check = false, ...rest } = options
  if (!Number.isInteger(attempts) || attempts < 1) {
    throw new RangeError(`persistEngine: attempts is how often to try, at least 1; got ${String(attempts)}`)
  }
  const roomOf = () => roomAt(location, options)
  return await withRoom(roomOf, (temporaryDirectory) => persistInAttempts(temporaryDirectory))

  async function persistInAttempts(temporaryDirectory: string | undefined): Promise<PersistResult> {
    for (let attempt = 1; ; attempt++) {
      rest.signal?.throwIfAborted()
      let captured: Captured | undefined
      try {
        const watched = rest.sourceVersion !== undefined
        const context = { attempt, signal: rest.signal, watched, temporaryDirectory }
        // Nothing is awaited between the last question and the capture: a change could begin there.
        for (let busy = adapter.ready?.(engine); busy !== undefined; busy = adapter.ready?.(engine)) {
          await orAborted(Promise.resolve(busy), rest.signal)
        }
        captured = await captureEngine(adapter, engine, options, context)
        const request = { ...rest, ...captured.snapshot, sourceVersion: captured.unchanged }
        if (!check) return await persistSnapshot(location, request)
        return await persistChecked(adapter, request, temporaryDirectory, (blobs) =>
          persistSnapshot(location, { ...request, blobs }),
        )
      } catch (error) {
        // A blob's stream failed for what the engine holds.
        if (isHoldfastError(error, 'SOURCE_FAILED') && isHoldfastError(error.cause, 'ENGINE_VALUE_INVALID'))
          throw error.cause
        if (!isHoldfastError(error, 'SOURCE_CHANGED') || attempt >= attempts) throw error
      } finally {
        await captured?.release()
      }
    }
  }
}

/** A directory of the store for files in between. */
async function roomAt(location: StoreLocation | Store, options: object): Promise<WorkDirectory | null> {
  if (isStore<Store>(location)) return await roomIn(location)
  const store = await openStore(location, pickOptions<OpenOptions>(options, OPEN_OPTIONS))
  try {
    return await roomIn(store)
  } finally {
    await store.close()
  }
}

/** `persist` gets the blobs of a request whose engine was restored from them. */
async function persistChecked<Engine>(
  adapter: EngineAdapter<Engine>,
  request: PersistOptions & Captured['snapshot'],
  temporaryDirectory: string | undefined,
  persist: (blobs: [string, BlobInput][]) => Promise<PersistResult>,
): Promise<PersistResult> {
  const { blobs, metadata, sourceVersion, chunking, signal } = request
  const own = blobs.filter(([name]) => name.startsWith(FOLDER))
  const beside = blobs.filter(([name]) => !name.startsWith(FOLDER))
  const abort = signal === undefined ? {} : { signal }
  return await checkedFirst(
    adapter.name,
    {
      blobs: own,
      metadata: { [KEY]: metadata[KEY] },
      ...(sourceVersion === undefined ? {} : { sourceVersion }),
      ...(chunking === undefined ? {} : { chunking }),
      ...abort,
    },
    temporaryDirectory,
    async (store) => {
      const context = { ...abort, temporaryDirectory, check: true }
      const { engine, dispose } = (await restoreFrom(store, adapter, abort, context))!
      try {
        await adapter.close?.(engine)
      } finally {
        await dispose()
      }
    },
    (checked) => persist([...checked, ...beside]),
  )
}

interface Captured {
  snapshot: Pick<PersistOptions, 'watermark' | 'covers'> & {
    blobs: [string, BlobInput][]
    metadata: Record<string, unknown>
  }
  /** For `persist`: the same answer for as long as the engine is what was captured. */
  unchanged(): Promise<unknown>
  release(): Promise<void>
}

async function captureEngine<Engine>(
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: PersistEngineOptions<Engine>,
  context: SaveContext,
): Promise<Captured> {
  // No await until all four were called: what is captured at one go is of one instant, and a change while the rest is read shows in the
  // tokens taken before.
  const revision = adapter.revision?.(engine)
  const token = options.sourceVersion?.()
  const beside = typeof options.alongside === 'function' ? options.alongside(engine) : (options.alongside ?? {})
  assertOptions('persistEngine: alongside', beside, ALONGSIDE)
  const saving = adapter.save(engine, context)
  // Awaited below, after the save: it may have failed by then.
  Promise.resolve(token).catch(() => undefined)

  const state = await orAborted(saving, context.signal, (late) => late.release?.())
  const release = (): Promise<void> => releaseWithin(adapter.name, state)
  try {
    const callers = await orAborted(token, context.signal)
    return {
      snapshot: {
        blobs: [...adapterBlobs(state, adapter), ...callersBlobs(beside)],
        metadata: { ...callersMetadata(beside), [KEY]: recordOf(adapter, state) },
        ...(beside.watermark === undefined ? {} : { watermark: beside.watermark }),
        ...(beside.covers === undefined ? {} : { covers: beside.covers }),
      },
      async unchanged() {
        const same = state.captured === true || Object.is(adapter.revision?.(engine), revision)
        // A new object is equal to nothing.
        return same && Object.is(await options.sourceVersion?.(), callers) ? state : {}
      },
      release,
    }
  } catch (error) {
    await release()
    throw error
  }
}

/** What an adapter may take to remove its temporary files. */
const RELEASE_LIMIT_MS = 10_000

async function releaseWithin(engine: string, state: EngineState): Promise<void> {
  if (await endsWithin(Promise.resolve(state.release?.()), RELEASE_LIMIT_MS)) return
  process.emitWarning(
    `the adapter of ${engine} did not release what it captured within ${RELEASE_LIMIT_MS} ms; its temporary files may stay`,
    { type: 'HoldfastWarning', code: 'RELEASE_STUCK' },
  )
}

function adapterBlobs({ blobs }: EngineState, adapter: { name: string }): [string, BlobInput][] {
  const entries = namedEntries<BlobInput>(blobs, `persistEngine: the blobs of ${adapter.name}`)
  return entries.map(([name, blob]) => [FOLDER + name, blob])
}

function callersBlobs({ blobs = {} }: Alongside): [string, BlobInput][] {
  return namedEntries<BlobInput>(blobs, 'persistEngine: the blobs alongside').map(([name, blob]) => {
    if (name !== KEY && !name.startsWith(FOLDER)) return [name, blob]
    throw new TypeError(`persistEngine: the blob name ${JSON.stringify(name)} is the adapter's; choose another`)
  })
}

function callersMetadata({ metadata = {} }: Alongside): Record<string, unknown> {
  if (!Object.hasOwn(metadata, KEY)) return metadata
  throw new TypeError(`persistEngine: the metadata key ${JSON.stringify(KEY)} is the adapter's; choose another`)
}

/**
 * The engine of the current snapshot, or null when nothing was ever persisted. `ENGINE_MISMATCH` when the snapshot is of another engine, other
 * options, or a version that this one is known not to read: before a byte of it is touched. With `fallback`, damage moves on to the next
 * older intact snapshot.
 */
export async function restoreEngine<Engine, Metadata = Record<string, unknown>>(
  location: StoreLocation | Store,
  adapter: EngineAdapter<Engine>,
  options: RestoreEngineOptions<Metadata> & OpenOptions = {},
): Promise<RestoredEngine<Engine, Metadata> | null> {
  const where = 'restoreEngine'
  const given = isStore<Store>(location) ? location : null
  refusePromise(adapter, `${where}: the adapter`)
  assertAdapter(where, adapter)
  assertOptions(where, options, { ...(given === null ? OPEN_OPTIONS : {}), ...RESTORE_ENGINE_OPTIONS })
  const store = given ?? (await openStore(location as StoreLocation, pickOptions<OpenOptions>(options, OPEN_OPTIONS)))
  try {
    return await restoreFrom(store, adapter, pickOptions(options, RESTORE_ENGINE_OPTIONS), { signal: options.signal })
  } finally {
    if (given === null) await store.close()
  }
}

async function restoreFrom<Engine, Metadata>(
  store: Store,
  adapter: EngineAdapter<Engine>,
  options: RestoreEngineOptions<Metadata>,
  context: RestoreContext,
): Promise<RestoredEngine<Engine, Metadata> | null> {
  const restored = await store.restore(async (snapshot: Snapshot<string, Metadata>) => {
    const { signal } = context
    return await withRoom(
      () => roomIn(store),
      async (room) => {
        const inRoom = room === undefined ? context : { ...context, temporaryDirectory: room }
        const record = assertFits(adapter, snapshot, inRoom)
        const restoring = adapter.restore(savedEngine(snapshot, record, signal), inRoom)
        return { engine: await orAborted(restoring, signal, (late) => adapter.close?.(late)), record }
      },
    )
  }, options)
  if (restored === null) return null
  const { value, snapshot } = restored
  const dispose = (): Promise<void> => snapshot.dispose()
  return { engine: value.engine, record: value.record, snapshot, dispose, [Symbol.asyncDispose]: dispose }
}

/** What an adapter reads of a snapshot. */
export function savedEngine(
  snapshot: Snapshot<string, unknown>,
  record: EngineRecord,
  signal: AbortSignal | undefined,
): SavedEngine {
  return {
    version: record.version,
    metadata: record.state ?? {},
    names: snapshot.names.filter((name) => name.startsWith(FOLDER)).map((name) => name.slice(FOLDER.length)),
    has: (name) => snapshot.has(FOLDER + name),
    blob: (name) => abortable(snapshot.blob(FOLDER + name), signal),
    directory: (name) => snapshot.directory(FOLDER + name),
  }
}

/** The blob, read with the signal of the restore where an adapter gives none. */
function abortable(blob: SnapshotBlob, signal: AbortSignal | undefined): SnapshotBlob {
  if (signal === undefined) return blob
  return {
    ...blob,
    bytes: (options) => blob.bytes({ signal, ...options }),
    text: (options) => blob.text({ signal, ...options }),
    json: (options) => blob.json({ signal, ...options }),
    stream: (options) => blob.stream({ signal, ...options }),
    writeTo: (path, options) => blob.writeTo(path, { signal, ...options }),
    file: (options) => blob.file({ signal, ...options }),
  }
}
