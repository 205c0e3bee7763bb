// Applies the changes of a live engine, one after the other, and gives each to the journal. What a change does to the
// engine and its entry must never be apart when the engine is captured: a snapshot covers exactly the entries whose
// effect it holds.
//
// A change that `apply` does at once is applied and appended in one turn of the event loop, in which nothing is
// captured. While `apply` has given a promise, captures and further changes wait for it (`ready`). A capture that
// waited is before the next change.

import { AsyncLocalStorage } from 'node:async_hooks'
import { clock } from '../clock.ts'
import { encodeChange, readChange } from '../encodings/change.ts'
import { endsWithin } from '../foreign.ts'
import { HoldfastError, isHoldfastError, type Journal, type Watermark } from '../index.ts'
import { assertOptions } from '../misuse.ts'
import { applyChange } from './apply-change.ts'
import { CHANGE_OPTIONS, type OpenEngineOptions } from './live-options.ts'
import { saveTimeout } from './save-timeout.ts'

/** Size of changes that may wait for the disk: the default limit of the journal. */
const PENDING_BYTES_MAX = 64 * 1024 * 1024

/** What was appended for a change. */
type Appended = ReturnType<Journal['append']>

/** A change that was applied and appended. */
export interface AppliedChange {
  bytes: number
  /** How long `apply` took. */
  ms: number
  /** Undefined: it carried none. */
  watermark: Watermark | undefined
  durable: Promise<void>
}

interface ChangesParts<Engine, Change> {
  journal: Journal
  options: OpenEngineOptions<Engine, Change>
  engine: () => Engine
  /**
   * An answer that is the same twice says that the engine did not change in between; undefined where it cannot tell.
   */
  revision: () => unknown
  /** Called in the turn in which the change was appended. */
  onApplied: (change: AppliedChange) => void
}

export interface Changes<Change> {
  /** Why no change is applied and nothing may be saved any more; null while all is well. */
  readonly unsound: HoldfastError | null
  /** For how long saves and rollbacks have held changes back, in ms. */
  readonly heldMs: number
  change(value: Change, request?: { watermark?: Watermark | undefined }): Promise<{ sequence: number }>
  /** What a capture has to wait for; undefined: it may begin in this turn. */
  ready(): Promise<void> | undefined
  /** Applies no change until then. */
  hold(until: Promise<unknown>): void
  /** The engine is not of the line that HEAD is on. */
  spoil(cause: unknown): void
  /** Does this between two changes. Further changes wait for it. */
  alone<T>(work: () => Promise<T>): Promise<T>
  /** @throws TypeError inside a promise of `apply`, which would wait for itself */
  assertOutside(what: string): void
  /** The same. @throws STORE_CLOSED, ENGINE_UNSOUND */
  assertOpen(what: string): void
  /** Refuses what comes from now on, and waits for what came before, so long at most. */
  close(waitMs: number): Promise<void>
}

export function createChanges<Engine, Change>(parts: ChangesParts<Engine, Change>): Changes<Change> {
  const { journal, options, engine, revision, onApplied } = parts
  const { version } = options.changes ?? { version: 1 }
  let unsound: HoldfastError | null = null
  let isClosed = false
  /** The last change that waits. */
  let waiting: Promise<unknown> | null = null
  /** Resolves when the change is applied for which `apply` gave a promise. */
  let applying: Promise<void> | null = null
  /** Ends the wait for it. */
  let giveUp = (): void => undefined
  let captureWaits = false
  let held: Promise<unknown> | null = null
  let heldSinceMs = 0
  let heldMs = 0
  let inApply = false
  /**
   * Tells a change that was made inside a promise of `apply`. Made when it is known to give one: this slows all
   * promises down.
   */
  let inside = options.apply.constructor.name === 'AsyncFunction' ? new AsyncLocalStorage<{ isDone: boolean }>() : null

  function assertSound(): void {
    if (unsound !== null) throw unsound
  }

  function applyAndAppend(data: Uint8Array): Appended | Promise<Appended> {
    assertSound()
    // A change that the journal would refuse must not be applied.
    journal.assertTakes(data.length)
    const sequence = journal.last + 1
    const before = revision()
    const startMs = clock.monotonicMs()
    const { change, watermark } = readChange(data)
    const context = { sequence, version, replay: false, afterLoss: false }
    const apply = (): unknown => applyChange(options, engine(), change as Change, context)
    const turn = { isDone: false }

    function appended(): Appended {
      const entry = journal.append(data, { applied: true })
      const ms = clock.monotonicMs() - startMs
      onApplied({ bytes: data.length, ms, watermark: watermark as Watermark | undefined, durable: entry.durable })
      return entry
    }

    function failed(error: unknown): unknown {
      if (before === undefined || Object.is(revision(), before)) return error
      const what = `Change ${sequence} failed and left the engine in a state that the journal does not describe`
      unsound = unsoundError(what, error, { sequence })
      return unsound
    }

    let promise: unknown
    inApply = true
    try {
      promise = inside === null ? apply() : inside.run(turn, apply)
    } catch (error) {
      throw failed(error)
    } finally {
      inApply = false
    }
    if (promise === undefined) return appended()
    inside ??= new AsyncLocalStorage()
    const done = Promise.resolve(promise)
      .finally(() => {
        turn.isDone = true
        applying = null
      })
      .then(appended, (error: unknown) => {
        throw failed(error)
      })
    applying = new Promise((resolve) => {
      giveUp = resolve
      done.then(
        () => resolve(),
        () => resolve(),
      )
    })
    return done
  }

  function hasRoom(data: Uint8Array): boolean {
    return journal.pendingBytes === 0 || journal.pendingBytes + data.length + 4 <= PENDING_BYTES_MAX
  }

  async function whenPossible(data: Uint8Array): Promise<Appended> {
    for (;;) {
      if (applying !== null) await applying
      else if (held !== null) await held.catch(() => undefined)
      else if (captureWaits) {
        // The capture begins in this turn of the event loop.
        captureWaits = false
        await clock.nextTurn()
      } else if (!hasRoom(data)) await journal.flush().catch(() => undefined)
      else return await applyAndAppend(data)
    }
  }

  async function change(value: Change, request: { watermark?: Watermark | undefined } = {}) {
    assertOptions('change', request, CHANGE_OPTIONS)
    if (inApply) throw calledInApply('change')
    assertOpen('change')
    const data = encodeChange({ version, change: value, watermark: request.watermark })
    const isFree = waiting === null && applying === null && held === null && !captureWaits && hasRoom(data)
    const { sequence, durable } = await (isFree ? applyAndAppend(data) : inTurn(data))
    try {
      await durable
    } catch (error) {
      throw changeUnknown(sequence, error)
    }
    return { sequence }
  }

  function assertOutside(what: string): void {
    if (inside?.getStore()?.isDone === false) throw calledInApply(what)
  }

  function assertOpen(what: string): void {
    assertOutside(what)
    if (isClosed) throw new HoldfastError('STORE_CLOSED', 'the engine was closed; open it again', { details: {} })
    assertSound()
  }

  /** Several may hold at a time. */
  function hold(until: Promise<unknown>): void {
    if (held === null) heldSinceMs = clock.monotonicMs()
    const all = Promise.allSettled([held, until])
    held = all
    all.then(() => {
      if (held !== all) return
      held = null
      heldMs += clock.monotonicMs() - heldSinceMs
    })
  }

  /**
   * In the queue of the changes, so that it begins when those before it are applied, and two of them follow each other.
   */
  async function alone<T>(work: () => Promise<T>): Promise<T> {
    if (inApply) throw calledInApply('rollback')
    assertOpen('rollback')
    const turn = (waiting ?? Promise.resolve())
      .catch(() => undefined)
      .then(async () => {
        while (applying !== null) await applying
        assertSound()
        return await work()
      })
    waiting = turn
    try {
      return await turn
    } finally {
      if (waiting === turn) waiting = null
    }
  }

  async function inTurn(data: Uint8Array): Promise<Appended> {
    const turn = (waiting ?? Promise.resolve()).catch(() => undefined).then(() => whenPossible(data))
    waiting = turn
    try {
      return await turn
    } finally {
      if (waiting === turn) waiting = null
    }
  }

  return {
    get unsound() {
      return unsound
    },
    get heldMs() {
      return heldMs + (held === null ? 0 : clock.monotonicMs() - heldSinceMs)
    },
    change,
    ready() {
      if (applying === null) return undefined
      captureWaits = true
      return applying
    },
    hold,
    alone,
    spoil(cause) {
      unsound = unsoundError('A rollback failed, and HEAD may be the one that it made', cause, {})
    },
    assertOutside,
    assertOpen,
    async close(waitMs) {
      isClosed = true
      const all = Promise.allSettled([waiting, applying])
      if (await endsWithin(all, waitMs)) return
      const late = saveTimeout({ limit: 'deadlineMs', limitMs: waitMs, isJournalled: true, apply: true })
      unsound ??= unsoundError('A change is still being applied', late, {})
      // A save that waits for it meets that error, and does not wait as long again.
      applying = null
      giveUp()
      throw late
    },
  }
}

function calledInApply(what: string): TypeError {
  const why =
    'what apply does is one change, which it would wait for, or which would be in the journal in another order'
  return new TypeError(`openEngine: apply called ${what}: ${why}. Call it when the change is done`)
}

/** The journal says which entries failed together. The caller asks for its own. */
function changeUnknown(sequence: number, error: unknown): unknown {
  if (!isHoldfastError(error, 'CHANGE_UNKNOWN')) return error
  return new HoldfastError(
    'CHANGE_UNKNOWN',
    `Change ${sequence} is applied, and may be durable or not. Do not repeat it: live.durable(${sequence}) resolves when a snapshot holds it. ` +
      error.message,
    { details: { ...error.details, sequence }, cause: error.cause },
  )
}

function unsoundError(what: string, cause: unknown, details: { sequence?: number }): HoldfastError {
  const text = `${what}. The engine is not saved. Close it and open it again`
  return new HoldfastError('ENGINE_UNSOUND', text, { details, cause })
}
