// Follows a store that others write to: gives the current snapshot, and then each newer one that it sees. It holds no
// lease and writes nothing.

import { clock } from '../clock.ts'
import { isHoldfastError } from '../errors.ts'
import { assertOptions, type OptionTable, refusePromise } from '../misuse.ts'
import type { Snapshot, SnapshotInfo } from './snapshot.ts'

/** How a store is followed. */
export interface FollowOptions {
  /** Pause between two looks at HEAD, in ms; default 1,000. A look that finds nothing new is one small request. */
  everyMs?: number | undefined
  /** Ends the following: the iteration is then done. */
  signal?: AbortSignal | undefined
}

const FOLLOW_OPTIONS: OptionTable<FollowOptions> = { everyMs: 'ms', signal: 'signal' }

/** A store that is followed. Iterate it once; each snapshot is yours to dispose of. */
export interface Following extends AsyncIterable<Snapshot> {
  /** Of the snapshot that was given last; null: none yet. */
  readonly sequence: number | null
  /** Time since HEAD was last seen, in ms: how old what is served may be beyond `everyMs`. */
  readonly lagMs: number
  /** Why the last look failed; null when it did not. It is tried again. */
  readonly lastError: unknown
}

/** What is asked of a store. */
interface Followed {
  snapshots(): Promise<SnapshotInfo[]>
  load(): Promise<Snapshot | null>
}

const EVERY_MS = 1_000

/**
 * The current snapshot, and each newer one that becomes current; ones that were overtaken meanwhile are skipped. While
 * nothing was persisted, it waits. What may pass (`environment`, `conflict`, `busy`) is tried again and can be seen in
 * `lastError`; other errors end the iteration.
 */
export function follow(store: Followed, options: FollowOptions = {}): Following {
  refusePromise(store, 'follow: the store')
  if (typeof store?.snapshots !== 'function' || typeof store.load !== 'function') {
    throw new TypeError('follow: the first argument is a store: await openStore(…)')
  }
  assertOptions('follow', options, FOLLOW_OPTIONS)
  const { everyMs = EVERY_MS, signal } = options
  const state = { sequence: null as number | null, seenMs: clock.monotonicMs(), lastError: null as unknown }

  async function look(): Promise<Snapshot | null> {
    const current = (await store.snapshots()).find((snapshot) => snapshot.current)
    state.seenMs = clock.monotonicMs()
    state.lastError = null
    return current === undefined || current.sequence === state.sequence ? null : await store.load()
  }

  async function* snapshots(): AsyncGenerator<Snapshot, void> {
    while (signal?.aborted !== true) {
      try {
        const snapshot = await look()
        if (snapshot !== null) {
          state.sequence = snapshot.sequence
          yield snapshot
          // What came meanwhile is newer.
          continue
        }
      } catch (error) {
        if (!mayPass(error)) throw error
        state.lastError = error
      }
      await clock.sleep(everyMs, signal === undefined ? {} : { signal }).catch(() => undefined)
    }
  }

  return {
    get sequence() {
      return state.sequence
    },
    get lagMs() {
      return clock.monotonicMs() - state.seenMs
    },
    get lastError() {
      return state.lastError
    },
    [Symbol.asyncIterator]: snapshots,
  }
}

function mayPass(error: unknown): boolean {
  return isHoldfastError(error) && ['environment', 'conflict', 'busy'].includes(error.kind)
}
