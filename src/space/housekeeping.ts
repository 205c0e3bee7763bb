// Gives back garbage behind the persists of an open store: packs that are mostly garbage are rewritten in short steps,
// some time after the writes that made them so. It never keeps the process alive, and whoever closes the store or saves
// because of a signal does not wait for it.

import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { isHoldfastError } from '../errors.ts'

/** What an open store does about its garbage by itself. */
export interface Housekeeping {
  /** Notes a write: bytes that went into packs, and whether a snapshot was dropped. */
  noteWrite(bytes: number, hasDropped: boolean): void
  /** Looks for garbage now if there may be some, and resolves when that is done. Never rejects. */
  now(): Promise<void>
  /** Runs a save. Whoever looks for garbage waits meanwhile, because they share one thread. */
  during<T>(save: () => Promise<T>): Promise<T>
  /** Waits for saves that run, but not long: a store that is always saved to must be looked at, too. */
  pause(): Promise<unknown> | undefined
  /** Ends the step that is under way. What it would have done is done some time after the next write. */
  interrupt(): void
}

/** A look that meets saves goes on after so long. */
const PAUSE_MS = 100

/** Without a dropped snapshot there is no new garbage. After one, when much was written, it is looked for so soon, */
const SOON_MS = 1000
/** and else so late: to look is to walk the nodes of all snapshots. */
const LATE_MS = 60_000
/** This part of the store's bytes is much. */
const MUCH = 1 / 8
/**
 * After a look it rests so many times as long as the look took, but not longer than the limit. So it takes a twentieth
 * of a processor at most.
 */
const REST_FACTOR = 20
const REST_MS_MAX = 300_000

/**
 * @param run runs an operation of the store, which `close` waits for
 * @param collect rewrites what is worth it, in steps; it stops at the signal
 * @param closing aborted when the store is closed
 */
export function createHousekeeping(
  ctx: StoreContext,
  run: (operation: () => Promise<void>) => Promise<void>,
  collect: (signal: AbortSignal) => Promise<unknown>,
  closing: AbortSignal,
): Housekeeping {
  let timer: NodeJS.Timeout | undefined
  let dueMs = Number.POSITIVE_INFINITY
  let restUntilMs = 0
  let writtenBytes = 0
  let packBytes = 0
  let isDirty = false
  const saves = new Set<Promise<unknown>>()
  let running: { done: Promise<void>; abort: AbortController } | null = null
  closing.addEventListener('abort', () => clock.stopTimer(timer), { once: true })

  function schedule(afterMs: number): void {
    const atMs = Math.max(clock.monotonicMs() + afterMs, restUntilMs)
    if (closing.aborted || atMs >= dueMs) return
    clock.stopTimer(timer)
    dueMs = atMs
    timer = clock.startTimer(() => void now(), atMs - clock.monotonicMs())
    timer.unref()
  }

  async function look(signal: AbortSignal): Promise<void> {
    const startMs = clock.monotonicMs()
    isDirty = false
    writtenBytes = 0
    try {
      await collect(signal)
      const stored = await ctx.storage.readHead()
      packBytes = stored?.head.packs.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0
    } catch (error) {
      isDirty = true
      if (!signal.aborted && !isHoldfastError(error, 'STORE_LOCKED', 'STORE_CLOSED', 'HEAD_CONFLICT')) warn(error)
    }
    const nowMs = clock.monotonicMs()
    restUntilMs = nowMs + Math.min(REST_FACTOR * (nowMs - startMs), REST_MS_MAX)
  }

  function warn(error: unknown): void {
    ctx.warn({
      code: 'COMPACTION_SKIPPED',
      message: `${ctx.storage.location}: packs that are mostly garbage were not rewritten: ${(error as Error).message}`,
      details: { error },
    })
  }

  async function now(): Promise<void> {
    clock.stopTimer(timer)
    dueMs = Number.POSITIVE_INFINITY
    if (running !== null) return await running.done
    if (!isDirty || closing.aborted) return
    const abort = new AbortController()
    const done = run(() => look(AbortSignal.any([abort.signal, closing]))).finally(() => {
      running = null
      // It was interrupted, or failed, or somebody wrote meanwhile.
      if (isDirty) schedule(LATE_MS)
    })
    running = { done, abort }
    await done
  }

  return {
    noteWrite(bytes, hasDropped) {
      // Where there are other writers, a persist rewrites in its own swap, and `gc` deletes.
      if (!ctx.storage.supports.alone) return
      writtenBytes += bytes
      isDirty ||= hasDropped
      if (isDirty) schedule(writtenBytes >= packBytes * MUCH ? SOON_MS : LATE_MS)
    },
    now,
    async during(save) {
      const saving = save()
      saves.add(saving)
      try {
        return await saving
      } finally {
        saves.delete(saving)
      }
    },
    pause() {
      if (saves.size === 0) return undefined
      return Promise.race([Promise.allSettled(saves), clock.sleep(PAUSE_MS, { ref: false })])
    },
    interrupt: () => running?.abort.abort(new Error('a save is more urgent')),
  }
}
