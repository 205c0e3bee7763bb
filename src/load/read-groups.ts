// Divides a range of a blob into groups of chunks that are read and verified together, and fills memory with them.

import { type ChunkRun, chunkRuns } from '../blocks/blob-dag.ts'
import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import type { ReadSizes } from '../blocks/read-sizes.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import { expectReading } from '../workers/pool.ts'
import { executeRead, type Target, type Verified, verifyChunks } from './execute-read.ts'
import { type Extent, findPieces, type Piece, planReads } from './plan-reads.ts'

/** What is read of which blob. */
export interface BlobRead {
  source: BlockSource
  entry: BlobEntry
  damageContext: DamageContext
}

/** Chunks that are read together. */
export interface Group {
  /** What is wanted of them. */
  start: number
  end: number
  /** What has to be read to verify it: the same where that is whole segments, else whole chunks. */
  extent: Extent
  /** In the order of the blob. */
  pieces: Piece[]
  runs: { run: ChunkRun; first: number; last: number }[]
}

/** Whether [start, end) is one or more segments of the blob, and nothing else. */
export function isWholeSegments({ size }: BlobEntry, start: number, end: number): boolean {
  return start % SEGMENT_BYTES === 0 && (end === size || (end % SEGMENT_BYTES === 0 && end > start))
}

/**
 * The groups that give bytes [start, end), in order. They end where multiples of `bytes`, which is a number of
 * segments, are in the blob. A chunk that reaches over such an end is in both groups.
 */
export async function* groupsOf(
  { source, entry, damageContext }: BlobRead,
  start: number,
  end: number,
  bytes: number,
): AsyncGenerator<Group> {
  await source.expectLookups(Math.ceil((end - start) / 16_384))
  let group = groupFrom(start)
  for await (const run of chunkRuns(source, entry, damageContext, start, end)) {
    const [first, last] = overlapping(run, start, end)
    await source.loadIndexesFor(run.digests.subarray(first * DIGEST_BYTES), last - first)
    const runEnd = endOf(run)
    for (;;) {
      add(group, run)
      if (runEnd < group.end || group.end === end) break
      yield group
      group = groupFrom(group.end)
      if (runEnd === group.start) break
    }
  }
  yield group

  function groupFrom(from: number): Group {
    const to = Math.min((Math.floor(from / bytes) + 1) * bytes, end)
    return { start: from, end: to, extent: { from, to }, pieces: [], runs: [] }
  }

  function add(group: Group, run: ChunkRun): void {
    const [first, last] = overlapping(run, group.start, group.end)
    if (first === last) return
    group.runs.push({ run, first, last })
    if (!isWholeSegments(entry, group.start, group.end)) {
      const { extent } = group
      extent.from = Math.min(extent.from, startOf(run, first))
      extent.to = Math.max(extent.to, startOf(run, last))
    }
    // The pieces of a run that ends before its group does are found with what the extent is then: it grows with whole
    // chunks of later runs.
    group.pieces.push(...findPieces(source, run, first, last, group.extent, bytes))
  }
}

/** Memory for a group's extent. */
export async function fillGroup(
  { source, damageContext }: BlobRead,
  group: Group,
  target: Target,
  inTurn: InTurn,
): Promise<void> {
  await Promise.all(
    planReads(group.pieces, source.reads).map((read) =>
      inTurn(read.bytes, () => executeRead(source, read, target, damageContext)),
    ),
  )
}

/** Checks the chunks of a group that overlap [start, end), and replaces bad ones by good copies. */
export async function verifyGroupChunks(
  { source, damageContext }: BlobRead,
  { runs }: Group,
  target: Target,
  start: number,
  end: number,
): Promise<Verified> {
  for (const { run, first, last } of runs) {
    const [from, to] = overlapping(run, start, end)
    const verified = await verifyChunks(source, run, Math.max(from, first), Math.min(to, last), target, damageContext)
    if (verified.error !== null) return { ...verified, end: Math.max(verified.end, start) }
  }
  return { end, error: null }
}

/**
 * Does the work on each group, on `ahead` groups more than it has given; all have about `bytes`. What was read before a
 * failure is given before it is thrown.
 */
export async function* readAhead<T>(
  groups: AsyncGenerator<Group>,
  { bytes, ahead }: { bytes: number; ahead: number },
  work: (group: Group) => Promise<T>,
): AsyncGenerator<T, void> {
  const begun: Promise<T>[] = []
  const isOver = expectReading(bytes)
  try {
    for (let isLast = false; ; ) {
      let failure: { error: unknown } | null = null
      while (!isLast && begun.length <= ahead) {
        const next = await settled(groups.next())
        if (next.failed) failure = next
        isLast = next.failed || next.value.done === true
        if (next.failed || next.value.done) continue
        const mine = work(next.value.value)
        mine.catch(() => {})
        begun.push(mine)
      }
      if (failure !== null) {
        while (begun.length > 0) yield await begun.shift()!
        throw failure.error
      }
      if (begun.length === 0) return
      if (begun.length > ahead || isLast) yield await begun.shift()!
    }
  } finally {
    // A caller that leaves early must not leave a read behind that uses a closed file.
    await Promise.allSettled(begun)
    await groups.return(undefined)
    isOver()
  }
}

type Settled<T> = { failed: false; value: T } | { failed: true; error: unknown }

async function settled<T>(work: Promise<T>): Promise<Settled<T>> {
  try {
    return { failed: false, value: await work }
  } catch (error) {
    return { failed: true, error }
  }
}

export type InTurn = (bytes: number, work: () => Promise<void>) => Promise<void>

/** A FIFO limiter for reads: so many and so many bytes at once, but always one. */
export function limitedReads({ readsInFlight, bytesInFlight }: ReadSizes): InTurn {
  const waiting: { bytes: number; begin: () => void }[] = []
  let bytesUnderWay = 0
  let underWay = 0
  const fits = (bytes: number): boolean =>
    underWay === 0 || (underWay < readsInFlight && bytesUnderWay + bytes <= bytesInFlight)
  function count(bytes: number): void {
    underWay += 1
    bytesUnderWay += bytes
  }
  return async (bytes, work) => {
    if (waiting.length === 0 && fits(bytes)) count(bytes)
    else await new Promise<void>((begin) => waiting.push({ bytes, begin }))
    try {
      await work()
    } finally {
      underWay -= 1
      bytesUnderWay -= bytes
      while (waiting.length > 0 && fits(waiting[0]!.bytes)) {
        const next = waiting.shift()!
        count(next.bytes)
        next.begin()
      }
    }
  }
}

/** The chunks of a run that overlap [start, end): [first, last). */
function overlapping(run: ChunkRun, start: number, end: number): [number, number] {
  let first = 0
  let position = run.offset
  while (first < run.count && position + run.lengths[first]! <= start) position += run.lengths[first++]!
  let last = first
  while (last < run.count && position < end) position += run.lengths[last++]!
  // An empty blob is one chunk of no bytes.
  return run.count === 1 && run.lengths[0] === 0 ? [0, 1] : [first, last]
}

function startOf(run: ChunkRun, chunk: number): number {
  let position = run.offset
  for (let i = 0; i < chunk; i++) position += run.lengths[i]!
  return position
}

function endOf(run: ChunkRun): number {
  return startOf(run, run.count)
}
