// Where in a blob the chunks of each age lie. A blob of any number of chunks becomes a fixed number of columns.

import { chunkRuns } from '../blocks/blob-dag.ts'
import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import { createYielder } from '../event-loop.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { DIGEST_BYTES } from '../format/limits.ts'

/** Ages that are told apart. */
export const AGES = 6

/** Columns of a map. A multiple of the rows of its table. */
export const MAP_COLUMNS = 120

/** How the bytes of a blob are spread over ages. */
export interface AgeMap {
  /** `AGES` numbers for each column: the bytes of each age there. */
  columns: Float64Array
  /** Chunks of each age. A chunk that comes twice counts twice. */
  chunks: number[]
}

/**
 * The age of what a snapshot wrote: 0 for the newest, 1 for the one before it, 2 for the two before that, then four,
 * eight, and all older ones.
 *
 * @param back how many snapshots the writer is behind the newest
 */
export function ageOf(back: number): number {
  return Math.min(back === 0 ? 0 : Math.floor(Math.log2(back)) + 1, AGES - 1)
}

/** The first and the last `back` of an age. */
export function backsOf(age: number): [first: number, last: number] {
  if (age === 0) return [0, 0]
  return [2 ** (age - 1), age === AGES - 1 ? Number.POSITIVE_INFINITY : 2 ** age - 1]
}

/** A map that is filled chunk by chunk. */
export function createAgeMap(size: number): AgeMap & { add(start: number, end: number, age: number): void } {
  const columns = new Float64Array(MAP_COLUMNS * AGES)
  const chunks = new Array<number>(AGES).fill(0)
  const step = size / MAP_COLUMNS
  return {
    columns,
    chunks,
    add(start, end, age) {
      chunks[age]! += 1
      for (let column = Math.floor(start / step); column < MAP_COLUMNS; column++) {
        const from = Math.max(start, column * step)
        const to = Math.min(end, (column + 1) * step)
        if (to > from) columns[column * AGES + age]! += to - from
        else if (from >= end) break
      }
    },
  }
}

/** Reads the nodes of a blob, and no chunk. `ageAt` says how old the block at a place is, or -1. */
export async function mapOf(
  source: BlockSource,
  entry: BlobEntry,
  what: DamageContext,
  ageAt: (place: number) => number,
  signal: AbortSignal | undefined,
): Promise<AgeMap> {
  const turn = createYielder(signal)
  const map = createAgeMap(entry.size)
  for await (const { offset, count, lengths, digests } of chunkRuns(source, entry, what)) {
    let start = offset
    for (let i = 0; i < count; i++) {
      const end = start + lengths[i]!
      const place = source.find(digests, i * DIGEST_BYTES)
      const age = place === -1 ? -1 : ageAt(place)
      if (age !== -1) map.add(start, end, age)
      start = end
    }
    await turn()
  }
  const { columns, chunks } = map
  return { columns, chunks }
}
