// Opens the journal of a store, and joins it to what `persist` asks of it.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { HoldfastError } from '../errors.ts'
import { JOURNAL_ID_BYTES, STORE_ID_BYTES } from '../format/limits.ts'
import { commitUnknown } from '../fs/durable.ts'
import { attempt, lstatOrNull } from '../fs/io.ts'
import { moveAside } from '../fs/move-aside.ts'
import { cleanUp } from '../gc/collect.ts'
import { ROLLBACK_OPTIONS, type RollbackOptions, rollback } from '../history/history.ts'
import { nextHead } from '../history/next-head.ts'
import { JOURNAL_LOCK } from '../journal/lock.ts'
import type { OwnedJournal } from '../journal/owned.ts'
import type { SnapshotInfo } from '../load/snapshot.ts'
import { assertOptions } from '../misuse.ts'
import { oneByOne } from './one-by-one.ts'
import { APPEND_OPTIONS, type Journal, type JournalOptions } from './options.ts'
import { currentCovers, DIRECTORY, type JournalFiles, markOf, placeOf, rangeOf, seenOf, segmentOf } from './place.ts'
import { createBatchReader } from './read-batches.ts'
import { openReadOnly } from './read-only.ts'

const JOURNAL_BYTES_MAX = 4 * 1024 ** 3
/** Marks are 256 KiB apart, so a smaller limit could not be kept. */
const JOURNAL_BYTES_LEAST = 1024 * 1024

/** @throws JOURNAL_UNSUPPORTED, READ_ONLY, JOURNAL_LOCKED, JOURNAL_DAMAGED, STORE_ROLLED_BACK, IO_FAILED, NO_SPACE */
export async function openStoreJournal(
  ctx: StoreContext,
  files: JournalFiles | null,
  options: JournalOptions,
  writerWaitMs: number,
): Promise<Journal> {
  const { location } = ctx.storage
  if (files === null) {
    throw new HoldfastError('JOURNAL_UNSUPPORTED', `${location}: a journal needs a store in a directory`, {
      details: { location },
    })
  }
  if (files.readOnly && options.startOver === true) {
    throw new HoldfastError('READ_ONLY', `${location} was opened read-only, and a new journal has to be written`, {
      details: { path: location },
    })
  }
  if (ctx.journal !== null) {
    throw new HoldfastError(
      'JOURNAL_LOCKED',
      `${location}: this store object has the journal open already; use that one`,
      {
        details: { path: join(files.root, JOURNAL_LOCK), holder: 'this process' },
      },
    )
  }
  const { changes = 1, lockWaitMs = 0, signal, maxPendingBytes, maxJournalBytes = JOURNAL_BYTES_MAX } = options
  if (!Number.isSafeInteger(changes) || changes < 0)
    throw new RangeError(`openJournal: changes is an integer from 0, got ${JSON.stringify(changes)}`)
  if (maxPendingBytes !== undefined && !(typeof maxPendingBytes === 'number' && maxPendingBytes >= 1)) {
    throw new RangeError(
      `openJournal: maxPendingBytes is a number of bytes from 1, got ${JSON.stringify(maxPendingBytes)}`,
    )
  }
  if (!(typeof maxJournalBytes === 'number' && maxJournalBytes >= JOURNAL_BYTES_LEAST)) {
    throw new RangeError(
      `openJournal: maxJournalBytes is at least ${JOURNAL_BYTES_LEAST} bytes, got ${JSON.stringify(maxJournalBytes)}`,
    )
  }
  if (files.readOnly) return await openReadOnly(ctx, files)
  await ensureStore(ctx, signal)
  const { openOwnedJournal } = await import('../journal/journal.ts')
  const place = await placeOf(ctx, files)
  const prepare = (): Promise<void> => abandonJournal(ctx, files)
  const owned = await openOwnedJournal(options.startOver === true ? { ...place, prepare } : place, {
    id: randomBytes(JOURNAL_ID_BYTES).toString('hex'),
    changes,
    lockWaitMs,
    signal,
    maxBytes: maxJournalBytes,
    ...(maxPendingBytes === undefined ? {} : { maxPendingBytes }),
  })
  const skipped: [number, number][] = []
  ctx.journal = ownerOf(owned, skipped)
  return journalOf(ctx, owned, skipped, { maxJournalBytes, writerWaitMs })
}

/**
 * HEAD is changed first: as long as it names the old journal, none of its files may be missing. After a crash between
 * the two steps, the next opening is refused, and may start over again.
 */
async function abandonJournal(ctx: StoreContext, { fs, root }: JournalFiles): Promise<void> {
  await ctx.storage.write({ waitMs: Number.POSITIVE_INFINITY }, async (session) => {
    await cleanUp(ctx, session)
    const { head } = session.stored!
    if (head.journal !== undefined) await session.swapHead(nextHead(head, { journal: null }))
  })
  const from = join(root, DIRECTORY)
  if ((await attempt(lstatOrNull(fs, from), `looking at ${from}`)) === null) return
  const about = { reason: 'start-over', now: clock.now(), details: {} }
  try {
    await moveAside(fs, { ...about, from, quarantineDirectory: join(root, 'quarantine') })
  } catch (error) {
    throw commitUnknown(error, from, 'was moved into quarantine', 'it may be back. Start over again')
  }
}

/** A segment's header has the store's id, so there must be a store. */
async function ensureStore(ctx: StoreContext, signal: AbortSignal | undefined): Promise<void> {
  if ((await ctx.storage.readHead()) !== null) return
  await ctx.storage.write({ waitMs: Number.POSITIVE_INFINITY, signal }, async (session) => {
    if (session.stored !== null) return
    await session.create(randomBytes(STORE_ID_BYTES).toString('hex'), clock.now().toISOString())
  })
}

function ownerOf(owned: OwnedJournal, skipped: readonly [number, number][]): NonNullable<StoreContext['journal']> {
  return {
    id: owned.id,
    skips: skipped,
    get last() {
      return owned.last
    },
    get seen() {
      return seenOf(owned.durable)
    },
    mark: (sequence) => markOf(owned.markFor(sequence)),
    async settle(sequence) {
      // What another owner appended under the same sequences would count as covered, and never be replayed.
      await owned.assertHeld()
      try {
        await owned.waitFor(sequence)
      } catch (error) {
        // After a failure nobody knows which entries are durable, and this snapshot is what makes their effect durable.
        if (owned.failed === null) throw error
      }
    },
    async committed(covers, snapshot, first) {
      await owned.heal({ sequence: covers, snapshot })
      owned.covered(covers)
      // If that fails, the next snapshot deletes them.
      if (first !== null) await owned.removeBefore(segmentOf(first)).catch(() => undefined)
    },
  }
}

function journalOf(
  ctx: StoreContext,
  owned: OwnedJournal,
  skipped: [number, number][],
  { maxJournalBytes, writerWaitMs }: { maxJournalBytes: number; writerWaitMs: number },
): Journal {
  let isWarned = false
  let isClosed = false
  const readBatches = createBatchReader(ctx, owned, skipped, assertOpen)

  /** Warns once, and again only after a snapshot brought it below half. */
  function warnAtHalf(): void {
    const { uncoveredBytes } = owned
    const isHalf = uncoveredBytes >= maxJournalBytes / 2
    if (isHalf && !isWarned) {
      ctx.warn({
        code: 'JOURNAL_GROWS',
        message:
          `${ctx.storage.location}: no snapshot covers the last ${uncoveredBytes} bytes of the journal, and at ${maxJournalBytes} it takes ` +
          'no more entries. Make a snapshot that covers them, or see why none was made',
        details: { uncoveredBytes, maxJournalBytes },
      })
    }
    isWarned = isHalf
  }

  function assertOpen(): void {
    if (isClosed) throw new HoldfastError('STORE_CLOSED', 'the journal was closed; open it again', { details: {} })
  }

  function skip(sequence: number): void {
    assertOpen()
    if (!Number.isSafeInteger(sequence) || sequence < 1 || sequence > owned.last) {
      throw new RangeError(`journal.skip: ${String(sequence)} is no entry; the last one is ${owned.last}`)
    }
    skipped.push([sequence, sequence])
  }

  async function rollBack(to: number | string, request: RollbackOptions = {}): Promise<SnapshotInfo> {
    assertOptions('journal.rollback', request, ROLLBACK_OPTIONS)
    assertOpen()
    await owned.flush()
    await owned.assertHeld()
    const journalEnd = { last: owned.last, mark: markOf(owned.markFor(owned.last)) }
    const info = await rollback(ctx, to, { ...request, lockWaitMs: request.lockWaitMs ?? writerWaitMs, journalEnd })
    const { head } = (await ctx.storage.readHead())!
    const covers = head.journal === undefined ? undefined : currentCovers(head, head.journal)
    if (covers === undefined) return info
    // A HEAD that is lost is made again from the segments, so they have to say what was stepped over.
    await owned.stepOver(covers.skips.map(rangeOf), { sequence: covers.sequence, snapshot: info.sequence })
    owned.covered(covers.sequence)
    return info
  }

  async function close(): Promise<void> {
    isClosed = true
    try {
      await owned.close()
    } finally {
      if (ctx.journal?.id === owned.id) ctx.journal = null
    }
  }

  return {
    readOnly: false,
    get last() {
      return owned.last
    },
    get durableUpTo() {
      return owned.durable?.sequence ?? 0
    },
    get pendingBytes() {
      return owned.pendingBytes
    },
    get error() {
      return owned.failed
    },
    get uncoveredBytes() {
      return owned.uncoveredBytes
    },
    append(data, options) {
      if (options !== undefined) assertOptions('journal.append', options, APPEND_OPTIONS)
      const appended = owned.append(data, options)
      warnAtHalf()
      return appended
    },
    assertTakes: owned.assertTakes,
    flush: owned.flush,
    durable: owned.waitFor,
    read: (request) => oneByOne(readBatches(request)),
    readBatches,
    skip,
    rollback: rollBack,
    close,
    [Symbol.asyncDispose]: close,
  }
}
