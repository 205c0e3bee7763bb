// Remembers the blobs whose segments and chunks this process has found to agree. Only for those may a persist reuse the
// chunks of an unchanged segment without hashing them.

import type { BlobEntry } from '../format/blob-entry.ts'
import { cidText } from '../format/cid.ts'
import { toHex } from '../format/hex.ts'

/** Blobs whose segments and chunks agree. */
export interface CheckedBlobs {
  has(entry: BlobEntry): boolean
  note(entry: BlobEntry): void
}

/** A few hundred bytes each. A forgotten blob is checked again. */
const BLOBS_REMEMBERED_MAX = 4096

export function createCheckedBlobs(): CheckedBlobs {
  const known = new Set<string>()
  return {
    has: (entry) => known.has(keyOf(entry)),
    note(entry) {
      const key = keyOf(entry)
      known.delete(key)
      known.add(key)
      if (known.size > BLOBS_REMEMBERED_MAX) known.delete(known.values().next().value!)
    },
  }
}

function keyOf({ root, segments }: BlobEntry): string {
  return `${cidText(root)} ${segments === undefined ? '' : toHex(segments)}`
}
