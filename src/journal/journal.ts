// The journal of one store, for its one owner: opened under its own lock, recovered, and appended to. What HEAD says, and how HEAD comes to name
// a segment, is the caller's.

import { join } from 'node:path'
import { HoldfastError } from '../errors.ts'
import type { FileLock } from '../fs/file-lock.ts'
import { attempt, ignoreMissing } from '../fs/io.ts'
import { makeDirectory } from '../fs/make-directory.ts'
import { withSyncCalls } from '../fs/node.ts'
import type { FileSystem } from '../fs/port.ts'
import {
  type Appended,
  type Appender,
  type AppenderStart,
  createAppender,
  type Durable,
  MARK_BYTES,
  type Mark,
  PENDING_BYTES_MAX,
} from './appender.ts'
import { encodeEntries, encodeSeal, entryBytes, FRAME_HEADER_BYTES, frameBytes, putEntry } from './frame.ts'
import { takeJournalLock } from './lock.ts'
import { type JournalHead, planRecovery, type ReadPlan } from './plan-recovery.ts'
import { type Covered, goOn, planStart, type SegmentStart } from './plan-start.ts'
import { type Entry, listSegments, readEntries, readSegment } from './read-segments.ts'
import { type FrameFacts, isFlaw } from './scan.ts'
import { type Range, type SegmentName, segmentFileName } from './segment.ts'
import { createSegment, type SegmentWriter } from './segment-writer.ts'

/** What the store says of its journal. */
export interface JournalState {
  /** Store id, 32 hex digits. */
  store: string
  /** Null: HEAD names no journal yet. */
  head: JournalHead | null
  /** Where to begin reading; null: at the first segment that is needed. */
  from: Mark | null
  /** The most that any snapshot in HEAD.json or HEAD.prev.json covers. */
  covered: Covered | null
  /** What the current snapshot covers; 0 without one. */
  current: number
}

/** Where a journal lies, and what it asks of its store. */
export interface JournalPlace {
  fs: FileSystem
  directory: string
  mode: { file: number; directory: number }
  /** Null: the caller vouches that there is one owner. */
  lockPath: string | null
  /** Called first when the lock is held. */
  prepare?: () => Promise<void>
  /** Read when the lock is held. */
  readState: () => Promise<JournalState>
  /** Makes HEAD name a segment, durably. */
  nameSegment: (named: NamedSegment) => Promise<void>
}

/** What HEAD is to say. */
export interface NamedSegment {
  /** Journal id, 32 hex digits. */
  journal: string
  segment: SegmentName
  /** Up to where the journal is durable; null: as HEAD says. */
  durable: Durable | null
}

export interface OpenJournalOptions {
  /** Journal id for a journal that is made, 32 hex digits. */
  id: string
  /** Version of the entries; the caller's. */
  changes: number
  lockWaitMs: number
  signal?: AbortSignal | undefined
  maxPendingBytes?: number | undefined
  /** What no snapshot covers may take this much space. */
  maxBytes?: number | undefined
  /** Smaller for tests. */
  segmentBytesMax?: number | undefined
}

/** An open journal. */
export interface OwnedJournal {
  /** 32 hex digits. */
  readonly id: string
  /** The last entry that was given a sequence. */
  readonly last: number
  readonly durable: Durable | null
  readonly pendingBytes: number
  /** Bytes on the disk that no snapshot covers, about. */
  readonly uncoveredBytes: number
  /** Why it takes no entries; null when it does. */
  readonly failed: unknown
  append(data: Uint8Array): Appended
  /** @throws what `append` would for an entry of this size */
  assertTakes(dataBytes: number): void
  /** A snapshot covers entries up to this one. */
  covered(sequence: number): void
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
export async function openOwnedJournal(on: JournalPlace, options: OpenJournalOptions): Promise<OwnedJournal> {
  // What an owner writes and looks at is in the page cache: a way through the thread pool would take longer.
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

/** Where a journal ends that nobody has open. Only to be asked with its lock held. */
export async function readJournalEnd(place: JournalPlace): Promise<{ last: number; mark: Mark | null }> {
  const { head, from } = await place.readState()
  if (head === null) return { last: 0, mark: null }
  const plan = await recover(place, await listSegments(place.fs, place.directory), head, from, 1)
  return { last: plan.last, mark: markIn(foundMarks(plan, foundRanges(plan, null)), plan.last) }
}

/**
 * Looks at a whole journal, and changes nothing. An owner that writes meanwhile may make it look damaged.
 *
 * @throws JOURNAL_DAMAGED, STORE_ROLLED_BACK, IO_FAILED, VERSION_UNSUPPORTED
 */
export async function checkJournal(
  place: Pick<JournalPlace, 'fs' | 'directory'>,
  head: JournalHead | null,
): Promise<void> {
  const names = await listSegments(place.fs, place.directory)
  if (head === null) await assertNoFrames(place, names)
  else await recover(place, names, head, null, 1)
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
  const { segment, copy } = planStart(plan, names, state.covered)
  const fixed = { store: state.store, journal: state.head?.id ?? options.id, changes: options.changes }
  const segmentPlace = { fs, directory, mode: place.mode.file }
  let writer: SegmentWriter | null = null
  if (copy !== null) {
    writer = await copyLast(place, { ...fixed, ...segment }, copy)
    // Only from here on are the copied entries known to be durable, and may be served.
    await nameOrClose(place, fixed.journal, writer)
  }
  const parts = foundRanges(plan, segment.previous)
  let start: AppenderStart = writer === null ? { segment } : { writer }
  if (writer !== null && (state.covered?.sequence ?? 0) > writer.last) {
    // Sequences go on behind what a snapshot covers, and only a segment of its own may begin with a hole.
    start = { segment: goOn({ ...segment, number: segment.number + 1 }, writer.ended(), state.covered) }
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
  return ownedJournal(place, fixed.journal, appender, { parts, marks: foundMarks(plan, parts), begin }, lock)
}

/** Reads what may matter, and refuses what is not whole. */
async function recover(
  { fs, directory }: Pick<JournalPlace, 'fs' | 'directory'>,
  names: readonly SegmentName[],
  head: JournalHead,
  from: Mark | null,
  firstEntry: number,
): Promise<ReadPlan> {
  const begin = from?.segment ?? head.first
  const needed = names.filter(({ number }) => number >= begin.number)
  const facts = []
  for (const name of needed) {
    const isHint = from !== null && name.number === begin.number && name.id === begin.id
    facts.push(await readSegment(fs, directory, name, isHint ? from.offset : null))
  }
  // Next frames may have led on from HEAD's tail to where the reading begins.
  const tail = begin.number > head.tail.number ? begin : head.tail
  const plan = planRecovery(facts, { ...head, first: begin, tail }, from?.first ?? firstEntry)
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
      `${path} was named by a later HEAD than the one that is there: an old HEAD was put back. Put the newer one back, or open ` +
        'the journal with { startOver: true } to go on without its entries. Nothing was changed',
      { details: { files: [path] } },
    )
  }
  if (plan.damage.length > 0) throw damagedError(directory, plan)
  return plan
}

/** A HEAD that names no journal was rebuilt or put back, when there are entries. What died before it was named has none. */
async function assertNoFrames(
  { fs, directory }: Pick<JournalPlace, 'fs' | 'directory'>,
  names: readonly SegmentName[],
): Promise<void> {
  for (const name of names) {
    const { places } = await readSegment(fs, directory, name, null)
    if (places.every(isFlaw)) continue
    const path = join(directory, segmentFileName(name))
    throw new HoldfastError(
      'JOURNAL_DAMAGED',
      `HEAD names no journal, but there are entries in ${path}. Nothing was changed. Bring back the HEAD.json that names it, or open ` +
        'the journal with { startOver: true } to go on without its entries',
      { details: { path } },
    )
  }
}

function damagedError(directory: string, { damage, lost, last }: ReadPlan): HoldfastError {
  const { segment, at, reason } = damage[0]!
  const path = join(directory, segmentFileName(segment))
  const entries = lost.length === 0 ? 'no entry is lost' : `lost are entries ${lost.map(textOf).join(', ')}`
  return new HoldfastError(
    'JOURNAL_DAMAGED',
    `${path} at byte ${at}: ${reason}; ${entries}. Nothing was changed. Bring the file back from a backup or a mirror, ` +
      'or open the journal with { startOver: true } to go on without its entries',
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

async function nameOrClose(place: JournalPlace, journal: string, writer: SegmentWriter): Promise<void> {
  const { name, end, last } = writer
  try {
    await place.nameSegment({ journal, segment: name, durable: { segment: name, offset: end, sequence: last } })
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

function markIn(marks: readonly Mark[], sequence: number): Mark | null {
  return marks.findLast(({ first }) => first <= sequence) ?? null
}

/** Frames at which a reading may begin, oldest first, some way from each other. */
function foundMarks(plan: ReadPlan | null, parts: readonly Part[]): Mark[] {
  const marks: Mark[] = []
  for (const { name, from, to, first } of parts) {
    marks.push({ segment: name, offset: from, first })
    const frames = plan?.chain.find((segment) => segment.name.number === name.number)?.frames ?? []
    let next = from + MARK_BYTES
    for (const { header, end } of frames) {
      if (header.kind !== 'entries' || header.offset < next || end > to) continue
      marks.push({ segment: name, offset: header.offset, first: header.first })
      next = header.offset + MARK_BYTES
    }
  }
  return marks
}

/** What an opening looked for, unless the current snapshot covers all of it. */
function uncoveredIn(parts: readonly Part[], { current }: JournalState, plan: ReadPlan | null): number {
  if (plan === null || current >= plan.last) return 0
  return parts.reduce((sum, { from, to }) => sum + to - from, 0)
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

/** What an owner reads beside what it writes. */
interface FoundJournal {
  /** What was found and counts. */
  parts: Part[]
  /** In these parts, as the owner before might have noted them. */
  marks: Mark[]
  /** The first entry that was looked for. */
  begin: number
}

function ownedJournal(
  place: JournalPlace,
  id: string,
  appender: Appender,
  found: FoundJournal,
  lock: FileLock | null,
): OwnedJournal {
  /** Segments below this number are deleted. */
  let removed = 0

  async function* read(after: number): AsyncGenerator<Entry> {
    const hole = appender.holes.find(({ last }) => last > after)
    if (hole !== undefined) throw gapError(after, hole.first, `entries ${textOf(hole)} are in no frame`)
    if (after + 1 < found.begin) yield* readBack(after)
    for (const { name, from, to } of [...found.parts, ...appender.written()]) {
      if (name.number < removed) continue
      for await (const entries of readEntries(place.fs, place.directory, name, { from, to })) {
        for (const entry of entries) if (entry.sequence > after) yield entry
      }
    }
  }

  /** Entries before those that the opening looked for: a start that fell back to an older snapshot needs them. */
  async function* readBack(after: number): AsyncGenerator<Entry> {
    const { head } = await place.readState()
    const names = await listSegments(place.fs, place.directory)
    const plan = head === null ? null : await recover(place, names, head, null, after + 1)
    const first = plan?.chain[0]?.header?.fields.first ?? found.begin
    if (first > after + 1) throw gapError(after, first, `the journal begins at entry ${first}`)
    for (const { name, from, to } of foundRanges(plan, null)) {
      for await (const entries of readEntries(place.fs, place.directory, name, { from, to })) {
        for (const entry of entries) {
          if (entry.sequence >= found.begin) return
          if (entry.sequence > after) yield entry
        }
      }
    }
  }

  function markFor(sequence: number): Mark | null {
    return appender.markFor(sequence) ?? markIn(found.marks, sequence)
  }

  /** What is left is what a reading would read, from its mark on. */
  function covered(sequence: number): void {
    if (sequence >= appender.last) {
      appender.setUncovered(0)
      return
    }
    const mark = markFor(sequence + 1)
    if (mark === null) return
    const { segment, offset } = mark
    const parts = [...found.parts, ...appender.written()].filter(({ name }) => name.number >= segment.number)
    const bytesOf = ({ name, from, to }: Pick<Part, 'name' | 'from' | 'to'>): number =>
      to - (name.number === segment.number ? Math.max(from, offset) : from)
    appender.setUncovered(parts.reduce((sum, part) => sum + bytesOf(part), 0))
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
    get uncoveredBytes() {
      return appender.uncoveredBytes
    },
    append: appender.append,
    assertTakes: appender.assertTakes,
    covered,
    flush: appender.flush,
    waitFor: appender.waitFor,
    read,
    markFor,
    heal: appender.heal,
    async removeBefore(first) {
      removed = Math.max(removed, first.number)
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

function gapError(after: number, first: number, why: string): HoldfastError {
  return new HoldfastError(
    'JOURNAL_GAP',
    `The entries after ${after} cannot all be replayed: ${why}. Start from a newer snapshot, or from the source of truth`,
    { details: { after, first } },
  )
}
