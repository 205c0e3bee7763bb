// One look-up over the indexes of many packs. It can be kept while packs come and go, so that what stays is not added
// again.

import type { PackIndex } from '../format/pack.ts'
import { createDigestTable, type DigestPlace } from './digest-table.ts'

/** The blocks of many pack indexes in one table. The digests stay in the indexes. */
export interface MergedIndex {
  /** The pack's number and the block's row in its index, or null. The same object is returned each time. */
  find(digest: Uint8Array, at: number): Readonly<{ packNumber: number; entry: number }> | null
  /** Whether rows of the pack with this number were added. */
  has(packNumber: number): boolean
  /** Adds rows [from, to) of an index: of a new one, or of the last one added. */
  add(packNumber: number, index: PackIndex, from: number, to: number): void
  /**
   * From now on `find` answers for these packs, in this order. Blocks of a pack that is not among them are found where
   * another pack has them. New packs are added after it. Answers false, and nothing has changed, when so much is gone
   * that another table is better.
   */
  renumber(indexes: readonly PackIndex[]): boolean
}

interface Member {
  index: PackIndex
  /** The number of its first block. Blocks are numbered across all indexes. */
  start: number
  /** `GONE`: it is kept because the table finds digests in it. */
  packNumber: number
}

const GONE = -1

export function createMergedIndex(expected: number): MergedIndex {
  /** In the order of `start`. */
  const members: Member[] = []
  const numbers = new Set<number>()
  let total = 0
  const found = { packNumber: 0, entry: 0 }
  const place: DigestPlace = { bytes: new Uint8Array(0), at: 0 }
  const table = createDigestTable((block) => {
    const { index, start } = memberOf(block)
    place.bytes = index.bytes
    place.at = index.digestAt(block - start)
    return place
  }, expected)

  function memberOf(block: number): Member {
    let low = 0
    let high = members.length
    while (high - low > 1) {
      const middle = (low + high) >>> 1
      if (members[middle]!.start <= block) low = middle
      else high = middle
    }
    return members[low]!
  }

  /** The table knows the digest in a pack that is gone. Its other copies were not added. */
  function findElsewhere(digest: Uint8Array, at: number): typeof found | null {
    let first: Member | null = null
    for (const member of members) {
      if (member.packNumber === GONE || (first !== null && first.packNumber < member.packNumber)) continue
      const entry = member.index.find(digest, at)
      if (entry === -1) continue
      first = member
      found.entry = entry
    }
    if (first === null) return null
    found.packNumber = first.packNumber
    table.replace(digest, at, first.start + found.entry)
    return found
  }

  return {
    find(digest, at) {
      const block = table.find(digest, at)
      if (block === -1) return null
      const { packNumber, start } = memberOf(block)
      if (packNumber === GONE) return findElsewhere(digest, at)
      found.packNumber = packNumber
      found.entry = block - start
      return found
    },
    has: (packNumber) => numbers.has(packNumber),
    add(packNumber, index, from, to) {
      if (!numbers.has(packNumber)) {
        numbers.add(packNumber)
        members.push({ index, start: total, packNumber })
        total += index.blocks
      }
      const { start } = members.at(-1)!
      for (let entry = from; entry < to; entry++) {
        const at = index.digestAt(entry)
        if (table.add(index.bytes, at, start + entry)) continue
        // What moved out of a pack that is gone is found where it is now.
        if (memberOf(table.find(index.bytes, at)).packNumber === GONE) table.replace(index.bytes, at, start + entry)
      }
    },
    renumber(indexes) {
      const numberOf = new Map(indexes.map((index, packNumber) => [index, packNumber]))
      const kept = members.filter(({ index }) => numberOf.has(index))
      if (kept.reduce((sum, { index }) => sum + index.blocks, 0) * 2 < total) return false
      numbers.clear()
      for (const member of members) {
        member.packNumber = numberOf.get(member.index) ?? GONE
        if (member.packNumber !== GONE) numbers.add(member.packNumber)
      }
      return true
    },
  }
}
