// What a repair makes of a journal: what HEAD is to record of damage, and which segments a lost HEAD named. Pure functions of the segments
// as they were read.

import type { JournalHead, KnownLoss } from './find-chain.ts'
import type { ReadPlan } from './plan-recovery.ts'
import { isFlaw, type SegmentFacts } from './scan.ts'
import type { Range } from './segment.ts'

/**
 * Where the end of a journal is lost, nobody knows how many sequences were given out there. The next owner leaves out so many, which is far
 * more than a journal can hold, and a millionth of those that there are.
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
 * What a HEAD that was lost said of the journal, as far as its segments tell; null: there is no journal, or nobody can say which.
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
  const tail = ours.findLast(mayBeTail) ?? first
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
  return facts.places.some((place) => !isFlaw(place))
}

/**
 * Whether HEAD may have named it, or a next frame. What its owner copied into it must be good: if it is not, the owner may have died before
 * HEAD named it, and the entries are in the segment before.
 */
function mayBeTail(facts: SegmentFacts): boolean {
  const batches = facts.places.flatMap((place) => (isFlaw(place) ? [] : [place.header.batch]))
  if (headerOf(facts)?.copied !== true) return batches.length > 0
  return batches.some((batch) => batch === 1 || batch > 2)
}
