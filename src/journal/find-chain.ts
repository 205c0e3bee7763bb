// Which segments make up a journal, in order: from HEAD's tail back by what each header says of the segment before, and
// on by next frames. Pure.

import { type FrameFacts, isFlaw, missingSegment, type SegmentFacts } from './scan.ts'
import type { Range, ReadHeader, SegmentName } from './segment.ts'

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

/** Something that a crash cannot leave. */
export interface Damage {
  segment: SegmentName
  at: number
  reason: string
}

/** Where a chain is looked for. */
export interface Links {
  segments: readonly SegmentFacts[]
  head: JournalHead
  damage: Damage[]
}

function find({ segments }: Links, name: SegmentName): SegmentFacts {
  return segments.find((facts) => isSame(facts.name, name)) ?? missingSegment(name)
}

/** The segments before HEAD's tail, oldest first, as their successors name them. */
export function chainBefore(links: Links): SegmentFacts[] {
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

/**
 * Guesses the predecessor of a segment whose header is damaged: the newest older one that is not garbage of an owner
 * that died before its swap.
 */
function likelyPredecessor({ segments, head }: Links, { name }: SegmentFacts): SegmentName | null {
  const older = segments
    .filter((facts) => facts.name.number < name.number && facts.name.number >= head.first.number)
    .filter((facts) => isSame(facts.name, head.first) || hasOwnFrames(facts))
    .sort((a, b) => b.name.number - a.name.number)
  return older[0]?.name ?? null
}

/** HEAD's tail, and the segments that good next frames lead to from there. */
export function chainFrom(links: Links): SegmentFacts[] {
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

/**
 * Whether it has a frame that was written after it was named. Before that, there may be a copied frame and its seal.
 */
export function hasOwnFrames(facts: SegmentFacts): boolean {
  const fields = headerOf(facts)?.fields
  const mayBeCopied = fields === undefined || (fields.named === 'swap' && fields.copied)
  return framesOf(facts).some(({ header: { batch, kind } }) => {
    const isCopied = mayBeCopied && (batch === 1 || (batch === 2 && kind === 'seal'))
    return !isCopied
  })
}

export function framesOf({ places }: SegmentFacts): FrameFacts[] {
  return places.filter((place): place is FrameFacts => !isFlaw(place))
}

export function headerOf(facts: SegmentFacts): ReadHeader | null {
  return facts.header.state === 'good' ? facts.header.read : null
}

export function isSame(a: SegmentName, b: SegmentName): boolean {
  return a.number === b.number && a.id === b.id
}
