// Reads the entries of a journal whose segments were recovered: what the opening read, and what lies before that, for a
// start that falls back.

import { HoldfastError } from '../errors.ts'
import type { Mark } from './appender.ts'
import type { JournalHead } from './find-chain.ts'
import type { Entry } from './frame.ts'
import { foundRanges, type Part } from './parts.ts'
import type { JournalPlace } from './place.ts'
import { listSegments, readEntries } from './read-segments.ts'
import { recover, textOf } from './recover.ts'
import type { Hole, Range } from './segment.ts'

/** What an opening found on disk. */
export interface FoundJournal {
  /** The parts that hold valid entries. */
  parts: Part[]
  /** Marks in these parts. */
  marks: Mark[]
  /** The first entry that the opening read. */
  begin: number
  /** Entries that HEAD records as lost. */
  lost: readonly Range[]
}

/**
 * Durable entries after one, in order, many at a time.
 *
 * @param onGap called with the first entry that should be read and is in no frame. Without it, `JOURNAL_GAP`
 */
export type ReadEntries = (after: number, onGap?: (first: number) => void) => AsyncGenerator<Entry[]>

/** Where entries are read. */
interface ReadPlace extends Pick<JournalPlace, 'fs' | 'directory'> {
  readState: () => Promise<{ head: JournalHead | null }>
}

export function createReader(
  place: ReadPlace,
  found: FoundJournal,
  now: { holes: () => readonly Hole[]; parts: () => readonly Pick<Part, 'name' | 'from' | 'to'>[] },
): ReadEntries {
  async function* read(after: number, onGap?: (first: number) => void): AsyncGenerator<Entry[]> {
    const hole = now.holes().find(({ last, snapshot }) => last > after && snapshot !== null)
    if (hole !== undefined) {
      if (onGap === undefined) throw gapError(after, hole.first, `entries ${textOf(hole)} are in no frame`)
      onGap(Math.max(hole.first, after + 1))
    }
    if (after + 1 < found.begin) yield* readBack(after, onGap)
    for (const { name, from, to } of now.parts()) {
      for await (const entries of readEntries(place.fs, place.directory, name, { from, to })) {
        yield* entriesAfter(entries, after)
      }
    }
  }

  /** Reads entries before those that the opening read. A start that falls back to an older snapshot needs them. */
  async function* readBack(after: number, onGap?: (first: number) => void): AsyncGenerator<Entry[]> {
    const { head } = await place.readState()
    const names = await listSegments(place.fs, place.directory)
    const plan = head === null ? null : await recover(place, names, head, null, after + 1)
    const first = plan?.chain[0]?.header?.fields.first ?? found.begin
    if (first > after + 1) {
      if (onGap === undefined) throw gapError(after, first, `the journal begins at entry ${first}`)
      onGap(after + 1)
    }
    for (const { name, from, to } of foundRanges(plan, null)) {
      for await (const entries of readEntries(place.fs, place.directory, name, { from, to })) {
        const isEnd = entries.at(-1)!.sequence >= found.begin
        yield* entriesAfter(isEnd ? entries.filter(({ sequence }) => sequence < found.begin) : entries, after)
        if (isEnd) return
      }
    }
  }

  return read
}

/** None, or those after one. */
function entriesAfter(entries: Entry[], after: number): Entry[][] {
  const left = (entries[0]?.sequence ?? 0) > after ? entries : entries.filter(({ sequence }) => sequence > after)
  return left.length === 0 ? [] : [left]
}

function gapError(after: number, first: number, why: string): HoldfastError {
  return new HoldfastError(
    'JOURNAL_GAP',
    `The entries after ${after} cannot all be replayed: ${why}. Start from a newer snapshot, or from the source of truth, or accept the loss ` +
      'with acceptLoss',
    { details: { after, first } },
  )
}
