// What other entries of this package use of an open store. Nobody else can reach it.

import type { StoreContext } from './blocks/store-context.ts'
import { refusePromise } from './misuse.ts'
import type { PersistDefaults, PersistResult } from './persist/options.ts'
import type { Housekeeping } from './space/housekeeping.ts'

export interface StoreInside {
  ctx: StoreContext
  defaults: PersistDefaults
  housekeeping: Housekeeping
  /** Called after a persist that was not the store's own method. */
  noteCommit(result: Pick<PersistResult, 'bytes' | 'dropped'>): void
  /** Runs an operation of this store: not when it is closed, and `close` waits for it. */
  run<T>(operation: () => Promise<T>): Promise<T>
}

const known = new WeakMap<object, StoreInside>()

export function noteInside(store: object, inside: StoreInside): void {
  known.set(store, inside)
}

/**
 * Ends what an open store does behind its persists, because a save must not wait. Of an object that is no store of
 * ours: nothing.
 */
export function interruptHousekeeping(store: object): void {
  known.get(store)?.housekeeping.interrupt()
}

/** @throws TypeError for an object that is no store of this package */
export function insideOf(store: unknown, where: string): StoreInside {
  const inside = typeof store === 'object' && store !== null ? known.get(store) : undefined
  if (inside === undefined) refusePromise(store, `${where}: the store`)
  if (inside === undefined) throw new TypeError(`${where}: give a store that openStore or memory made`)
  return inside
}
