import { setImmediate } from 'node:timers/promises'
import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { HoldfastError } from '../errors.ts'
import { blake3 } from '../format/blake3.ts'
import { type Chunking, chunkBytesMax } from '../format/chunking.ts'
import { CODEC_DAG_CBOR } from '../format/cid.ts'
import { createDagBuilder } from '../format/dag.ts'
import { BLOB_BYTES_MAX, CHECK_BYTES, DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import type { BlobEntry } from '../format/manifest.ts'
import { KIND } from '../format/pack.ts'
import { encodeSegments } from '../format/segments.ts'
import type { Compressed, CompressFailures } from '../workers/frames.ts'
import { openWindows, type Window, type Windows } from '../workers/windows.ts'
import { createPreviousChunks, type KnownRun, type PreviousBlob, type PreviousChunks } from './previous-blob.ts'
import type { ByteReader } from './sources.ts'

interface PipelineOptions {
  name: string
  reader: ByteReader
  chunking: Chunking
  compress: boolean
  /** Cut by the same chunking, or null. */
  previous: PreviousBlob | null
  dedup: DedupWriter
  signal: AbortSignal
  onBytes: (bytes: number) => void
  onCompressFailures: (failures: CompressFailures) => void
}

/** Nodes follow the chunks they name, but do not pile up in memory without bound. */
const NODES_HELD_BYTES = 4 * 1024 * 1024

/**
 * Reads a blob once, into our own buffers, and stores what the store does not have. Everything (segment digest, boundaries, chunk
 * digests, the bytes written) comes from that one copy: a source that changes meanwhile cannot make them disagree.
 *
 * A pipeline over windows of one segment each: while one is filled, the one before is cut, the one before that is hashed, and an
 * older one is written. Boundaries are found strictly in order, since each depends on the one before.
 */
export async function ingestBlob(options: PipelineOptions): Promise<BlobEntry> {
  const windows = openWindows(options.chunking, options.reader.size)
  const flow = createFlow(options, windows)
  try {
    return await flow.run()
  } finally {
    // Threads and writes in flight still use the windows' memory.
    await flow.settled()
    windows.release()
  }
}

/** What has become of one window. */
type Outcome =
  /** Chunks of the previous snapshot, at the window position `start`; `bytes` null: never copied. */
  | { kind: 'same'; filled: Filled; bytes: Uint8Array | null; start: number; run: KnownRun }
  /** Chunks cut here; their digests are in the window once `hashed` settles. */
  | { kind: 'cut'; filled: Filled; start: number; count: number; hashed: Promise<void> }

type Cut = Extract<Outcome, { kind: 'cut' }>

interface Filled {
  window: Window
  /** Blob position of the segment's first byte, and how many bytes it has. */
  start: number
  length: number
  final: boolean
  /** The bytes are the previous snapshot's segment there; only their tail was copied. */
  peeked: boolean
  /** Settles when the segment's digest is in the window; at once when peeked. */
  digested: Promise<void>
}

function createFlow(options: PipelineOptions, windows: Windows) {
  const { name, reader, chunking, dedup, signal } = options
  const chunkMax = chunkBytesMax(chunking)
  const previous: PreviousChunks | null = options.previous === null ? null : createPreviousChunks(options.previous)
  const segments = createDigestList()
  const inFlight = new Set<Promise<unknown>>()
  const busy: Promise<unknown>[] = []
  let taking: Promise<void> = Promise.resolve()

  // Blob positions.
  let size = 0
  let uncut = 0
  /** Segments from here on, up to `size`, equal the previous ones. */
  let sameFrom = Number.POSITIVE_INFINITY
  /** The bytes [uncut, size). */
  let rest: Uint8Array = new Uint8Array(0)

  let nodes: { block: Uint8Array; digest: Uint8Array }[] = []
  let nodeBytes = 0
  let skip = { chunks: 0, next: 1 }
  const dag = createDagBuilder((block, digest) => {
    nodes.push({ block, digest })
    nodeBytes += block.length
  })

  function track<T>(work: Promise<T>): Promise<T> {
    inFlight.add(work)
    work.then(
      () => inFlight.delete(work),
      () => inFlight.delete(work),
    )
    return work
  }

  async function run(): Promise<BlobEntry> {
    let cutting: Promise<void> = Promise.resolve()
    for (let turn = 0, final = false; !final; turn++) {
      signal.throwIfAborted()
      await busy[turn % windows.count]
      const filled = await fill(windows.at(turn))
      final = filled.final
      await cutting
      // Here and not in `cut`, which must have taken what was only looked at before the next window is filled.
      await previous?.advance(uncut, size)
      const outcome = track(cut(filled))
      cutting = track(outcome.then(() => undefined))
      const taken = track(take(outcome, taking))
      taking = taken
      // Where nothing is copied nothing is waited for either: the event loop gets its turn here.
      if (filled.peeked) await setImmediate()
      busy[turn % windows.count] = track(taken.then(() => dedup.written()))
    }
    await cutting
    await taking
    await reader.settle()
    return await finish()
  }

  /** Copies one segment of the source into a window, or only looks at it when it is as it was. */
  async function fill(window: Window): Promise<Filled> {
    const start = size
    const filled = await look(window, start)
    size = start + filled.length
    return filled
  }

  async function look(window: Window, start: number): Promise<Filled> {
    const segment = window.bytes.subarray(window.origin)
    // To copy costs a sixth of hashing: threads that are up hash two copies while this one would hash the original.
    const seen = previous === null || windows.isThreaded ? null : reader.peek(segment.length)
    if (seen !== null && seen.length === SEGMENT_BYTES && previous!.hasSegment(start, seen)) {
      // In the same tick as the digest, so that these bytes are those that were hashed.
      segment.set(seen.subarray(-chunkMax), SEGMENT_BYTES - Math.min(chunkMax, SEGMENT_BYTES))
      return { window, start, length: SEGMENT_BYTES, final: false, peeked: true, digested: Promise.resolve() }
    }
    return await copy(window, start)
  }

  async function copy(window: Window, start: number): Promise<Filled> {
    const segment = window.bytes.subarray(window.origin)
    const length = await reader.read(segment)
    const final = length < SEGMENT_BYTES
    if (start + length > BLOB_BYTES_MAX) throw tooLarge(name)
    const digested =
      length === 0 ? Promise.resolve() : track(windows.digest(window, window.origin, window.origin + length))
    return { window, start, length, final, peeked: false, digested }
  }

  /** Finds the boundaries up to the end of a window, as far as they can be known. */
  async function cut(given: Filled): Promise<Outcome> {
    let filled = given
    // What the window before left uncut goes in front of the segment. Before anything is awaited: that window may be filled again then.
    const { window } = given
    const from = window.origin - rest.length
    window.bytes.set(rest, from)
    if (filled.peeked && !canTakeAsBefore(filled)) filled = await copy(filled.window, filled.start)
    else if (filled.peeked) reader.skip(filled.length)
    const { start, length, final, peeked, digested } = filled
    const end = start + length
    if (previous !== null && length > 0) {
      await digested
      const same = peeked || previous.hasDigest(start, window.segmentDigest)
      sameFrom = same ? Math.min(sameFrom, start) : Number.POSITIVE_INFINITY
    }

    const upTo = window.origin + length
    const before = uncut

    if (previous !== null && uncut >= sameFrom) {
      const run = previous.runFrom(uncut, end, final)
      if (run !== null && (run.end === end || end - run.end <= chunkMax) && (!final || run.end === end)) {
        if (!peeked || previous.allKnown(run, dedup)) {
          uncut = run.end
          rest = window.bytes.subarray(upTo - (end - run.end), upTo)
          const bytes = peeked ? null : window.bytes
          return { kind: 'same', filled, bytes, start: from, run }
        }
      }
    }
    if (peeked) throw new Error('bug: a window was passed over that must be cut')
    const known = previous?.candidates(before, end, before - from) ?? null
    const count =
      known === null
        ? await windows.cut(window, from, upTo, final)
        : await windows.rechunk(window, from, upTo, final, known)
    const last = count === 0 ? from : window.ends[count - 1]!
    uncut = before + (last - from)
    rest = window.bytes.subarray(last, upTo)
    const hashed = known === null ? track(windows.hash(window, from, count)) : Promise.resolve()
    return { kind: 'cut', filled, start: from, count, hashed }
  }

  /** Whether all of a segment that was only looked at is chunks that the store has. */
  function canTakeAsBefore({ start, length }: Filled): boolean {
    const run = uncut >= Math.min(sameFrom, start) ? previous!.runFrom(uncut, start + length, false) : null
    return run !== null && start + length - run.end <= chunkMax && previous!.allKnown(run, dedup)
  }

  /** Stores the chunks of a window, in the order of the blob. */
  async function take(outcome: Promise<Outcome>, before: Promise<void>): Promise<void> {
    const found = await outcome
    const { window, start, length, peeked, digested } = found.filled
    await digested
    let compressed: Compressed | null = null
    if (found.kind === 'cut') {
      await found.hashed
      if (options.compress) compressed = await track(compressNew(found))
    }
    await before
    signal.throwIfAborted()
    if (length > 0) segments.push(peeked ? previous!.segmentDigest(start) : window.segmentDigest)
    if (found.kind === 'same') takeSame(found)
    else takeCut(found, compressed)
    if (nodeBytes >= NODES_HELD_BYTES) storeNodes()
    await dedup.flush()
    options.onBytes(start + length)
  }

  function takeSame({ bytes, start, run }: Extract<Outcome, { kind: 'same' }>): void {
    let at = start
    for (const { ends, digests, first, last, start: partStart } of run.parts) {
      let before = partStart
      for (let i = first; i < last; i++) {
        const length = ends[i]! - before
        if (!dedup.reuse(digests, i * DIGEST_BYTES, length)) {
          if (bytes === null) throw becameBad(name)
          dedup.chunk(bytes.subarray(at, at + length), digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES))
        }
        dag.push(length, digests, i * DIGEST_BYTES)
        before = ends[i]!
        at += length
      }
    }
  }

  /** Of a window's chunks those that the store does not have; an empty range stands for one that it has. */
  async function compressNew({ filled: { window }, start, count }: Cut): Promise<Compressed> {
    const ranges = new Uint32Array(2 * count)
    let at = start
    for (let i = 0; i < count; i++) {
      if (!dedup.has(window.digests, i * DIGEST_BYTES)) ranges.set([at, window.ends[i]!], 2 * i)
      at = window.ends[i]!
    }
    const compressed = await windows.compress(window, ranges, skip)
    skip = compressed.skip
    options.onCompressFailures(compressed.failures)
    return compressed
  }

  function takeCut({ filled: { window }, start, count }: Cut, compressed: Compressed | null): void {
    let at = start
    let frameAt = 0
    for (let i = 0; i < count; i++) {
      const end = window.ends[i]!
      const digestAt = i * DIGEST_BYTES
      const frameEnd = frameAt + (compressed?.lengths[i] ?? 0)
      const frame =
        frameEnd === frameAt
          ? null
          : {
              bytes: compressed!.stored.subarray(frameAt, frameEnd),
              check: compressed!.checks.subarray(i * CHECK_BYTES, (i + 1) * CHECK_BYTES),
            }
      frameAt = frameEnd
      if (!dedup.reuse(window.digests, digestAt, end - at)) {
        const digest = window.digests.subarray(digestAt, digestAt + DIGEST_BYTES)
        dedup.chunk(window.bytes.subarray(at, end), digest, frame)
      }
      dag.push(end - at, window.digests, digestAt)
      at = end
    }
  }

  function storeNodes(): void {
    for (const { block, digest } of nodes) dedup.block(block, digest, CODEC_DAG_CBOR, KIND.node)
    nodes = []
    nodeBytes = 0
  }

  async function finish(): Promise<BlobEntry> {
    if (size === 0) {
      const empty = new Uint8Array(0)
      const digest = blake3(empty)
      if (!dedup.reuse(digest, 0, 0)) dedup.chunk(empty, digest)
      dag.push(0, digest, 0)
    }
    const { root } = dag.finish()
    storeNodes()
    const entry: BlobEntry = { root, size, chunking }
    if (root.codec === CODEC_DAG_CBOR) {
      const block = encodeSegments(segments.bytes())
      entry.segments = blake3(block)
      dedup.block(block, entry.segments, CODEC_DAG_CBOR, KIND.segments)
    }
    await dedup.flush()
    return entry
  }

  return {
    run,
    async settled() {
      while (inFlight.size > 0) await Promise.allSettled(inFlight)
      await previous?.settled()
      await dedup.drain().catch(() => undefined)
    },
  }
}

/** A read beside this persist found a chunk to be bad that was counted on, and whose bytes are past. */
function becameBad(name: string): HoldfastError {
  return new HoldfastError(
    'PACK_DAMAGED',
    `blob ${JSON.stringify(name)}: a chunk of the snapshot before was found to be damaged meanwhile; nothing was committed, persist again`,
    { details: { blob: name } },
  )
}

function tooLarge(name: string): HoldfastError {
  return new HoldfastError(
    'LIMIT_EXCEEDED',
    `blob ${JSON.stringify(name)} has more than ${BLOB_BYTES_MAX} bytes; split it into several blobs`,
    { details: { blob: name, limit: BLOB_BYTES_MAX } },
  )
}

function createDigestList(): { push(digest: Uint8Array): void; bytes(): Uint8Array } {
  let digests = new Uint8Array(16 * DIGEST_BYTES)
  let count = 0
  return {
    push(digest) {
      if ((count + 1) * DIGEST_BYTES > digests.length) {
        const more = new Uint8Array(digests.length * 2)
        more.set(digests)
        digests = more
      }
      digests.set(digest, count * DIGEST_BYTES)
      count += 1
    },
    bytes: () => digests.slice(0, count * DIGEST_BYTES),
  }
}
