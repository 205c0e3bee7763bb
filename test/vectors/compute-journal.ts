// What the code makes of the journal segment that the vectors document. `make.ts` writes it down once.

import { toHex } from '../../src/format/hex.ts'
import { segmentFileName } from '../../src/journal/segment.ts'
import { dataOf, nameOf, type Segment, segment } from '../journal/build.ts'

export interface JournalVector {
  name: string
  bytes: number
  /** All else is zeros. */
  content: { at: number; hex: string }[]
  frames: { kind: string; offset: number; hash: string }[]
  entries: string[]
}

/**
 * The third segment of a journal, named by a swap: one copied batch, its seal, one more batch, and the next segment's
 * name.
 */
export function sampleSegment(): Segment {
  const made = segment(3, {
    previous: { ...nameOf(2), end: 8192, last: 40, hash: '5a'.repeat(32) },
    first: 43,
    copied: true,
    holes: [{ first: 41, last: 42, snapshot: 7 }],
    skips: [{ first: 10, last: 12 }],
  })
  made.entries(5, 0)
  made.seal()
  made.entries(7)
  made.next(nameOf(4))
  return made
}

export function journalVector(): JournalVector {
  const { name, bytes, frames } = sampleSegment()
  const content: JournalVector['content'] = []
  for (let at = 0; at < bytes.length; at += 4096) {
    let end = at + 4096
    while (end > at && bytes[end - 1] === 0) end -= 1
    content.push({ at, hex: toHex(bytes.subarray(at, end)) })
  }
  return {
    name: segmentFileName(name),
    bytes: bytes.length,
    content,
    frames: frames.map(({ kind, offset, hash }) => ({ kind, offset, hash })),
    entries: [dataOf(43, 5), dataOf(44, 0), dataOf(45, 7)].map((data) => toHex(data)),
  }
}
