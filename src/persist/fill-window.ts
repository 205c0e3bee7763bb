// Fills windows with the segments of a blob. Copies each segment into its window, or only peeks at it if it is
// unchanged.

import { HoldfastError } from '../errors.ts'
import { type Chunking, chunkBytesMax } from '../format/chunking.ts'
import { BLOB_BYTES_MAX, SEGMENT_BYTES } from '../format/limits.ts'
import type { Window, Windows } from '../workers/windows.ts'
import type { Lanes } from './lanes.ts'
import type { ByteReader } from './open-source.ts'
import type { PreviousChunks } from './previous-blob.ts'

/** A window with one segment of the blob in it. */
export interface Filled {
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

export interface WindowFiller {
  /** Blob position up to which segments were copied or peeked at. */
  readonly size: number
  /** The next segment. */
  fill(window: Window): Promise<Filled>
  /** Copies a peeked segment whose bytes are needed. */
  copy(filled: Filled): Promise<Filled>
  /** Skips a peeked segment whose bytes are not needed. */
  skip(filled: Filled): void
}

interface FillerOptions {
  name: string
  reader: ByteReader
  chunking: Chunking
  windows: Windows
  /** The same blob in the snapshot before, or null. */
  previous: PreviousChunks | null
  lanes: Lanes
}

export function createWindowFiller({ name, reader, chunking, windows, previous, lanes }: FillerOptions): WindowFiller {
  const tailBytes = Math.min(chunkBytesMax(chunking), SEGMENT_BYTES)
  let size = 0

  /** The next segment without a copy, when it is the previous snapshot's; null otherwise. */
  function look(window: Window): Filled | null {
    // Copying costs a sixth of hashing. Running threads hash two copies in the time in which this thread hashes the
    // original.
    if (previous === null || windows.isThreaded) return null
    const segment = window.bytes.subarray(window.origin)
    const seen = reader.peek(segment.length)
    if (seen === null || seen.length !== SEGMENT_BYTES || !previous.hasSegment(size, seen)) return null
    // In the same tick as the digest, so that these bytes are those that were hashed.
    segment.set(seen.subarray(-tailBytes), SEGMENT_BYTES - tailBytes)
    return { window, start: size, length: SEGMENT_BYTES, final: false, peeked: true, digested: Promise.resolve() }
  }

  async function copy(window: Window, start: number): Promise<Filled> {
    const segment = window.bytes.subarray(window.origin)
    const length = await reader.read(segment)
    if (start + length > BLOB_BYTES_MAX) throw tooLarge(name)
    const digested =
      length === 0 ? Promise.resolve() : lanes.track(windows.digest(window, window.origin, window.origin + length))
    return { window, start, length, final: length < SEGMENT_BYTES, peeked: false, digested }
  }

  return {
    get size() {
      return size
    },
    async fill(window) {
      const filled = look(window) ?? (await copy(window, size))
      size = filled.start + filled.length
      return filled
    },
    copy: ({ window, start }) => copy(window, start),
    skip: ({ length }) => reader.skip(length),
  }
}

function tooLarge(name: string): HoldfastError {
  return new HoldfastError(
    'LIMIT_EXCEEDED',
    `blob ${JSON.stringify(name)} has more than ${BLOB_BYTES_MAX} bytes; split it into several blobs`,
    { details: { blob: name, limit: BLOB_BYTES_MAX } },
  )
}
