// Where a store's journal lies, and what HEAD records of it, in the words of `journal/`.

import { join } from 'node:path'
import type { StoreContext } from '../blocks/store-context.ts'
import type { Head, HeadJournal, HeadMark } from '../format/head.ts'
import { attempt } from '../fs/io.ts'
import type { FileSystem } from '../fs/port.ts'
import { cleanUp } from '../gc/collect.ts'
import { nextHead } from '../history/next-head.ts'
import { assertWritable } from '../history/write-guards.ts'
import type { Durable, Mark } from '../journal/appender.ts'
import type { JournalHead } from '../journal/find-chain.ts'
import { JOURNAL_LOCK } from '../journal/lock.ts'
import type { JournalPlace, JournalState, NamedSegment } from '../journal/place.ts'
import type { Range, SegmentName } from '../journal/segment.ts'

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

/**
 * Under the writer lock, so that the HEAD that is read is durable.
 *
 * @throws STORE_ROLLED_BACK before anything is appended that HEAD would then be swapped for
 */
async function readState(ctx: StoreContext): Promise<JournalState> {
  return await ctx.storage.write({ waitMs: Number.POSITIVE_INFINITY }, async (session) => {
    assertWritable(ctx, session.stored!)
    await cleanUp(ctx, session)
    return stateOf(session.stored!.head, session.previous)
  })
}

export function stateOf(head: Head, previous: Head | null): JournalState {
  const { journal } = head
  const covered = [...head.snapshots, ...(previous?.snapshots ?? [])]
    .filter(({ covers }) => covers !== undefined && covers.journal === journal?.id)
    .map(({ sequence, covers }) => ({ snapshot: sequence, sequence: covers!.sequence }))
    .sort((a, b) => b.sequence - a.sequence)
  const current = journal === undefined ? undefined : currentCovers(head, journal)
  const mark = current?.mark
  return {
    store: head.storeId,
    head: journal === undefined ? null : journalHeadOf(head.storeId, journal),
    from: mark == null ? null : { segment: segmentOf(mark.segment), offset: mark.offset, first: mark.first },
    covered: covered[0] ?? null,
    current: current?.sequence ?? 0,
    skips: (current?.skips ?? []).map(rangeOf),
  }
}

export function currentCovers(head: Head, journal: HeadJournal) {
  const covers = head.snapshots.find(({ sequence }) => sequence === head.current)?.covers
  return covers?.journal === journal.id ? covers : undefined
}

export function journalHeadOf(store: string, { id, first, tail, seen, lost }: HeadJournal): JournalHead {
  return {
    store,
    id,
    first: segmentOf(first),
    tail: segmentOf(tail),
    seen: seen === null ? null : { ...seen, segment: segmentOf(seen.segment) },
    lost:
      lost === undefined
        ? null
        : { entries: lost.entries.map(rangeOf), segment: segmentOf(lost.segment), at: lost.offset },
  }
}

/** What HEAD is to say of the journal. */
export function headJournalOf({ id, first, tail, seen, lost }: JournalHead): HeadJournal {
  return {
    id,
    first: nameOf(first),
    tail: nameOf(tail),
    seen: seen === null ? null : { ...seen, segment: nameOf(seen.segment) },
    ...(lost === null
      ? {}
      : {
          lost: {
            entries: lost.entries.map(({ first, last }): [number, number] => [first, last]),
            segment: nameOf(lost.segment),
            offset: lost.at,
          },
        }),
  }
}

export function rangeOf([first, last]: readonly [number, number]): Range {
  return { first, last }
}

/** A name in HEAD is a file name without `.log`; its shape was checked when HEAD was read. */
export function segmentOf(name: string): SegmentName {
  const [number, id] = name.split('-')
  return { number: Number(number), id: id! }
}

export function nameOf({ number, id }: SegmentName): string {
  return `${String(number).padStart(8, '0')}-${id}`
}

/** Makes HEAD name a segment. The journal's own lock is held; the writer lock is taken after it, never before. */
async function nameSegment(ctx: StoreContext, { journal, segment, durable }: NamedSegment): Promise<void> {
  await ctx.storage.write({ waitMs: Number.POSITIVE_INFINITY }, async (session) => {
    // A swap over an old HEAD would hide that there are newer packs.
    await cleanUp(ctx, session)
    const { head } = session.stored!
    const name = nameOf(segment)
    const seen = seenOf(durable) ?? head.journal?.seen ?? null
    const first = head.journal?.first ?? name
    await session.swapHead(nextHead(head, { journal: { ...head.journal, id: journal, first, tail: name, seen } }))
  })
}

export function seenOf(durable: Durable | null): HeadJournal['seen'] {
  if (durable === null) return null
  return { segment: nameOf(durable.segment), offset: durable.offset, sequence: durable.sequence }
}

export function markOf(mark: Mark | null): HeadMark | null {
  return mark === null ? null : { segment: nameOf(mark.segment), offset: mark.offset, first: mark.first }
}
