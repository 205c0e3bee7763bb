// The name and the header of a journal segment (docs/format.md, section 11). Pure: bytes in, values out.
//
//    0   8   magic
//    8   2   version
//    10  2   multihash code
//    12  4   length n of the body
//    16  32  BLAKE3(segment id ‖ bytes 0…15 ‖ body)
//    48  n   body, dag-cbor
//        …   zeros up to the next 4,096-byte boundary, where the first frame begins

import { HoldfastError } from '../errors.ts'
import { blake3 } from '../format/blake3.ts'
import { fromHex, toHex } from '../format/hex.ts'
import { DIGEST_BYTES, STORE_ID_BYTES } from '../format/limits.ts'
import { decodeValue, encodeStrict, type StrictValue } from '../format/value.ts'

/** Frames begin at multiples of it, so that no page with acknowledged bytes is ever written again. */
export const BOUNDARY_BYTES = 4096
/** Of a segment's id, which is the random part of its name. */
export const SEGMENT_ID_BYTES = 16
/** A header is at most as large as this, with all its skips. */
const SEGMENT_HEADER_BYTES_MAX = 1024 * 1024

const MAGIC = Uint8Array.of(0x89, 0x48, 0x46, 0x4a, 0x52, 0x4e, 0x4c, 0x0a)
const VERSION = 1
const MULTIHASH_BLAKE3 = 0x1e
const FIXED_BYTES = 48
const NUMBER_DIGITS = 8

/** What a segment's file name says. */
export interface SegmentName {
  number: number
  /** 32 hex digits. */
  id: string
}

/** Entries from `first` to `last`, both included. */
export interface Range {
  first: number
  last: number
}

/** Where a segment goes on from: the end of the one before it, as its owner found it. */
export interface Predecessor extends SegmentName {
  /** All below this offset counts, and nothing from it on. */
  end: number
  /** The last entry below `end`. */
  last: number
  /** Of the last frame below `end`: the hash of its bytes. Of the header, when there is no frame. Hex. */
  hash: string
}

/** Sequences that no frame has. */
export interface Hole extends Range {
  /** The snapshot that covers them; null: they were lost, and a repair recorded it. */
  snapshot: number | null
}

export interface SegmentHeader {
  /** Store id, 32 hex digits. */
  store: string
  /** Journal id, 32 hex digits. */
  journal: string
  number: number
  /** Version of the changes in it; the caller's. */
  changes: number
  /** Sequence of its first entry. */
  first: number
  /** Null: the first segment of a journal. */
  previous: Predecessor | null
  /** How it was to be named: by a `next` frame of the segment before, or by a swap of HEAD. */
  named: 'next' | 'swap'
  /** Its first frame holds the entries of the frame that `previous` ended before. */
  copied: boolean
  holes: Hole[]
  skips: Range[]
}

/** A header as it was read. */
export interface ReadHeader {
  fields: SegmentHeader
  /** Where the first frame begins. */
  end: number
  /** Hex; what the first frame names as the one before it. */
  hash: string
}

export function segmentFileName({ number, id }: SegmentName): string {
  return `${String(number).padStart(NUMBER_DIGITS, '0')}-${id}.log`
}

/** Null for a file that no segment is called. */
export function parseSegmentFileName(fileName: string): SegmentName | null {
  const [, digits, id] = /^(\d{8,15})-([0-9a-f]{32})\.log$/.exec(fileName) ?? []
  if (digits === undefined || (digits.length > NUMBER_DIGITS && digits.startsWith('0'))) return null
  return { number: Number(digits), id: id! }
}

export function roundUp(bytes: number): number {
  return Math.ceil(bytes / BOUNDARY_BYTES) * BOUNDARY_BYTES
}

/**
 * The header, padded to the boundary where the first frame begins.
 *
 * @throws LIMIT_EXCEEDED with too many skips; a plain `Error` for a header that contradicts itself, which is a bug
 */
export function encodeSegmentHeader(id: string, header: SegmentHeader): { bytes: Uint8Array; hash: string } {
  const wrong = wrongHeader(header)
  if (wrong !== null) throw new Error(`bug: journal segment: ${wrong}`)
  const body = encodeStrict(bodyOf(header))
  if (FIXED_BYTES + body.length > SEGMENT_HEADER_BYTES_MAX) {
    throw new HoldfastError(
      'LIMIT_EXCEEDED',
      `The journal's list of holes and skipped entries does not fit ${SEGMENT_HEADER_BYTES_MAX} bytes. ` +
        'Start the journal over with a snapshot that covers its end',
      { details: { limit: 'segmentHeaderBytes', max: SEGMENT_HEADER_BYTES_MAX, actual: FIXED_BYTES + body.length } },
    )
  }
  const bytes = new Uint8Array(roundUp(FIXED_BYTES + body.length))
  const view = new DataView(bytes.buffer)
  bytes.set(MAGIC)
  view.setUint16(8, VERSION, true)
  view.setUint16(10, MULTIHASH_BLAKE3, true)
  view.setUint32(12, body.length, true)
  bytes.set(body, FIXED_BYTES)
  const digest = headerDigest(id, bytes, body.length)
  bytes.set(digest, 16)
  return { bytes, hash: toHex(digest) }
}

function headerDigest(id: string, bytes: Uint8Array, bodyBytes: number): Uint8Array {
  const input = new Uint8Array(SEGMENT_ID_BYTES + 16 + bodyBytes)
  input.set(fromHex(id, SEGMENT_ID_BYTES))
  input.set(bytes.subarray(0, 16), SEGMENT_ID_BYTES)
  input.set(bytes.subarray(FIXED_BYTES, FIXED_BYTES + bodyBytes), SEGMENT_ID_BYTES + 16)
  return blake3(input)
}

/**
 * How many bytes the header takes up to its boundary, from the first `FIXED_BYTES` of a segment or more; null when
 * they do not begin a header.
 */
export function headerBytes(start: Uint8Array): number | null {
  if (start.length < FIXED_BYTES || Buffer.compare(start.subarray(0, 8), MAGIC) !== 0) return null
  const bodyBytes = new DataView(start.buffer, start.byteOffset, start.length).getUint32(12, true)
  return FIXED_BYTES + bodyBytes > SEGMENT_HEADER_BYTES_MAX ? null : roundUp(FIXED_BYTES + bodyBytes)
}

/**
 * The header in the first bytes of a segment; null when it is not what was written under this name.
 *
 * @throws VERSION_UNSUPPORTED
 */
export function decodeSegmentHeader(name: SegmentName, bytes: Uint8Array): ReadHeader | null {
  const end = headerBytes(bytes)
  if (end === null || end > bytes.length) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const bodyBytes = view.getUint32(12, true)
  const digest = headerDigest(name.id, bytes, bodyBytes)
  if (Buffer.compare(digest, bytes.subarray(16, FIXED_BYTES)) !== 0) return null
  const version = view.getUint16(8, true)
  if (version !== VERSION) {
    throw new HoldfastError(
      'VERSION_UNSUPPORTED',
      `journal segment ${segmentFileName(name)} has version ${version}: open the store with another version of holdfast`,
      { details: { where: segmentFileName(name), version } },
    )
  }
  if (view.getUint16(10, true) !== MULTIHASH_BLAKE3) return null
  for (let i = FIXED_BYTES + bodyBytes; i < end; i++) if (bytes[i] !== 0) return null
  const fields = headerIn(bytes.subarray(FIXED_BYTES, FIXED_BYTES + bodyBytes))
  return fields === null || fields.number !== name.number ? null : { fields, end, hash: toHex(digest) }
}

function bodyOf(header: SegmentHeader): StrictValue {
  const { previous } = header
  const range = ({ first, last }: Range): StrictValue => [first, last]
  return new Map<string, StrictValue>([
    ['store', fromHex(header.store, STORE_ID_BYTES)],
    ['journal', fromHex(header.journal, SEGMENT_ID_BYTES)],
    ['number', header.number],
    ['changes', header.changes],
    ['first', header.first],
    ['named', header.named],
    ['copied', header.copied],
    [
      'previous',
      previous === null
        ? null
        : new Map<string, StrictValue>([
            ['number', previous.number],
            ['id', fromHex(previous.id, SEGMENT_ID_BYTES)],
            ['end', previous.end],
            ['last', previous.last],
            ['hash', fromHex(previous.hash, DIGEST_BYTES)],
          ]),
    ],
    ['holes', header.holes.map(({ first, last, snapshot }): StrictValue => [first, last, snapshot])],
    ['skips', header.skips.map(range)],
  ])
}

/** Null when the body is not what `bodyOf` makes. Its digest was right, so that can only be another program's work. */
function headerIn(body: Uint8Array): SegmentHeader | null {
  try {
    const fields = decodeValue(body, 4) as Record<string, unknown>
    const previous = fields.previous as Record<string, unknown> | null
    const header: SegmentHeader = {
      store: toHex(fields.store as Uint8Array),
      journal: toHex(fields.journal as Uint8Array),
      number: fields.number as number,
      changes: fields.changes as number,
      first: fields.first as number,
      named: fields.named as SegmentHeader['named'],
      copied: fields.copied as boolean,
      previous:
        previous === null
          ? null
          : {
              number: previous.number as number,
              id: toHex(previous.id as Uint8Array),
              end: previous.end as number,
              last: previous.last as number,
              hash: toHex(previous.hash as Uint8Array),
            },
      holes: (fields.holes as (number | null)[][]).map(([first, last, snapshot]) => ({
        first: first as number,
        last: last as number,
        snapshot: snapshot as number | null,
      })),
      skips: (fields.skips as number[][]).map(([first, last]) => ({ first: first!, last: last! })),
    }
    if (wrongHeader(header) !== null) return null
    // Whatever else is in it would be lost: only what encodes to the same bytes is this version's.
    return Buffer.compare(encodeStrict(bodyOf(header)), body) === 0 ? header : null
  } catch {
    return null
  }
}

/** What a header says that contradicts itself; null when nothing does. Asserted on both ways. */
function wrongHeader(header: SegmentHeader): string | null {
  const { previous, first, holes, skips } = header
  for (const value of [header.number, first]) {
    if (!Number.isSafeInteger(value) || value < 1) return `a number in it is ${value}`
  }
  if (!Number.isSafeInteger(header.changes) || header.changes < 0) return `its version of changes is ${header.changes}`
  if (header.named !== 'next' && header.named !== 'swap') return `it is named by '${header.named}'`
  if (typeof header.copied !== 'boolean') return 'it does not say whether its first frame was copied'
  for (const list of [holes, skips]) {
    let before = 0
    for (const range of list) {
      if (!(range.first > before && range.last >= range.first && Number.isSafeInteger(range.last))) {
        return 'its ranges do not ascend'
      }
      before = range.last
    }
  }
  if (previous === null) return header.copied || header.named === 'next' ? 'it has no predecessor' : null
  if (!(Number.isSafeInteger(previous.number) && previous.number >= 1 && previous.number < header.number)) {
    return 'its number is not above its predecessor’s'
  }
  if (!(Number.isSafeInteger(previous.end) && previous.end > 0 && previous.end % BOUNDARY_BYTES === 0)) {
    return `its predecessor ends at ${previous.end}`
  }
  if (!Number.isSafeInteger(previous.last) || previous.last < 0)
    return `its predecessor's last entry is ${previous.last}`
  if (first === previous.last + 1) return null
  // Between the two lie sequences that nobody was given: a hole says so.
  const isHole = holes.some((hole) => hole.first === previous.last + 1 && hole.last === first - 1)
  return isHole ? null : 'entries are missing before it, and no hole says why'
}
