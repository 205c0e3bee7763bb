// What the fields of HEAD.json may be, each by itself. What they say of each other is checked in `head.ts`.

import { z } from 'zod'
import { CODEC_DAG_CBOR, parseCid } from './cid.ts'
import { isHex } from './hex.ts'
import { COUNTER_MAX, DIGEST_BYTES, PACK_BYTES_MAX, PACK_ID_MAX, STORE_ID_BYTES, WRITES_KEPT } from './limits.ts'
import { type IdRanges, isIdRanges } from './pack-ids.ts'
import { revisionOfKey } from './pack-key.ts'
import { isTime } from './time.ts'
import { isWellFormed } from './value.ts'

const count = z.int().min(0)
const counter = count.max(COUNTER_MAX)
const packId = count.max(PACK_ID_MAX)
const packName = z.string().refine((text) => isHex(text, DIGEST_BYTES), 'must be a pack name')
const packBytes = count.max(PACK_BYTES_MAX)
const packKey = z.string().refine((key) => revisionOfKey(key) !== null, 'must be a revision and 32 hex digits')
/**
 * A list of which only the first wrong item is told. Zod's own lists make an issue of each: with 16 MiB of wrong items
 * that takes minutes and gigabytes.
 */
function listOf<T>(what: string, isItem: (item: unknown) => item is T): z.ZodType<T[]> {
  return z.custom<T[]>((value) => Array.isArray(value) && value.every(isItem), `must be a list of ${what}`)
}
const isDigest = (value: unknown): value is string => typeof value === 'string' && isHex(value, DIGEST_BYTES)
const isTag = (value: unknown): value is string => typeof value === 'string' && isWellFormed(value)
const isWriteId = (value: unknown): value is string => typeof value === 'string' && isHex(value, 8)
const text = z.string().refine(isWellFormed, 'has a lone surrogate')

const segmentName = z.string().refine((name) => /^\d{8,15}-[0-9a-f]{32}$/.test(name), 'must be a segment')
const journalId = z.string().refine((hex) => isHex(hex, STORE_ID_BYTES), 'must be 32 hex digits')
const ranges = z.custom<[number, number][]>(areRanges, 'must be a list of ascending ranges')
const coversShape = z.object({
  journal: journalId,
  sequence: count,
  mark: z.object({ segment: segmentName, offset: count, first: count.min(1) }).nullable(),
  skips: ranges,
})
const journalShape = z.object({
  id: journalId,
  first: segmentName,
  tail: segmentName,
  seen: z.object({ segment: segmentName, offset: count, sequence: count }).nullable(),
  lost: z.object({ entries: ranges, segment: segmentName, offset: count }).optional(),
})

/** As it is in the file: `packs` has ranges. */
export const snapshotShape = z.object({
  sequence: counter.min(1),
  manifest: z.string().refine(isManifestCid, 'must be a manifest CID'),
  time: z.string().refine(isTime, 'must be a time'),
  message: text.optional(),
  tags: listOf('text', isTag).refine(isAscending, 'must ascend'),
  abandoned: z.boolean(),
  pack: packId,
  packs: z.custom<IdRanges>(isIdRanges, 'must be ids and ranges of ids, and ascend'),
  size: count,
  covers: coversShape.optional(),
})
export const packShape = z.object({
  id: packId,
  name: packName,
  bytes: packBytes,
  blocks: count,
  live: count.nullable(),
  key: packKey.optional(),
})
export const retiredShape = z.object({ name: packName, bytes: packBytes, revision: counter, key: packKey.optional() })
export const damagedShape = z.object({
  pack: packName,
  digests: listOf('digests', isDigest),
})

export type FileSnapshot = z.infer<typeof snapshotShape>

/** The fields that are not lists of entries. */
export const single = z.object({
  storeId: z.string().refine((hex) => isHex(hex, STORE_ID_BYTES), 'must be 32 hex digits'),
  revision: counter,
  sequence: counter,
  current: counter.min(1).nullable(),
  writes: listOf('ids of 16 hex digits', isWriteId).refine((ids) => ids.length <= WRITES_KEPT, 'must be at most 64'),
  journal: journalShape.optional(),
  floor: counter.min(1).optional(),
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

function areRanges(ranges: unknown): boolean {
  let before = 0
  const isNext = (range: unknown): boolean => {
    if (!Array.isArray(range) || range.length !== 2 || !range.every(Number.isSafeInteger)) return false
    const [first, last] = range as [number, number]
    const isBehind = before < first && first <= last
    before = last
    return isBehind
  }
  return Array.isArray(ranges) && ranges.every(isNext)
}

/** Strictly: no value occurs twice. */
function isAscending(values: readonly (number | string)[]): boolean {
  return values.every((value, i) => i === 0 || values[i - 1]! < value)
}
