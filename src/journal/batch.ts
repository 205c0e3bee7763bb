// Entries that wait to be written as one frame. Each is copied when it is appended, so that the caller may change its
// bytes afterwards.

import {
  type EncodedFrame,
  encodeEntries,
  entryBytes,
  FRAME_HEADER_BYTES,
  type FramePlace,
  frameBytes,
  putEntry,
} from './frame.ts'
import { BOUNDARY_BYTES } from './segment.ts'

/** Maximum size of a batch. A larger entry is a batch of its own. */
const BATCH_BYTES_MAX = 8 * 1024 * 1024
const BUFFER_BYTES_MIN = 16 * BOUNDARY_BYTES

/** Entries that become durable together. */
export interface Batch {
  readonly first: number
  readonly count: number
  readonly payloadBytes: number
  /** Settles when the batch is durable, or its outcome unknown. */
  readonly durable: Promise<void>
  /** Whether an entry of this size still fits. */
  hasRoom(dataBytes: number): boolean
  add(data: Uint8Array): void
  encode(place: FramePlace): EncodedFrame
  /** The buffer, which another batch may use once this one is written. */
  readonly buffer: Uint8Array
  resolve(): void
  reject(error: unknown): void
}

/** @param spare a buffer of an earlier batch: allocating a large one takes as long as filling it */
export function createBatch(first: number, spare: Uint8Array = new Uint8Array(BUFFER_BYTES_MIN)): Batch {
  let frame = spare
  let end = FRAME_HEADER_BYTES
  let count = 0
  let resolve = (): void => undefined
  let reject: (error: unknown) => void = () => undefined
  const durable = new Promise<void>((done, fail) => {
    resolve = done
    reject = fail
  })
  // A caller need not look at the promise, and then its rejection is not an unhandled one.
  durable.catch(() => undefined)

  return {
    first,
    durable,
    get buffer() {
      return frame
    },
    get count() {
      return count
    },
    get payloadBytes() {
      return end - FRAME_HEADER_BYTES
    },
    hasRoom: (dataBytes) => count === 0 || end - FRAME_HEADER_BYTES + entryBytes(dataBytes) <= BATCH_BYTES_MAX,
    add(data) {
      const needed = frameBytes(end - FRAME_HEADER_BYTES + entryBytes(data.length))
      if (needed > frame.length) {
        const larger = new Uint8Array(Math.max(needed, Math.min(frame.length * 2, frameBytes(BATCH_BYTES_MAX))))
        larger.set(frame.subarray(0, end))
        frame = larger
      }
      end = putEntry(frame, end, data)
      count += 1
    },
    encode: (place) => encodeEntries(place, count, frame, end - FRAME_HEADER_BYTES),
    resolve: () => resolve(),
    reject: (error) => reject(error),
  }
}
