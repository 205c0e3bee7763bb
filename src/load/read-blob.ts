// Reads a blob, whole or a range: whole segments are verified by their digests, the rest by its chunks.

import { type ChunkRun, chunkRuns } from '../blocks/blob-dag.ts'
import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import { clock } from '../clock.ts'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import { decodeSegments } from '../format/segments.ts'
import { executeRead, findPieces, type Piece, planReads, readChunk, verifyChunks } from './plan-reads.ts'

/** Bytes read per group. The next group is read while one is verified. */
const GROUP_BYTES = 16 * 1024 * 1024
/**
 * Reads compete with the event loop for the processor. On two cores with other work on them, 16 MiB under way at a time gave the host a delay of 10 ms
 * (p99), three reads of 2 MiB one of 7 ms in the same time. Small ones need to be many: three at a time took half as long again. But they come back
 * together: of a blob with 1 % changed all over, 384 at a time gave a delay of 8.3 ms, 24 of 5.8 ms in a tenth more time.
 */
const BYTES_IN_FLIGHT = 6 * 1024 * 1024
const READS_IN_FLIGHT = 24
/** A stream holds two groups, and each is the caller's to keep. */
const STREAM_GROUP_BYTES = 2 * 1024 * 1024

interface ReadOptions {
  signal?: AbortSignal | undefined
  onBytes?: ((bytes: number) => void) | undefined
  /** Called by `readWhole` when the segments of a blob turned out to stand for the same bytes as its chunks. */
  onAgree?: (() => void) | undefined
}

/** The digests of a blob's 4 MiB segments: a blob of one chunk is its own segment. */
export async function readSegments(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
): Promise<Uint8Array> {
  if (entry.segments === undefined) return entry.root.digest
  return decodeSegments(await source.read(entry.segments, damageContext), entry.size, damageContext.what)
}

/**
 * As `readSegments`; null when they are damaged, cannot be read now, or are in a pack of a newer version. Chunks decide what a blob is, and
 * whether it can be read: segments only make it quick to verify.
 */
export async function readSegmentsOrNull(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
): Promise<Uint8Array | null> {
  try {
    return await readSegments(source, entry, damageContext)
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    return null
  }
}

/**
 * A whole blob in one new buffer. Large reads go straight into it; whole segments are verified behind them. Only when a
 * segment is wrong are its chunks looked at, to find another copy or to name what is damaged.
 */
export async function readWhole(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  options: ReadOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const segments = await readSegmentsOrNull(source, entry, damageContext)
  let agree = entry.segments !== undefined && segments !== null
  // The root is checked against the size that the manifest claims, before there is room made for it.
  for await (const _run of chunkRuns(source, entry, damageContext, 0, 1)) break
  const target = allocate(entry.size, damageContext)
  let verified = 0
  for await (const filled of fill(source, entry, damageContext, target)) {
    while (verified < filled) {
      const end = Math.min(verified + segmentBytes(entry), entry.size)
      if (end > filled) break
      agree = (await verifySegment(source, entry, damageContext, segments, target, verified, end)) && agree
      verified = end
      options.onBytes?.(verified)
      options.signal?.throwIfAborted()
      // A segment takes a millisecond to hash; the host's event loop must not wait for several.
      await clock.nextTurn()
    }
  }
  if (entry.size === 0) await verifySegment(source, entry, damageContext, segments, target, 0, 0)
  if (agree) options.onAgree?.()
  return target
}

/** Reads a whole blob into `target` and yields how far it is filled. Nothing is verified yet. */
async function* fill(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  target: Uint8Array,
): AsyncGenerator<number, void> {
  const inTurn = limited(BYTES_IN_FLIGHT, READS_IN_FLIGHT)
  let ahead: { reading: Promise<unknown>; end: number } | null = null
  try {
    for await (const group of groups(source, entry, damageContext, 0, entry.size, GROUP_BYTES)) {
      const reading = Promise.all(
        planReads(group.pieces).map((read) =>
          inTurn(read.bytes, () => executeRead(source, read, target, 0, damageContext)),
        ),
      )
      reading.catch(() => {})
      const before = ahead
      ahead = { reading, end: group.start + group.length }
      if (before === null) continue
      await before.reading
      yield before.end
    }
    if (ahead === null) return
    await ahead.reading
    yield ahead.end
  } finally {
    // A caller that stops early must not leave a read running on a closed file.
    await ahead?.reading.catch(() => {})
  }
}

/** A FIFO limiter: runs at most `countMax` tasks and `bytesMax` bytes at once, but always one. */
function limited(bytesMax: number, countMax: number): (bytes: number, work: () => Promise<void>) => Promise<void> {
  const waiting: { bytes: number; begin: () => void }[] = []
  let bytesUnderWay = 0
  let underWay = 0
  const fits = (bytes: number): boolean => underWay === 0 || (underWay < countMax && bytesUnderWay + bytes <= bytesMax)
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

/** Verified bytes [start, end) in order, in new buffers of a few MiB, one group read ahead. */
export async function* readRange(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  start: number,
  end: number,
  options: ReadOptions = {},
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  if (start >= end) {
    // An empty blob is still one block that must be there, be what it says, and be empty.
    if (entry.size === 0)
      for await (const run of chunkRuns(source, entry, damageContext)) await readChunk(source, run, 0, damageContext)
    return
  }
  let ahead: Promise<Uint8Array<ArrayBuffer>> | null = null
  try {
    for await (const group of groups(source, entry, damageContext, start, end, STREAM_GROUP_BYTES)) {
      const reading = readGroup(source, group, damageContext)
      reading.catch(() => {})
      if (ahead !== null) {
        const bytes = await ahead
        ahead = reading
        yield emit(bytes)
      } else {
        ahead = reading
      }
    }
    if (ahead !== null) yield emit(await ahead)
  } finally {
    // A consumer that leaves early must not leave a read behind that uses a closed file.
    await ahead?.catch(() => {})
  }

  function emit(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    options.signal?.throwIfAborted()
    options.onBytes?.(bytes.length)
    return bytes
  }

  async function readGroup(
    source: BlockSource,
    group: Group,
    damageContext: DamageContext,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = allocate(group.length, damageContext)
    await Promise.all(
      planReads(group.pieces).map((read) => executeRead(source, read, bytes, group.start, damageContext)),
    )
    for (const { run, first, last, position } of group.pieces) {
      await verifyChunks(source, run, first, last, bytes, position - group.start, damageContext)
    }
    const from = Math.max(start - group.start, 0)
    const to = Math.min(end - group.start, group.length)
    return bytes.subarray(from, to)
  }
}

interface Group {
  /** In the blob. */
  start: number
  length: number
  /** In the order of the blob. */
  pieces: Piece[]
}

/** The pieces that give bytes [start, end), in groups of about `bytes`. */
async function* groups(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  start: number,
  end: number,
  bytes: number,
): AsyncGenerator<Group> {
  await source.expectLookups(Math.ceil((end - start) / 16_384))
  let group: Group | null = null
  for await (const run of chunkRuns(source, entry, damageContext, start, end)) {
    const [first, last] = overlapping(run, start, end)
    await source.loadIndexesFor(run.digests.subarray(first * DIGEST_BYTES), last - first)
    for (const piece of findPieces(source, run, first, last, bytes)) {
      group ??= { start: piece.position, length: 0, pieces: [] }
      group.pieces.push(piece)
      group.length += piece.length
      if (group.length >= bytes) {
        yield group
        group = null
      }
    }
  }
  if (group !== null) yield group
}

function overlapping(run: ChunkRun, start: number, end: number): [number, number] {
  let first = 0
  let position = run.offset
  while (first < run.count && position + run.lengths[first]! <= start) position += run.lengths[first++]!
  let last = first
  while (last < run.count && position < end) position += run.lengths[last++]!
  // An empty blob is one chunk of no bytes.
  return run.count === 1 && run.lengths[0] === 0 ? [0, 1] : [first, last]
}

function segmentBytes(entry: BlobEntry): number {
  return entry.segments === undefined ? Math.max(entry.size, 1) : SEGMENT_BYTES
}

/**
 * Whether the bytes [start, end) are those of their segment. If not, each of their chunks is checked instead, and a bad one is replaced
 * by a good copy, or is damage.
 */
async function verifySegment(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  segments: Uint8Array | null,
  target: Uint8Array,
  start: number,
  end: number,
): Promise<boolean> {
  const at = Math.floor(start / SEGMENT_BYTES) * DIGEST_BYTES
  if (segments !== null && digestsEqual(blake3(target.subarray(start, end)), 0, segments, at)) return true
  for await (const run of chunkRuns(source, entry, damageContext, start, end)) {
    const [first, last] = overlapping(run, start, end)
    let position = run.offset
    for (let i = 0; i < first; i++) position += run.lengths[i]!
    await verifyChunks(source, run, first, last, target, position, damageContext)
  }
  return false
}

function allocate(bytes: number, damageContext: DamageContext): Uint8Array<ArrayBuffer> {
  try {
    const buffer = Buffer.allocUnsafeSlow(bytes)
    return new Uint8Array(buffer.buffer, buffer.byteOffset, bytes)
  } catch (cause) {
    throw new HoldfastError(
      'LIMIT_EXCEEDED',
      `${damageContext.what} has ${bytes} bytes, more than one buffer can hold here; use stream(), file() or writeTo()`,
      { details: { ...damageContext.details, bytes }, cause },
    )
  }
}
