// The HEAD that a store begins with. It is apart from head.ts, which loads the schema library: a store can be created
// without it.

import type { Head } from './head.ts'

/** The HEAD of a store that holds nothing yet. */
export function emptyHead(storeId: string): Head {
  return {
    storeId,
    revision: 0,
    sequence: 0,
    current: null,
    snapshots: [],
    packs: [],
    retired: [],
    damaged: [],
    writes: [],
  }
}
