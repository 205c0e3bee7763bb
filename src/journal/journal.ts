// Opens the journal of one store for its one owner: takes its lock, recovers what is there, and begins the owner's
// first segment. What HEAD says, and how HEAD comes to name a segment, is the caller's.

import { HoldfastError, isHoldfastError } from '../errors.ts'
import type { FileLock } from '../fs/file-lock.ts'
import { makeDirectory } from '../fs/make-directory.ts'
import { withSyncCalls } from '../fs/node.ts'
import { type AppenderStart, createAppender, PENDING_BYTES_MAX } from './appender.ts'
import { type Entry, encodeEntries, encodeSeal, entryBytes, FRAME_HEADER_BYTES, frameBytes, putEntry } from './frame.ts'
import { takeJournalLock } from './lock.ts'
import { assertHeld, type OwnedJournal, ownedJournal } from './owned.ts'
import { foundMarks, foundRanges, type Part } from './parts.ts'
import type { JournalPlace, JournalState } from './place.ts'
import type { ReadPlan } from './plan-recovery.ts'
import { goOn, planStart, type SegmentStart } from './plan-start.ts'
import { listSegments, readEntries } from './read-segments.ts'
import { assertNoFrames, recover } from './recover.ts'
import type { FrameFacts } from './scan.ts'
import type { SegmentName } from './segment.ts'
import { createSegment, removeAll, type SegmentWriter } from './segment-writer.ts'

export interface OpenJournalOptions {
  /** Journal id for a journal that is made, 32 hex digits. */
  id: string
  /** Version of the entries; the caller's. */
  changes: number
  lockWaitMs: number
  signal?: AbortSignal | undefined
  maxPendingBytes?: number | undefined
  /** Maximum size on disk of entries that no snapshot covers. */
  maxBytes?: number | undefined
  /** Smaller for tests. */
  segmentBytesMax?: number | undefined
}

/**
 * @throws JOURNAL_LOCKED, JOURNAL_DAMAGED, STORE_ROLLED_BACK, IO_FAILED, NO_SPACE, LOCK_UNAVAILABLE,
 * VERSION_UNSUPPORTED; what the place's functions throw
 */
export async function openOwnedJournal(on: JournalPlace, options: OpenJournalOptions): Promise<OwnedJournal> {
  // These files are in the page cache, and a synchronous call takes less time than one through the thread pool.
  const place = { ...on, fs: withSyncCalls(on.fs) }
  const lock = await takeLock(place, options)
  try {
    await place.prepare?.()
    await makeDirectory(place.fs, place.directory, place.mode.directory)
    return await openLocked(place, options, lock)
  } catch (error) {
    await lock?.release()
    throw error
  }
}

async function takeLock({ fs, lockPath, mode }: JournalPlace, options: OpenJournalOptions): Promise<FileLock | null> {
  if (lockPath === null) return null
  const { lockWaitMs, signal } = options
  return await takeJournalLock(fs, lockPath, { mode: mode.file, waitMs: lockWaitMs, signal })
}

async function openLocked(
  place: JournalPlace,
  options: OpenJournalOptions,
  lock: FileLock | null,
): Promise<OwnedJournal> {
  const { fs, directory } = place
  const state = await place.readState()
  const names = await listSegments(fs, directory)
  if (state.head === null) await assertNoFrames(place, names)
  const plan = state.head === null ? null : await recover(place, names, state.head, state.from, 1)
  const known = state.head === null ? names : [...names, state.head.tail]
  const { lost, skips } = { lost: state.head?.lost?.entries ?? [], skips: state.skips }
  const { segment, copy } = planStart(plan, known, { covered: state.covered, lost, skips })
  const fixed = { store: state.store, journal: state.head?.id ?? options.id, changes: options.changes }
  const segmentPlace = { fs, directory, mode: place.mode.file }
  let writer: SegmentWriter | null = null
  if (copy !== null) {
    try {
      writer = await copyLast(place, { ...fixed, ...segment }, copy)
      // From here on the copied entries are known to be durable, and may be served.
      await nameOrClose(place, fixed.journal, writer)
    } catch (error) {
      throw needsRoom(error, copy.frame.end - copy.frame.header.offset)
    }
  }
  const parts = foundRanges(plan, segment.previous)
  let start: AppenderStart = writer === null ? { segment } : { writer }
  if (writer !== null && Math.max(state.covered?.sequence ?? 0, lost.at(-1)?.last ?? 0) > writer.last) {
    // Sequences continue behind what a snapshot covers and what was lost. A hole must be at the start of a segment.
    start = {
      segment: goOn({ ...segment, number: segment.number + 1 }, writer.ended(), { covered: state.covered, lost }),
    }
    parts.push({ name: writer.name, from: writer.start, to: writer.end, first: segment.first })
    await writer.close()
  }
  await removeAll(place, plan?.garbage ?? [])
  const appender = createAppender({
    place: segmentPlace,
    fixed,
    start,
    name: (name) => place.nameSegment({ journal: fixed.journal, segment: name, durable: appender.durable }),
    assertHeld: () => assertHeld(lock),
    maxPendingBytes: options.maxPendingBytes ?? PENDING_BYTES_MAX,
    maxBytes: options.maxBytes ?? Number.POSITIVE_INFINITY,
    uncoveredBytes: uncoveredIn(parts, state, plan),
    ...(options.segmentBytesMax === undefined ? {} : { segmentBytesMax: options.segmentBytesMax }),
  })
  const begin = state.from?.first ?? plan?.chain[0]?.header?.fields.first ?? 1
  return ownedJournal(place, fixed.journal, appender, { parts, marks: foundMarks(plan, parts), begin, lost }, lock)
}

/** A segment that begins with the entries of the last frame that was found, and a seal. */
async function copyLast(
  { fs, directory, mode }: JournalPlace,
  header: SegmentStart & { store: string; journal: string; changes: number },
  copy: { segment: SegmentName; frame: FrameFacts },
): Promise<SegmentWriter> {
  const { offset, payloadBytes } = copy.frame.header
  const range = { from: offset, to: copy.frame.end }
  const entries: Entry[] = []
  for await (const some of readEntries(fs, directory, copy.segment, range)) entries.push(...some)
  const frame = new Uint8Array(frameBytes(payloadBytes))
  let at = FRAME_HEADER_BYTES
  for (const { data } of entries) at = putEntry(frame, at, data)
  const payload = entries.reduce((sum, { data }) => sum + entryBytes(data.length), 0)
  return await createSegment({ fs, directory, mode: mode.file }, { ...header, named: 'swap', copied: true }, [
    { encode: (to) => encodeEntries(to, entries.length, frame, payload), count: entries.length },
    { encode: encodeSeal, count: 0 },
  ])
}

/** What to do on a full disk: an owner cannot start without the little that it writes. */
function needsRoom(error: unknown, frameBytes: number): unknown {
  if (!isHoldfastError(error, 'NO_SPACE')) return error
  return new HoldfastError(
    'NO_SPACE',
    `${error.message}. To open the journal, its last batch (${frameBytes} bytes) has to be written again, and HEAD. Nothing is lost. Free some space and ` +
      'open it again, or open the store readOnly for queries meanwhile',
    { details: error.details, cause: error },
  )
}

async function nameOrClose(place: JournalPlace, journal: string, writer: SegmentWriter): Promise<void> {
  const { name, end, last } = writer
  try {
    await place.nameSegment({ journal, segment: name, durable: { segment: name, offset: end, sequence: last } })
  } catch (error) {
    await writer.close()
    throw error
  }
}

/** Size on disk of the entries that the opening read, or 0 when the current snapshot covers all of them. */
function uncoveredIn(parts: readonly Part[], { current }: JournalState, plan: ReadPlan | null): number {
  if (plan === null || current >= plan.last) return 0
  return parts.reduce((sum, { from, to }) => sum + to - from, 0)
}
