// The saves of a live engine: when one is due, what the newest snapshot holds, and how a journal that failed is healed.

import { clock } from '../clock.ts'
import { HoldfastError, type Journal, type Store, type Watermark } from '../index.ts'
import { pickOptions } from '../misuse.ts'
import type { EngineAdapter, EngineState, RestoredEngine, SaveContext } from './adapter.ts'
import { type Autosave, autosave } from './autosave.ts'
import { AUTOSAVE_OPTIONS, type AutosaveOptions, type Lag } from './autosave-options.ts'
import { noteJournalled } from './exit-watch.ts'
import type { AppliedChange, Changes } from './live-changes.ts'
import type { OpenEngineOptions } from './live-options.ts'

const SAVE_AFTER_BYTES = 64 * 1024 * 1024
/** Or a part of the snapshot, when that is more. */
const SAVE_AFTER_PART = 1 / 4
/** As those of `autosave`. */
const HEAL_MS = 1000
const HEAL_LIMIT_MS = 60_000

interface SavesParts<Engine, Change> {
  store: Store
  journal: Journal
  adapter: EngineAdapter<Engine>
  options: OpenEngineOptions<Engine, Change>
  changes: Pick<Changes<Change>, 'ready' | 'hold' | 'unsound'>
  watermark: () => Watermark | undefined
}

/** What a start found: the engine, and which changes no snapshot holds. */
interface Unsaved<Engine> {
  engine: Engine
  restored: RestoredEngine<Engine, unknown> | null
  /** Up to which change a snapshot holds its effect. */
  covers: number
  entries: number
  bytes: number
  ms: number
}

interface LiveSaves<Engine> {
  /** Saves this engine from now on. */
  begin(from: Unsaved<Engine>): void
  applied(change: AppliedChange): void
  save(request?: { deadlineMs?: number | undefined }): Promise<void>
  /** Resolves when the effect of this change is durable, by the journal or by a snapshot. */
  durable(sequence: number): Promise<void>
  lag(): Lag & { entries: number; bytes: number; replayMs: number }
  /** Saves, and then no more until `begin`. Without an engine to begin with, everybody who waits for a save is told. */
  pause(): Promise<void>
  /** Saves a last time, within so many ms. */
  end(deadlineMs: number): Promise<void>
}

export function createSaves<Engine, Change>(parts: SavesParts<Engine, Change>): LiveSaves<Engine> {
  const { store, journal, options, changes } = parts
  // This `lockWaitMs` is for the journal's lock, not for the writer lock.
  const { lockWaitMs: _wait, ...saving } = pickOptions<AutosaveOptions<Engine>>(options, AUTOSAVE_OPTIONS)
  const adapter = savingAdapter(parts.adapter, changes)
  /**
   * Size of all changes so far and time that they took: in all, up to the last capture, and up to the newest snapshot.
   */
  const all = { bytes: 0, ms: 0 }
  let captured = { sequence: 0, ...all }
  let saved = captured
  let snapshotBytes = 0
  let isDue = false
  let isHealing = false
  let isEnded = false
  let saver: Autosave | null = null
  /** Called after each save, and at the end. */
  const watching = new Set<() => void>()

  function begin({ engine, restored, covers, entries, bytes, ms }: Unsaved<Engine>): void {
    saved = { sequence: covers, ...all }
    captured = saved
    all.bytes += bytes
    all.ms += ms
    snapshotBytes = restored?.snapshot.size ?? snapshotBytes
    noteJournalled(engine)
    saver = autosave(store, adapter, engine, {
      ...saving,
      restored,
      alongside() {
        captured = { sequence: journal.last, ...all }
        const watermark = parts.watermark()
        return { covers: captured.sequence, ...(watermark === undefined ? {} : { watermark }) }
      },
      onSave(result) {
        saved = captured
        snapshotBytes = Object.values(result.blobs).reduce((sum, { size }) => sum + size, 0)
        wake()
        options.onSave?.(result)
      },
    })
    if (entries > 0) saver.changed(entries)
    saveWhenDue()
  }

  function wake(): void {
    for (const each of watching) each()
    watching.clear()
  }

  function applied({ bytes, ms, durable }: AppliedChange): void {
    all.bytes += bytes
    all.ms += ms
    saver!.changed()
    saveWhenDue()
    // Only a snapshot heals a journal that failed.
    durable.catch(heal)
  }

  /**
   * Saves again and again until one save works. Until then all changes are refused, so this does not wait for the next
   * save that is due.
   */
  async function heal(): Promise<void> {
    if (isHealing) return
    isHealing = true
    const { retryMs = HEAL_MS, retryLimitMs = HEAL_LIMIT_MS } = options
    for (let waitMs = retryMs; !isEnded && changes.unsound === null; waitMs = Math.min(waitMs * 2, retryLimitMs)) {
      await saver!.flush().catch(() => undefined)
      if (journal.error === null) break
      await clock.sleep(waitMs, { ref: false })
    }
    isHealing = false
    wake()
  }

  /** Saves when a start would have to replay too much. */
  function saveWhenDue(): void {
    const { saveAfterBytes = Math.max(SAVE_AFTER_BYTES, snapshotBytes * SAVE_AFTER_PART) } = options
    if (isDue || all.bytes - saved.bytes < saveAfterBytes) return
    const { saving, failures } = saver!.lag()
    // A running save makes it less, and `autosave` retries one that failed.
    if (saving || failures > 0) return
    isDue = true
    saver!
      .flush()
      .catch(() => undefined)
      .finally(() => {
        isDue = false
      })
  }

  async function durable(sequence: number): Promise<void> {
    if (!Number.isSafeInteger(sequence) || sequence < 1 || sequence > journal.last) {
      throw new RangeError(`durable: ${String(sequence)} is no change of this engine; the last one is ${journal.last}`)
    }
    while (sequence > saved.sequence) {
      if (
        await journal.durable(sequence).then(
          () => true,
          () => false,
        )
      )
        return
      if (changes.unsound !== null) throw changes.unsound
      if (isEnded) {
        throw new HoldfastError('STORE_CLOSED', `the engine was closed before a snapshot held change ${sequence}`, {
          details: {},
        })
      }
      if (sequence > saved.sequence) await new Promise<void>((resolve) => watching.add(resolve))
    }
  }

  return {
    begin,
    applied,
    save: (request) => saver!.flush(request),
    durable,
    lag: () => ({
      ...saver!.lag(),
      entries: journal.last - saved.sequence,
      bytes: all.bytes - saved.bytes,
      replayMs: all.ms - saved.ms,
    }),
    pause: () => saver!.close(),
    async end(deadlineMs) {
      try {
        await saver!.close({ deadlineMs })
      } finally {
        isEnded = true
        wake()
      }
    },
  }
}

/**
 * The adapter as saves use it. It refuses to save an unsound engine, and a capture waits for a change that is being
 * applied. An engine whose blobs are read after the capture may change while they are read. The first attempt of a save
 * lets changes pass. Every later attempt holds them back until the blobs are read.
 */
function savingAdapter<Engine>(
  adapter: EngineAdapter<Engine>,
  changes: Pick<Changes<unknown>, 'ready' | 'hold' | 'unsound'>,
): EngineAdapter<Engine> {
  async function save(engine: Engine, context: SaveContext): Promise<EngineState> {
    if (changes.unsound !== null) throw changes.unsound
    let done = (): void => undefined
    if (context.attempt > 1) {
      changes.hold(
        new Promise<void>((resolve) => {
          done = resolve
        }),
      )
    }
    try {
      // Adapters copy everything synchronously after a failed attempt. Here changes are held back instead, so the event
      // loop stays free.
      const state = await adapter.save(engine, { ...context, attempt: 1 })
      if (state.captured === true) done()
      const release = state.release?.bind(state)
      return {
        ...state,
        async release() {
          done()
          await release?.()
        },
      }
    } catch (error) {
      done()
      throw error
    }
  }

  const ready = (engine: Engine): PromiseLike<unknown> | undefined => changes.ready() ?? adapter.ready?.(engine)
  const own: Partial<EngineAdapter<Engine>> = { save, ready }
  // Not a copy: an adapter may be an object of a class, whose methods a copy would not have.
  return new Proxy(adapter, {
    get(target, name) {
      if (Object.hasOwn(own, name)) return own[name as 'save' | 'ready']
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
