// Finds the chunk boundaries of a blob, window by window. Where the bytes are unchanged, the boundaries of the previous
// snapshot are reused.

import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { type Chunking, chunkBytesMax } from '../format/chunking.ts'
import type { Windows } from '../workers/windows.ts'
import type { Filled, WindowFiller } from './fill-window.ts'
import type { Lanes } from './lanes.ts'
import type { KnownRun, PreviousChunks } from './previous-blob.ts'

/** Chunks of the previous snapshot, from window position `start` on. */
export interface SameChunks {
  kind: 'same'
  filled: Filled
  /** Null: never copied. */
  bytes: Uint8Array | null
  start: number
  run: KnownRun
}

/** Chunks cut here, from window position `start` on; their digests are in the window once `hashed` settles. */
export interface CutChunks {
  kind: 'cut'
  filled: Filled
  start: number
  count: number
  hashed: Promise<void>
}

interface WindowCutter {
  /** Blob position up to which boundaries are known. */
  readonly uncut: number
  /**
   * Finds the boundaries up to the end of a window, as far as they can be known. One window after the other: each
   * boundary depends on the one before.
   */
  cut(filled: Filled): Promise<SameChunks | CutChunks>
}

interface CutterOptions {
  chunking: Chunking
  windows: Windows
  filler: WindowFiller
  /** The same blob in the snapshot before, or null. */
  previous: PreviousChunks | null
  dedup: DedupWriter
  lanes: Lanes
}

export function createWindowCutter(options: CutterOptions): WindowCutter {
  const { windows, filler, previous, dedup, lanes } = options
  const chunkMax = chunkBytesMax(options.chunking)
  let uncut = 0
  /** Segments from this blob position on equal the previous ones. */
  let sameFrom = Number.POSITIVE_INFINITY
  /** The bytes from `uncut` to the end of the last window. */
  let rest: Uint8Array = new Uint8Array(0)

  async function cut(given: Filled): Promise<SameChunks | CutChunks> {
    // The uncut rest of the previous window is put in front of the segment. This happens before any await, because that
    // window may be refilled then.
    const from = given.window.origin - rest.length
    given.window.bytes.set(rest, from)
    const filled = await takeIn(given)
    await compare(filled)
    const run = runOfPrevious(filled)
    if (run !== null) {
      const { bytes, origin } = filled.window
      const end = origin + filled.length
      rest = bytes.subarray(end - (filled.start + filled.length - run.end), end)
      uncut = run.end
      return { kind: 'same', filled, bytes: filled.peeked ? null : bytes, start: from, run }
    }
    if (filled.peeked) throw new Error('bug: a window was passed over that must be cut')
    return await cutAnew(filled, from)
  }

  /** Decides about a peeked segment: it is skipped if the store has all of its chunks, else copied. */
  async function takeIn(filled: Filled): Promise<Filled> {
    if (!filled.peeked) return filled
    if (!canPassOver(filled)) return await filler.copy(filled)
    filler.skip(filled)
    return filled
  }

  function canPassOver({ start, length }: Filled): boolean {
    const run = uncut >= Math.min(sameFrom, start) ? previous!.runFrom(uncut, start + length, false) : null
    return run !== null && start + length - run.end <= chunkMax && previous!.allKnown(run, dedup)
  }

  /** Notes whether the segment equals the previous one. */
  async function compare({ window, start, length, peeked, digested }: Filled): Promise<void> {
    if (previous === null || length === 0) return
    await digested
    const same = peeked || previous.hasDigest(start, window.segmentDigest)
    sameFrom = same ? Math.min(sameFrom, start) : Number.POSITIVE_INFINITY
  }

  /** The previous snapshot's chunks, if they reach so far that the uncut rest fits into one chunk. */
  function runOfPrevious({ start, length, final }: Filled): KnownRun | null {
    if (previous === null || uncut < sameFrom) return null
    const end = start + length
    const run = previous.runFrom(uncut, end, final)
    if (run === null || run.end === end) return run
    return final || end - run.end > chunkMax ? null : run
  }

  async function cutAnew(filled: Filled, from: number): Promise<CutChunks> {
    const { window, start, length, final } = filled
    const end = window.origin + length
    const before = uncut
    const known = previous?.candidates(before, start + length, before - from) ?? null
    const count =
      known === null
        ? await windows.cut(window, from, end, final)
        : await windows.rechunk(window, from, end, final, known)
    const last = count === 0 ? from : window.ends[count - 1]!
    uncut = before + (last - from)
    rest = window.bytes.subarray(last, end)
    const hashed = known === null ? lanes.track(windows.hash(window, from, count)) : Promise.resolve()
    return { kind: 'cut', filled, start: from, count, hashed }
  }

  return {
    get uncut() {
      return uncut
    },
    cut,
  }
}
