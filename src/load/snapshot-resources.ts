// The packs and files that an open snapshot holds, and what lets go of them when it is disposed or forgotten.

import type { OpenPack } from '../blocks/pack-cache.ts'
import { emitProcessWarning } from '../progress.ts'

/** What an open snapshot holds until it is disposed. */
export interface Resources {
  sequence: number
  location: string
  packs: OpenPack[]
  files: { release(): Promise<void>; releaseSync(): void }[]
  disposed: boolean
}

/**
 * Lets go of `resources` when `owner` is collected as garbage, and says so: that snapshot was forgotten. `owner` is
 * what its blobs read through, and not the snapshot itself, because a blob may outlive that.
 */
export function releaseWhenForgotten(owner: object, resources: Resources): void {
  forgotten.register(owner, resources)
}

/** Snapshots that were forgotten instead of disposed must not keep descriptors for ever. */
const forgotten = new FinalizationRegistry<Resources>((resources) => {
  if (resources.disposed) return
  resources.disposed = true
  for (const pack of resources.packs) pack.releaseSync()
  for (const file of resources.files) file.releaseSync()
  warnOnce(resources)
})

let warned = false

/**
 * Not through the store's own `onWarning`: a function that the registry holds could hold the snapshot, which would then
 * never be forgotten.
 */
function warnOnce({ sequence, location }: Resources): void {
  if (warned) return
  warned = true
  emitProcessWarning({
    code: 'SNAPSHOT_NOT_DISPOSED',
    message:
      `snapshot ${sequence} of ${location} was never disposed: it kept its files open, and deleted packs on the disk, until it was collected as ` +
      'garbage. Write `await using snapshot = …`, or call snapshot.dispose(). This is said once per process',
    details: { sequence, location },
  })
}

export async function release(resources: Resources): Promise<void> {
  resources.disposed = true
  for (const pack of resources.packs) await pack.release()
  for (const file of resources.files) await file.release()
}
