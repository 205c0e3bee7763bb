// Where each of some ids stands among them.

import type { Id } from './read-posting-rows.ts'

/** Where an id stands in `register`; -1 if it does not. */
export function positionsIn(register: readonly Id[]): (id: Id) => number {
  const others = new Map<Id, number>()
  let max = -1
  for (const id of register) {
    if (typeof id !== 'number') continue
    // A fraction, or a number below 0: all are looked up in the map then.
    max = Number.isInteger(id) && id >= 0 ? Math.max(max, id) : Number.POSITIVE_INFINITY
  }
  const isDense = max < 4 * register.length + 1024
  const dense = new Int32Array(isDense ? max + 1 : 0).fill(-1)
  for (let at = 0; at < register.length; at++) {
    const id = register[at]!
    if (isDense && typeof id === 'number') dense[id] = at
    else others.set(id, at)
  }
  return (id) => (isDense && typeof id === 'number' ? dense[id] : others.get(id)) ?? -1
}
