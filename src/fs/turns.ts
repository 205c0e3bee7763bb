// Leaves a lock free for a moment when this process takes it again and again and another process waits for it. The lock
// is polled, so without a pause between two holds a waiter finds it free by luck only: 13 s were measured beside a
// process that persisted without a pause.

import { clock } from '../clock.ts'
import { type FileLock, POLL_MS_MAX } from './file-lock.ts'

/** Longer than the time between two polls of a waiter. */
const PAUSE_MS = POLL_MS_MAX + 15
/** After this long without a pause, one is due if somebody waits. */
const BUSY_MS = 500

/** The holds of one lock by this process. */
export interface Turns {
  /** Before the lock is taken. Waits at most `waitMs`. @throws `signal.reason` */
  before(waitMs: number, signal: AbortSignal | undefined): Promise<void>
  /** Before it is released. */
  ending(held: FileLock): Promise<void>
  /** Once it is released. */
  ended(): void
}

export function createTurns(): Turns {
  let releasedMs = Number.NEGATIVE_INFINITY
  /** When it was last free for long enough that a waiter must have found it. */
  let pausedMs = Number.NEGATIVE_INFINITY
  let owesPause = false
  return {
    async before(waitMs, signal) {
      const freeMs = clock.monotonicMs() - releasedMs
      if (owesPause && freeMs < PAUSE_MS) {
        const left = Math.min(PAUSE_MS - freeMs, waitMs)
        await clock.sleep(left, signal === undefined ? {} : { signal }).catch(() => signal?.throwIfAborted())
      }
      if (owesPause || freeMs >= PAUSE_MS) pausedMs = clock.monotonicMs()
      owesPause = false
    },
    async ending(held) {
      if (!(await held.wasAwaited) || clock.monotonicMs() - pausedMs < BUSY_MS) return
      owesPause = true
      await held.forgetWaiters()
    },
    ended() {
      releasedMs = clock.monotonicMs()
    },
  }
}
