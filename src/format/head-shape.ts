// What the fields of HEAD.json may be, each by itself. What they say of each other is checked in `head.ts`.

import * as z from 'zod/mini'
import { CODEC_DAG_CBOR, parseCid } from './cid.ts'
import { isHex } from './hex.ts'
import { COUNTER_MAX, DIGEST_BYTES, PACK_BYTES_MAX, PACK_ID_MAX, STORE_ID_BYTES, WRITES_KEPT } from './limits.ts'
import { type IdRanges, isIdRanges } from './pack-ids.ts'
import { revisionOfKey } from './pack-key.ts'
import { textThat } from './shape.ts'
import { isTime } from './time.ts'
import { isWellFormed } from './value.ts'

const count = z.int().check(z.minimum(0))
const counter = count.check(z.maximum(COUNTER_MAX))
const counterFromOne = counter.check(z.minimum(1))
const packId = count.check(z.maximum(PACK_ID_MAX))
const packName = textThat((text) => isHex(text, DIGEST_BYTES), 'must be a pack name')
const packBytes = count.check(z.maximum(PACK_BYTES_MAX))
const packKey = textThat((key) => revisionOfKey(key) !== null, 'must be a revision and 32 hex digits')
/**
 * A list of which only the first wrong item is told. Zod's own lists make an issue of each: with 16 MiB of wrong items
 * that takes minutes and gigabytes.
 */
function listOf<T>(what: string, isItem: (item: unknown) => item is T): z.ZodMiniType<T[]> {
  return z.custom<T[]>((value) => Array.isArray(value) && value.every(isItem), `must be a list of ${what}`)
}
const isDigest = (value: unknown): value is string => typeof value === 'string' && isHex(value, DIGEST_BYTES)
const isTag = (value: unknown): value is string => typeof value === 'string' && isWellFormed(value)
const isWriteId = (value: unknown): value is string => typeof value === 'string' && isHex(value, 8)
const text = textThat(isWellFormed, 'has a lone surrogate')

const segmentName = textThat((name) => /^\d{8,15}-[0-9a-f]{32}$/.test(name), 'must be a segment')
const journalId = textThat((hex) => isHex(hex, STORE_ID_BYTES), 'must be 32 hex digits')
const ranges = z.custom<[number, number][]>(areRanges, 'must be a list of ascending ranges')
const coversShape = z.object({
  journal: journalId,
  sequence: count,
  mark: z.nullable(z.object({ segment: segmentName, offset: count, first: count.check(z.minimum(1)) })),
  skips: ranges,
})
const journalShape = z.object({
  id: journalId,
  first: segmentName,
  tail: segmentName,
  seen: z.nullable(z.object({ segment: segmentName, offset: count, sequence: count })),
  lost: z.optional(z.object({ entries: ranges, segment: segmentName, offset: count })),
})

/** As it is in the file: `packs` has ranges. */
export const snapshotShape = z.object({
  sequence: counterFromOne,
  manifest: textThat(isManifestCid, 'must be a manifest CID'),
  time: textThat(isTime, 'must be a time'),
  message: z.optional(text),
  tags: listOf('text', isTag).check(z.refine(isAscending, 'must ascend')),
  abandoned: z.boolean(),
  pack: packId,
  packs: z.custom<IdRanges>(isIdRanges, 'must be ids and ranges of ids, and ascend'),
  size: count,
  covers: z.optional(coversShape),
})
export const packShape = z.object({
  id: packId,
  name: packName,
  bytes: packBytes,
  blocks: count,
  live: z.nullable(count),
  key: z.optional(packKey),
})
export const retiredShape = z.object({ name: packName, bytes: packBytes, revision: counter, key: z.optional(packKey) })
export const damagedShape = z.object({
  pack: packName,
  digests: listOf('digests', isDigest),
})

export type FileSnapshot = z.infer<typeof snapshotShape>

/** The fields that are not lists of entries. */
export const single = z.object({
  storeId: textThat((hex) => isHex(hex, STORE_ID_BYTES), 'must be 32 hex digits'),
  revision: counter,
  sequence: counter,
  current: z.nullable(counterFromOne),
  writes: listOf('ids of 16 hex digits', isWriteId).check(
    z.refine((ids) => ids.length <= WRITES_KEPT, 'must be at most 64'),
  ),
  journal: z.optional(journalShape),
  floor: z.optional(counterFromOne),
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
