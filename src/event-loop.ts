// Long work on the main thread, in pieces: the event loop turns between them.

import { setImmediate } from 'node:timers/promises'
import type { Steps } from './format/steps.ts'

/** Long work on the main thread: the event loop turns between its steps. */
export async function runYielding<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    await setImmediate()
  }
}

/** In ms: long enough to cost nothing, short enough that nobody waits for us. */
const TURN_MS = 10

/** Lets the event loop turn when the last turn is more than `TURN_MS` ago. For long work between whose steps nothing can break. */
export function createYielder(): () => Promise<void> | undefined {
  let turnedAt = performance.now()
  return () => {
    if (performance.now() - turnedAt < TURN_MS) return undefined
    return setImmediate().then(() => {
      turnedAt = performance.now()
    })
  }
}

/** Steps of long work between two looks at the clock. */
export const STEPS = 4096
