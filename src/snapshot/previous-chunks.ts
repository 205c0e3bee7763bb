import { blake3, digestsEqual } from '../format/blake3.ts'
import { DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import type { KnownChunks } from '../workers/jobs.ts'
import type { PreviousBlob } from './ingest.ts'
import type { Intake } from './intake.ts'

/** Consecutive chunks of the previous snapshot: `count` from number `first` on, ending at blob position `end`. */
export interface Run {
  first: number
  count: number
  end: number
}

/**
 * What the previous snapshot says about a blob's boundaries. A boundary depends only on the bytes since the one before, so where bytes
 * are the same boundaries are the same; only the last chunk was cut by the end of its blob, and is good only if this one ends there
 * too.
 */
export interface PreviousChunks {
  /** Whether `bytes` are the previous segment at blob position `start`. */
  hasSegment(start: number, bytes: Uint8Array): boolean
  hasDigest(start: number, digest: Uint8Array): boolean
  segmentDigest(start: number): Uint8Array
  /** Bytes of a chunk. */
  length(i: number): number
  /** The chunks from `from`, a boundary, up to `to`; null when `from` is none or there are none. */
  runFrom(from: number, to: number, final: boolean): Run | null
  /** Chunks around [from, to), in window positions: blob position `from` is at `at`... */
  candidates(from: number, to: number, shift: number): KnownChunks | null
  allKnown(run: Run, intake: Intake): boolean
}

export function createPreviousChunks({ size, chunks, segments }: PreviousBlob): PreviousChunks {
  const { count, ends, digests } = chunks
  /** Positions only grow: the first chunk that ends behind the last one asked for. */
  let next = 0

  function seek(position: number): void {
    if (next > 0 && ends[next - 1]! > position) next = 0
    while (next < count && ends[next]! <= position) next += 1
  }

  function startOf(i: number): number {
    return i === 0 ? 0 : ends[i - 1]!
  }

  function hasDigest(start: number, digest: Uint8Array): boolean {
    const at = (start / SEGMENT_BYTES) * DIGEST_BYTES
    return at + DIGEST_BYTES <= segments.length && digestsEqual(digest, 0, segments, at)
  }

  return {
    hasDigest,
    hasSegment: (start, bytes) => start + bytes.length <= size && hasDigest(start, blake3(bytes)),
    segmentDigest(start) {
      const at = (start / SEGMENT_BYTES) * DIGEST_BYTES
      return segments.subarray(at, at + DIGEST_BYTES)
    },
    length: (i) => ends[i]! - startOf(i),
    runFrom(from, to, final) {
      seek(from)
      if (next === count || startOf(next) !== from) return null
      let last = next
      while (last < count && ends[last]! <= to) last += 1
      const endedHere = final && ends[count - 1] === to
      if (last === count && !endedHere) last -= 1
      return last === next ? null : { first: next, count: last - next, end: ends[last - 1]! }
    },
    candidates(from, to, shift) {
      seek(from)
      let last = next
      while (last < count && ends[last]! <= to) last += 1
      if (last === next) return null
      return {
        start: startOf(next) - shift,
        ends: ends.slice(next, last).map((end) => end - shift),
        // A copy: what is posted to a worker is cloned with all of the buffer below it.
        digests: digests.slice(next * DIGEST_BYTES, last * DIGEST_BYTES),
        lastIsFinal: last === count,
      }
    },
    allKnown(run, intake) {
      for (let i = run.first; i < run.first + run.count; i++) if (!intake.knows(digests, i * DIGEST_BYTES)) return false
      return true
    },
  }
}
