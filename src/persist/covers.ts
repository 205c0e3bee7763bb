// What a snapshot covers of the journal: checked before anything is read, and put into HEAD with the snapshot.

import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import type { Head, HeadCovers, HeadJournal, HeadSnapshot } from '../format/head.ts'
import { coveredBy } from '../history/covers.ts'

/** Snapshots that a start may fall back to without losing an entry, the newest included. */
const JOURNAL_BACK = 3

/**
 * Waits until the entries that are to be covered are durable, unless the journal has failed. Before the writer lock is
 * taken: the journal's first segment is named in HEAD, for which the journal takes that lock.
 *
 * @throws COVERS_REQUIRED, RangeError
 */
export async function settleCovers(ctx: StoreContext, covers: unknown): Promise<void> {
  if (covers === undefined) return
  if (ctx.journal === null) {
    throw new HoldfastError(
      'COVERS_REQUIRED',
      `persist: covers is of a journal, and this store object of ${ctx.storage.location} has none open. Call openJournal first`,
      { details: { location: ctx.storage.location } },
    )
  }
  if (typeof covers !== 'number' || !Number.isSafeInteger(covers) || covers < 0 || covers > ctx.journal.last) {
    throw new RangeError(
      `persist: covers is a sequence of the journal, 0 to ${ctx.journal.last}; got ${JSON.stringify(covers)}`,
    )
  }
  await ctx.journal.settle(covers)
}

/** @throws COVERS_REQUIRED: in a store with a journal, only its owner persists, and says what the snapshot covers */
export function assertCovers(ctx: StoreContext, head: Head | null, covers: number | undefined): void {
  // The first entry may be on its way, and HEAD names the journal only then.
  const hasEntries = ctx.journal !== null && ctx.journal.last > 0
  if (head?.journal === undefined) {
    if (hasEntries && covers === undefined) throw coversRequired(ctx)
    return
  }
  if (ctx.journal === null || ctx.journal.id !== head.journal.id || covers === undefined) throw coversRequired(ctx)
  const before = coveredBy(currentOf(head), ctx.journal.id)
  if (covers < before) {
    throw new RangeError(
      `persist: covers is ${covers}, but the current snapshot covers entries up to ${before} already`,
    )
  }
}

function coversRequired(ctx: StoreContext): HoldfastError {
  return new HoldfastError(
    'COVERS_REQUIRED',
    `${ctx.storage.location} has a journal: a snapshot has to say which entries it covers, or they would be applied twice. Persist through ` +
      'the store object that has the journal open, with covers',
    { details: { location: ctx.storage.location } },
  )
}

/** The entry that a snapshot gets. Undefined: there is no journal. */
export function coversOf(ctx: StoreContext, head: Head, covers: number | undefined): HeadCovers | undefined {
  const { journal } = ctx
  if (journal === null || covers === undefined) return undefined
  const left = journal.skips.filter(([, last]) => last <= covers)
  const skips = joinRanges([...(currentOf(head)?.covers?.skips ?? []), ...left])
  return { journal: journal.id, sequence: covers, mark: journal.mark(covers), skips }
}

/** Ranges that overlap or touch are one. */
function joinRanges(ranges: readonly [number, number][]): [number, number][] {
  const all: [number, number][] = []
  for (const [first, last] of [...ranges].sort(([a], [b]) => a - b)) {
    const before = all.at(-1)
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last)
    else all.push([first, last])
  }
  return all
}

/** HEAD's words on the journal once these are the snapshots. Undefined: there is none. */
export function journalAfter(
  ctx: StoreContext,
  head: Head,
  snapshots: readonly HeadSnapshot[],
): HeadJournal | undefined {
  const { journal } = head
  if (journal === undefined || ctx.journal === null) return journal
  const line = snapshots.filter(({ abandoned }) => !abandoned)
  const mark = line[JOURNAL_BACK - 1]?.covers
  const isOurs = mark?.journal === journal.id && mark.mark !== null
  const first = isOurs && numberOf(mark.mark!.segment) > numberOf(journal.first) ? mark.mark!.segment : journal.first
  // Next frames may have led on from the tail.
  const tail = numberOf(first) > numberOf(journal.tail) ? first : journal.tail
  const { lost, ...rest } = journal
  const seen = ctx.journal.seen ?? journal.seen
  // Once the segments that were damaged are needed no more, nothing has to be known of them.
  const isNeeded = lost !== undefined && numberOf(first) <= numberOf(lost.segment)
  return { ...rest, first, tail, seen, ...(isNeeded ? { lost } : {}) }
}

function currentOf(head: Head): HeadSnapshot | null {
  return head.snapshots.find(({ sequence }) => sequence === head.current) ?? null
}

function numberOf(segment: string): number {
  return Number(segment.split('-')[0])
}
