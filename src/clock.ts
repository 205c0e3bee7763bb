// The clock, the timers and the chance that holdfast uses. All are taken from the process when this module loads, so
// that a test runner that fakes them later (`vi.useFakeTimers`, Jest, @sinonjs/fake-timers) cannot make a persist, a
// load or a lock wait hang. Nothing else in `src/` uses the globals; a test holds it to that. Our own tests replace
// functions of this object to simulate time.

import * as timers from 'node:timers/promises'

const { Date: SystemDate, Math: SystemMath, clearTimeout, performance, queueMicrotask, setTimeout } = globalThis
const { setImmediate, setTimeout: sleep } = timers
const dateNow = SystemDate.now
const { now: performanceNow } = performance
const { random } = SystemMath

/** The process's own clock. */
export const clock = {
  /** The time of day, which may jump. */
  now: (): Date => new SystemDate(),
  /** The same, in ms since 1970. */
  nowMs: (): number => dateNow.call(SystemDate),
  /** In ms since some moment; never goes back. For measuring how long something takes. */
  monotonicMs: (): number => performanceNow.call(performance),
  startTimer: (callback: () => void, ms: number): NodeJS.Timeout => setTimeout(callback, ms),
  stopTimer: (timer: NodeJS.Timeout | undefined): void => clearTimeout(timer),
  /** Waits. Rejects with an `AbortError` when `signal` is aborted. */
  sleep: (ms: number, options?: { signal?: AbortSignal; ref?: boolean }): Promise<void> =>
    sleep(ms, undefined, options),
  /** Lets the event loop turn once. */
  nextTurn: (): Promise<void> => setImmediate(),
  /** Runs `callback` once the current code is done. */
  soon: (callback: () => void): void => queueMicrotask(callback),
  /** A number in [0, 1), for jitter. Names and ids come from `node:crypto`. */
  random: (): number => random(),
}
