// One look-up over the indexes of many packs.

import type { PackIndex } from '../format/pack.ts'
import { createDigestTable, type DigestPlace } from './digest-table.ts'

/** The blocks of many pack indexes in one table. The digests stay in the indexes. */
export interface MergedIndex {
  /** The pack's number and the block's row in its index, or null. The same object is returned each time. */
  find(digest: Uint8Array, at: number): Readonly<{ packNumber: number; entry: number }> | null
  /** Adds rows [from, to) of the index with the next pack number, or of the last one added. */
  add(packNumber: number, index: PackIndex, from: number, to: number): void
}

export function createMergedIndex(expected: number): MergedIndex {
  const indexes: PackIndex[] = []
  /** The number of each index's first block. Blocks are numbered across all indexes. */
  const starts: number[] = []
  let total = 0
  const found = { packNumber: 0, entry: 0 }
  const place: DigestPlace = { bytes: new Uint8Array(0), at: 0 }
  const table = createDigestTable((block) => {
    seek(block)
    const index = indexes[found.packNumber]!
    place.bytes = index.bytes
    place.at = index.digestAt(found.entry)
    return place
  }, expected)

  function seek(block: number): void {
    let low = 0
    let high = starts.length
    while (high - low > 1) {
      const middle = (low + high) >>> 1
      if (starts[middle]! <= block) low = middle
      else high = middle
    }
    found.packNumber = low
    found.entry = block - starts[low]!
  }

  return {
    find(digest, at) {
      const block = table.find(digest, at)
      if (block === -1) return null
      seek(block)
      return found
    },
    add(packNumber, index, from, to) {
      if (packNumber === indexes.length) {
        indexes.push(index)
        starts.push(total)
        total += index.blocks
      }
      for (let entry = from; entry < to; entry++)
        table.add(index.bytes, index.digestAt(entry), starts[packNumber]! + entry)
    },
  }
}
