// Memory that threads share, for parts of a blob that are read in turn. It is kept for a while and used again: pages
// that were touched once cost nothing, and new ones cost more than reading into them.

import { clock } from '../clock.ts'
import { SEGMENT_BYTES } from '../format/limits.ts'

/** Memory for parts that are made in turn. */
interface SharedParts {
  /**
   * Memory for the next part, with `HEADROOM_BYTES` in front of it that are nobody's. That of the part three before is
   * used again.
   */
  take(bytes: number): Uint8Array
  release(): void
}

/** What is left of a part may be put in front of the next one, so that both are in one piece. */
export const HEADROOM_BYTES = 64 * 1024

/** More are not kept. */
const KEPT_MAX = 24
const KEPT_MS = 5_000

let kept: SharedArrayBuffer[] = []
let forgetting: NodeJS.Timeout | undefined

/** @param ahead parts that are made while one is in use, with the one before it */
export function borrowShared(ahead = 1): SharedParts {
  const parts = ahead + 2
  const own: SharedArrayBuffer[] = []
  let turn = 0
  return {
    take(bytes) {
      const n = turn++ % parts
      // The ends of a range are read by whole chunks, which may make them longer than a segment.
      if (bytes > SEGMENT_BYTES) return new Uint8Array(new SharedArrayBuffer(bytes))
      own[n] ??= kept.pop() ?? new SharedArrayBuffer(HEADROOM_BYTES + SEGMENT_BYTES)
      return new Uint8Array(own[n], HEADROOM_BYTES, bytes)
    },
    release() {
      kept.push(...own.filter((memory) => memory !== undefined).slice(0, KEPT_MAX - kept.length))
      own.length = 0
      clock.stopTimer(forgetting)
      forgetting = clock.startTimer(() => {
        kept = []
      }, KEPT_MS)
      forgetting.unref()
    },
  }
}
