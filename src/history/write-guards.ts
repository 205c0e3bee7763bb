// What every write checks and reports before it changes a store: the wait for the lock, the format, the expected
// snapshot.

import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'
import { COUNTER_MAX, PACK_ID_MAX } from '../format/limits.ts'
import type { OnProgress } from '../progress.ts'
import type { StoredHead } from '../storage/port.ts'
import { ownWay } from './own-saves.ts'

const LONG_WAIT_MS = 5_000

/** An error names so many fields that are not known, and so much of each. */
const FIELDS_NAMED = 20
const FIELD_LENGTH_NAMED = 80

/** What one write, a repair included, may add to a counter, and to the largest pack id. */
const COUNTERS_AHEAD = 2 ** 21
const PACK_IDS_AHEAD = 2 ** 20

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

/** A store written by a newer version can be read, but not written; nor can one whose counters are at their end. */
export function assertWritable(ctx: StoreContext, stored: StoredHead): void {
  assertCountable(ctx, stored.head)
  if (stored.unknown.length === 0) return
  const unknown = stored.unknown.slice(0, FIELDS_NAMED).map((field) => field.slice(0, FIELD_LENGTH_NAMED))
  throw new HoldfastError(
    'VERSION_UNSUPPORTED',
    `${ctx.storage.location} was written by a newer holdfast (HEAD has ${unknown.join(', ')}): it can be read, not written`,
    { details: { unknown } },
  )
}

/** Refuses a store whose next numbers would be too large for readers. An intact store never reaches them. */
function assertCountable(ctx: StoreContext, { revision, sequence, packs }: Head): void {
  const id = packs.reduce((largest, pack) => Math.max(largest, pack.id), 0)
  refuseBeyond('revision', revision, COUNTER_MAX - COUNTERS_AHEAD)
  refuseBeyond('sequence', sequence, COUNTER_MAX - COUNTERS_AHEAD)
  refuseBeyond('packId', id, PACK_ID_MAX - PACK_IDS_AHEAD)

  function refuseBeyond(limit: string, actual: number, max: number): void {
    if (actual <= max) return
    throw new HoldfastError(
      'LIMIT_EXCEEDED',
      `${ctx.storage.location}: the ${limit} of HEAD is ${actual}, and nothing can be written beyond ${max}. The store can be read: load what ` +
        'is in it, and persist it into a new store',
      { details: { limit, max, actual } },
    )
  }
}

/** Optimistic concurrency: the caller names the snapshot that it believes to be current. */
export function assertExpected(ctx: StoreContext, head: Head | null, expected: number | null | undefined): void {
  const current = head?.current ?? null
  if (expected === undefined || expected === current) return
  const way = head === null ? null : ownWay(head, expected)
  const rolledBack = way === null || way.rolledBackMs === null ? {} : { rolledBackMs: way.rolledBackMs }
  throw new HoldfastError(
    'HEAD_CONFLICT',
    `${ctx.storage.location}: expected snapshot ${expected} to be the current one, but it is ${current}; load it and try again`,
    { details: { expected, current, own: way !== null, ...rolledBack } },
  )
}
