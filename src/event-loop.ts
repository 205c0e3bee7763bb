import { setImmediate } from 'node:timers/promises'
import type { Steps } from './format/steps.ts'

/** Long work on the main thread: the event loop turns between its steps. */
export async function inTurns<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    await setImmediate()
  }
}
