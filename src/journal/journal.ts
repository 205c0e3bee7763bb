// The journal of one store, for its one owner: opened under its own lock, recovered, and appended to. What HEAD says, and how HEAD comes to name
// a segment, is the caller's.

import { join } from 'node:path'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { makeDirectory } from '../fs/durable.ts'
import { acquireFileLock, type FileLock } from '../fs/file-lock.ts'
import { attempt, ignoreMissing } from '../fs/io.ts'
import type { FileSystem } from '../fs/port.ts'
import {
  type Appended,
  type Appender,
  type AppenderStart,
  createAppender,
  type Durable,
  type Mark,
  PENDING_BYTES_MAX,
} from './appender.ts'
import { encodeEntries, encodeSeal, entryBytes, FRAME_HEADER_BYTES, frameBytes, putEntry } from './frame.ts'
import { type JournalHead, planRecovery, type ReadPlan } from './plan-recovery.ts'
import { type Covered, goOn, planStart, type SegmentStart } from './plan-start.ts'
import { type Entry, listSegments, readEntries, readSegment } from './read-segments.ts'
import type { FrameFacts } from './scan.ts'
import { type Range, type SegmentName, segmentFileName } from './segment.ts'
import { createSegment, type SegmentWriter } from './segment-writer.ts'

/** What the store says of its journal. */
interface JournalState {
  /** Store id, 32 hex digits. */
  store: string
  /** Null: HEAD names no journal yet. */
  head: JournalHead | null
  /** Where to begin reading; null: at the first segment that is needed. */
  from: Mark | null
  /** The most that any snapshot in HEAD.json or HEAD.prev.json covers. */
  covered: Covered | null
}

/** Where a journal lies, and what it asks of its store. */
interface JournalPlace {
  fs: FileSystem
  directory: string
  mode: { file: number; directory: number }
  /** Null: the caller vouches that there is one owner. */
  lockPath: string | null
  /** Read when the lock is held. */
  readState: () => Promise<JournalState>
  /** Makes HEAD name a segment, durably. */
  nameSegment: (segment: SegmentName, durable: Durable | null) => Promise<void>
}

export interface OpenJournalOptions {
  /** Journal id for a journal that is made, 32 hex digits. */
  id: string
  /** Version of the entries; the caller's. */
  changes: number
  lockWaitMs: number
  /** Who holds the lock, for people. */
  holder: string
  signal?: AbortSignal | undefined
  maxPendingBytes?: number
  /** Smaller for tests. */
  segmentBytesMax?: number
}

/** An open journal. */
export interface OwnedJournal {
  /** 32 hex digits. */
  readonly id: string
  /** The last entry that was given a sequence. */
  readonly last: number
  readonly durable: Durable | null
  readonly pendingBytes: number
  /** Why it takes no entries; null when it does. */
  readonly failed: unknown
  append(data: Uint8Array): Appended
  flush(): Promise<void>
  waitFor(sequence: number): Promise<void>
  /** Durable entries after one, in order. */
  read(after: number): AsyncGenerator<Entry>
  markFor(sequence: number): Mark | null
  heal(covered: Covered): Promise<void>
  /** Deletes segments before `first`, oldest first. HEAD.json and HEAD.prev.json must both begin at it or later. */
  removeBefore(first: SegmentName): Promise<void>
  close(): Promise<void>
}

/**
 * @throws JOURNAL_LOCKED, JOURNAL_DAMAGED, STORE_ROLLED_BACK, IO_FAILED, NO_SPACE, LOCK_UNAVAILABLE, VERSION_UNSUPPORTED; what the
 * place's functions throw
 */
export async function openOwnedJournal(place: JournalPlace, options: OpenJournalOptions): Promise<OwnedJournal> {
  await makeDirectory(place.fs, place.directory, place.mode.directory)
  const lock = await takeLock(place, options)
  try {
    return await openLocked(place, options, lock)
  } catch (error) {
    await lock?.release()
    throw error
  }
}

async function takeLock({ fs, lockPath, mode }: JournalPlace, options: OpenJournalOptions): Promise<FileLock | null> {
  if (lockPath === null) return null
  const { lockWaitMs, signal, holder } = options
  try {
    const hint = Buffer.from(holder)
    return await acquireFileLock(fs, lockPath, { mode: mode.file, waitMs: lockWaitMs, signal, hint })
  } catch (error) {
    if (!isHoldfastError(error, 'STORE_LOCKED')) throw error
    const { waitedMs, holder: other } = error.details
    throw new HoldfastError(
      'JOURNAL_LOCKED',
      `The journal is open elsewhere${typeof other === 'string' ? ` (${other})` : ''}; gave up after ${String(waitedMs)} ms. ` +
        'Wait for its owner to close it, or raise lockWaitMs. The lock ends with its process: never delete the file',
      { details: { path: lockPath, waitedMs, holder: other }, cause: error },
    )
  }
}

async function openLocked(
  place: JournalPlace,
  options: OpenJournalOptions,
  lock: FileLock | null,
): Promise<OwnedJournal> {
  const { fs, directory } = place
  const state = await place.readState()
  const names = await listSegments(fs, directory)
  const plan = state.head === null ? null : await recover(place, names, state.head, state.from)
  const { segment, copy } = planStart(plan, names, state.covered)
  const fixed = { store: state.store, journal: state.head?.id ?? options.id, changes: options.changes }
  const segmentPlace = { fs, directory, mode: place.mode.file }
  let writer: SegmentWriter | null = null
  if (copy !== null) {
    writer = await copyLast(place, { ...fixed, ...segment }, copy)
    // Only from here on are the copied entries known to be durable, and may be served.
    await nameOrClose(place, writer)
  }
  const found = foundRanges(plan, segment.previous)
  let start: AppenderStart = writer === null ? { segment } : { writer }
  if (writer !== null && (state.covered?.sequence ?? 0) > writer.last) {
    // Sequences go on behind what a snapshot covers, and only a segment of its own may begin with a hole.
    start = { segment: goOn({ ...segment, number: segment.number + 1 }, writer.ended(), state.covered) }
    found.push({ name: writer.name, from: writer.start, to: writer.end, first: segment.first })
    await writer.close()
  }
  await removeAll(place, plan?.garbage ?? [])
  const appender = createAppender({
    place: segmentPlace,
    fixed,
    start,
    name: (name) => place.nameSegment(name, appender.durable),
    assertHeld: () => assertHeld(lock),
    maxPendingBytes: options.maxPendingBytes ?? PENDING_BYTES_MAX,
    ...(options.segmentBytesMax === undefined ? {} : { segmentBytesMax: options.segmentBytesMax }),
  })
  return ownedJournal(place, fixed.journal, appender, found, lock)
}

/** Reads what may matter, and refuses what is not whole. */
async function recover(
  { fs, directory }: JournalPlace,
  names: readonly SegmentName[],
  head: JournalHead,
  from: Mark | null,
): Promise<ReadPlan> {
  const begin = from?.segment ?? head.first
  const needed = names.filter(({ number }) => number >= begin.number)
  const facts = []
  for (const name of needed) {
    const isHint = from !== null && name.number === begin.number && name.id === begin.id
    facts.push(await readSegment(fs, directory, name, isHint ? from.offset : null))
  }
  const plan = planRecovery(facts, { ...head, first: begin }, from?.first ?? 1)
  if (plan.state === 'unreadable') {
    const path = join(directory, segmentFileName(plan.segment))
    throw new HoldfastError(
      'IO_FAILED',
      `Failed while reading ${path} at byte ${plan.at}: the device cannot read it. Look at the kernel log and check the disk. ` +
        'Nothing was changed',
      { details: { code: 'EIO', syscall: 'read', path } },
    )
  }
  if (plan.state === 'rolledBack') {
    const path = join(directory, segmentFileName(plan.segment))
    throw new HoldfastError(
      'STORE_ROLLED_BACK',
      `${path} was named by a later HEAD than the one that is there: an old HEAD was put back. Put the newer one back; nothing was changed`,
      { details: { files: [path] } },
    )
  }
  if (plan.damage.length > 0) throw damagedError(directory, plan)
  return plan
}

function damagedError(directory: string, { damage, lost, last }: ReadPlan): HoldfastError {
  const { segment, at, reason } = damage[0]!
  const path = join(directory, segmentFileName(segment))
  const entries = lost.length === 0 ? 'no entry is lost' : `lost are entries ${lost.map(textOf).join(', ')}`
  return new HoldfastError(
    'JOURNAL_DAMAGED',
    `${path} at byte ${at}: ${reason}; ${entries}. Nothing was changed. Bring the file back from a backup or a mirror`,
    { details: { path, at, lost, last } },
  )
}

function textOf({ first, last }: Range): string {
  return first === last ? `${first}` : `${first} to ${last}`
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

async function nameOrClose(place: JournalPlace, writer: SegmentWriter): Promise<void> {
  try {
    await place.nameSegment(writer.name, { segment: writer.name, offset: writer.end, sequence: writer.last })
  } catch (error) {
    await writer.close()
    throw error
  }
}

/** A part of a segment, in whole frames. */
interface Part {
  name: SegmentName
  from: number
  to: number
  /** Its first entry. */
  first: number
}

function markIn(parts: readonly Part[], sequence: number): Mark | null {
  const part = parts.findLast(({ first }) => first <= sequence)
  return part === undefined ? null : { segment: part.name, offset: part.from, first: part.first }
}

/** What was found and counts, up to where this owner goes on. */
function foundRanges(plan: ReadPlan | null, previous: SegmentStart['previous']): Part[] {
  const parts: Part[] = []
  for (const { name, frames, end } of plan?.chain ?? []) {
    const isLast = previous !== null && previous.number === name.number && previous.id === name.id
    const frame = frames[0]?.header
    if (frame !== undefined)
      parts.push({ name, from: frame.offset, to: isLast ? previous.end : end, first: frame.first })
    if (isLast) break
  }
  return parts.filter(({ from, to }) => to > from)
}

async function assertHeld(lock: FileLock | null): Promise<void> {
  if (lock === null || (await lock.stillHeld())) return
  throw new HoldfastError(
    'JOURNAL_LOCKED',
    'The lock file of the journal was deleted or replaced while the journal was open: another owner may be at work. Open it again',
    { details: {} },
  )
}

/** Oldest first, so that what is left of a crash is a chain. */
async function removeAll({ fs, directory }: JournalPlace, names: readonly SegmentName[]): Promise<void> {
  for (const name of [...names].sort((a, b) => a.number - b.number)) {
    const path = join(directory, segmentFileName(name))
    await attempt(ignoreMissing(fs.unlink(path)), `deleting ${path}`)
  }
}

function ownedJournal(
  place: JournalPlace,
  id: string,
  appender: Appender,
  found: Part[],
  lock: FileLock | null,
): OwnedJournal {
  async function* read(after: number): AsyncGenerator<Entry> {
    for (const { name, from, to } of [...found, ...appender.written()]) {
      for await (const entries of readEntries(place.fs, place.directory, name, { from, to })) {
        for (const entry of entries) if (entry.sequence > after) yield entry
      }
    }
  }

  return {
    id,
    get last() {
      return appender.last
    },
    get durable() {
      return appender.durable
    },
    get pendingBytes() {
      return appender.pendingBytes
    },
    get failed() {
      return appender.failed
    },
    append: appender.append,
    flush: appender.flush,
    waitFor: appender.waitFor,
    read,
    markFor: (sequence) => appender.markFor(sequence) ?? markIn(found, sequence),
    heal: appender.heal,
    async removeBefore(first) {
      const names = await listSegments(place.fs, place.directory)
      await removeAll(
        place,
        names.filter(({ number }) => number < first.number),
      )
    },
    async close() {
      try {
        await appender.close()
      } finally {
        await lock?.release()
      }
    },
  }
}
