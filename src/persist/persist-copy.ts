// Makes a snapshot of this store from one of another store, as a persist does from blobs.

import type { StoreContext } from '../blocks/store-context.ts'
import { watchWait } from '../history/write-guards.ts'
import type { OnProgress } from '../progress.ts'
import { commitSnapshot } from './commit.ts'
import type { CopyOf } from './copy-content.ts'
import type { PersistDefaults } from './options.ts'
import { readyStore } from './persist.ts'

interface CopyRequest {
  /** The current snapshot that this one follows on. `HEAD_CONFLICT` if it is another by now. */
  expectedHead: number | null
  lockWaitMs: number
  signal: AbortSignal
  onProgress: OnProgress | undefined
}

/** Answers its sequence here, and how many bytes were written. */
export async function persistCopy(
  ctx: StoreContext,
  copyOf: CopyOf,
  { expectedHead, lockWaitMs, signal, onProgress }: CopyRequest,
  defaults: PersistDefaults,
): Promise<{ sequence: number; writtenBytes: number }> {
  return await ctx.storage.write(
    { waitMs: lockWaitMs, signal, onWait: watchWait(ctx, onProgress) },
    async (session) => {
      const { stored, seen } = await readyStore(ctx, session, { expectedHead })
      const { sequence, bytes } = await commitSnapshot(ctx, session, stored.head, seen, {
        copyOf,
        sources: [],
        chunking: undefined,
        compress: false,
        sourceVersion: undefined,
        sameBlobs: undefined,
        metadata: {},
        message: copyOf.snapshot.message,
        covers: undefined,
        expectedHead,
        policy: defaults.policy,
        packBytesMax: defaults.packBytesMax,
        signal,
        onProgress,
      })
      return { sequence, writtenBytes: bytes.written }
    },
  )
}
