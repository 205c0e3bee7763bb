// A change of an engine as an entry of the journal: a dag-cbor map of strict values, so that what is replayed is what
// was applied.
//
//    c     the change
//    v     version of the change
//    w?    the watermark that came with it

import { decodeValue, encodeStrict, type StrictValue, strictCopy } from '../format/value.ts'
import { storedWatermark } from '../load/watermark.ts'

interface ChangeEntry {
  version: number
  change: unknown
  /** Undefined: none came with it. */
  watermark: unknown
}

/** @throws METADATA_INVALID, which names the part that cannot be kept */
export function encodeChange({ version, change, watermark }: ChangeEntry): Uint8Array {
  const fields = new Map<string, StrictValue>([
    ['c', strictCopy(change, 'change')],
    ['v', version],
  ])
  if (watermark !== undefined) fields.set('w', strictCopy(storedWatermark(watermark), 'watermark'))
  return encodeStrict(fields)
}

/** Fresh values at each call. Throws a plain error for an entry that is no change. */
export function readChange(data: Uint8Array): ChangeEntry {
  const fields = decodeValue(data) as Record<string, unknown> | null
  const version = fields?.v
  if (typeof version !== 'number' || !Object.hasOwn(fields as object, 'c'))
    throw new Error('the entry is no change of an engine')
  return { version, change: fields!.c, watermark: fields!.w }
}
