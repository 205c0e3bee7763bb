// What a repair makes of a journal: what HEAD is to record of damage, and which segments a lost HEAD named. Pure
// functions of the segments as they were read.

import { framesOf, type JournalHead, type KnownLoss } from './find-chain.ts'
import { planRecovery, type ReadPlan } from './plan-recovery.ts'
import { isFlaw, type SegmentFacts } from './scan.ts'
import type { Range } from './segment.ts'

/**
 * Where the end of a journal is lost, nobody knows how many sequences were given out there. The next owner leaves out
 * so many, which is far more than a journal can hold, and a millionth of those that there are.
 */
const SEQUENCE_JUMP = 2 ** 30

/** What HEAD is to record so that a damaged journal is read in spite of it; null: nothing is damaged. */
export function planSkip(plan: ReadPlan, known: KnownLoss | null): KnownLoss | null {
  const last = plan.damage.at(-1)
  if (last === undefined) return null
  const lost = [...plan.lost]
  if (plan.openEnd) {
    const first = Math.max(plan.last, lost.at(-1)?.last ?? 0) + 1
    lost.push({ first, last: first + SEQUENCE_JUMP - 1 })
  }
  const entries = joined([...(known?.entries ?? []), ...lost])
  const isFurther =
    known === null ||
    last.segment.number > known.segment.number ||
    (last.segment.number === known.segment.number && last.at > known.at)
  return isFurther ? { entries, segment: last.segment, at: last.at } : { ...known, entries }
}

/** Ranges that overlap or touch are one. */
function joined(ranges: readonly Range[]): Range[] {
  const all: Range[] = []
  for (const range of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = all.at(-1)
    if (before !== undefined && range.first <= before.last + 1) before.last = Math.max(before.last, range.last)
    else all.push({ ...range })
  }
  return all
}

/**
 * The segments that a later HEAD named, oldest first. Without a HEAD that names a journal: all that hold entries.
 */
export function laterThan(
  segments: readonly SegmentFacts[],
  head: JournalHead | null,
  unreadableIsLost: boolean,
): SegmentFacts[] {
  if (head === null) return segments.filter(({ places }) => !places.every(isFlaw))
  let left = segments
  const later: SegmentFacts[] = []
  for (;;) {
    const plan = planRecovery(left, head, 1, unreadableIsLost)
    if (plan.state !== 'rolledBack') return later
    const { number, id } = plan.segment
    later.push(...left.filter(({ name }) => name.number === number && name.id === id))
    left = left.filter((facts) => !later.includes(facts))
  }
}

/** What HEAD is to record of entries that are given up, so that their sequences are not given out again. */
export function planGivenUp(later: readonly SegmentFacts[], last: number, head: JournalHead): KnownLoss | null {
  const frames = later.flatMap(({ places }) => places.filter((place) => !isFlaw(place)))
  const end = Math.max(last, ...frames.map(({ header }) => header!.first + header!.count - 1))
  if (end === last) return head.lost
  const entries = joined([...(head.lost?.entries ?? []), { first: last + 1, last: end }])
  return head.lost === null ? { entries, segment: head.first, at: 0 } : { ...head.lost, entries }
}

/**
 * What a HEAD that was lost said of the journal, as far as its segments tell; null: there is no journal, or nobody can
 * say which.
 *
 * @param ids journal ids that snapshots name, the newest first
 */
export function planHead(
  segments: readonly SegmentFacts[],
  store: string,
  ids: readonly string[],
): { head: JournalHead; skips: Range[] } | null {
  const id = chooseJournal(segments, store, ids)
  if (id === null) return null
  const ours = segments.filter((facts) => isOf(facts, store, id)).sort((a, b) => a.name.number - b.name.number)
  const first = ours[0]
  const tail = ours.findLast((facts, i) => mayBeTail(facts, ours.slice(0, i))) ?? first
  if (first === undefined || tail === undefined) return null
  const skips = ours.findLast((facts) => facts.name.number <= tail.name.number && headerOf(facts) !== null)
  return {
    head: { store, id, first: first.name, tail: tail.name, seen: null, lost: null },
    skips: (skips === undefined ? null : headerOf(skips))?.skips ?? [],
  }
}

function chooseJournal(segments: readonly SegmentFacts[], store: string, ids: readonly string[]): string | null {
  const found = new Set<string>()
  for (const facts of segments) {
    const fields = headerOf(facts)
    if (fields?.store === store) found.add(fields.journal)
  }
  const named = ids.find((id) => found.has(id))
  if (named !== undefined) return named
  const [only, another] = found
  return another === undefined ? (only ?? null) : null
}

function headerOf({ header }: SegmentFacts) {
  return header.state === 'good' ? header.read.fields : null
}

/** A segment whose header is gone says nothing of its journal, but may hold entries of it. */
function isOf(facts: SegmentFacts, store: string, id: string): boolean {
  const fields = headerOf(facts)
  if (fields !== null) return fields.store === store && fields.journal === id
  return framesOf(facts).length > 0
}

/**
 * Whether HEAD may have named it, or a next frame. An owner that died before HEAD named its segment leaves at most the
 * entries that it copied: they are in the segment before. So a copy that is not whole is no tail, and neither is a copy
 * without a header, for the header was durable before HEAD named it.
 *
 * @param older the segments before it, ascending
 */
function mayBeTail(facts: SegmentFacts, older: readonly SegmentFacts[]): boolean {
  const batches = framesOf(facts).map(({ header }) => header.batch)
  const fields = headerOf(facts)
  if (fields === null) return isCopied(older) ? batches.some((batch) => batch > 2) : batches.length > 0
  if (!fields.copied) return batches.length > 0
  return batches.some((batch) => batch === 1 || batch > 2)
}

/**
 * Whether the owner of the next segment copied the last entries: it does so unless a seal or a next frame was behind
 * them.
 */
function isCopied(older: readonly SegmentFacts[]): boolean {
  const last = older.flatMap(framesOf).at(-1)
  return last?.header.kind === 'entries'
}
