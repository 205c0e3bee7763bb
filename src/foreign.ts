// Waits for code that is not ours (a save function, an adapter's `save`, `restore`, `release`) no longer than the
// caller is willing to.

import { clock } from './clock.ts'

/**
 * Work that heeds the signal gets this long to end by itself, so that it writes nothing after its caller was answered.
 */
const GRACE_MS = 1000

/** What `work` gives, or the signal's reason once it is aborted. `late` gets what `work` gives after that. */
export async function orAborted<T>(
  work: T | Promise<T>,
  signal: AbortSignal | undefined,
  late: (value: T) => unknown = () => undefined,
): Promise<T> {
  if (signal === undefined) return await work
  let onAbort = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      const ended = Promise.resolve(work).then(
        () => undefined,
        () => undefined,
      )
      void endsWithin(ended, GRACE_MS).then(() => reject(signal.reason))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
  })
  try {
    const value = await Promise.race([aborted, work])
    signal.throwIfAborted()
    return value
  } catch (error) {
    // Nobody waits for it any more. Its result goes to `late`, and its error must not become an unhandled rejection.
    if (signal.aborted)
      void Promise.resolve(work)
        .then(late)
        .catch(() => undefined)
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Whether `work` ended within the limit. Rejects as it does. */
export async function endsWithin(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const passed = new Promise<false>((resolve) => {
    timer = clock.startTimer(() => resolve(false), limitMs)
  })
  try {
    return await Promise.race([work.then(() => true), passed])
  } finally {
    clock.stopTimer(timer)
  }
}
