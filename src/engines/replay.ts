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
import { startEngine } from './start.ts'

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
  const { engine, restored } = await startEngine(store, adapter, { create: options.create })
  if (engine === undefined || engine === null) throw new TypeError('openEngine: create gave no engine')
  const covers = restored?.snapshot.covers ?? 0
  let watermark = restored?.snapshot.watermark as Watermark | undefined
  const replayed: Replayed = { entries: 0, bytes: 0, ms: 0, skipped: [] }
  const startMs = clock.monotonicMs()
  const turn = createYielder()
  for await (const entries of journal.readBatches({ after: covers, acceptLoss: options.acceptLoss })) {
    for (const entry of entries) {
      const { sequence } = entry
      const before = options.onReplayError === undefined ? undefined : adapter.revision?.(engine)
      const one = replayOne(options, engine, entry)
      const { change, carried } = one instanceof Promise ? await one : one
      if (change !== null) {
        const answer = await options.onReplayError?.({ sequence, change: change.value }, change.error)
        assertAnswer(answer)
        const isWhole = options.onReplayError === undefined || Object.is(adapter.revision?.(engine), before)
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
  return { engine, restored, watermark, replayed }
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
