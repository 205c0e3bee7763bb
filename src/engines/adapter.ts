// How an engine becomes a snapshot; `restore-engine.ts` brings it back. An adapter knows one engine, and these know all
// adapters. In the snapshot, an engine has the blobs `engine/<name>` and the metadata key `engine`:
//
//    record     1                     version of this map
//    name       "minisearch"
//    layout     1                     version of the adapter's blobs
//    version?   "7.2.0"               of the engine, where it is known
//    options    { … }                 what must be equal for the bytes to mean the same
//    state?     { … }                 the adapter's own
//    file?      { digest, size, … }   the file that the engine saved
//
// All other blobs and metadata of the snapshot are the caller's.

import type { EngineFile, EngineFileOptions, EngineState, SavedEngine } from '../encodings/engine-state.ts'
import { createPacer } from '../event-loop.ts'
import { endsWithin, orAborted } from '../foreign.ts'
import {
  type BlobInput,
  isHoldfastError,
  type OpenOptions,
  type PersistOptions,
  type PersistResult,
  type Store,
} from '../index.ts'
import { imagesOf } from '../local/images.ts'
import { roomIn, withRoom } from '../local/room.ts'
import { isStore } from '../location.ts'
import { assertOptions, pickOptions, refusePromise } from '../misuse.ts'
import { namedEntries } from '../one-pass.ts'
import { openStoreNow } from '../open.ts'
import type { StoreLocation } from '../remote.ts'
import { checkedFirst } from './check.ts'
import type {
  EngineAdapter,
  PersistEngineResult,
  RestoreContext,
  RestoredEngine,
  SaveContext,
} from './engine-adapter.ts'
import {
  ALONGSIDE,
  type Alongside,
  assertAdapter,
  assertCpuShare,
  assertImage,
  type ImageChoice,
  OPEN_OPTIONS,
  PERSIST_ENGINE_OPTIONS,
  type PersistEngineOptions,
  type RestoreEngineOptions,
} from './engine-options.ts'
import { type EngineRecord, engineRecord, KEY, recordOf, sameBlobs } from './engine-record.ts'
import { FOLDER, restoreEngine, restoreFrom } from './restore-engine.ts'
import { createFileSaver, type FileSaver } from './save-file.ts'

export type {
  Alongside,
  EngineAdapter,
  EngineFile,
  EngineFileOptions,
  EngineRecord,
  EngineState,
  ImageChoice,
  PersistEngineOptions,
  PersistEngineResult,
  RestoreContext,
  RestoredEngine,
  RestoreEngineOptions,
  SaveContext,
  SavedEngine,
}
export { restoreEngine }

const ATTEMPTS = 3

/** Persists the engine and what belongs to it as one snapshot. When this resolves it survives power loss. */
export async function persistEngine<Engine>(
  location: StoreLocation | Store,
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: PersistEngineOptions<Engine> & OpenOptions = {},
): Promise<PersistEngineResult> {
  const { cpuShare = 1 } = options
  return (await saveEngine(location, adapter, engine, options, () => cpuShare)).result
}

/**
 * As `persistEngine`, with a share of the main thread that may change meanwhile; says also whether the engine saved a
 * file.
 */
export async function saveEngine<Engine>(
  location: StoreLocation | Store,
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: PersistEngineOptions<Engine> & OpenOptions,
  share: () => number,
): Promise<{ result: PersistEngineResult; hasFile: boolean }> {
  const where = 'persistEngine'
  refusePromise(adapter, `${where}: the adapter`)
  assertAdapter(where, adapter)
  refusePromise(engine, `${where}: the engine`)
  const given = isStore<Store>(location) ? location : null
  assertOptions(where, options, { ...(given === null ? OPEN_OPTIONS : {}), ...PERSIST_ENGINE_OPTIONS })
  const { attempts = ATTEMPTS, image } = options
  if (!Number.isInteger(attempts) || attempts < 1) {
    throw new RangeError(`persistEngine: attempts is how often to try, at least 1; got ${String(attempts)}`)
  }
  assertImage(where, image)
  assertCpuShare(where, options.cpuShare)
  // At once: the engine is captured in the turn of the call.
  const store = given ?? openStoreNow(location as StoreLocation, pickOptions<OpenOptions>(options, OPEN_OPTIONS))
  try {
    return await withRoom(
      () => roomIn(store),
      (room) => saveInAttempts(store, adapter, engine, options, { room, share }),
    )
  } finally {
    if (given === null) await store.close()
  }
}

interface Conditions {
  /** Where to put files in between, if the system's directory for them has no room. */
  room: string | undefined
  /** Of the main thread. */
  share: () => number
}

async function saveInAttempts<Engine>(
  store: Store,
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: PersistEngineOptions<Engine>,
  conditions: Conditions,
): Promise<{ result: PersistEngineResult; hasFile: boolean }> {
  const { attempts = ATTEMPTS, image = 'last', signal } = options
  const { room } = conditions
  let images = room === undefined ? imagesOf(store) : null
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    const saver = createFileSaver({ images, keep: image !== 'none', room, signal })
    try {
      return await saveOnce(store, adapter, engine, options, saver, { attempt, ...conditions })
    } catch (error) {
      if (images !== null && saver.isInStore && isHoldfastError(error, 'SOURCE_FAILED', 'NO_SPACE')) {
        // The engine could not save there, or not all of it: perhaps for want of room. Again, without an image.
        await images.free()
        images = null
        attempt -= 1
        continue
      }
      // A blob's stream failed for what the engine holds, or because it changed.
      const cause = isHoldfastError(error, 'SOURCE_FAILED') ? error.cause : undefined
      const why = isHoldfastError(cause, 'ENGINE_VALUE_INVALID', 'SOURCE_CHANGED') ? cause : error
      if (!isHoldfastError(why, 'SOURCE_CHANGED') || attempt >= attempts) throw why
    } finally {
      await saver.release()
    }
  }
}

async function saveOnce<Engine>(
  store: Store,
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: PersistEngineOptions<Engine>,
  saver: FileSaver,
  { attempt, room, share }: Conditions & { attempt: number },
): Promise<{ result: PersistEngineResult; hasFile: boolean }> {
  const {
    alongside: _alongside,
    attempts: _attempts,
    check = false,
    cpuShare: _cpuShare,
    image: _image,
    ...rest
  } = options
  const { signal } = options
  const watched = options.sourceVersion !== undefined
  const turn = createPacer(share, signal)
  const context = { attempt, signal, turn, watched, saveFile: saver.saveFile, temporaryDirectory: room }
  // Nothing is awaited between the last question and the capture: a change could begin there.
  for (let busy = adapter.ready?.(engine); busy !== undefined; busy = adapter.ready?.(engine)) {
    await orAborted(Promise.resolve(busy), signal)
  }
  const captured = await captureEngine(adapter, engine, options, saver, context)
  try {
    const { record } = captured
    const request = {
      ...pickOptions(rest, PERSIST_ENGINE_OPTIONS),
      ...captured.snapshot,
      sourceVersion: captured.unchanged,
      ...(record.file === undefined
        ? {}
        : { sameBlobs: (current: Current) => unchangedBlobs(current, record, captured) }),
    }
    await saver.keep()
    const result = check
      ? await persistChecked(adapter, request, room, (blobs) => store.persist({ ...request, blobs }))
      : await store.persist(request)
    // A store that was made just now.
    await saver.keep()
    return {
      result: { ...result, bytes: { ...result.bytes, image: saver.keptBytes } },
      hasFile: record.file !== undefined,
    }
  } finally {
    await captured.release()
  }
}

interface Current {
  metadata: Record<string, unknown>
}

/** The names of the blobs of the file, where those of the current snapshot are of the same one. */
function unchangedBlobs({ metadata }: Current, record: EngineRecord, { ofFile }: Captured): readonly string[] {
  const current = engineRecord(metadata)
  return current !== null && sameBlobs(current, record) ? ofFile : []
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
      const { engine, dispose } = (await restoreFrom(store, adapter, abort, context, 'none'))!
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
  record: EngineRecord
  /** Names of the blobs that the engine's file became. */
  ofFile: readonly string[]
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
  saver: FileSaver,
  context: SaveContext,
): Promise<Captured> {
  // No await until all four were called: what is captured at one go is of one instant, and a change while the rest is
  // read shows in the tokens taken before.
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
    const file = state.file === undefined ? undefined : await saver.describe(adapter.name, state)
    const record = recordOf(adapter, state, file?.record)
    const ofFile = adapterBlobs(file?.blobs ?? {}, adapter)
    return {
      record,
      ofFile: ofFile.map(([name]) => name),
      snapshot: {
        blobs: [...ofFile, ...adapterBlobs(state.blobs, adapter), ...callersBlobs(beside)],
        metadata: { ...callersMetadata(beside), [KEY]: record },
        ...(beside.watermark === undefined ? {} : { watermark: beside.watermark }),
        ...(beside.covers === undefined ? {} : { covers: beside.covers }),
      },
      async unchanged() {
        const isCopy = state.captured === true || (file !== undefined && saver.isAtOnce && hasNoBlobs(state))
        const same = isCopy || Object.is(adapter.revision?.(engine), revision)
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

function hasNoBlobs({ blobs }: EngineState): boolean {
  return !(Symbol.iterator in blobs) && Object.keys(blobs).length === 0
}

function adapterBlobs(blobs: EngineState['blobs'], adapter: { name: string }): [string, BlobInput][] {
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
