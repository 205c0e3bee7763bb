// Which parts of which segments hold entries that count, and at which frames of them a reading may begin. Pure.

import { MARK_BYTES, type Mark } from './appender.ts'
import type { ReadPlan } from './plan-recovery.ts'
import type { SegmentStart } from './plan-start.ts'
import type { SegmentName } from './segment.ts'

/** A part of a segment, in whole frames. */
export interface Part {
  name: SegmentName
  from: number
  to: number
  /** Its first entry. */
  first: number
}

export function markIn(marks: readonly Mark[], sequence: number): Mark | null {
  return marks.findLast(({ first }) => first <= sequence) ?? null
}

/** Frames at which a reading may begin, oldest first, `MARK_BYTES` apart or more. */
export function foundMarks(plan: ReadPlan | null, parts: readonly Part[]): Mark[] {
  const marks: Mark[] = []
  for (const { name, from, to, first } of parts) {
    marks.push({ segment: name, offset: from, first })
    const frames = plan?.chain.find((segment) => segment.name.number === name.number)?.frames ?? []
    let next = from + MARK_BYTES
    for (const { header, end } of frames) {
      if (header.kind !== 'entries' || header.offset < next || end > to) continue
      marks.push({ segment: name, offset: header.offset, first: header.first })
      next = header.offset + MARK_BYTES
    }
  }
  return marks
}

/**
 * The parts that hold valid entries, up to where this owner continues. A part ends where a frame is damaged, and the
 * next one begins behind it.
 */
export function foundRanges(plan: ReadPlan | null, previous: SegmentStart['previous']): Part[] {
  const parts: Part[] = []
  for (const { name, frames } of plan?.chain ?? []) {
    const isLast = previous !== null && previous.number === name.number && previous.id === name.id
    let part: Part | null = null
    for (const { header, end } of frames) {
      if (isLast && header.offset >= previous.end) break
      if (part !== null && part.to === header.offset) part.to = end
      else {
        part = { name, from: header.offset, to: end, first: header.first }
        parts.push(part)
      }
    }
    if (isLast) break
  }
  return parts
}
