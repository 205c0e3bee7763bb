// Where a journal ends, what in it is damaged, and which files belong to nobody: the table of docs/format.md, section 11. A pure function of
// the segments as they were read and of what HEAD says. It never calls a state damaged that a crash can leave, and never drops an entry
// that may have been acknowledged without saying so.

import { type Flaw, type FrameFacts, isFlaw, missingSegment, type SegmentFacts } from './scan.ts'
import type { Predecessor, Range, ReadHeader, SegmentHeader, SegmentName } from './segment.ts'

/** What HEAD says of the journal. */
export interface JournalHead {
  /** Store id, 32 hex digits. */
  store: string
  /** Journal id, 32 hex digits. */
  id: string
  /** The first segment that is still needed. */
  first: SegmentName
  /** The newest segment that HEAD names; next frames lead on from it. */
  tail: SegmentName
  /** Up to where the journal was durable when HEAD was written; null: there was nothing in it. */
  seen: { segment: SegmentName; offset: number; sequence: number } | null
  /** Damage that a repair recorded. */
  lost: KnownLoss | null
}

/** Damage that does not keep a journal from being read, because HEAD says so. */
export interface KnownLoss {
  /** Entries that cannot be read, ascending. */
  entries: Range[]
  /** The last place that was damaged. */
  segment: SegmentName
  at: number
}

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

/** Something that a crash cannot leave. */
interface Damage {
  segment: SegmentName
  at: number
  reason: string
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

/** What the chain is found in. */
interface Links {
  segments: readonly SegmentFacts[]
  head: JournalHead
  damage: Damage[]
}

function find({ segments }: Links, name: SegmentName): SegmentFacts {
  return segments.find((facts) => isSame(facts.name, name)) ?? missingSegment(name)
}

/** The segments before HEAD's tail, oldest first, as their successors name them. */
function chainBefore(links: Links): SegmentFacts[] {
  const { head } = links
  const chain: SegmentFacts[] = []
  let facts = find(links, head.tail)
  while (!isSame(facts.name, head.first)) {
    const header = headerOf(facts)
    const previous = header === null ? likelyPredecessor(links, facts) : header.fields.previous
    if (previous === null || previous.number < head.first.number) break
    facts = find(links, previous)
    chain.unshift(facts)
  }
  return chain
}

/** The header that names it is gone: the newest older segment that is more than what an owner left who died before a swap. */
function likelyPredecessor({ segments, head }: Links, { name }: SegmentFacts): SegmentName | null {
  const older = segments
    .filter((facts) => facts.name.number < name.number && facts.name.number >= head.first.number)
    .filter((facts) => isSame(facts.name, head.first) || hasOwnFrames(facts))
    .sort((a, b) => b.name.number - a.name.number)
  return older[0]?.name ?? null
}

/** HEAD's tail, and the segments that good next frames lead to from there. */
function chainFrom(links: Links): SegmentFacts[] {
  const chain = [find(links, links.head.tail)]
  for (;;) {
    const facts = chain.at(-1)!
    const named = facts.places.find((place): place is FrameFacts => !isFlaw(place) && place.next !== null)
    if (named !== undefined) {
      const next = find(links, named.next!)
      if (chain.includes(next)) return chain
      chain.push(next)
      continue
    }
    // A frame in the next segment is written only when the frame that names it is durable.
    const unnamed = links.segments.find((other) => isNextOf(other, facts.name) && hasOwnFrames(other))
    if (unnamed === undefined || chain.includes(unnamed)) return chain
    const { end } = headerOf(unnamed)!.fields.previous!
    links.damage.push({ segment: facts.name, at: end, reason: 'the frame that names the next segment is damaged' })
    chain.push(unnamed)
  }
}

function isNextOf(facts: SegmentFacts, name: SegmentName): boolean {
  const fields = headerOf(facts)?.fields
  return fields?.named === 'next' && fields.previous !== null && isSame(fields.previous, name)
}

/** Whether it has frames beside those that are written before a segment is named: what was copied for a swap, and its seal. */
function hasOwnFrames(facts: SegmentFacts): boolean {
  const fields = headerOf(facts)?.fields
  const mayBeCopied = fields === undefined || (fields.named === 'swap' && fields.copied)
  return framesOf(facts).some(({ header: { batch, kind } }) => {
    const isCopied = mayBeCopied && (batch === 1 || (batch === 2 && kind === 'seal'))
    return !isCopied
  })
}

function isFromLaterHead(facts: SegmentFacts, head: JournalHead): boolean {
  return facts.name.number > head.first.number && isOurs(facts, head) && hasOwnFrames(facts)
}

/** Of this store and journal, as far as it says so. */
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
  // It may be the segment that the last one's torn next frame named, and prove what is torn.
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
  // Its header is gone, its frames say where they go on: what they repeat is void here.
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

/** Each run of flaws by its first. */
function flawsIn({ places }: SegmentFacts): Flaw[] {
  return places.filter((place, i): place is Flaw => isFlaw(place) && (i === 0 || !isFlaw(places[i - 1]!)))
}

/** Adds what the last segment has that a crash cannot leave; answers what a crash can. */
function endOfLast(facts: SegmentFacts, damage: Damage[]): TornTail | null {
  const { places } = facts
  // A header proves all before it: it was written when that was durable.
  const proof = places.findLastIndex(({ header }) => header !== null)
  const isTornAt = proof !== -1 && isFlaw(places[proof]!) ? proof : proof + 1
  for (const flaw of flawsIn(facts))
    if (places.indexOf(flaw) < isTornAt) damage.push(durableDamage(facts.name, flaw.at))
  return isTornAt < places.length ? tailFrom(facts, isTornAt) : null
}

/** The places from `index` on are a tail that was torn, or nothing but zeros. */
function tailFrom(facts: SegmentFacts, index: number): TornTail | null {
  const flaws = facts.places.slice(index) as Flaw[]
  if (flaws.every(({ kind }) => kind === 'zeros')) return null
  const { at, header } = flaws[0]!
  const entries = header === null || header.kind === 'entries'
  return { segment: facts.name, at, bytes: facts.size - at, entries }
}

/** The last entry that was durable, by everything that says so. Adds damage where the journal is cut before what HEAD saw. */
function provenLast(
  chain: readonly SegmentFacts[],
  read: readonly ChainSegment[],
  { seen }: JournalHead,
  damage: Damage[],
): { proven: number; isCut: boolean } {
  let proven = lastGood(read)
  for (const i of chain.keys()) proven = Math.max(proven, recordedEnd(chain, i)?.last ?? 0)
  for (const { places } of chain) {
    // A header that is proven by nothing may be of a frame that never was whole; what is before it was.
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

/** What is missing from `from` to `last` and was given out. */
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

function framesOf({ places }: SegmentFacts): FrameFacts[] {
  return places.filter((place): place is FrameFacts => !isFlaw(place))
}

function headerOf(facts: SegmentFacts): ReadHeader | null {
  return facts.header.state === 'good' ? facts.header.read : null
}

function isSame(a: SegmentName, b: SegmentName): boolean {
  return a.number === b.number && a.id === b.id
}
