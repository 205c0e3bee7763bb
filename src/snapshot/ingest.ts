import { setImmediate } from 'node:timers/promises'
import { HoldfastError } from '../errors.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { type Chunking, chunkBytesMax, cutter } from '../format/chunking.ts'
import { CODEC_DAG_CBOR } from '../format/cid.ts'
import { createDagBuilder } from '../format/dag.ts'
import { BLOB_BYTES_MAX, DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import type { BlobEntry } from '../format/manifest.ts'
import { KIND } from '../format/pack.ts'
import { encodeSegments } from '../format/segments.ts'
import type { ChunkList } from './chunks.ts'
import type { Intake } from './intake.ts'
import type { ByteReader } from './sources.ts'

/** The same blob in the snapshot before: what has not changed since need not be cut and hashed again. */
export interface PreviousBlob {
  size: number
  chunks: ChunkList
  /** Digests of its segments. */
  segments: Uint8Array
}

export interface IngestOptions {
  name: string
  reader: ByteReader
  chunking: Chunking
  /** Cut by the same chunking, or null. */
  previous: PreviousBlob | null
  intake: Intake
  signal: AbortSignal
  onBytes: (bytes: number) => void
}

/** The event loop gets a turn after this much cutting and hashing: a few milliseconds' worth. */
const YIELD_BYTES = 512 * 1024
/** Nodes follow the chunks they name, but do not pile up in memory without bound. */
const NODES_HELD_BYTES = 4 * 1024 * 1024

/**
 * Reads a blob once, into our own buffers, and stores what the store does not have. Everything (segment digest, boundaries, chunk
 * digests, the bytes written) comes from that one copy: a source that changes meanwhile cannot make them disagree.
 */
export async function ingestBlob(options: IngestOptions): Promise<BlobEntry> {
  const { name, reader, chunking, previous, intake, signal } = options
  const cut = cutter(chunking)
  const chunkMax = chunkBytesMax(chunking)
  const segments = createDigestList()
  let nodes: { block: Uint8Array; digest: Uint8Array }[] = []
  let nodeBytes = 0
  const dag = createDagBuilder((block, digest) => {
    nodes.push({ block, digest })
    nodeBytes += block.length
  })

  function storeNodes(): void {
    for (const { block, digest } of nodes) intake.block(block, digest, CODEC_DAG_CBOR, KIND.node)
    nodes = []
    nodeBytes = 0
  }

  let size = 0
  let carried: Uint8Array = new Uint8Array(0)
  let known = 0
  let equalFrom = Number.POSITIVE_INFINITY
  let sinceYield = 0

  for (let final = false; !final; ) {
    signal.throwIfAborted()
    // [what the last window could not cut yet][one segment]
    const window = intake.window(chunkMax + SEGMENT_BYTES)
    window.set(carried)
    const segment = window.subarray(carried.length, carried.length + SEGMENT_BYTES)
    const got = await reader.read(segment)
    final = got < SEGMENT_BYTES
    if (size + got > BLOB_BYTES_MAX) throw tooLarge(name)
    if (got > 0) {
      const digest = blake3(segment.subarray(0, got))
      const at = segments.count * DIGEST_BYTES
      const same = previous !== null && at < previous.segments.length && digestsEqual(digest, 0, previous.segments, at)
      equalFrom = same ? Math.min(equalFrom, size) : Number.POSITIVE_INFINITY
      segments.push(digest)
    }
    const base = size - carried.length
    const end = carried.length + got
    size += got

    let start = 0
    while (start < end) {
      const reused = previous === null ? 0 : reusable(previous, base + start, base + end, final)
      if (reused > 0) {
        const at = known * DIGEST_BYTES
        intake.chunk(window.subarray(start, start + reused), previous!.chunks.digests.subarray(at, at + DIGEST_BYTES))
        dag.push(reused, previous!.chunks.digests, at)
        start += reused
        continue
      }
      if (!final && end - start < chunkMax) break
      const length = cut(window, start, end)
      const bytes = window.subarray(start, start + length)
      const digest = blake3(bytes)
      intake.chunk(bytes, digest)
      dag.push(length, digest, 0)
      start += length
      sinceYield += length
      if (sinceYield >= YIELD_BYTES) {
        sinceYield = 0
        await setImmediate()
      }
    }
    carried = window.subarray(start, end)
    if (nodeBytes >= NODES_HELD_BYTES) storeNodes()
    await intake.flush()
    options.onBytes(size)
  }
  await reader.settle()

  if (size === 0) {
    const empty = new Uint8Array(0)
    const digest = blake3(empty)
    intake.chunk(empty, digest)
    dag.push(0, digest, 0)
  }
  const { root } = dag.finish()
  storeNodes()
  const entry: BlobEntry = { root, size, chunking }
  if (root.codec === CODEC_DAG_CBOR) {
    const block = encodeSegments(segments.bytes())
    entry.segments = blake3(block)
    intake.block(block, entry.segments, CODEC_DAG_CBOR, KIND.segments)
  }
  await intake.flush()
  return entry

  /**
   * The length of the previous snapshot's chunk at blob position `from`, when the bytes there are known to be the same and the
   * chunker would cut them alike: a boundary depends only on the bytes since the one before, except that the end of the blob
   * made the last one.
   */
  function reusable(before: PreviousBlob, from: number, to: number, final: boolean): number {
    if (from < equalFrom) return 0
    const { ends, count } = before.chunks
    while (known < count && ends[known]! <= from) known += 1
    if (known === count) return 0
    const starts = known === 0 ? 0 : ends[known - 1]!
    const ended = ends[known]!
    if (starts !== from || ended > to) return 0
    if (known === count - 1 && !(final && ended === to)) return 0
    return ended - from
  }
}

function tooLarge(name: string): HoldfastError {
  return new HoldfastError(
    'LIMIT_EXCEEDED',
    `blob ${JSON.stringify(name)} has more than ${BLOB_BYTES_MAX} bytes; split it into several blobs`,
    { details: { blob: name, limit: BLOB_BYTES_MAX } },
  )
}

function createDigestList(): { readonly count: number; push(digest: Uint8Array): void; bytes(): Uint8Array } {
  let digests = new Uint8Array(16 * DIGEST_BYTES)
  let count = 0
  return {
    get count() {
      return count
    },
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
