// Lists of pack ids in a file: ids ascend, and a run of neighbours is one pair. A snapshot of 10,000 packs is a few
// ranges. Pure.
//
//    [1,[4,4096],5000]           1, 4 to 4096, 5000

import { PACK_ID_MAX } from './limits.ts'

/** Ids, and pairs of a first and a last one, ascending. */
export type IdRanges = (number | [first: number, last: number])[]

/** @param ids ascending; of others the result is no `IdRanges` */
export function toIdRanges(ids: readonly number[]): IdRanges {
  const ranges: IdRanges = []
  for (let i = 0; i < ids.length; ) {
    const first = ids[i]!
    let next = i + 1
    while (next < ids.length && ids[next] === ids[next - 1]! + 1) next++
    ranges.push(next - i === 1 ? first : [first, ids[next - 1]!])
    i = next
  }
  return ranges
}

export function fromIdRanges(ranges: IdRanges): number[] {
  const ids: number[] = []
  for (const range of ranges) {
    const [first, last] = bounds(range)
    for (let id = first; id <= last; id++) ids.push(id)
  }
  return ids
}

/** How many ids there are. A few bytes can say that there are two billion. */
export function countIds(ranges: IdRanges): number {
  let count = 0
  for (const range of ranges) {
    const [first, last] = bounds(range)
    count += last - first + 1
  }
  return count
}

export function isIdRanges(value: unknown): value is IdRanges {
  if (!Array.isArray(value)) return false
  let before = -1
  for (const range of value) {
    const isPair = Array.isArray(range) && range.length === 2 && range[0] < range[1]
    const [first, last] = isPair ? range : [range, range]
    if (!isId(first) || !isId(last) || first <= before) return false
    before = last
  }
  return true
}

function bounds(range: number | [number, number]): [number, number] {
  return typeof range === 'number' ? [range, range] : range
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= PACK_ID_MAX
}
