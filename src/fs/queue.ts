// A FIFO queue for the writers of one process. Locks between processes are in file-lock.ts.

import { clock } from '../clock.ts'

/** Lets one task run at a time, in the order they came. */
export interface Queue {
  /**
   * Runs `task` after all that came before it. A waiter that is aborted or waits longer than `waitMs` leaves the queue
   * without running; a task that runs is not interrupted.
   *
   * @throws `signal.reason`; what `onTimeout` makes; what `task` throws
   */
  run<T>(signal: AbortSignal | undefined, waitMs: number, task: () => Promise<T>, onTimeout: () => Error): Promise<T>
}

/** Beyond 2^31 - 1, Node fires a timer at once. */
const TIMER_MS_MAX = 2 ** 31 - 1

/** An empty queue of this process. */
export function createQueue(): Queue {
  const waiting: Array<() => void> = []
  let busy = false

  function takeTurn(signal: AbortSignal | undefined, waitMs: number, onTimeout: () => Error): Promise<void> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      function settle(): void {
        clock.stopTimer(timer)
        signal?.removeEventListener('abort', onAbort)
      }
      function leave(reason: unknown): void {
        settle()
        waiting.splice(waiting.indexOf(start), 1)
        reject(reason)
      }
      function start(): void {
        settle()
        resolve()
      }
      function onAbort(): void {
        leave(signal?.reason)
      }
      waiting.push(start)
      signal?.addEventListener('abort', onAbort, { once: true })
      if (waitMs <= TIMER_MS_MAX) timer = clock.startTimer(() => leave(onTimeout()), Math.max(0, waitMs))
    })
  }

  function passOn(): void {
    const next = waiting.shift()
    // Stays busy for the next one, so that nobody slips in before it wakes.
    if (next === undefined) busy = false
    else next()
  }

  return {
    async run(signal, waitMs, task, onTimeout) {
      signal?.throwIfAborted()
      if (busy) await takeTurn(signal, waitMs, onTimeout)
      busy = true
      try {
        // It may have been aborted between being woken and running.
        signal?.throwIfAborted()
        return await task()
      } finally {
        passOn()
      }
    },
  }
}
