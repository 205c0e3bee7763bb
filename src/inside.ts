// What other entries of this package use of an open store. Nobody else can reach it.

import type { StoreContext } from './blocks/store-context.ts'
import type { PersistDefaults } from './persist/options.ts'

export interface StoreInside {
  ctx: StoreContext
  defaults: PersistDefaults
  /** Runs an operation of this store: not when it is closed, and `close` waits for it. */
  run<T>(operation: () => Promise<T>): Promise<T>
}

const known = new WeakMap<object, StoreInside>()

export function noteInside(store: object, inside: StoreInside): void {
  known.set(store, inside)
}

/** @throws TypeError for an object that is no store of this package */
export function insideOf(store: unknown, where: string): StoreInside {
  const inside = typeof store === 'object' && store !== null ? known.get(store) : undefined
  if (inside === undefined) throw new TypeError(`${where}: give a store that openStore or memory made`)
  return inside
}
