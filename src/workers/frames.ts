// Compresses and decompresses a few hundred blocks at a time with zstd. Like `jobs.ts`, it runs in a worker, or on the
// main thread where there are no workers.

import { compressBlock, viewBlock } from '../format/compress.ts'
import { CHECK_BYTES } from '../format/limits.ts'
import type { Tools } from './jobs.ts'

/** Chunks to compress. */
export interface CompressJob {
  kind: 'compress'
  /** Start and end of each. */
  ranges: Uint32Array
  /** `skip` of the job before. */
  skip: Skip
}

/** After a chunk that did not shrink, `chunks` are stored plain before the next is tried, and then twice as many. */
export interface Skip {
  chunks: number
  next: number
}

/** What a `CompressJob` gives. */
export interface Compressed {
  /** One frame after another. */
  stored: Uint8Array
  /** Bytes of each chunk's frame; 0: store it plain. */
  lengths: Uint32Array
  /** 8 bytes a chunk: the start of the frame's digest. */
  checks: Uint8Array
  skip: Skip
  failures: CompressFailures
}

/** Chunks that the compressor failed with, or gave wrong bytes for. They are stored plain. */
export interface CompressFailures {
  chunks: number
  /** Of the last of them. */
  reason: string
}

export const NO_FAILURES: CompressFailures = { chunks: 0, reason: '' }

export function addFailures(sum: CompressFailures, more: CompressFailures): CompressFailures {
  return more.chunks === 0 ? sum : { chunks: sum.chunks + more.chunks, reason: more.reason }
}

/** Frames out of a part of a pack, in memory that threads share. */
export interface DecompressJob {
  kind: 'decompress'
  stored: Uint8Array
  /** Where the blocks go, back to back. */
  raw: Uint8Array
  /** Where each frame starts, and its bytes. */
  offsets: Uint32Array
  lengths: Uint32Array
  /** Bytes that each frame gives. */
  rawLengths: Uint32Array
  /** 8 bytes a frame: the start of its digest. */
  checks: Uint8Array
}

const SKIP_MAX = 64
/** Below this zstd's own bytes outweigh what it saves. */
const WORTH_COMPRESSING_BYTES = 128

export function compressChunks({ ranges, skip: before }: CompressJob, { memory, blake3 }: Tools): Compressed {
  const count = ranges.length / 2
  const lengths = new Uint32Array(count)
  const checks = new Uint8Array(count * CHECK_BYTES)
  const skip = { ...before }
  const frames: Uint8Array[] = []
  const failures = { ...NO_FAILURES }
  let bytes = 0
  for (let i = 0; i < count; i++) {
    const chunk = memory.subarray(ranges[2 * i]!, ranges[2 * i + 1]!)
    if (chunk.length < WORTH_COMPRESSING_BYTES) continue
    if (skip.chunks > 0) {
      skip.chunks -= 1
      continue
    }
    const frame = compressOrNull(chunk, failures)
    if (frame === null) {
      skip.chunks = skip.next
      skip.next = Math.min(skip.next * 2, SKIP_MAX)
      continue
    }
    skip.next = 1
    lengths[i] = frame.length
    checks.set(blake3(frame).subarray(0, CHECK_BYTES), i * CHECK_BYTES)
    frames.push(frame)
    bytes += frame.length
  }
  return { stored: joined(frames, bytes), lengths, checks, skip, failures }
}

function compressOrNull(chunk: Uint8Array, failures: CompressFailures): Uint8Array | null {
  try {
    return compressBlock(chunk)
  } catch (error) {
    failures.chunks += 1
    failures.reason = (error as Error).message
    return null
  }
}

function joined(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Throws when a frame is not what it was: nothing that is wrong reaches the decompressor. */
export function decompressFrames(job: DecompressJob, blake3: Tools['blake3']): void {
  const { stored, raw, offsets, lengths, rawLengths, checks } = job
  let to = 0
  for (let i = 0; i < lengths.length; i++) {
    const frame = stored.subarray(offsets[i], offsets[i]! + lengths[i]!)
    const digest = blake3(frame)
    for (let k = 0; k < CHECK_BYTES; k++) {
      if (digest[k] !== checks[i * CHECK_BYTES + k]) throw new Error('the compressed bytes do not match their check')
    }
    raw.set(viewBlock(frame, rawLengths[i]!), to)
    to += rawLengths[i]!
  }
}
