// For tests that drive our timers by `vi.useFakeTimers`, which the clock is made to ignore.

import { vi } from 'vitest'
import { clock } from '../../src/clock.ts'

/** From here on, and until `vi.restoreAllMocks()`, the clock is what the globals are at each call. */
export function followGlobals(): void {
  vi.spyOn(clock, 'now').mockImplementation(() => new Date())
  vi.spyOn(clock, 'nowMs').mockImplementation(() => Date.now())
  vi.spyOn(clock, 'monotonicMs').mockImplementation(() => performance.now())
  vi.spyOn(clock, 'startTimer').mockImplementation((callback, ms) => setTimeout(callback, ms))
  vi.spyOn(clock, 'stopTimer').mockImplementation((timer) => clearTimeout(timer))
}
