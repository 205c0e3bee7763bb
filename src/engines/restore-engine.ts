// Restores an engine from a snapshot: from the image of its file, where its adapter asks for a file, or from its blobs.

import type { SavedEngine } from '../encodings/engine-state.ts'
import { orAborted } from '../foreign.ts'
import { type OpenOptions, openStore, type Snapshot, type SnapshotBlob, type Store } from '../index.ts'
import { type Images, imagesOf } from '../local/images.ts'
import { roomIn, withRoom } from '../local/room.ts'
import { isStore } from '../location.ts'
import { assertOptions, pickOptions, refusePromise } from '../misuse.ts'
import type { StoreLocation } from '../remote.ts'
import type { EngineAdapter, RestoreContext, RestoredEngine } from './engine-adapter.ts'
import {
  assertAdapter,
  assertImage,
  type ImageChoice,
  OPEN_OPTIONS,
  RESTORE_ENGINE_OPTIONS,
  type RestoreEngineOptions,
} from './engine-options.ts'
import { assertFits, type EngineRecord } from './engine-record.ts'
import { createFileRestorer } from './restore-file.ts'

/** The folder of the adapter's blobs. */
export const FOLDER = 'engine/'

/**
 * The engine of the current snapshot, or null when nothing was ever persisted. `ENGINE_MISMATCH` when the snapshot is
 * of another engine, other options, or a version that this one is known not to read: before a byte of it is touched.
 * With `fallback`, damage moves on to the next older intact snapshot.
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
  assertImage(where, options.image)
  const store = given ?? (await openStore(location as StoreLocation, pickOptions<OpenOptions>(options, OPEN_OPTIONS)))
  try {
    const { image, ...rest } = pickOptions(options, RESTORE_ENGINE_OPTIONS)
    return await restoreFrom(store, adapter, rest, { signal: options.signal }, image ?? 'last')
  } finally {
    if (given === null) await store.close()
  }
}

export async function restoreFrom<Engine, Metadata>(
  store: Store,
  adapter: EngineAdapter<Engine>,
  options: Omit<RestoreEngineOptions<Metadata>, 'image'>,
  context: RestoreContext,
  image: ImageChoice,
): Promise<RestoredEngine<Engine, Metadata> | null> {
  const images = imagesOf(store)
  const restored = await store.restore(async (snapshot: Snapshot<string, Metadata>) => {
    return await withRoom(
      () => roomIn(store),
      async (room) => {
        const inRoom = room === undefined ? context : { ...context, temporaryDirectory: room }
        const record = assertFits(adapter, snapshot, inRoom)
        const engine = await restoreSnapshot(snapshot, record, adapter, inRoom, images, image !== 'none')
        return { engine, record }
      },
    )
  }, options)
  if (restored === null) return null
  const { value, snapshot } = restored
  const dispose = (): Promise<void> => snapshot.dispose()
  return { engine: value.engine, record: value.record, snapshot, dispose, [Symbol.asyncDispose]: dispose }
}

async function restoreSnapshot<Engine>(
  snapshot: Snapshot<string, unknown>,
  record: EngineRecord,
  adapter: EngineAdapter<Engine>,
  context: RestoreContext,
  images: Images | null,
  keep: boolean,
): Promise<Engine> {
  const { signal, temporaryDirectory: room } = context
  const blobs = savedBlobs(snapshot, record, signal)
  const onImage = (): void => warnOfDamage(snapshot)
  const { sequence } = snapshot
  const files = createFileRestorer({ images, keep, sequence, record, saved: blobs, room, signal, onImage })
  let engine: Engine | undefined
  try {
    const restoring = adapter.restore({ ...blobs, file: files.file }, context)
    engine = await orAborted(restoring, signal, (late) => adapter.close?.(late))
    return engine
  } finally {
    await files.settle(engine)
  }
}

/** No blob was read, so what is known to be wrong with them is said here. */
function warnOfDamage(snapshot: Snapshot<string, unknown>): void {
  ;(snapshot as { warnOfBadPacks?: () => void }).warnOfBadPacks?.()
}

/** What an adapter reads of a snapshot, but for the file. */
export function savedBlobs(
  snapshot: Snapshot<string, unknown>,
  record: EngineRecord,
  signal: AbortSignal | undefined,
): Omit<SavedEngine, 'file'> {
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
