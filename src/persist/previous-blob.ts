// Finds which chunks of the previous snapshot a blob still has, so that they are not cut and hashed again.

import type { ChunkRun } from '../blocks/blob-dag.ts'
import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import type { KnownChunks } from '../workers/jobs.ts'

/** The same blob in the snapshot before: what has not changed since need not be cut and hashed again. */
export interface PreviousBlob {
  size: number
  /** Its chunks from first to last; it may end early, where they cannot be read. */
  chunks: AsyncGenerator<ChunkRun, void>
  /** Digests of its segments. */
  segments: Uint8Array
  /**
   * This process has seen its segments and chunks stand for the same bytes. Until then an equal segment proves nothing
   * about chunks, and they are hashed: a manifest that lies would else make the next snapshot lie, although the right
   * bytes are in hand.
   */
  isChecked: boolean
}

/** Consecutive chunks of the previous snapshot. */
export interface KnownRun {
  parts: readonly KnownPart[]
  /** Where the last one ends in the blob. */
  end: number
}

/** Chunks [first, last) of one node. */
interface KnownPart {
  /** Where each chunk of the node ends in the blob. */
  ends: Float64Array
  /** 32 bytes for each chunk of the node. */
  digests: Uint8Array
  first: number
  last: number
  /** Where chunk `first` starts in the blob. */
  start: number
}

/**
 * What the previous snapshot says about a blob's boundaries. A boundary depends only on the bytes since the one before,
 * so where bytes are the same boundaries are the same; only the last chunk was cut by the end of its blob, and is good
 * only if this one ends there too.
 *
 * Its chunks are read as the new blob comes to them and forgotten behind it: memory does not grow with the blob. So
 * positions only grow, from one question to the next.
 */
export interface PreviousChunks {
  /** Whether `bytes` are the previous segment at blob position `start`. */
  hasSegment(start: number, bytes: Uint8Array): boolean
  hasDigest(start: number, digest: Uint8Array): boolean
  segmentDigest(start: number): Uint8Array
  /**
   * Forgets the chunks that end at `from` or before, and reads those up to `to`: the questions below are about what
   * lies between.
   */
  advance(from: number, to: number): Promise<void>
  /** The chunks from `from`, a boundary, up to `to`; null when `from` is none or there are none. */
  runFrom(from: number, to: number, final: boolean): KnownRun | null
  /** Chunks around [from, to), in window positions: blob position `from` is at `from - shift`. */
  candidates(from: number, to: number, shift: number): KnownChunks | null
  allKnown(run: KnownRun, dedup: DedupWriter): boolean
  /** Waits for what is being read ahead. */
  settled(): Promise<void>
}

/** More chunks than windows and read-ahead can have. Only hostile nodes list more, and they are not followed. */
const CHUNKS_HELD_MAX = 65_536

/** Nodes are read while windows before them are cut; a busy machine takes its time for it. */
const AHEAD_BYTES = 16 * 1024 * 1024

interface Leaf {
  start: number
  count: number
  ends: Float64Array
  digests: Uint8Array
}

export function createPreviousChunks({ size, chunks, segments, isChecked }: PreviousBlob): PreviousChunks {
  /** The nodes that were read, from the first one that is still needed. */
  let leaves: Leaf[] = []
  let held = 0
  /** Blob position up to which all nodes are read. */
  let readTo = 0
  let ended = size === 0
  let failure: { error: unknown } | null = null
  /** How far to read, and what is being read for it. */
  let wanted = 0
  let reading: Promise<void> | null = null

  /** Reads ahead, one node at a time, up to `wanted`. Callers need not wait for it. */
  function readOn(): void {
    if (reading !== null || ended || readTo >= wanted) return
    reading = readLeaf()
      .catch((error: unknown) => {
        failure = { error }
        ended = true
      })
      .then(() => {
        reading = null
        readOn()
      })
  }

  async function readLeaf(): Promise<void> {
    const { value: run, done } = await chunks.next()
    if (done || held + run.count > CHUNKS_HELD_MAX) {
      ended = true
      return
    }
    const ends = new Float64Array(run.count)
    let end = run.offset
    for (let i = 0; i < run.count; i++) {
      end += run.lengths[i]!
      ends[i] = end
    }
    leaves.push({ start: run.offset, count: run.count, ends, digests: run.digests })
    held += run.count
    readTo = end
    if (readTo === size) ended = true
  }

  /** The chunks that end in (from, to], and where the first of them starts. */
  function between(from: number, to: number): KnownPart[] {
    const parts: KnownPart[] = []
    for (const { start, ends, digests } of leaves) {
      if (start >= to) break
      const first = after(ends, from)
      const last = after(ends, to)
      if (first === last) continue
      parts.push({ ends, digests, first, last, start: first === 0 ? start : ends[first - 1]! })
    }
    return parts
  }

  function hasDigest(start: number, digest: Uint8Array): boolean {
    if (!isChecked) return false
    const at = (start / SEGMENT_BYTES) * DIGEST_BYTES
    return at + DIGEST_BYTES <= segments.length && digestsEqual(digest, 0, segments, at)
  }

  return {
    hasDigest,
    hasSegment: (start, bytes) => isChecked && start + bytes.length <= size && hasDigest(start, blake3(bytes)),
    segmentDigest(start) {
      const at = (start / SEGMENT_BYTES) * DIGEST_BYTES
      return segments.subarray(at, at + DIGEST_BYTES)
    },
    async advance(from, to) {
      leaves = leaves.filter(({ ends, count }) => ends[count - 1]! > from)
      held = leaves.reduce((sum, { count }) => sum + count, 0)
      wanted = to + AHEAD_BYTES
      readOn()
      while (!ended && readTo < to) await reading
      if (failure !== null && readTo < to) throw failure.error
    },
    runFrom(from, to, final) {
      const parts = between(from, to)
      if (parts[0]?.start !== from) return null
      let last = parts.at(-1)!
      // The blob's last chunk.
      if (last.ends[last.last - 1] === size && !(final && size === to)) {
        parts[parts.length - 1] = { ...last, last: last.last - 1 }
        if (last.last - 1 === last.first) parts.pop()
        if (parts.length === 0) return null
        last = parts.at(-1)!
      }
      return { parts, end: last.ends[last.last - 1]! }
    },
    candidates(from, to, shift) {
      const parts = between(from, to)
      if (parts.length === 0) return null
      const count = parts.reduce((sum, { first, last }) => sum + last - first, 0)
      const known = {
        start: parts[0]!.start - shift,
        ends: new Float64Array(count),
        // A copy: what is posted to a worker is cloned with all of the buffer below it.
        digests: new Uint8Array(count * DIGEST_BYTES),
        lastIsFinal: false,
      }
      let at = 0
      for (const { ends, digests, first, last } of parts) {
        known.digests.set(digests.subarray(first * DIGEST_BYTES, last * DIGEST_BYTES), at * DIGEST_BYTES)
        for (let i = first; i < last; i++) known.ends[at++] = ends[i]! - shift
        known.lastIsFinal = ends[last - 1] === size
      }
      return known
    },
    allKnown({ parts }, dedup) {
      return parts.every(({ ends, digests, first, last, start }) => {
        let before = start
        for (let i = first; i < last; i++) {
          if (!dedup.has(digests, i * DIGEST_BYTES, ends[i]! - before)) return false
          before = ends[i]!
        }
        return true
      })
    },
    async settled() {
      wanted = 0
      await reading
    },
  }
}

/** How many of the ascending `ends` are at `position` or before. */
function after(ends: Float64Array, position: number): number {
  let low = 0
  let high = ends.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ends[middle]! <= position) low = middle + 1
    else high = middle
  }
  return low
}
