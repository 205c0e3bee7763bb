// What all dag-cbor records have in common: format, version, and the checks of both.

import { CID } from 'multiformats/cid'
import { HoldfastError } from '../errors.ts'
import { type BlockId, blockId } from './cid.ts'
import { FORMAT_VERSION } from './limits.ts'
import { decodeValue } from './value.ts'

export type Fields = Record<string, unknown>

/** The error for a manifest or commit record whose bytes are sound but do not say what they should. */
export function damagedRecord(what: string, reason: string): HoldfastError {
  return new HoldfastError('SNAPSHOT_DAMAGED', `a ${what} is damaged: ${reason}`, { details: { what, reason } })
}

/**
 * Decodes a block that begins with `format` and `version`, and checks those two before its other fields: a newer
 * version may have others. Throws `SNAPSHOT_DAMAGED` or `VERSION_UNSUPPORTED`.
 */
export function decodeRecord(
  block: Uint8Array,
  what: string,
  format: string,
  depthMax: number,
  versionMax = FORMAT_VERSION,
): Fields {
  const fields = decodeValue(block, depthMax)
  if (!isFields(fields)) throw damagedRecord(what, 'it is not a map')
  if (fields.format !== format) throw damagedRecord(what, `its format is not '${format}'`)
  const version = fields.version
  if (typeof version === 'number' && version > versionMax) {
    throw new HoldfastError('VERSION_UNSUPPORTED', `a ${what} of version ${version} needs a newer holdfast`, {
      details: { what, version },
    })
  }
  if (!Number.isInteger(version) || (version as number) < 1) throw damagedRecord(what, 'it has no version')
  return fields
}

/** Refuses missing and unknown fields. */
export function expectFields(
  fields: Fields,
  what: string,
  required: readonly string[],
  optional: readonly string[],
): void {
  for (const name of required) {
    if (!Object.hasOwn(fields, name)) throw damagedRecord(what, `it has no '${name}'`)
  }
  for (const name of Object.keys(fields)) {
    if (!required.includes(name) && !optional.includes(name)) throw damagedRecord(what, `it has a field '${name}'`)
  }
}

export function isFields(value: unknown): value is Fields {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array) &&
    !(value instanceof CID)
  )
}

/** The block that a decoded value links to. */
export function linkIn(value: unknown, what: string): BlockId {
  if (!(value instanceof CID)) throw damagedRecord(what, 'it has something else in place of a link')
  return blockId(value)
}
