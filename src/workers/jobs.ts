// The jobs of a worker that cut windows into chunks and hash them. Without workers the main thread runs the same
// functions. This module imports no package, because it is bundled into the worker's source.

import type { Chunking } from '../format/chunking.ts'
import { DIGEST_BYTES } from '../format/limits.ts'

/** Where a window's parts lie: byte positions in one buffer. */
export interface Region {
  /** Four bytes a chunk: where it ends. */
  endsAt: number
  /** 32 bytes a chunk. */
  digestsAt: number
}

/** A chunk of the same blob's previous snapshot: candidates for boundaries that need no search. */
export interface KnownChunks {
  /** Where each ends, in the same coordinates as the window; ascending. */
  ends: Float64Array
  /** Where the first one starts. */
  start: number
  digests: Uint8Array
  /** The last of them was cut by the end of its blob: good only if this one ends there too. */
  lastIsFinal: boolean
}

export type Job =
  /** Digest of [start, end) into `digestAt`. */
  | { kind: 'digest'; start: number; end: number; digestAt: number }
  /** Boundaries of [start, end). */
  | { kind: 'cut'; start: number; end: number; final: boolean; chunking: Chunking; region: Region }
  /** Digests of `count` chunks from `start` on. */
  | { kind: 'hash'; start: number; count: number; region: Region }
  /** Boundaries and digests; a known chunk is hashed first, and cut only when it is not the same. */
  | {
      kind: 'follow'
      start: number
      end: number
      final: boolean
      chunking: Chunking
      region: Region
      known: KnownChunks
    }

export interface Tools {
  /** The buffer that positions refer to. */
  memory: Uint8Array
  blake3: (bytes: Uint8Array) => Uint8Array
  /** Length of the first chunk of memory[start, end): `cutter` of the content chunking, or its WebAssembly. */
  cutOne: (start: number, end: number, average: number) => number
}

/** Runs a job; answers the number of chunks. */
export function runJob(job: Job, tools: Tools): number {
  if (job.kind === 'digest') {
    tools.memory.set(tools.blake3(tools.memory.subarray(job.start, job.end)), job.digestAt)
    return 0
  }
  if (job.kind === 'cut') return cut(job, tools)
  if (job.kind === 'hash') return hash(job, tools)
  return follow(job, tools)
}

function cut(job: Extract<Job, { kind: 'cut' }>, tools: Tools): number {
  const { end, final, chunking, region } = job
  const ends = endsOf(tools, region)
  const longest = longestOf(chunking)
  let count = 0
  for (let at = job.start; at < end && (final || end - at >= longest); ) {
    at += chunking.kind === 'fixed' ? Math.min(chunking.size, end - at) : tools.cutOne(at, end, chunking.average)
    ends[count++] = at
  }
  return count
}

function hash(job: Extract<Job, { kind: 'hash' }>, tools: Tools): number {
  const { count, region } = job
  const { memory, blake3 } = tools
  const ends = endsOf(tools, region)
  let at = job.start
  for (let i = 0; i < count; i++) {
    memory.set(blake3(memory.subarray(at, ends[i]!)), region.digestsAt + i * DIGEST_BYTES)
    at = ends[i]!
  }
  return count
}

/**
 * A boundary depends only on the bytes since the one before. So where a known chunk starts and its bytes are the same,
 * it ends where it ended; the search runs only from a mismatch until it meets known boundaries again.
 */
function follow(job: Extract<Job, { kind: 'follow' }>, tools: Tools): number {
  const { end, final, chunking, region, known } = job
  const { memory, blake3 } = tools
  const ends = endsOf(tools, region)
  const longest = longestOf(chunking)
  const candidates = known.ends.length
  let next = 0
  let count = 0
  for (let at = job.start; at < end; ) {
    while (next < candidates && known.ends[next]! <= at) next++
    const from = next === 0 ? known.start : known.ends[next - 1]!
    const to = next < candidates ? known.ends[next]! : Number.POSITIVE_INFINITY
    const usable = from === at && to <= end && (next < candidates - 1 || !known.lastIsFinal || (final && to === end))
    if (usable) {
      const digest = blake3(memory.subarray(at, to))
      if (equals(digest, known.digests, next * DIGEST_BYTES)) {
        memory.set(digest, region.digestsAt + count * DIGEST_BYTES)
        ends[count++] = to
        at = to
        continue
      }
    }
    if (!final && end - at < longest) break
    const length =
      chunking.kind === 'fixed' ? Math.min(chunking.size, end - at) : tools.cutOne(at, end, chunking.average)
    memory.set(blake3(memory.subarray(at, at + length)), region.digestsAt + count * DIGEST_BYTES)
    at += length
    ends[count++] = at
  }
  return count
}

function longestOf(chunking: Chunking): number {
  return chunking.kind === 'fixed' ? chunking.size : chunking.average * 4
}

function endsOf({ memory }: Tools, { endsAt, digestsAt }: Region): Uint32Array {
  return new Uint32Array(memory.buffer, memory.byteOffset + endsAt, (digestsAt - endsAt) / 4)
}

function equals(a: Uint8Array, b: Uint8Array, bAt: number): boolean {
  for (let i = 0; i < DIGEST_BYTES; i++) if (a[i] !== b[bAt + i]) return false
  return true
}
