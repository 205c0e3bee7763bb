// An open journal: what its owner appends, and what it reads of its own segments and of those that it found.

import { HoldfastError } from '../errors.ts'
import type { FileLock } from '../fs/file-lock.ts'
import type { Appended, Appender, AppendOptions, Durable, Mark } from './appender.ts'
import type { Entry } from './frame.ts'
import { markIn, type Part } from './parts.ts'
import type { JournalPlace } from './place.ts'
import type { Covered } from './plan-start.ts'
import { listSegments } from './read-segments.ts'
import { createReader, type FoundJournal } from './reader.ts'
import type { Range, SegmentName } from './segment.ts'
import { removeAll } from './segment-writer.ts'

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
  append(data: Uint8Array, options?: AppendOptions): Appended
  /** @throws what `append` would for an entry of this size */
  assertTakes(dataBytes: number): void
  /** A snapshot covers entries up to this one. */
  covered(sequence: number): void
  flush(): Promise<void>
  waitFor(sequence: number): Promise<void>
  /** Entries that cannot be read any more, as a repair recorded. What comes after them is read all the same. */
  readonly lost: readonly Range[]
  /**
   * Durable entries after one, in order, many at a time.
   *
   * @param onGap called with the first entry that should be read and is in no frame. Without it, `JOURNAL_GAP`
   */
  read(after: number, onGap?: (first: number) => void): AsyncGenerator<Entry[]>
  markFor(sequence: number): Mark | null
  heal(covered: Covered): Promise<void>
  stepOver(skips: Range[], covered: Covered): Promise<void>
  /** @throws JOURNAL_LOCKED when the lock file was deleted or replaced: another owner may be at work */
  assertHeld(): Promise<void>
  /** Deletes segments before `first`, oldest first. HEAD.json and HEAD.prev.json must both begin at it or later. */
  removeBefore(first: SegmentName): Promise<void>
  close(): Promise<void>
}

export function ownedJournal(
  place: JournalPlace,
  id: string,
  appender: Appender,
  found: FoundJournal,
  lock: FileLock | null,
): OwnedJournal {
  /** Segments below this number are deleted. */
  let removed = 0
  const read = createReader(place, found, {
    holes: () => appender.holes,
    parts: () => [...found.parts, ...appender.written()].filter(({ name }) => name.number >= removed),
  })

  function markFor(sequence: number): Mark | null {
    return appender.markFor(sequence) ?? markIn(found.marks, sequence)
  }

  /** Counts the bytes that a reading would read, from its mark on. */
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
      Math.max(0, to - (name.number === segment.number ? Math.max(from, offset) : from))
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
    get lost() {
      return [...found.lost, ...appender.holes.filter(({ snapshot }) => snapshot === null)]
    },
    append: appender.append,
    assertTakes: appender.assertTakes,
    covered,
    flush: appender.flush,
    waitFor: appender.waitFor,
    read,
    markFor,
    heal: appender.heal,
    stepOver: appender.stepOver,
    assertHeld: () => assertHeld(lock),
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

/** @throws JOURNAL_LOCKED */
export async function assertHeld(lock: FileLock | null): Promise<void> {
  if (lock === null || (await lock.stillHeld())) return
  throw new HoldfastError(
    'JOURNAL_LOCKED',
    'The lock file of the journal was deleted or replaced while the journal was open: another owner may be at work. Open it again',
    { details: {} },
  )
}
