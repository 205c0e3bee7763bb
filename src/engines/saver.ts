import { clock } from '../clock.ts'
import type { PersistResult, Store } from '../index.ts'
import { type EngineAdapter, type PersistEngineOptions, persistEngine } from './adapter.ts'
import type { AutosaveOptions, Lag } from './autosave-options.ts'

/** The options of `autosave`, all there. */
interface SaverOptions<Engine>
  extends Record<'everyMs' | 'afterChanges' | 'quietMs' | 'quietLimitMs' | 'retryMs' | 'retryLimitMs', number>,
    Omit<
      AutosaveOptions<Engine>,
      'everyMs' | 'afterChanges' | 'quietMs' | 'quietLimitMs' | 'retryMs' | 'retryLimitMs' | 'signals' | 'deadlineMs'
    > {}

interface Saver {
  changed(count?: number): void
  flush(deadlineMs?: number): Promise<void>
  /** Flushes a last time; after that nothing is saved. */
  stop(deadlineMs: number): Promise<void>
  lag(): Lag
  report(error: unknown): void
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
}

/** The longest delay that a timer takes. */
const TIMER_MS_MAX = 2 ** 31 - 1

/** What a save that was aborted may take to notice. */
const GRACE_MS = 200

/** The heart of `autosave`: decides when, and does one save after another. */
export function createSaver<Engine>(
  opened: Promise<Store>,
  adapter: EngineAdapter<Engine>,
  engine: Engine,
  options: SaverOptions<Engine>,
): Saver {
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
  let failures = 0
  let error: unknown = null
  let retryAtMs = 0
  let saving: Run | null = null
  let timer: NodeJS.Timeout | undefined
  let stopped = false

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

  function canTell(): boolean {
    return adapter.revision !== undefined && adapter.revision(engine) !== undefined
  }

  /** When to save next; null: not before something changes. */
  function dueMs(): number | null {
    let due: number
    if (pending() > 0) {
      due = Math.min(firstChangeMs + options.everyMs, manyMs ?? Number.POSITIVE_INFINITY)
      due = Math.max(due, retryAtMs)
      const quiet = Math.max(due, lastChangeMs + options.quietMs)
      return Math.min(quiet, due + options.quietLimitMs)
    }
    if (told > 0 && durable !== null && !canTell()) return null
    return Math.max(checkedMs + options.everyMs, retryAtMs)
  }

  function schedule(): void {
    clock.stopTimer(timer)
    timer = undefined
    if (stopped || saving !== null) return
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
  function save(): Promise<void> {
    clock.stopTimer(timer)
    timer = undefined
    const run: Run = { captured: null, abort: new AbortController(), done: Promise.resolve() }
    saving = run
    run.done = persist(run).then(
      (result) => {
        durable = run.captured
        saves += 1
        failures = 0
        error = null
        retryAtMs = 0
        settled(run)
        callOut(() => options.onSave?.(result))
      },
      (cause: unknown) => {
        failures += 1
        error = cause
        const retryInMs = Math.min(options.retryLimitMs, options.retryMs * 2 ** Math.min(failures - 1, 30))
        retryAtMs = now() + retryInMs
        settled(run)
        report(cause, retryInMs)
        throw cause
      },
    )
    return run.done
  }

  /** Counts what was told during the save. */
  function settled(run: Run): void {
    saving = null
    checkedMs = now()
    // Of changes told during the save only the last one's time is known, and when the save captured: the oldest is younger than that.
    if (pending() > 0 && durable === run.captured && run.captured !== null) firstChangeMs = run.captured.atMs
    if (pending() < options.afterChanges) manyMs = null
    else manyMs ??= now()
    schedule()
  }

  async function persist(run: Run): Promise<PersistResult> {
    const { alongside, attempts, checkEvery, chunking, keepLast, lockWaitMs } = options
    const request: PersistEngineOptions<Engine> = {
      ...(attempts === undefined ? {} : { attempts }),
      ...(chunking === undefined ? {} : { chunking }),
      ...(keepLast === undefined ? {} : { keepLast }),
      ...(lockWaitMs === undefined ? {} : { lockWaitMs }),
      check: checkEvery !== undefined && saves % checkEvery === 0,
      signal: run.abort.signal,
      alongside(captured) {
        // This is the instant that the snapshot will be of.
        run.captured = { atMs: now(), changes: told, revision: revisionOf() }
        return typeof alongside === 'function' ? alongside(captured) : (alongside ?? {})
      },
    }
    return await persistEngine(await opened, adapter, engine, request)
  }

  function report(cause: unknown, retryInMs = 0): void {
    const { onError } = options
    if (onError !== undefined) {
      callOut(() => onError(cause, { failures, retryInMs }))
      return
    }
    const text = cause instanceof Error ? cause.message : String(cause)
    process.emitWarning(`saving ${adapter.name} failed (${failures} in a row): ${text}`, {
      type: 'HoldfastWarning',
      code: 'AUTOSAVE_FAILED',
    })
  }

  async function flush(deadlineMs?: number): Promise<void> {
    const deadline = deadlineMs === undefined ? null : startDeadline(deadlineMs)
    try {
      const current = saving
      if (current !== null && current.captured !== null) {
        // It captured before we were called, so another must follow; whether it works does not matter then.
        await orDeadline(current.done, deadline).catch(() => deadline?.signal.throwIfAborted())
      }
      // One that began, or captured, after we were called is ours too: several flushes share it.
      if (saving !== null) await orDeadline(saving.done, deadline)
      else if (mayHaveChanged()) await orDeadline(save(), deadline)
    } finally {
      deadline?.clear()
    }
  }

  /**
   * At the deadline the save is aborted: better nothing committed than a process that is killed while it writes. What does not heed that, an
   * engine that saves into a path, is not waited for.
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
      lastChangeMs = now()
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
        await flush(deadlineMs)
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
    }),
    report,
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

function startDeadline(ms: number): Deadline {
  const controller = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const passed = new Promise<false>((resolve) => {
    timer = clock.startTimer(
      () => {
        controller.abort(new DOMException(`not saved within ${ms} ms`, 'TimeoutError'))
        resolve(false)
      },
      Math.min(ms, TIMER_MS_MAX),
    )
  })
  return { signal: controller.signal, passed, clear: () => clock.stopTimer(timer) }
}
