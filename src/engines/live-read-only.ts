// A live engine of a store that was opened read-only: the state at the opening, for queries. It changes and saves
// nothing.

import { clock } from '../clock.ts'
import { HoldfastError, type Journal, type Store } from '../index.ts'
import type { LiveEngine } from './live-options.ts'
import type { Started } from './replay.ts'

export function readOnlyEngine<Engine, Change>({
  store,
  journal,
  started,
  closeStore,
}: {
  store: Store
  journal: Journal
  started: Started<Engine>
  closeStore: boolean
}): LiveEngine<Engine, Change> {
  const { engine, restored, replayed, watermark } = started
  const { entries, bytes, ms } = replayed

  async function refuse(): Promise<never> {
    const text = `${store.location} was opened read-only: the engine is for queries. Open it without readOnly to change or save it`
    throw new HoldfastError('READ_ONLY', text, { details: { path: store.location } })
  }

  async function close(): Promise<void> {
    await restored?.dispose()
    if (closeStore) await store.close()
  }

  let closing: Promise<void> | null = null
  function closeOnce(): Promise<void> {
    closing ??= close()
    return closing
  }

  return {
    engine,
    watermark,
    last: journal.last,
    replayed,
    change: refuse,
    durable: journal.durable,
    save: refuse,
    rollback: refuse,
    lag: () => ({
      ageMs: restored === null ? null : Math.max(0, clock.nowMs() - restored.snapshot.time.getTime()),
      changes: 0,
      behindMs: 0,
      failures: 0,
      error: null,
      saving: false,
      stopped: true,
      entries,
      bytes,
      replayMs: ms,
      heldMs: 0,
      pendingBytes: 0,
      journalError: null,
    }),
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  }
}
