// Hashes a file by segments of 4 MiB: in the worker threads once they are up, and until then here, with a turn for the
// event loop after each. It reads through a function, and never looks at the file itself.

import { clock } from '../clock.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { fixed } from '../format/chunking.ts'
import { segmentsOf } from '../format/engine-file.ts'
import { DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import { sharedPool } from './pool.ts'
import { openWindows, type Window, type Windows, WORTH_STARTING_BYTES } from './windows.ts'

/** Fills `target` from `position`; fewer bytes only at the end of the file. */
type ReadAt = (target: Uint8Array, position: number) => Promise<number>

/** Windows are made for a chunking, which is not used here. */
const CHUNKING = fixed(SEGMENT_BYTES / 4)

/** A segment in a window, and its digest. */
interface Segment {
  bytes: Uint8Array
  digest: Uint8Array
}

/** Reads segment `n` into a window; null where the file ends before it does. */
async function readSegment(windows: Windows, window: Window, n: number, size: number, read: ReadAt) {
  const length = Math.min(SEGMENT_BYTES, size - n * SEGMENT_BYTES)
  const bytes = window.bytes.subarray(window.origin, window.origin + length)
  if ((await read(bytes, n * SEGMENT_BYTES)) !== length) return null
  return { bytes, digest: await digestOf(windows, window, bytes) } satisfies Segment
}

async function digestOf(windows: Windows, window: Window, bytes: Uint8Array): Promise<Uint8Array> {
  if (windows.isThreaded) {
    await windows.digest(window, window.origin, window.origin + bytes.length)
    return window.segmentDigest.slice()
  }
  // A millisecond or two. Threads take longer to come up than this takes for a file of a hundred megabytes.
  const digest = blake3(bytes)
  await clock.nextTurn()
  return digest
}

/**
 * The digests of all segments of a file of `size` bytes, 32 bytes each.
 *
 * @returns null where the file is shorter
 */
export async function digestSegments(size: number, read: ReadAt, signal?: AbortSignal): Promise<Uint8Array | null> {
  const count = segmentsOf(size)
  const digests = new Uint8Array(count * DIGEST_BYTES)
  if (size < WORTH_STARTING_BYTES && sharedPool()?.isUp !== true) {
    return (await digestHere(size, read, digests, signal)) ? digests : null
  }
  const windows = openWindows(CHUNKING, size)
  const lanes = Math.min(windows.count, count)
  let next = 0
  let isShort = false

  async function runLane(lane: number): Promise<void> {
    while (next < count && !isShort) {
      signal?.throwIfAborted()
      const n = next++
      const segment = await readSegment(windows, windows.at(lane), n, size, read)
      if (segment === null) isShort = true
      else digests.set(segment.digest, n * DIGEST_BYTES)
    }
  }

  const running = Array.from({ length: lanes }, (_, lane) => runLane(lane))
  try {
    await Promise.all(running)
    return isShort ? null : digests
  } finally {
    // Threads and reads in flight still use the windows' memory.
    await Promise.allSettled(running)
    windows.release()
  }
}

/**
 * In plain memory, one segment being read while the one before is hashed: what threads share is four times as much, and
 * making it costs more than all that they would save.
 */
async function digestHere(
  size: number,
  read: ReadAt,
  digests: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const memory = [0, 1].map(() => new Uint8Array(Math.min(SEGMENT_BYTES, size)))
  const segment = (n: number): Uint8Array =>
    memory[n % 2]!.subarray(0, Math.min(SEGMENT_BYTES, size - n * SEGMENT_BYTES))
  const readNext = (n: number): Promise<number> => {
    const reading = read(segment(n), n * SEGMENT_BYTES)
    reading.catch(() => undefined)
    return reading
  }
  const count = digests.length / DIGEST_BYTES
  let ahead = count === 0 ? Promise.resolve(0) : readNext(0)
  try {
    for (let n = 0; n < count; n++) {
      signal?.throwIfAborted()
      const bytes = segment(n)
      if ((await ahead) !== bytes.length) return false
      if (n + 1 < count) ahead = readNext(n + 1)
      digests.set(blake3(bytes), n * DIGEST_BYTES)
      await clock.nextTurn()
    }
    return true
  } finally {
    // Its file may be closed now, and its memory be anybody's.
    await ahead.catch(() => undefined)
  }
}

/**
 * The same of a file that is being made, of its parts in order: its bytes are hashed while they are in memory, on this
 * thread.
 *
 * @returns null where the parts have another size in all
 */
export function createSegmentDigests(size: number): { add(part: Uint8Array): void; finish(): Uint8Array | null } {
  const digests = new Uint8Array(segmentsOf(size) * DIGEST_BYTES)
  const segment = new Uint8Array(Math.min(SEGMENT_BYTES, size))
  let total = 0

  function close(): void {
    const n = Math.ceil(total / SEGMENT_BYTES) - 1
    digests.set(blake3(segment.subarray(0, total - n * SEGMENT_BYTES)), n * DIGEST_BYTES)
  }

  return {
    add(part) {
      for (let at = 0; at < part.length; ) {
        // What is more than the file should have is only counted.
        const room = Math.min(SEGMENT_BYTES - (total % SEGMENT_BYTES), size - total)
        if (room <= 0) {
          total += part.length - at
          return
        }
        const taken = part.subarray(at, at + room)
        segment.set(taken, total % SEGMENT_BYTES)
        at += taken.length
        total += taken.length
        if (total % SEGMENT_BYTES === 0 || total === size) close()
      }
    },
    finish: () => (total === size ? digests : null),
  }
}

interface Slot {
  slot: number
  n: number
  segment: Promise<Segment>
}

/** A file whose bytes are hashed and compared before anybody sees them. */
export interface VerifiedFile {
  readonly size: number
  /** One read after the other. Throws what `changed` gives when a segment is not what it was. */
  read: ReadAt
  close(): Promise<void>
}

/**
 * Reads a file again whose segments had these digests. Segments are read ahead, and kept while they are read from.
 */
export function openVerified(
  file: { size: number; read: ReadAt },
  digests: Uint8Array,
  changed: () => Error,
): VerifiedFile {
  const { size } = file
  const count = segmentsOf(size)
  /** Opened by the first read. */
  let windows: Windows | null = null
  /** The least recently used first. */
  let slots: Slot[] = []
  let queue: Promise<unknown> = Promise.resolve()

  async function verified(slot: number, n: number): Promise<Segment> {
    const segment = await readSegment(windows!, windows!.at(slot), n, size, file.read)
    if (segment === null || !digestsEqual(segment.digest, 0, digests, n * DIGEST_BYTES)) throw changed()
    return segment
  }

  async function load(n: number): Promise<Slot> {
    const held = slots.find((other) => other.n === n)
    if (held !== undefined) {
      slots = [...slots.filter((other) => other !== held), held]
      return held
    }
    let slot = slots.length
    if (slot === windows!.count) {
      const oldest = slots.shift()!
      // Its memory is written to until then.
      await oldest.segment.catch(() => undefined)
      slot = oldest.slot
    }
    const loaded = { slot, n, segment: verified(slot, n) }
    loaded.segment.catch(() => undefined)
    slots.push(loaded)
    return loaded
  }

  async function readNow(target: Uint8Array, position: number): Promise<number> {
    windows ??= openWindows(CHUNKING, size)
    const end = Math.min(position + target.length, size)
    for (let at = position; at < end; ) {
      const n = Math.floor(at / SEGMENT_BYTES)
      const { segment } = await load(n)
      if (windows.count > 2 && n + 1 < count) await load(n + 1)
      const { bytes } = await segment
      const from = at - n * SEGMENT_BYTES
      const part = bytes.subarray(from, from + end - at)
      target.set(part, at - position)
      at += part.length
    }
    return Math.max(end - position, 0)
  }

  return {
    size,
    read(target, position) {
      const reading = queue.then(() => readNow(target, position))
      queue = reading.catch(() => undefined)
      return reading
    },
    async close() {
      await queue
      await Promise.allSettled(slots.map(({ segment }) => segment))
      windows?.release()
      windows = null
    },
  }
}
