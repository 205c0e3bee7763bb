// Restores a live engine from its newest snapshot, and applies the changes of the journal that came after it.

import { clock } from '../clock.ts'
import { readChange } from '../encodings/change.ts'
import { createYielder } from '../event-loop.ts'
import {
  HoldfastError,
  isHoldfastError,
  type Journal,
  type JournalEntry,
  type Store,
  type Watermark,
} from '../index.ts'
import type { EngineAdapter } from './adapter.ts'
import { applyChange } from './apply-change.ts'
import type { OpenEngineOptions, Replayed } from './live-options.ts'
import { type StartedEngine, startEngine } from './start.ts'

/** An engine as a start leaves it. */
export interface Started<Engine> {
  engine: Engine
  restored: Awaited<ReturnType<typeof startEngine<Engine>>>['restored']
  watermark: Watermark | undefined
  replayed: Replayed
}

export async function start<Engine, Change>(
  store: Store,
  journal: Journal,
  adapter: EngineAdapter<Engine>,
  options: OpenEngineOptions<Engine, Change>,
): Promise<Started<Engine>> {
  const { engine, restored } = await restoreOrCreate(store, journal, adapter, options)
  try {
    if (engine === undefined || engine === null) throw new TypeError('openEngine: create gave no engine')
    const covers = restored?.snapshot.covers ?? 0
    const { replayed, watermark } = await replayAfter(covers, engine, journal, adapter, options)
    return {
      engine,
      restored,
      watermark: watermark ?? (restored?.snapshot.watermark as Watermark | undefined),
      replayed,
    }
  } catch (error) {
    await restored?.dispose()
    throw error
  }
}

/**
 * A snapshot that does not fit is replaced only when the caller starts over: the changes after it would be applied to a
 * new engine.
 */
async function restoreOrCreate<Engine, Change>(
  store: Store,
  journal: Journal,
  adapter: EngineAdapter<Engine>,
  { create, startOver = false }: OpenEngineOptions<Engine, Change>,
): Promise<StartedEngine<Engine>> {
  try {
    return await startEngine(store, adapter, { create, onMismatch: startOver ? 'create' : 'throw' })
  } catch (error) {
    if (!isHoldfastError(error, 'ENGINE_MISMATCH')) throw error
    const covers = (await store.snapshots()).find(({ current }) => current)?.covers ?? 0
    const entries = Math.max(0, journal.last - covers)
    throw new HoldfastError(
      'ENGINE_MISMATCH',
      `${error.message}. The journal has ${entries} changes that it does not hold. Open it with the adapter that made it, or begin with a new engine and a ` +
        'new journal with startOver: true, and fill it from the source of truth',
      { details: { ...error.details, entries }, cause: error },
    )
  }
}

async function replayAfter<Engine, Change>(
  covers: number,
  engine: Engine,
  journal: Journal,
  adapter: EngineAdapter<Engine>,
  options: OpenEngineOptions<Engine, Change>,
): Promise<{ replayed: Replayed; watermark: Watermark | undefined }> {
  let watermark: Watermark | undefined
  const replayed: Replayed = { entries: 0, bytes: 0, ms: 0, skipped: [] }
  const startMs = clock.monotonicMs()
  const turn = createYielder()
  const revision = (): unknown => (options.onReplayError === undefined ? undefined : adapter.revision?.(engine))
  for await (const entries of journal.readBatches({ after: covers, acceptLoss: options.acceptLoss })) {
    for (const entry of entries) {
      const { sequence } = entry
      const before = revision()
      const one = replayOne(options, engine, entry)
      const { change, carried } = one instanceof Promise ? await one : one
      if (change !== null) {
        const answer = await options.onReplayError?.({ sequence, change: change.value }, change.error)
        assertAnswer(answer)
        const isWhole = Object.is(revision(), before)
        if (answer !== 'skip' || !isWhole) throw replayFailed(sequence, change.error, isWhole)
        journal.skip(sequence)
        replayed.skipped.push(sequence)
      }
      if (carried !== undefined) watermark = carried as Watermark
      replayed.entries += 1
      replayed.bytes += entry.data.length
      // Awaiting undefined would cost a turn of the microtask queue for each change.
      const turned = turn()
      if (turned !== undefined) await turned
    }
  }
  replayed.ms = clock.monotonicMs() - startMs
  return { replayed, watermark }
}

/** Why a change could not be applied; null: it was applied. */
type FailedChange = { value: unknown; error: unknown } | null

/** What became of a replayed change. */
interface ReplayedChange {
  change: FailedChange
  /** The watermark that came with it. */
  carried: unknown
}

/** At once, unless `apply` gives a promise: awaiting each change would cost a turn of the microtask queue. */
function replayOne<Engine, Change>(
  options: OpenEngineOptions<Engine, Change>,
  engine: Engine,
  { sequence, data, afterLoss }: JournalEntry,
): ReplayedChange | Promise<ReplayedChange> {
  let value: unknown
  let carried: unknown
  const failed = (error: unknown): ReplayedChange => ({ change: { value, error }, carried })
  try {
    const entry = readChange(data)
    const { version } = entry
    value = entry.change
    carried = entry.watermark
    const context = { sequence, version, replay: true, afterLoss }
    const promise = applyChange(options, engine, upgraded(options, entry.change, version), context)
    if (promise === undefined) return { change: null, carried }
    return Promise.resolve(promise).then(() => ({ change: null, carried }), failed)
  } catch (error) {
    return failed(error)
  }
}

function upgraded<Engine, Change>(
  { changes = { version: 1 } }: OpenEngineOptions<Engine, Change>,
  change: unknown,
  version: number,
): Change {
  if (version === changes.version) return change as Change
  if (version < changes.version && changes.upgrade !== undefined) return changes.upgrade(change, version)
  throw new HoldfastError(
    'VERSION_UNSUPPORTED',
    `The journal has a change of version ${version}, and this program applies version ${changes.version}: give changes.upgrade, or ` +
      'start a newer version of the program',
    { details: { version } },
  )
}

function assertAnswer(answer: unknown): void {
  if (answer === undefined || answer === 'skip' || answer === 'stop') return
  throw new TypeError(`openEngine: onReplayError answers 'skip' or 'stop', got ${String(answer)}`)
}

function replayFailed(sequence: number, cause: unknown, isWhole: boolean): unknown {
  if (isHoldfastError(cause, 'VERSION_UNSUPPORTED')) return cause
  const why = cause instanceof Error ? cause.message : String(cause)
  const next = isWhole
    ? 'Correct apply, or leave the change out with onReplayError'
    : 'It has changed the engine all the same, so it cannot be left out: make apply all or nothing'
  return new HoldfastError('REPLAY_FAILED', `Change ${sequence} of the journal cannot be replayed: ${why}. ${next}`, {
    details: { sequence },
    cause,
  })
}
