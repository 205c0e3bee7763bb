// Reads one journal segment and says what is where: the header, good frames, and everything that is neither a frame nor
// zeros. It judges nothing: whether a flaw is a torn tail or damage depends on the other segments (plan-recovery.ts).
// Memory is bounded by one frame.

import {
  checkFrame,
  decodeFrameHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  frameEnd,
  isZero,
  nextIn,
} from './frame.ts'
import { BOUNDARY_BYTES, decodeSegmentHeader, headerBytes, type ReadHeader, type SegmentName } from './segment.ts'

/** Reads `target.length` bytes at `position`; fewer at the end. Null: the device cannot read them (EIO). */
export type ReadAt = (target: Uint8Array, position: number) => Promise<number | null>

/** A frame all of whose bytes are good. */
export interface FrameFacts {
  header: FrameHeader
  end: number
  /** Hex. */
  hash: string
  /** Of a `next` frame. */
  next: SegmentName | null
}

/** A place where no good frame is. */
export interface Flaw {
  at: number
  /** `header`: a frame header that is good, of a frame that is not. `unreadable`: EIO. */
  kind: 'zeros' | 'bad' | 'header' | 'unreadable'
  header: FrameHeader | null
}

/** What is in one segment, in order. */
export interface SegmentFacts {
  name: SegmentName
  size: number
  header: { state: 'good'; read: ReadHeader } | { state: 'bad' } | { state: 'unreadable' } | { state: 'missing' }
  /** Where the reading began: at the first frame, or at the frame that was asked for. */
  from: number
  /** Good frames and flaws. Flaws of one kind that follow each other are one. */
  places: (FrameFacts | Flaw)[]
}

export function isFlaw(place: FrameFacts | Flaw): place is Flaw {
  return 'kind' in place
}

/** The facts of a segment whose file is missing. */
export function missingSegment({ number, id }: SegmentName): SegmentFacts {
  return { name: { number, id }, size: 0, header: { state: 'missing' }, from: 0, places: [] }
}

/**
 * @param from offset to begin at; default the segment's first frame. The frame at `from` is not compared with the one
 * before it
 * @throws VERSION_UNSUPPORTED
 */
export async function scanSegment(
  name: SegmentName,
  size: number,
  read: ReadAt,
  from: number | null = null,
): Promise<SegmentFacts> {
  const header = await scanHeader(name, read)
  // Without its header nothing says where frames begin. A header takes at least one page.
  let at = from ?? (header.state === 'good' ? header.read.end : BOUNDARY_BYTES)
  const facts: SegmentFacts = { name, size, header, from: at, places: [] }
  let expected = header.state === 'good' && from === null ? firstExpected(header.read) : null
  while (at < size) {
    const place = await scanPlace(name, at, size, read, expected)
    if (isFlaw(place)) {
      addFlaw(facts.places, place)
      expected = null
      at += BOUNDARY_BYTES
    } else {
      facts.places.push(place)
      expected = { before: place.hash, batch: place.header.batch + 1, first: place.header.first + place.header.count }
      at = place.end
    }
  }
  return facts
}

/**
 * The first entry after `after` that a good frame of this segment has; null when there is none before the first flaw.
 * Reads no further than that frame.
 */
export async function findEntryAfter(
  name: SegmentName,
  size: number,
  read: ReadAt,
  from: number | null,
  after: number,
): Promise<number | null> {
  const header = await scanHeader(name, read)
  let at = from ?? (header.state === 'good' ? header.read.end : BOUNDARY_BYTES)
  while (at < size) {
    const place = await scanPlace(name, at, size, read, null)
    if (isFlaw(place)) return null
    const { first, count } = place.header
    if (count > 0 && first + count - 1 > after) return Math.max(first, after + 1)
    at = place.end
  }
  return null
}

async function scanHeader(name: SegmentName, read: ReadAt): Promise<SegmentFacts['header']> {
  let bytes = new Uint8Array(BOUNDARY_BYTES)
  let got = await read(bytes, 0)
  if (got === null) return { state: 'unreadable' }
  const whole = headerBytes(bytes.subarray(0, got))
  if (whole === null) return { state: 'bad' }
  if (whole > bytes.length) {
    bytes = new Uint8Array(whole)
    got = await read(bytes, 0)
    if (got === null) return { state: 'unreadable' }
  }
  const decoded = decodeSegmentHeader(name, bytes.subarray(0, got))
  return decoded === null ? { state: 'bad' } : { state: 'good', read: decoded }
}

/** What the next frame must say. Null after a flaw: then any good frame is accepted. */
interface Expected {
  before: string
  batch: number
  first: number
}

function firstExpected({ hash, fields }: ReadHeader): Expected {
  return { before: hash, batch: 1, first: fields.first }
}

async function scanPlace(
  name: SegmentName,
  at: number,
  size: number,
  read: ReadAt,
  expected: Expected | null,
): Promise<FrameFacts | Flaw> {
  const page = new Uint8Array(Math.min(BOUNDARY_BYTES, size - at))
  const got = await read(page, at)
  if (got === null) return { at, kind: 'unreadable', header: null }
  const start = page.subarray(0, got)
  const header = decodeFrameHeader(name.id, at, start.subarray(0, FRAME_HEADER_BYTES))
  if (header === null) return { at, kind: isZero(start) ? 'zeros' : 'bad', header: null }
  const end = frameEnd(header)
  const flaw: Flaw = { at, kind: 'header', header }
  if (end > size || (expected !== null && !follows(header, expected))) return flaw
  let frame = start
  if (end - at > page.length) {
    frame = new Uint8Array(end - at)
    const all = await read(frame, at)
    if (all === null) return { at, kind: 'unreadable', header }
    frame = frame.subarray(0, all)
  }
  const hash = checkFrame(header, frame)
  if (hash === null) return flaw
  const next = header.kind === 'next' ? nextIn(frame) : null
  return header.kind === 'next' && next === null ? flaw : { header, end, hash, next }
}

function follows(header: FrameHeader, { before, batch, first }: Expected): boolean {
  return header.before === before && header.batch === batch && header.first === first
}

function addFlaw(places: (FrameFacts | Flaw)[], flaw: Flaw): void {
  const last = places.at(-1)
  const same = last !== undefined && isFlaw(last) && last.kind === flaw.kind
  if (same && flaw.header === null && last.header === null) return
  places.push(flaw)
}
