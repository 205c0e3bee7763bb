// Runs the saves of `autosave`: one after another, when `save-timing.ts` says that one is due. It must never run two at
// once, nor count a change as durable that was made after the engine was captured.

import { clock } from '../clock.ts'
import { type HoldfastError, isHoldfastError, type Store } from '../index.ts'
import { type EngineAdapter, type PersistEngineOptions, type PersistEngineResult, saveEngine } from './adapter.ts'
import type { AutosaveOptions, Lag } from './autosave-options.ts'
import { isJournalled } from './exit-watch.ts'
import { saveTimeout } from './save-timeout.ts'
import { dueAt, retryDelayMs, type TimingOptions } from './save-timing.ts'
import { startingHead } from './starting-head.ts'

/** The options of `autosave`, with the defaults filled in. */
interface SchedulerOptions<Engine>
  extends TimingOptions,
    Omit<AutosaveOptions<Engine>, keyof TimingOptions | 'cpuShare' | 'signals' | 'deadlineMs' | 'saveLimitMs'> {
  cpuShare: number
  saveLimitMs: number
}

interface SaveScheduler {
  changed(count?: number): void
  /**
   * `isCall` (default true): somebody asked for it now, and no signal did. `isLast`: the process may end after it, so
   * the image of the engine's file is kept.
   */
  flush(deadlineMs?: number, how?: { isCall?: boolean; isLast?: boolean }): Promise<void>
  /** Flushes a last time; after that nothing is saved. */
  stop(deadlineMs: number): Promise<void>
  lag(): Lag
  /** Whether there are changes that would be lost now. */
  unsaved(): boolean
  /** Reports what made a flush fail, unless the failed save has reported it. */
  reportOnce(error: unknown): void
}

/** What a save captured, or will have. */
interface Captured {
  atMs: number
  /** Changes told until then. */
  changes: number
  revision: unknown
}

/** A save under way. */
interface Run {
  done: Promise<void>
  /** Null until the engine is captured; of several attempts the last one counts. */
  captured: Captured | null
  abort: AbortController
  /** Only for the image: everything is durable, and nothing is lost when it fails. */
  isForImage: boolean
}

/** The longest delay that a timer takes. */
const TIMER_MS_MAX = 2 ** 31 - 1

/** What a save that was aborted may take to notice. */
const GRACE_MS = 200

/** The heart of `autosave`: decides when, and does one save after another. */
export function createSaveScheduler<Engine>(
  opened: Promise<Store>,
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: SchedulerOptions<Engine>,
): SaveScheduler {
  const now = (): number => clock.monotonicMs()
  /** Changes told in all, and when: the last one, and the first that is not durable. */
  let told = 0
  let lastChangeMs = 0
  let firstChangeMs = 0
  /** Since when there are `afterChanges` of them. */
  let manyMs: number | null = null
  let durable: Captured | null = startingPoint()
  let checkedMs = now()
  /** Saves that worked. */
  let saves = 0
  /** The file of the last save was dropped, which the last flush would have kept. */
  let isImageDropped = false
  let isLastFlush = false
  /** How many wait for a save now. */
  let flushes = 0
  let failures = 0
  let error: unknown = null
  let retryAtMs = 0
  let saving: Run | null = null
  /** The snapshot that the next save may replace; undefined: any. */
  let expected = options.onConflict === 'overwrite' ? undefined : firstExpected()
  /** Somebody else moved HEAD. Nothing is saved from then on. */
  let conflict: HoldfastError | null = null
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  /** The last call of `changed`, `flush` or `stop`. */
  let calledMs = Number.NEGATIVE_INFINITY

  function firstExpected(): number | null | undefined {
    const { restored } = options
    if (restored !== undefined && restored !== null) return restored.snapshot.currentSequence
    return startingHead(engine) ?? restored
  }

  function startingPoint(): Captured | null {
    const { restored } = options
    if (restored === undefined || restored === null) return null
    const ageMs = Math.max(0, clock.nowMs() - restored.snapshot.time.getTime())
    // The engine may have changed since it was restored, by a replay: its revision says nothing of the snapshot.
    return { atMs: now() - ageMs, changes: 0, revision: {} }
  }

  function revisionOf(): unknown {
    // A new object is equal to no other: an engine that cannot tell may always have changed.
    return adapter.revision?.(engine) ?? {}
  }

  /** Changes that were told and are not durable. */
  function pending(): number {
    return told - (durable?.changes ?? 0)
  }

  /** False only when it is known that everything is durable. */
  function mayHaveChanged(): boolean {
    if (durable === null || pending() > 0) return true
    return told > 0 && !canTell() ? false : !Object.is(revisionOf(), durable.revision)
  }

  function timedOut(limit: 'deadlineMs' | 'saveLimitMs', limitMs: number): HoldfastError {
    const changes = told > 0 ? pending() : undefined
    return saveTimeout({ limit, limitMs, changes, isJournalled: isJournalled(engine) })
  }

  function canTell(): boolean {
    return adapter.revision !== undefined && adapter.revision(engine) !== undefined
  }

  /** When to save next; null: not before something changes. */
  function dueMs(): number | null {
    const canWait = told > 0 && durable !== null && !canTell()
    return dueAt({ pending: pending(), canWait, firstChangeMs, lastChangeMs, manyMs, checkedMs, retryAtMs }, options)
  }

  function schedule(): void {
    clock.stopTimer(timer)
    timer = undefined
    if (stopped || conflict !== null || saving !== null) return
    const due = dueMs()
    if (due === null) return
    timer = clock.startTimer(onTimer, Math.min(Math.max(0, Math.ceil(due - now())), TIMER_MS_MAX))
    timer.unref()
  }

  function onTimer(): void {
    timer = undefined
    const due = dueMs()
    if (stopped || saving !== null || due === null || due > now()) {
      schedule()
      return
    }
    checkedMs = now()
    // The error is reported there.
    if (mayHaveChanged()) save().catch(() => {})
    else schedule()
  }

  /** One save. Never called while another is under way. */
  function save(isForImage = false): Promise<void> {
    clock.stopTimer(timer)
    timer = undefined
    const run: Run = { captured: null, abort: new AbortController(), done: Promise.resolve(), isForImage }
    saving = run
    const limit = clock.startTimer(
      () => run.abort.abort(timedOut('saveLimitMs', options.saveLimitMs)),
      Math.min(options.saveLimitMs, TIMER_MS_MAX),
    )
    limit.unref()
    run.done = persist(run)
      .finally(() => clock.stopTimer(limit))
      .then(
        (result) => {
          durable = run.captured
          if (options.onConflict !== 'overwrite') expected = result.sequence
          saves += 1
          failures = 0
          error = null
          retryAtMs = 0
          settled(run)
          callOut(() => options.onSave?.(result))
        },
        (cause: unknown) => {
          if (isForImage) {
            settled(run)
            throw cause
          }
          failures += 1
          error = cause
          if (isConflict(cause)) conflict = cause
          const retryInMs = conflict === null ? retryDelayMs(failures, options) : Number.POSITIVE_INFINITY
          retryAtMs = now() + retryInMs
          settled(run)
          // A save that was given up at a deadline may fail much later, when that was reported already.
          if (cause !== reported || !run.abort.signal.aborted) report(cause, retryInMs)
          throw cause
        },
      )
    return run.done
  }

  /** Counts what was told during the save. */
  function settled(run: Run): void {
    saving = null
    checkedMs = now()
    // Of changes told during the save only the last one's time is known, and when the save captured: the oldest is
    // younger than that.
    if (pending() > 0 && durable === run.captured && run.captured !== null) firstChangeMs = run.captured.atMs
    if (pending() < options.afterChanges) manyMs = null
    else manyMs ??= now()
    schedule()
  }

  /** Nobody waits for a save in the background. */
  function share(): number {
    return flushes > 0 ? 1 : options.cpuShare
  }

  async function persist(run: Run): Promise<PersistEngineResult> {
    const { alongside, attempts, checkEvery, chunking, image = 'last', keep, keepLast, lockWaitMs } = options
    // A file of 3 GB every half minute would be terabytes a day.
    const isKept = image === 'always' || (image === 'last' && isLastFlush)
    const request: PersistEngineOptions<Engine> = {
      ...(attempts === undefined ? {} : { attempts }),
      ...(chunking === undefined ? {} : { chunking }),
      ...(keep === undefined ? {} : { keep }),
      ...(keepLast === undefined ? {} : { keepLast }),
      ...(lockWaitMs === undefined ? {} : { lockWaitMs }),
      check: checkEvery !== undefined && saves % checkEvery === 0 && !run.isForImage,
      image: isKept ? 'last' : 'none',
      signal: run.abort.signal,
      alongside(captured) {
        // This is the instant that the snapshot will be of.
        run.captured = { atMs: now(), changes: told, revision: revisionOf() }
        return typeof alongside === 'function' ? alongside(captured) : (alongside ?? {})
      },
    }
    const store = await opened
    for (;;) {
      try {
        const head = expected === undefined ? {} : { expectedHead: expected }
        const { result, hasFile } = await saveEngine(store, adapter, engine, { ...request, ...head }, share)
        isImageDropped = hasFile && !isKept && image === 'last'
        return result
      } catch (error) {
        if (!isConflict(error) || !isOlderThanCall(error)) throw error
        expected = error.details.current as number | null
      }
    }
  }

  /**
   * Within one process the last call wins. A rollback that came after it is not undone by the clock, or on a signal.
   */
  function isOlderThanCall({ details }: HoldfastError): boolean {
    return (
      details.own === true && ((details.rolledBackMs as number | undefined) ?? Number.NEGATIVE_INFINITY) <= calledMs
    )
  }

  /** What was called after a rollback of this process goes on from it. */
  function noteCall(): void {
    calledMs = now()
    if (conflict === null || !isOlderThanCall(conflict)) return
    expected = conflict.details.current as number | null
    conflict = null
    retryAtMs = 0
  }

  /** A HEAD that is replaced while we write, in a store without a lock, is another matter: the next try finds out. */
  function isConflict(error: unknown): error is HoldfastError {
    return isHoldfastError(error, 'HEAD_CONFLICT') && 'expected' in error.details
  }

  /** The error that was reported last. */
  let reported: unknown = null

  function report(cause: unknown, retryInMs: number): void {
    reported = cause
    const { onError } = options
    if (onError !== undefined) {
      callOut(() => onError(cause, { failures, retryInMs }))
      return
    }
    const text = cause instanceof Error ? cause.message : String(cause)
    const next =
      conflict === null
        ? ''
        : "; autosave has stopped: restore the engine from the current snapshot, or pass onConflict: 'overwrite'"
    process.emitWarning(`saving ${adapter.name} failed (${failures} in a row): ${text}${next}`, {
      type: 'HoldfastWarning',
      code: 'AUTOSAVE_FAILED',
    })
  }

  async function flush(deadlineMs?: number, { isCall = true, isLast = false } = {}): Promise<void> {
    if (isCall) noteCall()
    isLastFlush ||= isLast
    flushes += 1
    const deadline =
      deadlineMs === undefined ? null : startDeadline(deadlineMs, () => timedOut('deadlineMs', deadlineMs))
    try {
      if (conflict !== null) throw conflict
      const current = saving
      if (current !== null && current.captured !== null) {
        // It captured before we were called, so another must follow; whether it works does not matter then.
        await orDeadline(current.done, deadline).catch(() => deadline?.signal.throwIfAborted())
        if (conflict !== null) throw conflict
      }
      // One that began, or captured, after we were called is ours too: several flushes share it.
      if (saving !== null) await orDeadline(saving.done, deadline)
      else if (mayHaveChanged()) await orDeadline(save(), deadline)
      // The last save had a file, and everything is durable without it.
      const isWanted = isLast && isImageDropped && saving === null
      if (isWanted) await orDeadline(save(true), deadline).catch(() => undefined)
    } finally {
      flushes -= 1
      deadline?.clear()
    }
  }

  /**
   * At the deadline the save is aborted: better nothing committed than a process that is killed while it writes. What
   * does not heed that, an engine that saves into a path, is not waited for.
   */
  async function orDeadline(done: Promise<void>, deadline: Deadline | null): Promise<void> {
    if (deadline === null) return await done
    done.catch(() => {})
    if (await Promise.race([done.then(() => true), deadline.passed])) return
    saving?.abort.abort(deadline.signal.reason)
    const grace = new Promise<void>((_, reject) => {
      clock.startTimer(() => reject(deadline.signal.reason), GRACE_MS)
    })
    await Promise.race([done, grace])
  }

  schedule()
  return {
    changed(count = 1) {
      if (!Number.isInteger(count) || count < 1) {
        throw new RangeError(`changed: count is a number of changes, at least 1; got ${String(count)}`)
      }
      noteCall()
      lastChangeMs = calledMs
      if (pending() === 0) firstChangeMs = lastChangeMs
      told += count
      const many = manyMs === null && pending() >= options.afterChanges
      if (many) manyMs = lastChangeMs
      // A timer that is set fires early rather than late: what is due is looked at again then.
      if (many || timer === undefined) schedule()
    },
    flush,
    async stop(deadlineMs) {
      clock.stopTimer(timer)
      try {
        await flush(deadlineMs, { isLast: true })
      } finally {
        stopped = true
        clock.stopTimer(timer)
      }
    },
    lag: () => ({
      ageMs: durable === null ? null : now() - durable.atMs,
      changes: pending(),
      behindMs: pending() > 0 ? now() - firstChangeMs : 0,
      failures,
      error,
      saving: saving !== null,
      stopped: stopped || conflict !== null,
    }),
    // Changes that nobody reported count only where a save has shown what the engine was.
    unsaved: () => pending() > 0 || (saves > 0 && canTell() && mayHaveChanged()),
    reportOnce(cause) {
      if (cause !== reported) report(cause, conflict === null ? 0 : Number.POSITIVE_INFINITY)
    },
  }
}

/** What a callback throws is its caller's to see, not a failure of the save. */
function callOut(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    clock.soon(() => {
      throw error
    })
  }
}

interface Deadline {
  signal: AbortSignal
  /** Resolves to false. */
  passed: Promise<false>
  clear(): void
}

function startDeadline(ms: number, reason: () => HoldfastError): Deadline {
  const controller = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const passed = new Promise<false>((resolve) => {
    timer = clock.startTimer(
      () => {
        controller.abort(reason())
        resolve(false)
      },
      Math.min(ms, TIMER_MS_MAX),
    )
  })
  return { signal: controller.signal, passed, clear: () => clock.stopTimer(timer) }
}
