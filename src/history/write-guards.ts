// What every write checks and reports before it changes a store: the wait for the lock, the format, the expected snapshot.

import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'
import type { OnProgress } from '../progress.ts'
import type { StoredHead } from '../storage/port.ts'
import { isOwnSave } from './own-saves.ts'

const LONG_WAIT_MS = 5_000

/** Reports the wait for another writer as progress, and warns once when it becomes long. */
export function watchWait(ctx: StoreContext, onProgress: OnProgress | undefined): (waitedMs: number) => void {
  let warned = false
  return (waitedMs) => {
    onProgress?.({ phase: 'waiting', waitedMs })
    if (warned || waitedMs < LONG_WAIT_MS) return
    warned = true
    ctx.warn({
      code: 'LONG_LOCK_WAIT',
      message: `${ctx.storage.location}: still waiting for another writer after ${Math.round(waitedMs / 1000)} s`,
      details: { location: ctx.storage.location, waitedMs },
    })
  }
}

/** A store written by a newer version can be read, but not written. */
export function assertWritable(ctx: StoreContext, stored: StoredHead): void {
  if (stored.unknown.length === 0) return
  throw new HoldfastError(
    'VERSION_UNSUPPORTED',
    `${ctx.storage.location} was written by a newer holdfast (HEAD has ${stored.unknown.join(', ')}): it can be read, not written`,
    { details: { unknown: stored.unknown } },
  )
}

/** Optimistic concurrency: the caller names the snapshot that it believes to be current. */
export function assertExpected(ctx: StoreContext, head: Head | null, expected: number | null | undefined): void {
  const current = head?.current ?? null
  if (expected === undefined || expected === current) return
  const own = head !== null && isOwnSave(head.storeId, expected, current)
  throw new HoldfastError(
    'HEAD_CONFLICT',
    `${ctx.storage.location}: expected snapshot ${expected} to be the current one, but it is ${current}; load it and try again`,
    { details: { expected, current, own } },
  )
}
