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
const TURN_MS = 10

/**
 * Lets the event loop turn when the last turn is more than `TURN_MS` ago. For long work between whose steps nothing can break. Throws the
 * signal's reason when it was aborted in that turn.
 *
 * @param pause called in each of these turns: what is more urgent may be waited for
 */
export function createYielder(
  signal?: AbortSignal,
  pause?: () => Promise<unknown> | undefined,
): () => Promise<void> | undefined {
  let turnedAt = clock.monotonicMs()
  return () => {
    if (clock.monotonicMs() - turnedAt < TURN_MS) return undefined
    return clock.nextTurn().then(async () => {
      await pause?.()
      turnedAt = clock.monotonicMs()
      signal?.throwIfAborted()
    })
  }
}

/** Steps of long work between two looks at the clock. */
export const STEPS = 4096
