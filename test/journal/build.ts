// Makes journals in memory, byte by byte as an owner would write them, for tests of what reads them.

import type { JournalHead } from '../../src/journal/find-chain.ts'
import {
  type EncodedFrame,
  encodeEntries,
  encodeNext,
  encodeSeal,
  entryBytes,
  FRAME_HEADER_BYTES,
  frameBytes,
  putEntry,
} from '../../src/journal/frame.ts'
import { type ReadAt, type SegmentFacts, scanSegment } from '../../src/journal/scan.ts'
import {
  encodeSegmentHeader,
  type Hole,
  type Predecessor,
  type Range,
  type SegmentHeader,
  type SegmentName,
} from '../../src/journal/segment.ts'
import { createRandom } from '../support/random.ts'

export const store = '0f1e2d3c4b5a69788796a5b4c3d2e1f0'
export const journal = '00112233445566778899aabbccddeeff'

/** A frame as it was written, and what it holds. */
export interface Written {
  kind: 'entries' | 'seal' | 'next'
  offset: number
  end: number
  first: number
  last: number
  hash: string
}

/** One segment in the making. */
export interface Segment {
  name: SegmentName
  header: SegmentHeader
  headerEnd: number
  frames: Written[]
  /** What it is so far; padded to a boundary. */
  bytes: Uint8Array
  entries(...sizes: number[]): Written
  seal(): Written
  next(name: SegmentName): Written
  /** What a successor says of it: all of it, or all but its last frame. */
  ended(before?: 'all' | 'last'): Predecessor
}

export function nameOf(number: number): SegmentName {
  return { number, id: number.toString(16).padStart(2, '0').repeat(16) }
}

/** The data of an entry: the same for the same sequence and size. */
export function dataOf(sequence: number, size: number): Uint8Array {
  return createRandom(sequence * 7919 + size).bytes(size)
}

export function segment(
  number: number,
  options: {
    previous?: Predecessor | null
    named?: 'next' | 'swap'
    copied?: boolean
    first?: number
    holes?: Hole[]
    skips?: Range[]
  } = {},
): Segment {
  const { previous = null, copied = false, holes = [], skips = [] } = options
  const first = options.first ?? (previous === null ? 1 : previous.last + 1)
  const name = nameOf(number)
  const named = options.named ?? 'swap'
  const header: SegmentHeader = { store, journal, number, changes: 1, first, previous, named, copied, holes, skips }
  const encoded = encodeSegmentHeader(name.id, header)
  const made: Segment = {
    name,
    header,
    headerEnd: encoded.bytes.length,
    frames: [],
    bytes: encoded.bytes,
    entries(...sizes) {
      const place = placeOf()
      const payloadBytes = sizes.reduce((sum, size) => sum + entryBytes(size), 0)
      const buffer = new Uint8Array(frameBytes(payloadBytes))
      let at = FRAME_HEADER_BYTES
      for (const [i, size] of sizes.entries()) at = putEntry(buffer, at, dataOf(place.first + i, size))
      return add('entries', encodeEntries(place, sizes.length, buffer, payloadBytes), sizes.length)
    },
    seal: () => add('seal', encodeSeal(placeOf()), 0),
    next: (to) => add('next', encodeNext(placeOf(), to), 0),
    ended(before = 'all') {
      const counted = before === 'all' ? made.frames : made.frames.slice(0, -1)
      const last = counted.at(-1)
      return {
        ...name,
        end: last?.end ?? made.headerEnd,
        last: last?.last ?? first - 1,
        hash: last?.hash ?? encoded.hash,
      }
    },
  }
  return made

  function placeOf() {
    const last = made.frames.at(-1)
    return {
      id: name.id,
      offset: last?.end ?? made.headerEnd,
      batch: made.frames.length + 1,
      first: (last?.last ?? first - 1) + 1,
      before: last?.hash ?? encoded.hash,
    }
  }

  function add(kind: Written['kind'], frame: EncodedFrame, count: number): Written {
    const { offset, first: firstEntry } = placeOf()
    made.bytes = new Uint8Array(Buffer.concat([made.bytes, ...frame.views]))
    const written = {
      kind,
      offset,
      end: offset + frame.bytes,
      first: firstEntry,
      last: firstEntry + count - 1,
      hash: frame.hash,
    }
    made.frames.push(written)
    return written
  }
}

/** A segment's bytes as they are found, and pages that cannot be read. */
export interface FoundSegment {
  name: SegmentName
  bytes: Uint8Array
  /** Offsets of pages. */
  unreadable?: readonly number[]
}

export function scan(
  { name, bytes, unreadable = [] }: FoundSegment,
  from: number | null = null,
): Promise<SegmentFacts> {
  const read: ReadAt = async (target, position) => {
    const end = Math.min(bytes.length, position + target.length)
    if (unreadable.some((page) => page < end && page + 4096 > position)) return null
    target.set(bytes.subarray(position, end))
    return Math.max(0, end - position)
  }
  return scanSegment(name, bytes.length, read, from)
}

export function headOf(first: Segment, tail: Segment, seen: JournalHead['seen'] = null): JournalHead {
  return { store, id: journal, first: first.name, tail: tail.name, seen, lost: null }
}

/** As HEAD notes it when a frame is durable. */
export function seenAt(of: Segment, frame: Written): JournalHead['seen'] {
  return { segment: of.name, offset: frame.end, sequence: frame.last }
}
