// Opens the journal of a store that was opened read-only: for whoever replays it beside its owner, or where nothing can
// be written. It takes no lock, recovers nothing and changes nothing. The last entries may be of a batch that is not
// durable yet.

import { join } from 'node:path'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import type { FoundJournal } from '../journal/reader.ts'
import type { Hole } from '../journal/segment.ts'
import { oneByOne } from './one-by-one.ts'
import type { Journal } from './options.ts'
import { DIRECTORY, type JournalFiles, stateOf } from './place.ts'
import { createBatchReader } from './read-batches.ts'

/** What an owner writes meanwhile may look damaged, until HEAD and the segments are read in one moment. */
const TRIES = 5
const PAUSE_MS = 20

interface Found extends FoundJournal {
  last: number
  holes: readonly Hole[]
}

/** @throws JOURNAL_DAMAGED, STORE_ROLLED_BACK, IO_FAILED, VERSION_UNSUPPORTED */
export async function openReadOnly(ctx: StoreContext, files: JournalFiles): Promise<Journal> {
  const { fs, root } = files
  const directory = join(root, DIRECTORY)
  const found = await findQuietly(ctx, { fs, directory })
  const { createReader } = await import('../journal/reader.ts')
  const read = createReader({ fs, directory, readState: async () => ({ head: await headOf(ctx) }) }, found, {
    holes: () => found.holes,
    parts: () => found.parts,
  })
  const readBatches = createBatchReader(ctx, { read, lost: found.lost }, [])
  // Whoever opens the journal is to replay it: there is nothing to warn of.
  delete ctx.loaded

  function refuse(what: string): HoldfastError {
    const { location } = ctx.storage
    const text = `journal.${what}: ${location} was opened read-only. Open it without readOnly`
    return new HoldfastError('READ_ONLY', text, { details: { path: location } })
  }

  async function durable(sequence: number): Promise<void> {
    if (Number.isSafeInteger(sequence) && sequence >= 0 && sequence <= found.last) return
    throw new RangeError(`journal: entry ${sequence} was never appended; the last one is ${found.last}`)
  }

  return {
    readOnly: true,
    last: found.last,
    durableUpTo: found.last,
    pendingBytes: 0,
    uncoveredBytes: 0,
    error: null,
    append() {
      throw refuse('append')
    },
    assertTakes() {
      throw refuse('append')
    },
    skip() {
      // It is left out of this replay. Nothing is recorded.
    },
    flush: async () => undefined,
    durable,
    read: (request) => oneByOne(readBatches(request)),
    readBatches,
    rollback: async () => {
      throw refuse('rollback')
    },
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
}

async function headOf(ctx: StoreContext) {
  const stored = await ctx.storage.readHead()
  return stored === null ? null : stateOf(stored.head, null).head
}

async function findQuietly(ctx: StoreContext, place: Pick<JournalFiles, 'fs'> & { directory: string }): Promise<Found> {
  for (let tries = 1; ; tries++) {
    try {
      return await find(ctx, place)
    } catch (error) {
      if (!isHoldfastError(error, 'JOURNAL_DAMAGED', 'STORE_ROLLED_BACK') || tries === TRIES) throw error
      await clock.sleep(PAUSE_MS)
    }
  }
}

async function find(ctx: StoreContext, place: Pick<JournalFiles, 'fs'> & { directory: string }): Promise<Found> {
  const { assertNoFrames, recover } = await import('../journal/recover.ts')
  const { listSegments } = await import('../journal/read-segments.ts')
  const { foundMarks, foundRanges } = await import('../journal/parts.ts')
  const stored = await ctx.storage.readHead()
  const names = await listSegments(place.fs, place.directory)
  const none: Found = { parts: [], marks: [], begin: 1, lost: [], last: 0, holes: [] }
  if (stored === null) return none
  const { head, from } = stateOf(stored.head, null)
  if (head === null) {
    await assertNoFrames(place, names)
    return none
  }
  const plan = await recover(place, names, head, from, 1)
  const parts = foundRanges(plan, null)
  return {
    parts,
    marks: foundMarks(plan, parts),
    begin: from?.first ?? plan.chain[0]?.header?.fields.first ?? 1,
    lost: head.lost?.entries ?? [],
    last: plan.last,
    holes: plan.chain.findLast(({ header }) => header !== null)?.header?.fields.holes ?? [],
  }
}
