// Decides when `autosave` saves next. Pure: it reads no clock and sets no timer, all times are ms of one monotonic
// clock.

/** When to save: the options of `autosave` that say so. */
export interface TimingOptions {
  everyMs: number
  afterChanges: number
  quietMs: number
  quietLimitMs: number
  retryMs: number
  retryLimitMs: number
}

/** What the next save depends on. */
interface TimingState {
  /** Changes that were reported and are not durable. */
  pending: number
  /**
   * Whether nothing is to be saved until a change is reported: the engine cannot tell, and its user reports changes.
   */
  canWait: boolean
  /** When the oldest and the newest of the pending changes were made. */
  firstChangeMs: number
  lastChangeMs: number
  /** Since when `afterChanges` are pending; null: they are fewer. */
  manyMs: number | null
  /** When the engine was last asked or saved. */
  checkedMs: number
  /** Not before this, after a failure. */
  retryAtMs: number
}

/** When the next save is due; null: not before something changes. */
export function dueAt(state: TimingState, options: TimingOptions): number | null {
  if (state.pending === 0) return state.canWait ? null : Math.max(state.checkedMs + options.everyMs, state.retryAtMs)
  const wanted = Math.min(state.firstChangeMs + options.everyMs, state.manyMs ?? Number.POSITIVE_INFINITY)
  const due = Math.max(wanted, state.retryAtMs)
  return Math.min(Math.max(due, state.lastChangeMs + options.quietMs), due + options.quietLimitMs)
}

/** How long to wait after so many failures in a row. */
export function retryDelayMs(failures: number, { retryMs, retryLimitMs }: TimingOptions): number {
  // 2 ** 30 ms are 12 days: doubling further would only overflow.
  return Math.min(retryLimitMs, retryMs * 2 ** Math.min(failures - 1, 30))
}
