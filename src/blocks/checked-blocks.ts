// Remembers nodes, segments and manifests that this process has read from the store once. A persist reuses a block by
// its digest, without reading it, and an index that is wrong about a block would make a snapshot that cannot be read.

import { createDigestMap } from './digest-map.ts'

export interface CheckedBlocks {
  has(digest: Uint8Array): boolean
  note(digest: Uint8Array): void
}

/** 36 bytes each. Then all are forgotten, and read once more. */
const BLOCKS_REMEMBERED_MAX = 200_000

export function createCheckedBlocks(): CheckedBlocks {
  let known = createDigestMap()
  return {
    has: (digest) => known.get(digest, 0) !== -1,
    note(digest) {
      if (known.size >= BLOCKS_REMEMBERED_MAX) known = createDigestMap()
      known.add(digest, 0, 0)
    },
  }
}
