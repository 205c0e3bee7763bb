// Stores the chunks of a blob in their order, and the nodes and segment digests that follow from them.

import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { HoldfastError } from '../errors.ts'
import { createYielder } from '../event-loop.ts'
import { blake3 } from '../format/blake3.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import type { Chunking } from '../format/chunking.ts'
import { CODEC_DAG_CBOR } from '../format/cid.ts'
import { createDagBuilder } from '../format/dag.ts'
import { CHECK_BYTES, DIGEST_BYTES } from '../format/limits.ts'
import { KIND } from '../format/pack.ts'
import { encodeSegments } from '../format/segments.ts'
import type { Compressed, CompressFailures } from '../workers/frames.ts'
import type { Windows } from '../workers/windows.ts'
import type { CutChunks, SameChunks } from './cut-window.ts'
import type { PreviousChunks } from './previous-blob.ts'

interface ChunkSink {
  /**
   * Compresses the chunks of a window that the store does not have; null when nothing is to be compressed. In any
   * order.
   */
  compress(found: CutChunks): Promise<Compressed | null>
  /** Stores a window's chunks. In the order of the blob, one window at a time. */
  store(found: SameChunks | CutChunks, compressed: Compressed | null): Promise<void>
  /** After the last window: the blob's root and its segment digests. */
  finish(size: number): BlobEntry
}

interface ChunkSinkOptions {
  name: string
  chunking: Chunking
  compress: boolean
  windows: Windows
  /** The same blob in the snapshot before, or null. */
  previous: PreviousChunks | null
  dedup: DedupWriter
  signal: AbortSignal
  onCompressFailures: (failures: CompressFailures) => void
}

/** Chunks between two looks at the clock. */
const CHUNKS_AT_ONCE = 32

/** Nodes follow the chunks they name, but do not pile up in memory without bound. */
const NODES_HELD_BYTES = 4 * 1024 * 1024

export function createChunkSink(options: ChunkSinkOptions): ChunkSink {
  const { name, chunking, windows, previous, dedup } = options
  const segments = createDigestList()
  let skip = { chunks: 0, next: 1 }
  let nodes: { block: Uint8Array; digest: Uint8Array }[] = []
  let nodeBytes = 0
  const dag = createDagBuilder((block, digest) => {
    nodes.push({ block, digest })
    nodeBytes += block.length
  })

  /** An empty range stands for a chunk that the store has. */
  async function compress({ filled: { window }, start, count }: CutChunks): Promise<Compressed | null> {
    if (!options.compress) return null
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

  async function storeSame({ bytes, start, run }: SameChunks): Promise<void> {
    const turn = createYielder(options.signal)
    let at = start
    for (const { ends, digests, first, last, start: partStart } of run.parts) {
      let before = partStart
      for (let i = first; i < last; i++) {
        if (i % CHUNKS_AT_ONCE === 0) await turn()
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

  async function storeCut(
    { filled: { window }, start, count }: CutChunks,
    compressed: Compressed | null,
  ): Promise<void> {
    const turn = createYielder(options.signal)
    let at = start
    let frameAt = 0
    for (let i = 0; i < count; i++) {
      if (i % CHUNKS_AT_ONCE === 0) await turn()
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

  function storeEmpty(): void {
    const empty = new Uint8Array(0)
    const digest = blake3(empty)
    if (!dedup.reuse(digest, 0, 0)) dedup.chunk(empty, digest)
    dag.push(0, digest, 0)
  }

  return {
    compress,
    async store(found, compressed) {
      const { window, start, length, peeked } = found.filled
      if (length > 0) segments.push(peeked ? previous!.segmentDigest(start) : window.segmentDigest)
      if (found.kind === 'same') await storeSame(found)
      else await storeCut(found, compressed)
      if (nodeBytes >= NODES_HELD_BYTES) storeNodes()
    },
    finish(size) {
      if (size === 0) storeEmpty()
      const { root } = dag.finish()
      storeNodes()
      const entry: BlobEntry = { root, size, chunking }
      if (root.codec === CODEC_DAG_CBOR) {
        const block = encodeSegments(segments.bytes())
        entry.segments = blake3(block)
        dedup.block(block, entry.segments, CODEC_DAG_CBOR, KIND.segments)
      }
      return entry
    },
  }
}

/**
 * A concurrent read found a reused chunk to be bad after its window was released, so its bytes are no longer at hand.
 */
function becameBad(name: string): HoldfastError {
  return new HoldfastError(
    'PACK_DAMAGED',
    `blob ${JSON.stringify(name)}: a chunk of the snapshot before was found to be damaged meanwhile; nothing was committed, persist again`,
    { details: { blob: name } },
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
