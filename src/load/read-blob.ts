// Reads a blob, whole or a range: whole segments are verified by their digests, the rest by its chunks.

import { chunkRuns } from '../blocks/blob-dag.ts'
import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import { clock } from '../clock.ts'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import { decodeSegments } from '../format/segments.ts'
import { hasDigest } from '../workers/check.ts'
import { borrowShared } from '../workers/shared-parts.ts'
import { readChunk } from './execute-read.ts'
import {
  type BlobRead,
  fillGroup,
  type Group,
  groupsOf,
  type InTurn,
  isWholeSegments,
  limitedReads,
  readAhead,
  verifyGroupChunks,
} from './read-groups.ts'

/** Read together into one buffer. The next group is read while one is verified. */
const WHOLE_GROUP_BYTES = 4 * SEGMENT_BYTES
/** A stream holds two of these. */
const STREAM_GROUP_BYTES = SEGMENT_BYTES

interface ReadOptions {
  signal?: AbortSignal | undefined
  onBytes?: ((bytes: number) => void) | undefined
  /** Called when all was read and the segments of the blob turned out to stand for the same bytes as its chunks. */
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
 * As `readSegments`; null when they are damaged, cannot be read now, or are in a pack of a newer version. Chunks decide
 * what a blob is, and whether it can be read: segments only make it quick to verify.
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
  if (entry.size === 0) return await readEmpty(source, entry, damageContext, options)
  const blob = { source, entry, damageContext }
  const segments = await readSegmentsOrNull(source, entry, damageContext)
  let agree = entry.segments !== undefined && segments !== null
  // The root is checked against the size that the manifest claims, before there is room made for it.
  for await (const _run of chunkRuns(source, entry, damageContext, 0, 1)) break
  const bytes = allocate(entry.size, damageContext)
  const target = { bytes, from: 0 }
  const inTurn = limitedReads(source.reads)
  const groups = groupsOf(blob, 0, entry.size, WHOLE_GROUP_BYTES)
  for await (const group of readAhead(groups, { bytes: entry.size, ahead: source.reads.partsAhead }, (next) =>
    fillGroup(blob, next, target, inTurn).then(() => next),
  )) {
    for (let start = group.start; start < group.end; start += SEGMENT_BYTES) {
      const end = Math.min(start + SEGMENT_BYTES, group.end)
      // Here, and not in a worker: one buffer cannot be lent in parts.
      const isGood = segments !== null && digestsEqual(blake3(bytes.subarray(start, end)), 0, segments, digestAt(start))
      if (!isGood) {
        agree = false
        const { error } = await verifyGroupChunks(blob, group, target, start, end)
        if (error !== null) throw error
      }
      options.onBytes?.(end)
      options.signal?.throwIfAborted()
      // A segment takes a millisecond to hash; the host's event loop must not wait for several.
      await clock.nextTurn()
    }
  }
  if (agree) options.onAgree?.()
  return bytes
}

/** An empty blob is still one block that must be there, be what it says, and be empty. */
async function readEmpty(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  options: ReadOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  options.signal?.throwIfAborted()
  for await (const run of chunkRuns(source, entry, damageContext)) await readChunk(source, run, 0, 0, damageContext)
  return new Uint8Array(0)
}

interface RangeOptions extends ReadOptions {
  /** The blob's segments are known to be lost: go by its chunks. */
  byChunks?: boolean | undefined
}

/**
 * Verified bytes [start, end) in order, a segment at a time, one read ahead. Whole segments are verified by their
 * digests, what is less by its chunks. Of a segment that is damaged, what comes before the bad chunk is given before
 * the damage is thrown. Each part is new memory, the caller's to keep.
 */
export function readRange(
  ...[source, entry, damageContext, start, end, options = {}]: RangeArguments
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const allocateNew = (bytes: number): Uint8Array => allocate(bytes, damageContext)
  const parts = readParts({ source, entry, damageContext }, start, end, options, allocateNew)
  return parts as AsyncGenerator<Uint8Array<ArrayBuffer>, void>
}

/** As `readRange`, in memory that threads share. A part is good until the one after the next is asked for. */
export async function* readShared(
  ...[source, entry, damageContext, start, end, options = {}]: RangeArguments
): AsyncGenerator<Uint8Array, void> {
  const memory = borrowShared(source.reads.partsAhead)
  try {
    yield* readParts({ source, entry, damageContext }, start, end, options, memory.take)
  } finally {
    memory.release()
  }
}

/** What is read of which blob. */
export type RangeArguments = [
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  start: number,
  end: number,
  options?: RangeOptions,
]

async function* readParts(
  blob: BlobRead,
  start: number,
  end: number,
  options: RangeOptions,
  allocateBytes: (bytes: number) => Uint8Array,
): AsyncGenerator<Uint8Array, void> {
  const { source, entry, damageContext } = blob
  if (start >= end) {
    if (entry.size === 0) await readEmpty(source, entry, damageContext, options)
    return
  }
  const inTurn = limitedReads(source.reads)
  const bySegments = options.byChunks !== true && hasWholeSegment(entry, start, end)
  const segments = bySegments ? await readSegmentsOrNull(source, entry, damageContext) : null
  const work = (group: Group): Promise<Part> => readPart(blob, group, segments, inTurn, allocateBytes)
  let agree = segments !== null && entry.segments !== undefined && start === 0 && end === entry.size
  const groups = groupsOf(blob, start, end, STREAM_GROUP_BYTES)
  for await (const { bytes, error, isAgreed } of readAhead(
    groups,
    { bytes: end - start, ahead: source.reads.partsAhead },
    work,
  )) {
    options.signal?.throwIfAborted()
    agree = agree && isAgreed
    if (bytes.length > 0) {
      options.onBytes?.(bytes.length)
      yield bytes
    }
    if (error !== null) throw error
  }
  if (agree) options.onAgree?.()
}

/** What was read of a group: good bytes, and why they are not all. */
interface Part {
  bytes: Uint8Array
  error: unknown
  /** They are those of their segment. */
  isAgreed: boolean
}

async function readPart(
  blob: BlobRead,
  group: Group,
  segments: Uint8Array | null,
  inTurn: InTurn,
  allocateBytes: (bytes: number) => Uint8Array,
): Promise<Part> {
  const { start, end, extent } = group
  const isSegment = segments !== null && isWholeSegments(blob.entry, start, end)
  for (;;) {
    const target = { bytes: allocateBytes(extent.to - extent.from), from: extent.from }
    await fillGroup(blob, group, target, inTurn)
    const isGood = isSegment ? await hasDigest(target, segments, digestAt(start)) : false
    // A worker died and took the memory along.
    if (isGood === null) continue
    const verified = isGood ? { end, error: null } : await verifyGroupChunks(blob, group, target, start, end)
    const bytes = target.bytes.subarray(start - extent.from, Math.min(verified.end, end) - extent.from)
    return { bytes, error: verified.error, isAgreed: isGood }
  }
}

function digestAt(start: number): number {
  return (start / SEGMENT_BYTES) * DIGEST_BYTES
}

/** Whether there is a whole segment of the blob in [start, end). */
function hasWholeSegment({ size }: BlobEntry, start: number, end: number): boolean {
  const first = Math.ceil(start / SEGMENT_BYTES) * SEGMENT_BYTES
  return first < end && Math.min(first + SEGMENT_BYTES, size) <= end
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
