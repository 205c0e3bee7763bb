// Long work on the main thread, in pieces: the event loop turns between them.

import { clock } from './clock.ts'
import type { Steps } from './format/steps.ts'

/** Long work on the main thread: the event loop turns between its steps. */
export async function runYielding<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    await clock.nextTurn()
  }
}

/** In ms. Long enough that the turns cost little, short enough that the host does not stall. */
const TURN_MS = 5
/** What took longer was waiting, or could not be cut. */
const BUSY_MS_MAX = 4 * TURN_MS

/** Called between the steps of long work. What it gives is awaited before the next step, if it gives anything. */
export type Turn = () => Promise<void> | undefined

/**
 * Lets the event loop turn when the last turn is more than `TURN_MS` ago. For long work between whose steps nothing can
 * break. Throws the signal's reason when it was aborted in that turn.
 *
 * @param pause called in each of these turns: what is more urgent may be waited for
 */
export function createYielder(signal?: AbortSignal, pause?: () => Promise<unknown> | undefined): Turn {
  return createPacer(() => 1, signal, pause)
}

/** The same, with pauses, so that the work takes no more than `share()` (above 0, up to 1) of the thread. */
export function createPacer(
  share: () => number,
  signal?: AbortSignal,
  pause?: () => Promise<unknown> | undefined,
): Turn {
  let turnedAt = clock.monotonicMs()
  return () => {
    const busyMs = clock.monotonicMs() - turnedAt
    if (busyMs < TURN_MS) return undefined
    const pauseMs = Math.min(busyMs, BUSY_MS_MAX) * (1 / share() - 1)
    return (pauseMs < 1 ? clock.nextTurn() : clock.sleep(pauseMs)).then(async () => {
      await pause?.()
      turnedAt = clock.monotonicMs()
      signal?.throwIfAborted()
    })
  }
}

/** Steps of long work between two looks at the clock. */
export const STEPS = 4096

/** The same, where each step looks a block up. */
export const LOOKUP_STEPS = 1024
