// Memory that threads share, for parts of a blob that are read in turn. It is kept for a while and used again: pages that were touched once
// cost nothing, and new ones cost more than reading into them.

import { clock } from '../clock.ts'
import { SEGMENT_BYTES } from '../format/limits.ts'

/** Memory for the parts of one blob. */
interface SharedParts {
  /** Memory for the next part; that of the part before the last is used again. */
  take(bytes: number): Uint8Array
  release(): void
}

/** One part is in use, and the next one is read. */
const PARTS = 2
/** More are not kept. */
const KEPT_MAX = 16
const KEPT_MS = 5_000

let kept: SharedArrayBuffer[] = []
let forgetting: NodeJS.Timeout | undefined

export function borrowShared(): SharedParts {
  const own: SharedArrayBuffer[] = []
  let turn = 0
  return {
    take(bytes) {
      const n = turn++ % PARTS
      // The ends of a range are read by whole chunks, which may make them longer than a segment.
      if (bytes > SEGMENT_BYTES) return new Uint8Array(new SharedArrayBuffer(bytes))
      own[n] ??= kept.pop() ?? new SharedArrayBuffer(SEGMENT_BYTES)
      return new Uint8Array(own[n], 0, bytes)
    },
    release() {
      kept.push(...own.filter((memory) => memory !== undefined).slice(0, KEPT_MAX - kept.length))
      clock.stopTimer(forgetting)
      forgetting = clock.startTimer(() => {
        kept = []
      }, KEPT_MS)
      forgetting.unref()
    },
  }
}
