// What the fields of HEAD.json may be, each by itself. What they say of each other is checked in `head.ts`.

import { CODEC_DAG_CBOR, parseCid } from './cid.ts'
import { isHex } from './hex.ts'
import { COUNTER_MAX, DIGEST_BYTES, PACK_BYTES_MAX, PACK_ID_MAX, STORE_ID_BYTES, WRITES_KEPT } from './limits.ts'
import { type IdRanges, isIdRanges } from './pack-ids.ts'
import { revisionOfKey } from './pack-key.ts'
import { listOf, matching, nullable, optional, record, text, type ValueOf, whole } from './shape.ts'
import { isTime } from './time.ts'
import { isWellFormed } from './value.ts'

const count = whole(0)
const counter = whole(0, COUNTER_MAX)
const firstCounter = whole(1, COUNTER_MAX)
const packId = whole(0, PACK_ID_MAX)
const packName = text('must be a pack name', (name) => isHex(name, DIGEST_BYTES))
const packBytes = whole(0, PACK_BYTES_MAX)
const packKey = text('must be a revision and 32 hex digits', (key) => revisionOfKey(key) !== null)
const isDigest = (value: unknown): value is string => typeof value === 'string' && isHex(value, DIGEST_BYTES)
const isTag = (value: unknown): value is string => typeof value === 'string' && isWellFormed(value)
const isWriteId = (value: unknown): value is string => typeof value === 'string' && isHex(value, 8)

const segmentName = text('must be a segment', (name) => /^\d{8,15}-[0-9a-f]{32}$/.test(name))
const id = text('must be 32 hex digits', (hex) => isHex(hex, STORE_ID_BYTES))
const ranges = listOf('must be ascending ranges', isRange, areAscending)

/** As it is in the file: `packs` has ranges. */
export const snapshotShape = record({
  sequence: firstCounter,
  manifest: text('must be a manifest CID', isManifestCid),
  time: text('must be a time', isTime),
  message: optional(text('must be text without lone surrogates', isWellFormed)),
  tags: listOf('must be a list of text, and ascend', isTag, isAscending),
  abandoned: matching('must be true or false', (value): value is boolean => typeof value === 'boolean'),
  pack: packId,
  packs: matching<IdRanges>('must be ids and ranges of ids, and ascend', isIdRanges),
  size: count,
  covers: optional(
    record({
      journal: id,
      sequence: count,
      mark: nullable(record({ segment: segmentName, offset: count, first: whole(1) })),
      skips: ranges,
    }),
  ),
})
export const packShape = record({
  id: packId,
  name: packName,
  bytes: packBytes,
  blocks: count,
  live: nullable(count),
  key: optional(packKey),
})
export const retiredShape = record({ name: packName, bytes: packBytes, revision: counter, key: optional(packKey) })
export const damagedShape = record({ pack: packName, digests: listOf('must be a list of digests', isDigest) })

export type FileSnapshot = ValueOf<typeof snapshotShape>

/** The fields that are not lists of entries. */
export const single = record({
  storeId: id,
  revision: counter,
  sequence: counter,
  current: nullable(firstCounter),
  writes: listOf(
    `must be a list of at most ${WRITES_KEPT} ids of 16 hex digits`,
    isWriteId,
    (ids) => ids.length <= WRITES_KEPT,
  ),
  journal: optional(
    record({
      id,
      first: segmentName,
      tail: segmentName,
      seen: nullable(record({ segment: segmentName, offset: count, sequence: count })),
      lost: optional(record({ entries: ranges, segment: segmentName, offset: count })),
    }),
  ),
  floor: optional(firstCounter),
})

/** The lists of entries, each parsed entry by entry. */
export const lists = { snapshots: snapshotShape, packs: packShape, retired: retiredShape, damaged: damagedShape }

function isManifestCid(cid: string): boolean {
  try {
    return parseCid(cid).codec === CODEC_DAG_CBOR
  } catch {
    return false
  }
}

function isRange(value: unknown): value is [number, number] {
  return Array.isArray(value) && value.length === 2 && value.every((end) => Number.isSafeInteger(end) && end >= 1)
}

function areAscending(ranges: readonly [number, number][]): boolean {
  return ranges.every(([first, last], i) => first <= last && (i === 0 || ranges[i - 1]![1] < first))
}

/** Strictly: no value occurs twice. */
function isAscending(values: readonly (number | string)[]): boolean {
  return values.every((value, i) => i === 0 || values[i - 1]! < value)
}
