// What the fields of HEAD.json may be, each by itself. What they say of each other is checked in `head.ts`.

import { CODEC_DAG_CBOR, parseCid } from './cid.ts'
import { isHex } from './hex.ts'
import { COUNTER_MAX, DIGEST_BYTES, PACK_BYTES_MAX, PACK_ID_MAX, STORE_ID_BYTES, WRITES_KEPT } from './limits.ts'
import { type IdRanges, isIdRanges } from './pack-ids.ts'
import { revisionOfKey } from './pack-key.ts'
import { also, flag, integer, listOf, nullable, objectOf, optional, type Shaped, shapeOf, textOf } from './shape.ts'
import { isTime } from './time.ts'
import { isWellFormed } from './value.ts'

const count = integer(0)
const counter = integer(0, COUNTER_MAX)
const sequence = integer(1, COUNTER_MAX)
const entry = integer(1)
const packId = integer(0, PACK_ID_MAX)
const packName = textOf('a pack name', (text) => isHex(text, DIGEST_BYTES))
const packBytes = integer(0, PACK_BYTES_MAX)
const packKey = textOf('a revision and 32 hex digits', (key) => revisionOfKey(key) !== null)
const isDigest = (value: unknown): value is string => typeof value === 'string' && isHex(value, DIGEST_BYTES)
const isTag = (value: unknown): value is string => typeof value === 'string' && isWellFormed(value)
const isWriteId = (value: unknown): value is string => typeof value === 'string' && isHex(value, 8)

const segment = textOf('a segment', (name) => /^\d{8,15}-[0-9a-f]{32}$/.test(name))
const id = textOf('32 hex digits', (hex) => isHex(hex, STORE_ID_BYTES))
const ranges = also(listOf('ranges', isRange), 'ascending ranges', areRanges)
const coversShape = objectOf({
  journal: id,
  sequence: count,
  mark: nullable(objectOf({ segment, offset: count, first: entry })),
  skips: ranges,
})
const journalShape = objectOf({
  id,
  first: segment,
  tail: segment,
  seen: nullable(objectOf({ segment, offset: count, sequence: count })),
  lost: optional(objectOf({ entries: ranges, segment, offset: count })),
})

/** As it is in the file: `packs` has ranges. */
export const snapshotShape = objectOf({
  sequence,
  manifest: textOf('a manifest CID', isManifestCid),
  time: textOf('a time', isTime),
  message: optional(textOf('text without lone surrogates', isWellFormed)),
  tags: also(listOf('text', isTag), 'ascending', isAscending),
  abandoned: flag,
  pack: packId,
  packs: shapeOf<IdRanges>('ids and ranges of ids, ascending', isIdRanges),
  size: count,
  covers: optional(coversShape),
})
export const packShape = objectOf({
  id: packId,
  name: packName,
  bytes: packBytes,
  blocks: count,
  live: nullable(count),
  key: optional(packKey),
})
export const retiredShape = objectOf({ name: packName, bytes: packBytes, revision: counter, key: optional(packKey) })
export const damagedShape = objectOf({ pack: packName, digests: listOf('digests', isDigest) })

export type FileSnapshot = Shaped<typeof snapshotShape>

/** The fields that are not lists of entries. */
export const single = objectOf({
  storeId: id,
  revision: counter,
  sequence: counter,
  current: nullable(sequence),
  writes: also(
    listOf('ids of 16 hex digits', isWriteId),
    `at most ${WRITES_KEPT}`,
    ({ length }) => length <= WRITES_KEPT,
  ),
  journal: optional(journalShape),
  floor: optional(sequence),
})

/** The lists of entries, each parsed entry by entry. */
export const lists = { snapshots: snapshotShape, packs: packShape, retired: retiredShape, damaged: damagedShape }

function isRange(value: unknown): value is [number, number] {
  return Array.isArray(value) && value.length === 2 && value.every((end) => Number.isSafeInteger(end) && end >= 1)
}

function isManifestCid(cid: string): boolean {
  try {
    return parseCid(cid).codec === CODEC_DAG_CBOR
  } catch {
    return false
  }
}

function areRanges(ranges: readonly [number, number][]): boolean {
  return ranges.every(([first, last], i) => first <= last && (i === 0 || ranges[i - 1]![1] < first))
}

/** Strictly: no value occurs twice. */
function isAscending(values: readonly (number | string)[]): boolean {
  return values.every((value, i) => i === 0 || values[i - 1]! < value)
}
