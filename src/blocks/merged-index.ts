import type { PackIndex } from '../format/pack.ts'
import { createDigestTable, type DigestPlace } from './digest-table.ts'

/** The blocks of many pack indexes in one table; the digests stay where they are, in the indexes. */
export interface MergedIndex {
  /** The pack's slot and the block's row in its index; null when it has none of that digest. The object is the same each time. */
  find(digest: Uint8Array, at: number): Readonly<{ slot: number; entry: number }> | null
  /** Takes in rows [from, to) of the index that has the next slot, or of the one given last. */
  add(slot: number, index: PackIndex, from: number, to: number): void
}

export function createMergedIndex(expected: number): MergedIndex {
  const indexes: PackIndex[] = []
  /** The number of each index's first block, all of them counted through. */
  const starts: number[] = []
  let total = 0
  const found = { slot: 0, entry: 0 }
  const place: DigestPlace = { bytes: new Uint8Array(0), at: 0 }
  const slots = createDigestTable((block) => {
    seek(block)
    const index = indexes[found.slot]!
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
    found.slot = low
    found.entry = block - starts[low]!
  }

  return {
    find(digest, at) {
      const block = slots.find(digest, at)
      if (block === -1) return null
      seek(block)
      return found
    },
    add(slot, index, from, to) {
      if (slot === indexes.length) {
        indexes.push(index)
        starts.push(total)
        total += index.blocks
      }
      for (let entry = from; entry < to; entry++) slots.add(index.bytes, index.digestAt(entry), starts[slot]! + entry)
    },
  }
}
