// Where a journal ends, what in it is damaged, and which files belong to nobody: the table of docs/format.md, section
// 11. A pure function of the segments as they were read and of what HEAD says. It never calls a state damaged that a
// crash can leave, and never drops an entry that may have been acknowledged without saying so.

import {
  chainBefore,
  chainFrom,
  type Damage,
  framesOf,
  hasOwnFrames,
  headerOf,
  isSame,
  type JournalHead,
  type KnownLoss,
  type Links,
} from './find-chain.ts'
import { type Flaw, type FrameFacts, isFlaw, type SegmentFacts } from './scan.ts'
import type { Predecessor, Range, ReadHeader, SegmentHeader, SegmentName } from './segment.ts'

/** One segment of the chain, as far as it counts. */
interface ChainSegment {
  name: SegmentName
  /** Null: it is damaged. */
  header: ReadHeader | null
  /** Good frames that count, in order. */
  frames: FrameFacts[]
  /** Where it ends; nothing from there on counts. */
  end: number
}

/** What is behind the last good frame, and void. */
interface TornTail {
  segment: SegmentName
  at: number
  bytes: number
  /** Whether it may have been a batch of entries. None of them was acknowledged. */
  entries: boolean
}

/** What a journal holds. */
export interface ReadPlan {
  state: 'read'
  chain: ChainSegment[]
  /** Damage that HEAD does not record. */
  damage: Damage[]
  /** Entries that cannot be read any more and that HEAD does not record as lost, ascending. */
  lost: Range[]
  /** Nobody knows how many entries were lost at the end. */
  openEnd: boolean
  torn: TornTail | null
  /** The last good entry; the one before the first when there is none. */
  last: number
  /** Files that belong to nobody. */
  garbage: SegmentName[]
}

export type RecoveryPlan =
  /** Something cannot be read now; perhaps later. */
  | { state: 'unreadable'; segment: SegmentName; at: number }
  /** A segment is there that a later HEAD named. */
  | { state: 'rolledBack'; segment: SegmentName }
  | ReadPlan

/**
 * @param segments all that lie in the directory and were read, in whatever order
 * @param from the first entry that matters: damage to earlier ones is not looked for
 * @param unreadableIsLost what the device cannot read is damage, and not a reason to wait
 */
export function planRecovery(
  segments: readonly SegmentFacts[],
  head: JournalHead,
  from = 1,
  unreadableIsLost = false,
): RecoveryPlan {
  const links: Links = { segments, head, damage: [] }
  const chain = [...chainBefore(links), ...chainFrom(links)]
  const outside = segments.filter(({ name }) => !chain.some((facts) => isSame(facts.name, name)))
  const unreadable = unreadableIsLost ? null : firstUnreadable(chain, outside, head.lost)
  if (unreadable !== null) return { state: 'unreadable', ...unreadable }
  const stray = outside.find((facts) => isFromLaterHead(facts, head))
  if (stray !== undefined) return { state: 'rolledBack', segment: stray.name }
  const { damage } = links
  const read = chain.map((facts, i) => readSegment(facts, recordedEnd(chain, i), head, damage))
  const torn = endOfLast(chain.at(-1)!, damage)
  const { proven, isCut } = provenLast(chain, read, head, damage)
  const lost = withoutRanges(lostEntries(read, from, proven), head.lost?.entries ?? [])
  // A repair accepted the damage up to a place, and no entries but those that it recorded.
  const isKnown = lost.length === 0 && damage.every(({ segment, at }) => isRecorded(head.lost, segment, at))
  return {
    state: 'read',
    chain: read,
    damage: isKnown ? [] : damage.sort((a, b) => a.segment.number - b.segment.number || a.at - b.at),
    lost,
    openEnd: isCut || chain.at(-1)!.header.state === 'missing',
    torn,
    last: lastGood(read),
    garbage: outside.filter((facts) => isOurs(facts, head)).map(({ name }) => name),
  }
}

function isFromLaterHead(facts: SegmentFacts, head: JournalHead): boolean {
  return facts.name.number > head.first.number && isOurs(facts, head) && hasOwnFrames(facts)
}

/** Whether it belongs to this store and journal. A segment without a header may. */
function isOurs(facts: SegmentFacts, head: JournalHead): boolean {
  const fields = headerOf(facts)?.fields
  return fields === undefined || (fields.store === head.store && fields.journal === head.id)
}

/** Whether a repair recorded damage at this place or behind it. */
function isRecorded(lost: KnownLoss | null, segment: SegmentName, at: number): boolean {
  if (lost === null || segment.number > lost.segment.number) return false
  return segment.number < lost.segment.number || at <= lost.at
}

/** A page that may decide something and cannot be read. What is behind a recorded end decides nothing. */
function firstUnreadable(
  chain: readonly SegmentFacts[],
  outside: readonly SegmentFacts[],
  lost: KnownLoss | null,
): { segment: SegmentName; at: number } | null {
  for (const [i, facts] of chain.entries()) {
    const end = recordedEnd(chain, i)?.end ?? Number.POSITIVE_INFINITY
    const at = unreadableAt(facts, end)
    if (at !== null && !isRecorded(lost, facts.name, at)) return { segment: facts.name, at }
  }
  // It may be the segment that a torn next frame named. A frame in it would prove the next frame.
  const { number } = chain.at(-1)!.name
  for (const facts of outside) {
    const at = facts.name.number > number ? unreadableAt(facts, Number.POSITIVE_INFINITY) : null
    if (at !== null) return { segment: facts.name, at }
  }
  return null
}

function unreadableAt(facts: SegmentFacts, end: number): number | null {
  if (facts.header.state === 'unreadable') return 0
  const flaw = facts.places.find(
    (place): place is Flaw => isFlaw(place) && place.kind === 'unreadable' && place.at < end,
  )
  return flaw?.at ?? null
}

type RecordedEnd = Pick<Predecessor, 'end' | 'last'> & { hash: string | null }

/** Where segment `i` ends, by what its successor says; null for the last one. */
function recordedEnd(chain: readonly SegmentFacts[], i: number): RecordedEnd | null {
  const successor = chain[i + 1]
  if (successor === undefined) return null
  const header = headerOf(successor)
  if (header !== null) return header.fields.previous
  // Its header is gone, but its frames say with which sequence they begin. What they repeat is void here.
  const first = framesOf(successor)[0]?.header.first ?? Number.POSITIVE_INFINITY
  const before = framesOf(chain[i]!).filter((frame) => frame.header.first + frame.header.count <= first)
  const last = before.at(-1)
  return last === undefined ? null : { end: last.end, last: last.header.first + last.header.count - 1, hash: null }
}

function readSegment(
  facts: SegmentFacts,
  recorded: RecordedEnd | null,
  head: JournalHead,
  damage: Damage[],
): ChainSegment {
  const header = headerOf(facts)
  if (header === null) {
    const reason = facts.header.state === 'missing' ? 'the file is missing' : 'its header is damaged'
    damage.push({ segment: facts.name, at: 0, reason })
  } else if (!isOurs(facts, head)) {
    damage.push({ segment: facts.name, at: 0, reason: 'it belongs to another journal' })
  }
  const frames = framesOf(facts).filter(({ end }) => recorded === null || end <= recorded.end)
  const last = frames.at(-1)
  if (recorded === null) return { name: facts.name, header, frames, end: last?.end ?? facts.from }
  // Everything below a recorded end was durable.
  const flawed = flawsIn(facts).filter(({ at }) => at < recorded.end)
  for (const { at } of flawed) damage.push(durableDamage(facts.name, at))
  const end = last?.end ?? facts.from
  const isSameFrame = last === undefined || recorded.hash === null || last.hash === recorded.hash
  const isWhole = end === recorded.end && isSameFrame
  if (header !== null && flawed.length === 0 && !isWhole) damage.push(durableDamage(facts.name, end))
  return { name: facts.name, header, frames, end: recorded.end }
}

function durableDamage(segment: SegmentName, at: number): Damage {
  return { segment, at, reason: 'bytes are damaged that were durable' }
}

/** The first flaw of each run of flaws. */
function flawsIn({ places }: SegmentFacts): Flaw[] {
  return places.filter((place, i): place is Flaw => isFlaw(place) && (i === 0 || !isFlaw(places[i - 1]!)))
}

/**
 * Judges the last segment: adds what a crash cannot leave to `damage`, and returns the torn tail that a crash can
 * leave.
 */
function endOfLast(facts: SegmentFacts, damage: Damage[]): TornTail | null {
  const { places } = facts
  // A frame header proves everything before it, because it was written after that was durable.
  const proof = places.findLastIndex(({ header }) => header !== null)
  const isTornAt = proof !== -1 && isFlaw(places[proof]!) ? proof : proof + 1
  for (const flaw of flawsIn(facts))
    if (places.indexOf(flaw) < isTornAt) damage.push(durableDamage(facts.name, flaw.at))
  return isTornAt < places.length ? tailFrom(facts, isTornAt) : null
}

/** The torn tail from place `index` on; null if there are only zeros. */
function tailFrom(facts: SegmentFacts, index: number): TornTail | null {
  const flaws = facts.places.slice(index) as Flaw[]
  if (flaws.every(({ kind }) => kind === 'zeros')) return null
  const { at, header } = flaws[0]!
  const entries = header === null || header.kind === 'entries'
  return { segment: facts.name, at, bytes: facts.size - at, entries }
}

/** The last entry that is proven to have been durable. Adds damage when the journal ends before what HEAD has seen. */
function provenLast(
  chain: readonly SegmentFacts[],
  read: readonly ChainSegment[],
  { seen }: JournalHead,
  damage: Damage[],
): { proven: number; isCut: boolean } {
  let proven = lastGood(read)
  for (const i of chain.keys()) proven = Math.max(proven, recordedEnd(chain, i)?.last ?? 0)
  for (const { places } of chain) {
    // Nothing proves this frame, but its header proves the entries before it.
    for (const place of places) if (isFlaw(place) && place.header) proven = Math.max(proven, place.header.first - 1)
  }
  if (seen === null) return { proven, isCut: false }
  const tail = read.at(-1)!
  const isHere = isSame(seen.segment, tail.name)
  const isCut = isHere ? tail.end < seen.offset : seen.segment.number > tail.name.number
  if (isCut) {
    damage.push({ segment: tail.name, at: tail.end, reason: 'it ends before what was durable when HEAD was written' })
  }
  return { proven: Math.max(proven, seen.sequence), isCut }
}

/** Entries from `from` to `last` that no frame has. */
function lostEntries(read: readonly ChainSegment[], from: number, last: number): Range[] {
  const known = read.flatMap(({ header, frames }) => [
    ...(header?.fields.holes ?? []),
    ...frames.map(({ header: { first, count } }) => ({ first, last: first + count - 1 })),
  ])
  const begin = Math.max(from, firstOf(read[0]!.header?.fields ?? null, from))
  const lost: Range[] = []
  let next = begin
  for (const range of known.sort((a, b) => a.first - b.first)) {
    if (range.first > next) lost.push({ first: next, last: Math.min(range.first - 1, last) })
    next = Math.max(next, range.last + 1)
  }
  if (next <= last) lost.push({ first: next, last })
  return lost
}

/** What is left of `ranges` without the entries of `others`, both ascending. */
export function withoutRanges(ranges: readonly Range[], others: readonly Range[]): Range[] {
  return ranges.flatMap((range) => {
    const left: Range[] = []
    let next = range.first
    for (const { first, last } of others) {
      if (last < next || first > range.last) continue
      if (first > next) left.push({ first: next, last: first - 1 })
      next = last + 1
    }
    if (next <= range.last) left.push({ first: next, last: range.last })
    return left
  })
}

function firstOf(header: SegmentHeader | null, otherwise: number): number {
  return header?.first ?? otherwise
}

function lastGood(read: readonly ChainSegment[]): number {
  let last = 0
  for (const { header, frames } of read) {
    last = Math.max(last, (header?.fields.first ?? 1) - 1)
    for (const frame of frames) last = Math.max(last, frame.header.first + frame.header.count - 1)
  }
  return last
}
