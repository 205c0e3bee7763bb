// Restores a live engine from its newest snapshot, and applies the changes of the journal that came after it.

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
import { applyAtOnce } from './apply-change.ts'
import type { OpenEngineOptions } from './live-options.ts'
import { startEngine } from './start.ts'

/** An engine as a start leaves it. */
export interface Started<Engine> {
  engine: Engine
  restored: Awaited<ReturnType<typeof startEngine<Engine>>>['restored']
  watermark: Watermark | undefined
  replayed: number
  /** Size of the replayed changes in the journal. */
  replayedBytes: number
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
  let replayed = 0
  let replayedBytes = 0
  const turn = createYielder()
  for await (const entries of journal.readBatches({ after: covers })) {
    for (const entry of entries) {
      const { sequence } = entry
      const { change, carried } = replayOne(options, engine, entry)
      if (change !== null && options.onReplayError?.({ sequence, change: change.value }, change.error) !== 'skip') {
        throw replayFailed(sequence, change.error)
      }
      if (carried !== undefined) watermark = carried as Watermark
      replayed += 1
      replayedBytes += entry.data.length
      // Awaiting undefined would cost a turn of the microtask queue for each change.
      const turned = turn()
      if (turned !== undefined) await turned
    }
  }
  return { engine, restored, watermark, replayed, replayedBytes }
}

/** Why a change could not be applied; null: it was applied. */
type FailedChange = { value: unknown; error: unknown } | null

function replayOne<Engine, Change>(
  options: OpenEngineOptions<Engine, Change>,
  engine: Engine,
  { sequence, data, afterLoss }: JournalEntry,
): { change: FailedChange; carried: unknown } {
  let value: unknown
  let carried: unknown
  try {
    const entry = readChange(data)
    value = entry.change
    carried = entry.watermark
    applyAtOnce(options, engine, upgraded(options, entry.change, entry.version), { sequence, replay: true, afterLoss })
    return { change: null, carried }
  } catch (error) {
    return { change: { value, error }, carried }
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

function replayFailed(sequence: number, cause: unknown): unknown {
  if (isHoldfastError(cause, 'VERSION_UNSUPPORTED')) return cause
  const why = cause instanceof Error ? cause.message : String(cause)
  return new HoldfastError(
    'REPLAY_FAILED',
    `Change ${sequence} of the journal cannot be replayed: ${why}. Correct apply, or leave the change out with onReplayError`,
    { details: { sequence }, cause },
  )
}
