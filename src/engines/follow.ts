// Keeps an engine up to date with a store that another process writes to.

import { type FollowOptions, follow, type Store } from '../index.ts'
import { assertOptions, type OptionTable } from '../misuse.ts'
import { type EngineAdapter, type RestoredEngine, restoreEngine } from './adapter.ts'
import { assertAdapter } from './engine-options.ts'

/** How an engine follows a store. */
export interface FollowEngineOptions<Engine> extends FollowOptions {
  /**
   * Called with each newer engine, once it is complete. Serve from it from now on; then dispose of the one before when
   * its last search is done. The next one is not begun before this resolves.
   */
  swap: (restored: RestoredEngine<Engine>) => void | Promise<void>
  /**
   * Called when a look failed, or a snapshot could not be restored: what is served stays. It is tried again with the
   * next look.
   */
  onError?: ((error: unknown) => void) | undefined
}

const FOLLOW_ENGINE_OPTIONS: OptionTable<FollowEngineOptions<unknown>> = {
  everyMs: 'ms',
  signal: 'signal',
  swap: 'function',
  onError: 'function',
}

/**
 * Restores the engine of the current snapshot, and of each newer one, and hands it to `swap`. Resolves when the signal
 * is aborted.
 *
 * @throws what `swap` throws
 */
export async function followEngine<Engine>(
  store: Store,
  adapter: EngineAdapter<Engine>,
  options: FollowEngineOptions<Engine>,
): Promise<void> {
  assertOptions('followEngine', options, FOLLOW_ENGINE_OPTIONS)
  if (typeof options?.swap !== 'function')
    throw new TypeError('followEngine: give { swap }, which takes each newer engine')
  assertAdapter('followEngine', adapter)
  const { swap, onError, everyMs, signal } = options
  for await (const snapshot of follow(store, { everyMs, signal })) {
    await snapshot.dispose()
    let restored: RestoredEngine<Engine> | null
    try {
      restored = await restoreEngine(store, adapter, signal === undefined ? {} : { signal })
    } catch (error) {
      if (signal?.aborted === true) return
      onError?.(error)
      continue
    }
    if (restored !== null) await swap(restored)
  }
}
