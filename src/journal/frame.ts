// A frame of a journal segment: one batch of entries made durable by one fdatasync, or a seal, or the name of the next
// segment (docs/format.md, section 11). Pure: bytes in, values out.
//
//    0    8   magic
//    8    1   kind: 1 entries, 2 seal, 3 next
//    9    7   zero
//    16   8   offset of this frame in the segment
//    24   8   batch: number of the frame in the segment, from 1
//    32   8   first: sequence of its first entry, or of the next one to come
//    40   4   count of entries
//    44   4   payload bytes
//    48   32  hash of the frame before it, or of the segment's header
//    80   16  segment id
//    96   16  zero
//    112  16  first 16 bytes of BLAKE3(bytes 0…111)
//    128      payload
//         32  BLAKE3(header ‖ payload), the frame's hash
//         …   zeros up to the next 4,096-byte boundary

import { blake3 } from '../format/blake3.ts'
import { fromHex, toHex } from '../format/hex.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import { BOUNDARY_BYTES, roundUp, SEGMENT_ID_BYTES, type SegmentName } from './segment.ts'

/** Of one entry. */
export const ENTRY_BYTES_MAX = 16 * 1024 * 1024

export const FRAME_HEADER_BYTES = 128
const CHECKED_BYTES = 112
const LENGTH_BYTES = 4
const PAYLOAD_BYTES_MAX = ENTRY_BYTES_MAX + LENGTH_BYTES

const MAGIC = Uint8Array.of(0x89, 0x48, 0x46, 0x4a, 0x46, 0x52, 0x4d, 0x0a)
const KINDS = { entries: 1, seal: 2, next: 3 } as const
const NEXT_PAYLOAD_BYTES = 8 + SEGMENT_ID_BYTES

type FrameKind = keyof typeof KINDS

/** What a frame's header says. */
export interface FrameHeader {
  kind: FrameKind
  offset: number
  batch: number
  first: number
  count: number
  payloadBytes: number
  /** Hex. */
  before: string
}

/** Where a frame is to stand: behind which one. */
export interface FramePlace {
  /** Of the segment, 32 hex digits. */
  id: string
  offset: number
  batch: number
  first: number
  /** Hash of the frame before it, hex. */
  before: string
}

/** A frame as it is written: the views back to back, up to a boundary. */
export interface EncodedFrame {
  views: Uint8Array[]
  bytes: number
  hash: string
}

/** Up to where a frame reaches, padding included. */
export function frameEnd({ offset, payloadBytes }: Pick<FrameHeader, 'offset' | 'payloadBytes'>): number {
  return offset + frameBytes(payloadBytes)
}

/** A frame's size on the disk. */
export function frameBytes(payloadBytes: number): number {
  return roundUp(FRAME_HEADER_BYTES + payloadBytes + DIGEST_BYTES)
}

/** The bytes that an entry takes in a payload. */
export function entryBytes(dataBytes: number): number {
  return LENGTH_BYTES + dataBytes
}

/** Writes an entry into a frame at a place of its payload; answers where it ends. */
export function putEntry(frame: Uint8Array, at: number, data: Uint8Array): number {
  const { length } = data
  // Not by a DataView, which would be made for each entry.
  frame[at] = length
  frame[at + 1] = length >>> 8
  frame[at + 2] = length >>> 16
  frame[at + 3] = length >>> 24
  frame.set(data, at + LENGTH_BYTES)
  return at + LENGTH_BYTES + length
}

/**
 * A frame of entries.
 *
 * @param frame a buffer with the payload at byte 128, made by `putEntry`, and room behind it up to a boundary
 */
export function encodeEntries(place: FramePlace, count: number, frame: Uint8Array, payloadBytes: number): EncodedFrame {
  return finishFrame(place, 'entries', count, frame, payloadBytes)
}

export function encodeSeal(place: FramePlace): EncodedFrame {
  return finishFrame(place, 'seal', 0, new Uint8Array(frameBytes(0)), 0)
}

/** The frame that names the segment after this one. */
export function encodeNext(place: FramePlace, next: SegmentName): EncodedFrame {
  const frame = new Uint8Array(frameBytes(NEXT_PAYLOAD_BYTES))
  new DataView(frame.buffer).setBigUint64(FRAME_HEADER_BYTES, BigInt(next.number), true)
  frame.set(fromHex(next.id, SEGMENT_ID_BYTES), FRAME_HEADER_BYTES + 8)
  return finishFrame(place, 'next', 0, frame, NEXT_PAYLOAD_BYTES)
}

function finishFrame(
  place: FramePlace,
  kind: FrameKind,
  count: number,
  frame: Uint8Array,
  payloadBytes: number,
): EncodedFrame {
  const wrong = wrongFrame({ ...place, kind, count, payloadBytes })
  if (wrong !== null) throw new Error(`bug: journal frame: ${wrong}`)
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  frame.fill(0, 0, FRAME_HEADER_BYTES)
  frame.set(MAGIC)
  frame[8] = KINDS[kind]
  view.setBigUint64(16, BigInt(place.offset), true)
  view.setBigUint64(24, BigInt(place.batch), true)
  view.setBigUint64(32, BigInt(place.first), true)
  view.setUint32(40, count, true)
  view.setUint32(44, payloadBytes, true)
  frame.set(fromHex(place.before, DIGEST_BYTES), 48)
  frame.set(fromHex(place.id, SEGMENT_ID_BYTES), 80)
  frame.set(blake3(frame.subarray(0, CHECKED_BYTES)).subarray(0, FRAME_HEADER_BYTES - CHECKED_BYTES), CHECKED_BYTES)
  const payloadEnd = FRAME_HEADER_BYTES + payloadBytes
  const digest = blake3(frame.subarray(0, payloadEnd))
  frame.set(digest, payloadEnd)
  const bytes = frameBytes(payloadBytes)
  frame.fill(0, payloadEnd + DIGEST_BYTES, bytes)
  return { views: [frame.subarray(0, bytes)], bytes, hash: toHex(digest) }
}

/** The header at `offset` of a segment; null when its own check fails, or it is another place's. */
export function decodeFrameHeader(id: string, offset: number, bytes: Uint8Array): FrameHeader | null {
  if (bytes.length < FRAME_HEADER_BYTES || Buffer.compare(bytes.subarray(0, 8), MAGIC) !== 0) return null
  const check = blake3(bytes.subarray(0, CHECKED_BYTES)).subarray(0, FRAME_HEADER_BYTES - CHECKED_BYTES)
  if (Buffer.compare(check, bytes.subarray(CHECKED_BYTES, FRAME_HEADER_BYTES)) !== 0) return null
  if (toHex(bytes.subarray(80, 96)) !== id) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const kind = (Object.keys(KINDS) as FrameKind[]).find((each) => KINDS[each] === bytes[8])
  if (kind === undefined || !isZero(bytes.subarray(9, 16)) || !isZero(bytes.subarray(96, CHECKED_BYTES))) return null
  const header: FrameHeader = {
    kind,
    offset: Number(view.getBigUint64(16, true)),
    batch: Number(view.getBigUint64(24, true)),
    first: Number(view.getBigUint64(32, true)),
    count: view.getUint32(40, true),
    payloadBytes: view.getUint32(44, true),
    before: toHex(bytes.subarray(48, 80)),
  }
  return header.offset !== offset || wrongFrame(header) !== null ? null : header
}

/** The frame's hash when all of its bytes are what was written, else null. */
export function checkFrame(header: FrameHeader, bytes: Uint8Array): string | null {
  const payloadEnd = FRAME_HEADER_BYTES + header.payloadBytes
  const size = frameBytes(header.payloadBytes)
  if (bytes.length < size) return null
  const digest = blake3(bytes.subarray(0, payloadEnd))
  if (Buffer.compare(digest, bytes.subarray(payloadEnd, payloadEnd + DIGEST_BYTES)) !== 0) return null
  if (!isZero(bytes.subarray(payloadEnd + DIGEST_BYTES, size))) return null
  return toHex(digest)
}

/** The segment that a good `next` frame names; null when it is no name. */
export function nextIn(frame: Uint8Array): SegmentName | null {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  const number = Number(view.getBigUint64(FRAME_HEADER_BYTES, true))
  const at = FRAME_HEADER_BYTES + 8
  return Number.isSafeInteger(number) ? { number, id: toHex(frame.subarray(at, at + SEGMENT_ID_BYTES)) } : null
}

/** An entry, and the number that it was given. */
export interface Entry {
  sequence: number
  data: Uint8Array
  /** Earlier entries are missing that were to be read, because they were lost. Set by whoever serves it. */
  afterLoss: boolean
}

/** Entries that are decoded in one step. A frame may have a million, and the event loop turns between steps. */
const ENTRIES_AT_ONCE = 8192

/**
 * Some entries of a good frame, as views of it; null when the payload is not a list of `count` entries.
 *
 * @param from where to begin in the payload, in bytes, behind `done` entries: 0, or the `end` of the call before
 */
export function entriesIn(
  header: FrameHeader,
  frame: Uint8Array,
  from: number,
  done: number,
): { entries: Entry[]; end: number } | null {
  const { first, count, payloadBytes } = header
  const end = FRAME_HEADER_BYTES + payloadBytes
  const last = Math.min(count, done + ENTRIES_AT_ONCE)
  const entries: Entry[] = []
  let at = FRAME_HEADER_BYTES + from
  for (let i = done; i < last; i++) {
    if (at + LENGTH_BYTES > end) return null
    // Not by a DataView, which takes longer than the rest.
    const length = frame[at]! + frame[at + 1]! * 0x100 + frame[at + 2]! * 0x10000 + frame[at + 3]! * 0x1000000
    at += LENGTH_BYTES
    if (length > end - at) return null
    // Not by subarray, which takes half as long again.
    const data = new Uint8Array(frame.buffer, frame.byteOffset + at, length)
    entries.push({ sequence: first + i, data, afterLoss: false })
    at += length
  }
  return last === count && at !== end ? null : { entries, end: at - FRAME_HEADER_BYTES }
}

/** Why a header contradicts itself; null when it does not. Checked when encoding and when decoding. */
function wrongFrame(header: Omit<FrameHeader, 'before'>): string | null {
  const { kind, offset, batch, first, count, payloadBytes } = header
  if (!Number.isSafeInteger(offset) || offset <= 0 || offset !== roundUp(offset)) return `its offset is ${offset}`
  if (!Number.isSafeInteger(batch) || batch < 1) return `its batch is ${batch}`
  if (!Number.isSafeInteger(first + count) || first < 1) return `its first entry is ${first}`
  if (payloadBytes > PAYLOAD_BYTES_MAX) return `its payload has ${payloadBytes} bytes`
  if (kind === 'entries') {
    return count >= 1 && payloadBytes >= count * LENGTH_BYTES
      ? null
      : `it has ${count} entries in ${payloadBytes} bytes`
  }
  if (count !== 0) return `it has ${count} entries`
  return payloadBytes === (kind === 'next' ? NEXT_PAYLOAD_BYTES : 0) ? null : `its payload has ${payloadBytes} bytes`
}

const ZEROS = new Uint8Array(BOUNDARY_BYTES)

/** Whether there is nothing but zeros. */
export function isZero(bytes: Uint8Array): boolean {
  // By one comparison: a loop takes as long for the padding of a page as all else for its frame.
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length)
    if (Buffer.compare(part, ZEROS.subarray(0, part.length)) !== 0) return false
  }
  return true
}
