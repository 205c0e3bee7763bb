// What a pack's object is called in an object store: the revision that it is meant for, and random digits.

import { COUNTER_MAX } from './limits.ts'

/** The revision that a pack in an object store is meant for, by its key; null: it is no such key. */
export function revisionOfKey(key: string): number | null {
  const parts = /^([0-9a-f]{16})-[0-9a-f]{32}$/.exec(key)
  if (parts === null) return null
  const revision = Number.parseInt(parts[1]!, 16)
  return revision >= 1 && revision <= COUNTER_MAX ? revision : null
}
