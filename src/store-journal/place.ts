// Where a store's journal lies, and what HEAD records of it, in the words of `journal/`.

import { join } from 'node:path'
import type { StoreContext } from '../blocks/store-context.ts'
import type { Head, HeadJournal, HeadMark } from '../format/head.ts'
import { attempt } from '../fs/io.ts'
import type { FileSystem } from '../fs/port.ts'
import { nextHead } from '../history/next-head.ts'
import { assertWritable } from '../history/write-guards.ts'
import type { Durable, Mark } from '../journal/appender.ts'
import { JOURNAL_LOCK } from '../journal/lock.ts'
import type { JournalPlace, JournalState, NamedSegment } from '../journal/place.ts'
import type { SegmentName } from '../journal/segment.ts'

/** Where a store may have a journal. */
export interface JournalFiles {
  fs: FileSystem
  /** The store's directory. */
  root: string
  /** False: the caller vouches that there is one owner. */
  lock: boolean
  readOnly: boolean
}

/** The journal's directory below the store's root. */
export const DIRECTORY = 'journal'

export async function placeOf(ctx: StoreContext, { fs, root, lock }: JournalFiles): Promise<JournalPlace> {
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

export function currentCovers(head: Head, journal: HeadJournal) {
  const covers = head.snapshots.find(({ sequence }) => sequence === head.current)?.covers
  return covers?.journal === journal.id ? covers : undefined
}

export function journalHeadOf(store: string, { id, first, tail, seen }: HeadJournal): JournalState['head'] {
  return {
    store,
    id,
    first: segmentOf(first),
    tail: segmentOf(tail),
    seen: seen === null ? null : { ...seen, segment: segmentOf(seen.segment) },
  }
}

/** A name in HEAD is a file name without `.log`; its shape was checked when HEAD was read. */
export function segmentOf(name: string): SegmentName {
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

export function seenOf(durable: Durable | null): HeadJournal['seen'] {
  if (durable === null) return null
  return { segment: nameOf(durable.segment), offset: durable.offset, sequence: durable.sequence }
}

export function markOf(mark: Mark | null): HeadMark | null {
  return mark === null ? null : { segment: nameOf(mark.segment), offset: mark.offset, first: mark.first }
}
