// Remembers which blobs this process has seen to be consistent: their segments stand for the same bytes as their chunks. Only of
// those may a persist take a segment that did not change for its chunks, without hashing them.

import { cidText } from '../format/cid.ts'
import { toHex } from '../format/hex.ts'
import type { BlobEntry } from '../format/manifest.ts'

/** Blobs whose segments and chunks agree. */
export interface CheckedBlobs {
  has(entry: BlobEntry): boolean
  note(entry: BlobEntry): void
}

/** A few hundred bytes each. What is forgotten is checked again. */
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
