// The `check` option: restores a captured engine before it is committed. The blobs are written to a store in a
// temporary directory, restored from it, and committed from it. So exactly the bytes that were restored are committed.

import { join } from 'node:path'
import { type BlobInput, HoldfastError, isHoldfastError, openStore, type PersistOptions, type Store } from '../index.ts'
import { makeDirectory, remove } from '../local/private-directory.ts'
import { advise, advised } from '../local/saved-file.ts'

/**
 * Calls `commit` with the blobs of `captured`, after `restore` has restored them from a store. `ENGINE_CHECK_FAILED` if
 * it could not.
 */
export async function checkedFirst<T>(
  engine: string,
  captured: PersistOptions,
  temporaryDirectory: string | undefined,
  restore: (store: Store) => Promise<void>,
  commit: (blobs: [name: string, blob: BlobInput][]) => Promise<T>,
): Promise<T> {
  const home = advise(temporaryDirectory, () => makeDirectory(temporaryDirectory))
  try {
    const store = await openStore(join(home, 'store'), { compression: 'none' })
    try {
      await store.persist(captured).catch((error: unknown) => {
        throw advised(temporaryDirectory, error)
      })
      await attempt(engine, captured.signal, () => restore(store))
      return await withBlobs(store, commit)
    } finally {
      await store.close()
    }
  } finally {
    remove(home)
  }
}

async function withBlobs<T>(
  store: Store,
  commit: (blobs: [name: string, blob: BlobInput][]) => Promise<T>,
): Promise<T> {
  const snapshot = (await store.load({ required: true }))!
  try {
    return await commit(snapshot.names.map((name) => [name, snapshot.blob(name)]))
  } finally {
    await snapshot.dispose()
  }
}

async function attempt(engine: string, signal: AbortSignal | undefined, restore: () => Promise<void>): Promise<void> {
  try {
    await restore()
  } catch (cause) {
    signal?.throwIfAborted()
    // The machine's fault, not the engine's.
    if (isHoldfastError(cause) && cause.kind === 'environment') throw cause
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new HoldfastError(
      'ENGINE_CHECK_FAILED',
      `this ${engine} was captured, and could not be restored from that; nothing was committed: ${why}`,
      { details: { engine }, cause },
    )
  }
}
