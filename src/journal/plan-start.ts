// Plans how a new owner continues a journal. Pure. It never appends to another owner's segment. It makes a new segment
// that ends the old one before its last frame, because nothing proves that this frame is durable, and writes the
// entries of that frame again.

import type { ReadPlan } from './plan-recovery.ts'
import type { FrameFacts } from './scan.ts'
import type { Hole, Predecessor, Range, SegmentName } from './segment.ts'

/** The segment that an owner makes first. */
export interface SegmentStart {
  number: number
  previous: Predecessor | null
  /** Sequence of its first entry. */
  first: number
  holes: Hole[]
  skips: Range[]
}

/** How an owner begins. */
interface OwnerStart {
  segment: SegmentStart
  /** The frame whose entries are written again first. Null: nothing is written before the first append. */
  copy: { segment: SegmentName; frame: FrameFacts } | null
}

/** What HEAD says of sequences that segments do not have. */
interface Given {
  covered: Covered | null
  /** Entries that HEAD records as lost, ascending. */
  lost: readonly Range[]
  /** Entries that are not replayed on the current snapshot. */
  skips: Range[]
}

/** What snapshots cover, and the newest snapshot that covers so much. */
export interface Covered {
  sequence: number
  snapshot: number
}

/**
 * @param plan what was found; null: nothing was ever written
 * @param names all segments that are known, so that no number is used twice
 */
export function planStart(plan: ReadPlan | null, names: readonly SegmentName[], given: Given): OwnerStart {
  const number = Math.max(0, ...names.map((name) => name.number)) + 1
  const found = plan === null ? null : lastFrame(plan)
  const holes = plan?.chain.flatMap((segment) => segment.header?.fields.holes ?? []) ?? []
  const known = { number, holes: distinct(holes), skips: given.skips }
  if (found === null) return { segment: goOn(known, emptyEnd(plan), given), copy: null }
  const { segment, frame } = found
  const { kind, offset, first, before } = frame.header
  const previous: Predecessor = { ...segment, end: offset, last: first - 1, hash: before }
  if (kind !== 'entries') return { segment: goOn(known, previous, given), copy: null }
  return { segment: { ...known, previous, first }, copy: found }
}

/** The segment after `previous`. Sequences that are covered or lost and that no frame has become a hole. */
export function goOn(
  known: Pick<SegmentStart, 'number' | 'holes' | 'skips'>,
  previous: Predecessor | null,
  { covered, lost }: Pick<Given, 'covered' | 'lost'>,
): SegmentStart {
  const next = (previous?.last ?? 0) + 1
  const first = Math.max(next, (covered?.sequence ?? 0) + 1, (lost.at(-1)?.last ?? 0) + 1)
  // The first segment of a journal may begin with any sequence.
  if (first === next || previous === null) return { ...known, previous, first }
  const isCovered = covered !== null && covered.sequence === first - 1
  const hole: Hole = { first: next, last: first - 1, snapshot: isCovered ? covered.snapshot : null }
  return { ...known, holes: distinct([...known.holes, hole]), previous, first }
}

/** The last frame that counts, with the segment that it is in. */
function lastFrame({ chain }: ReadPlan): { segment: SegmentName; frame: FrameFacts } | null {
  for (const { name, frames } of [...chain].reverse()) {
    const frame = frames.at(-1)
    if (frame !== undefined) return { segment: name, frame }
  }
  return null
}

/** The end of a segment in which there is no frame. */
function emptyEnd(plan: ReadPlan | null): Predecessor | null {
  const last = plan?.chain.findLast(({ header }) => header !== null)
  if (last === undefined || last.header === null) return null
  const { fields, end, hash } = last.header
  return { ...last.name, end, last: fields.first - 1, hash }
}

function distinct(holes: readonly Hole[]): Hole[] {
  return [...new Map(holes.map((hole) => [hole.first, hole])).values()].sort((a, b) => a.first - b.first)
}
