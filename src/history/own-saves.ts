// Remembers the saves and rollbacks that this process made, so that `HEAD_CONFLICT` can tell its own from somebody
// else's. It knows only what moved HEAD from one snapshot to the next; a repair or another process's write breaks the
// chain.

import type { Head } from '../format/head.ts'

/** How many stores, and how many saves of each, are remembered. An older one counts as somebody else's. */
const STORES_MAX = 1000
const SAVES_MAX = 1000

interface OwnSave {
  /** Of the write, random: it is in a HEAD only if the swap was done, whatever was reported of it. */
  id: string
  /** What was current before, null for none, and the snapshot that was to be current after it. */
  from: number | null
  to: number | null
  isDone: boolean
  /** When a rollback was called, by the monotonic clock; null for a save. */
  rolledBackMs: number | null
}

/** Newest first, by store id. */
const ownSaves = new Map<string, OwnSave[]>()

/**
 * Notes a save that is about to be tried: `next` is to take the place of a HEAD whose current snapshot was `from`.
 * `rolledBackMs`: it is a rollback, called then.
 */
export function noteSave(next: Head, from: number | null, rolledBackMs: number | null = null): { done(): void } {
  const save: OwnSave = { id: next.writes[0]!, from, to: next.current, isDone: false, rolledBackMs }
  const before = ownSaves.get(next.storeId) ?? []
  // The store that was saved last is the last to be forgotten.
  ownSaves.delete(next.storeId)
  ownSaves.set(next.storeId, [save, ...before].slice(0, SAVES_MAX))
  if (ownSaves.size > STORES_MAX) ownSaves.delete(ownSaves.keys().next().value!)
  return {
    done() {
      save.isDone = true
    },
  }
}

/**
 * Whether nobody but this process moved HEAD from the snapshot `from` to its current one, and when it rolled back last
 * on the way; null if somebody else did. A save whose outcome was not known counts if HEAD names its write: another
 * process may have given its sequence to a snapshot of its own.
 */
export function ownWay(
  { storeId, current, writes }: Head,
  from: number | null,
): { rolledBackMs: number | null } | null {
  let to = current
  let rolledBackMs: number | null = null
  for (const save of ownSaves.get(storeId) ?? []) {
    if (to === from) break
    if (!save.isDone && !writes.includes(save.id)) continue
    if (save.to !== to) return null
    rolledBackMs ??= save.rolledBackMs
    to = save.from
  }
  return to === from ? { rolledBackMs } : null
}
