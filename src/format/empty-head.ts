// The HEAD that a store begins with. Apart from head.ts, which loads the schema library: not everybody who begins a HEAD reads one.

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
