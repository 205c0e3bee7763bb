// The journal of an open store: what HEAD says of it, and what `persist` asks of it. The files themselves are the business of `journal/`.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { StoreContext } from './blocks/store-context.ts'
import { clock } from './clock.ts'
import { HoldfastError, isHoldfastError } from './errors.ts'
import type { Head, HeadJournal, HeadMark } from './format/head.ts'
import { JOURNAL_ID_BYTES, STORE_ID_BYTES } from './format/limits.ts'
import { commitUnknown } from './fs/durable.ts'
import { attempt, lstatOrNull } from './fs/io.ts'
import { moveAside } from './fs/move-aside.ts'
import type { FileSystem } from './fs/port.ts'
import type { JournalEnd } from './history/covers.ts'
import { nextHead } from './history/next-head.ts'
import { assertWritable } from './history/write-guards.ts'
import type { Durable, Mark } from './journal/appender.ts'
import type { JournalPlace, JournalState, NamedSegment, OwnedJournal } from './journal/journal.ts'
import { JOURNAL_LOCK, takeLockIfThere } from './journal/lock.ts'
import type { SegmentName } from './journal/segment.ts'
import type { OptionTable } from './misuse.ts'

/** Where a store may have a journal. */
export interface JournalFiles {
  fs: FileSystem
  /** The store's directory. */
  root: string
  /** False: the caller vouches that there is one owner. */
  lock: boolean
  readOnly: boolean
}

/** How a journal is opened. */
export interface JournalOptions {
  /** How long to wait for another owner, in ms; default 0. Then `JOURNAL_LOCKED`. */
  lockWaitMs?: number | undefined
  /** Version of the entries, kept in the journal's segments; default 1. */
  changes?: number | undefined
  /** Entries that wait for the disk may take this much memory, in bytes; default 64 MiB. Then `JOURNAL_BUSY`. */
  maxPendingBytes?: number | undefined
  /**
   * Entries that no snapshot covers may take this much of the disk, in bytes; default 4 GiB, at least 1 MiB. Then `JOURNAL_FULL`, and at half of it
   * the warning `JOURNAL_GROWS`.
   */
  maxJournalBytes?: number | undefined
  /**
   * Begins a new journal, whatever became of the old one: its entries are never replayed again. Its files go into `quarantine/`. For a journal that
   * is damaged, when what it holds comes from somewhere else.
   */
  startOver?: boolean | undefined
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
}

const JOURNAL_BYTES_MAX = 4 * 1024 ** 3
/** Where a snapshot covers a part, what is left is known to 256 KiB. */
const JOURNAL_BYTES_LEAST = 1024 * 1024

export const JOURNAL_OPTIONS: OptionTable<JournalOptions> = {
  lockWaitMs: 'ms',
  changes: 'any',
  maxPendingBytes: 'any',
  maxJournalBytes: 'any',
  startOver: 'boolean',
  signal: 'signal',
}

/** One entry of a journal. */
export interface JournalEntry {
  /** Growing by one from entry to entry, never given twice. */
  sequence: number
  data: Uint8Array
}

/** An open journal: a log of entries between snapshots. It has one owner at a time. */
export interface Journal {
  /** The last entry that was given a sequence. */
  readonly last: number
  /** The last entry that is known to be durable, counted from the opening: before the first append it may be behind. */
  readonly durableUpTo: number
  /** Bytes of entries that are not durable yet. */
  readonly pendingBytes: number
  /** Bytes on the disk of entries that no snapshot covers, about. */
  readonly uncoveredBytes: number
  /** Why it takes no entries since a write failed; null when it does. */
  readonly error: unknown
  /**
   * Adds an entry, which is copied. Its sequence is known at once. `durable` resolves when the entry survives power loss, and rejects with
   * `CHANGE_UNKNOWN` when writing failed.
   *
   * @throws JOURNAL_BUSY, JOURNAL_FULL, JOURNAL_FAILED, LIMIT_EXCEEDED above 16 MiB, STORE_CLOSED: the entry was not taken
   */
  append(data: Uint8Array): { sequence: number; durable: Promise<void> }
  /** Throws what `append` would for an entry of this size, and takes nothing. */
  assertTakes(dataBytes: number): void
  /** Resolves when everything that was appended is durable. */
  flush(): Promise<void>
  /** Resolves when this entry is durable. */
  durable(sequence: number): Promise<void>
  /**
   * Durable entries in order, from the one after `after` on; default: those that the current snapshot does not cover. Entries that a rollback
   * stepped over are left out.
   *
   * @throws JOURNAL_GAP, JOURNAL_DAMAGED, IO_FAILED
   */
  read(options?: { after?: number }): AsyncIterable<JournalEntry>
  /** Waits until everything that was appended is durable, and lets others open the journal. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** @throws JOURNAL_UNSUPPORTED, READ_ONLY, JOURNAL_LOCKED, JOURNAL_DAMAGED, STORE_ROLLED_BACK, IO_FAILED, NO_SPACE */
export async function openStoreJournal(
  ctx: StoreContext,
  files: JournalFiles | null,
  options: JournalOptions,
): Promise<Journal> {
  const { location } = ctx.storage
  if (files === null) {
    throw new HoldfastError('JOURNAL_UNSUPPORTED', `${location}: a journal needs a store in a directory`, {
      details: { location },
    })
  }
  if (files.readOnly) {
    throw new HoldfastError('READ_ONLY', `${location} was opened read-only, and a journal has to be written`, {
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
    throw new RangeError(`openJournal: changes is a version, got ${changes}`)
  if (!(maxJournalBytes >= JOURNAL_BYTES_LEAST)) {
    throw new RangeError(
      `openJournal: maxJournalBytes is at least ${JOURNAL_BYTES_LEAST} bytes, got ${String(maxJournalBytes)}`,
    )
  }
  await ensureStore(ctx, signal)
  const { openOwnedJournal } = await import('./journal/journal.ts')
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
  ctx.journal = ownerOf(owned)
  return journalOf(ctx, owned, maxJournalBytes)
}

/**
 * Runs a rollback with the journal's lock held, and tells it where the journal ends.
 *
 * @throws JOURNAL_LOCKED while the journal is open, JOURNAL_DAMAGED, IO_FAILED
 */
export async function withJournalEnd<T>(
  ctx: StoreContext,
  files: JournalFiles | null,
  work: (end: JournalEnd | null) => Promise<T>,
): Promise<T> {
  return await withJournalLocked(ctx, files, async (lockedFiles) => {
    const stored = await ctx.storage.readHead()
    if (lockedFiles === null || stored?.head.journal === undefined) return await work(null)
    const { readJournalEnd } = await import('./journal/journal.ts')
    const { last, mark } = await readJournalEnd(await placeOf(ctx, lockedFiles))
    return await work({ last, mark: markOf(mark) })
  })
}

/** Keeps owners of the journal out while the store's history is changed. @throws JOURNAL_LOCKED while it is open */
export async function withJournalLocked<T>(
  ctx: StoreContext,
  files: JournalFiles | null,
  work: (files: JournalFiles | null) => Promise<T>,
): Promise<T> {
  if (ctx.journal !== null) {
    throw new HoldfastError(
      'JOURNAL_LOCKED',
      `${ctx.storage.location}: this store object has the journal open; close it first`,
      { details: { path: ctx.storage.location, holder: 'this process' } },
    )
  }
  if (files === null || files.readOnly || !files.lock) return await work(files)
  const lock = await takeLockIfThere(files.fs, join(files.root, JOURNAL_LOCK))
  try {
    return await work(files)
  } finally {
    await lock?.release()
  }
}

/**
 * Tells once who loads the current snapshot without the journal that the journal has more. A look that fails says nothing: whoever opens the
 * journal is told.
 */
export function aheadWarning(ctx: StoreContext, files: JournalFiles | null): NonNullable<StoreContext['loaded']> {
  let isWarned = false
  return async (head, snapshot) => {
    const { journal } = head
    if (isWarned || files === null || journal === undefined || ctx.journal !== null) return
    if (snapshot.sequence !== head.current) return
    const covers = currentCovers(head, journal)
    const after = covers?.sequence ?? 0
    const mark = covers?.mark
    const from = mark == null ? { segment: journal.first, offset: 0 } : mark
    const { firstEntryAfter } = await import('./journal/read-segments.ts')
    const begin = { segment: segmentOf(from.segment), offset: from.offset }
    const found = firstEntryAfter(files.fs, join(files.root, DIRECTORY), begin, after)
    const first = await found.catch(() => null)
    if (first === null) return
    isWarned = true
    ctx.warn({
      code: 'JOURNAL_AHEAD',
      message:
        `${ctx.storage.location}: the journal has entries from ${first} on that snapshot ${snapshot.sequence} does not hold. Open the journal ` +
        'and replay them (openEngine does), or take this for the state at the snapshot',
      details: { sequence: snapshot.sequence, covers: after, first },
    })
  }
}

/** What a look at a journal found. `skipped`: something seemed wrong, and an owner that has it open may be why. */
interface JournalCheck {
  state: 'none' | 'checked' | 'skipped'
  error: HoldfastError | null
}

/**
 * Looks at the journal without keeping an owner out of it. What seems wrong is looked at again with the lock held, because an owner that writes
 * meanwhile can make it seem so.
 */
export async function checkStoreJournal(ctx: StoreContext, files: JournalFiles | null): Promise<JournalCheck> {
  if (files === null) return { state: 'none', error: null }
  const { fs, root, lock, readOnly } = files
  const first = await look(ctx, files)
  if (first.error === null) return first
  if (readOnly || !lock) {
    // It cannot be locked. An owner at work is not twice at the same place.
    const second = await look(ctx, files)
    return second.error?.message === first.error.message ? second : { state: 'skipped', error: null }
  }
  if (ctx.journal !== null) return { state: 'skipped', error: null }
  try {
    const held = await takeLockIfThere(fs, join(root, JOURNAL_LOCK))
    try {
      return await look(ctx, files)
    } finally {
      await held?.release()
    }
  } catch (error) {
    if (isHoldfastError(error, 'JOURNAL_LOCKED')) return { state: 'skipped', error: null }
    throw error
  }
}

async function look(ctx: StoreContext, { fs, root }: JournalFiles): Promise<JournalCheck> {
  const stored = await ctx.storage.readHead()
  const directory = join(root, DIRECTORY)
  if (stored === null) return { state: 'none', error: null }
  const { storeId, journal } = stored.head
  if (journal === undefined && (await attempt(lstatOrNull(fs, directory), `looking at ${directory}`)) === null) {
    return { state: 'none', error: null }
  }
  const { checkJournal } = await import('./journal/journal.ts')
  try {
    await checkJournal({ fs, directory }, journal === undefined ? null : journalHeadOf(storeId, journal))
    return { state: 'checked', error: null }
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    return { state: 'checked', error }
  }
}

/**
 * HEAD first: while it names the old journal, nothing of that may be missing. What is left of it when HEAD does not name it any more is refused by
 * the next opening, which may start over again.
 */
async function abandonJournal(ctx: StoreContext, { fs, root }: JournalFiles): Promise<void> {
  await ctx.storage.write({ waitMs: Number.POSITIVE_INFINITY }, async (session) => {
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

const DIRECTORY = 'journal'

/** A segment's header has the store's id, so there must be a store. */
async function ensureStore(ctx: StoreContext, signal: AbortSignal | undefined): Promise<void> {
  if ((await ctx.storage.readHead()) !== null) return
  await ctx.storage.write({ waitMs: Number.POSITIVE_INFINITY, signal }, async (session) => {
    if (session.stored !== null) return
    await session.create(randomBytes(STORE_ID_BYTES).toString('hex'), clock.now().toISOString())
  })
}

async function placeOf(ctx: StoreContext, { fs, root, lock }: JournalFiles): Promise<JournalPlace> {
  const { mode } = await attempt(fs.stat(root), `looking at ${root}`)
  return {
    fs,
    directory: join(root, DIRECTORY),
    mode: { file: mode & 0o666, directory: mode & 0o777 },
    lockPath: lock ? join(root, JOURNAL_LOCK) : null,
    readState: () => readState(ctx),
    nameSegment: (named) => nameSegment(ctx, named),
  }
}

/** Under the writer lock, so that the HEAD that is read is durable. */
async function readState(ctx: StoreContext): Promise<JournalState> {
  return await ctx.storage.write({ waitMs: Number.POSITIVE_INFINITY }, async ({ stored, previous }) => {
    assertWritable(ctx, stored!)
    const { head } = stored!
    const { journal } = head
    const covered = [...head.snapshots, ...(previous?.snapshots ?? [])]
      .filter(({ covers }) => covers !== undefined && covers.journal === journal?.id)
      .map(({ sequence, covers }) => ({ snapshot: sequence, sequence: covers!.sequence }))
      .sort((a, b) => b.sequence - a.sequence)
    const mark = journal === undefined ? null : currentCovers(head, journal)?.mark
    return {
      store: head.storeId,
      head: journal === undefined ? null : journalHeadOf(head.storeId, journal),
      from: mark == null ? null : { segment: segmentOf(mark.segment), offset: mark.offset, first: mark.first },
      covered: covered[0] ?? null,
      current: journal === undefined ? 0 : (currentCovers(head, journal)?.sequence ?? 0),
    }
  })
}

function currentCovers(head: Head, journal: HeadJournal) {
  const covers = head.snapshots.find(({ sequence }) => sequence === head.current)?.covers
  return covers?.journal === journal.id ? covers : undefined
}

function journalHeadOf(store: string, { id, first, tail, seen }: HeadJournal): JournalState['head'] {
  return {
    store,
    id,
    first: segmentOf(first),
    tail: segmentOf(tail),
    seen: seen === null ? null : { ...seen, segment: segmentOf(seen.segment) },
  }
}

/** A name in HEAD is a file name without `.log`; its shape was checked when HEAD was read. */
function segmentOf(name: string): SegmentName {
  const [number, id] = name.split('-')
  return { number: Number(number), id: id! }
}

function nameOf({ number, id }: SegmentName): string {
  return `${String(number).padStart(8, '0')}-${id}`
}

/** Makes HEAD name a segment. The journal's own lock is held; the writer lock is taken after it, never before. */
async function nameSegment(ctx: StoreContext, { journal, segment, durable }: NamedSegment): Promise<void> {
  await ctx.storage.write({ waitMs: Number.POSITIVE_INFINITY }, async (session) => {
    const { head } = session.stored!
    const name = nameOf(segment)
    const seen = seenOf(durable) ?? head.journal?.seen ?? null
    const first = head.journal?.first ?? name
    await session.swapHead(nextHead(head, { journal: { id: journal, first, tail: name, seen } }))
  })
}

function seenOf(durable: Durable | null): HeadJournal['seen'] {
  if (durable === null) return null
  return { segment: nameOf(durable.segment), offset: durable.offset, sequence: durable.sequence }
}

function markOf(mark: Mark | null): HeadMark | null {
  return mark === null ? null : { segment: nameOf(mark.segment), offset: mark.offset, first: mark.first }
}

function ownerOf(owned: OwnedJournal): NonNullable<StoreContext['journal']> {
  return {
    id: owned.id,
    get last() {
      return owned.last
    },
    get seen() {
      return seenOf(owned.durable)
    },
    mark: (sequence) => markOf(owned.markFor(sequence)),
    async settle(sequence) {
      try {
        await owned.waitFor(sequence)
      } catch (error) {
        // The snapshot that heals a failed journal holds what nobody knows to be durable.
        if (owned.failed === null) throw error
      }
    },
    async committed(covers, snapshot, first) {
      await owned.heal({ sequence: covers, snapshot })
      owned.covered(covers)
      // What is left of this is deleted after the next snapshot.
      if (first !== null) await owned.removeBefore(segmentOf(first)).catch(() => undefined)
    },
  }
}

function journalOf(ctx: StoreContext, owned: OwnedJournal, maxJournalBytes: number): Journal {
  let isWarned = false

  /** Once, until a snapshot has brought it below half again. */
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

  async function* read({ after }: { after?: number } = {}): AsyncGenerator<JournalEntry> {
    if (after !== undefined && !(Number.isSafeInteger(after) && after >= 0)) {
      throw new RangeError(`journal.read: after is a sequence, got ${after}`)
    }
    const stored = await ctx.storage.readHead()
    const covers = stored?.head.journal === undefined ? undefined : currentCovers(stored.head, stored.head.journal)
    const skips = covers?.skips ?? []
    for await (const entry of owned.read(after ?? covers?.sequence ?? 0)) {
      if (!skips.some(([first, last]) => entry.sequence >= first && entry.sequence <= last)) yield entry
    }
  }

  async function close(): Promise<void> {
    try {
      await owned.close()
    } finally {
      if (ctx.journal?.id === owned.id) ctx.journal = null
    }
  }

  return {
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
    append(data) {
      const appended = owned.append(data)
      warnAtHalf()
      return appended
    },
    assertTakes: owned.assertTakes,
    flush: owned.flush,
    durable: owned.waitFor,
    read,
    close,
    [Symbol.asyncDispose]: close,
  }
}
