// STORE.json: a sealed JSON file (json-file.ts) with
//
//    format      "holdfast-store"
//    version     1
//    requires    []
//    storeId     32 hex digits
//    created     time

import * as z from 'zod/mini'
import { HoldfastError } from '../errors.ts'
import { isHex } from './hex.ts'
import { openJson, parseJsonObject, sealJson } from './json-file.ts'
import { FORMAT_VERSION, STORE_ID_BYTES } from './limits.ts'
import { check, checked, textThat } from './shape.ts'
import { isTime } from './time.ts'

export interface StoreFile {
  /** 32 hex digits. */
  storeId: string
  created: string
}

const FORMAT = 'holdfast-store'

/** How many unknown features an error names, and how many characters of each. */
const FEATURES_NAMED = 16
const FEATURE_LENGTH_NAMED = 80

const shape = z.object({
  storeId: textThat((text) => isHex(text, STORE_ID_BYTES), 'must be 32 hex digits'),
  created: textThat(isTime, 'must be a time'),
})

export function encodeStoreFile(store: StoreFile): Uint8Array {
  const { storeId, created } = checked(shape, store, 'STORE.json')
  return sealJson({ format: FORMAT, version: FORMAT_VERSION, requires: [], storeId, created })
}

/**
 * The contents of STORE.json. Fields that this version does not know are ignored. Throws `STORE_DAMAGED`; `NOT_A_STORE`
 * when it is some other program's JSON; `VERSION_UNSUPPORTED`.
 */
export function parseStoreFile(bytes: Uint8Array, where: string): StoreFile {
  const opened = openJson(bytes)
  if (!opened.ok) {
    const foreign = parseJsonObject(bytes)
    // A file with a checksum field is a store file. A flipped letter in its format is damage.
    if (foreign !== null && foreign.format !== FORMAT && !Object.hasOwn(foreign, 'checksum')) {
      throw notAStore(where, foreign.format)
    }
    throw damaged(where, opened.reason)
  }
  if (opened.fields.format !== FORMAT) throw notAStore(where, opened.fields.format)
  assertSupported(opened.fields, FORMAT_VERSION, where, (reason) => damaged(where, reason))
  const result = check(shape, opened.fields)
  if (!result.ok) throw damaged(where, result.reason)
  return result.value
}

/**
 * Refuses a `version` other than `supported`, and anything in `requires`, of which this version knows nothing.
 * `damaged` makes the error for fields that are not even a version and a list.
 */
export function assertSupported(
  fields: Record<string, unknown>,
  supported: number,
  where: string,
  damaged: (reason: string) => HoldfastError,
): void {
  const { version, requires } = fields
  if (typeof version !== 'number' || !Number.isInteger(version) || version < 1) throw damaged('it has no version')
  if (version !== supported) {
    const other = version > supported ? 'a newer' : 'an older'
    throw new HoldfastError(
      'VERSION_UNSUPPORTED',
      `${where} has version ${version}, and this holdfast reads version ${supported}: open the store with ${other} holdfast`,
      { details: { where, version } },
    )
  }
  if (!Array.isArray(requires)) throw damaged('it has no list `requires`')
  if (!requires.every((feature) => typeof feature === 'string'))
    throw damaged('its list `requires` has what is no text')
  if (requires.length > 0) {
    const some = requires.slice(0, FEATURES_NAMED).map((feature: string) => feature.slice(0, FEATURE_LENGTH_NAMED))
    throw new HoldfastError('VERSION_UNSUPPORTED', `${where} requires ${some.join(', ')}: a newer holdfast`, {
      details: { where, requires: some },
    })
  }
}

/** The error for a sealed file, or any JSON, of another format. */
export function notAStore(where: string, format: unknown): HoldfastError {
  return new HoldfastError('NOT_A_STORE', `${where} is not a file of holdfast's`, { details: { where, format } })
}

function damaged(where: string, reason: string): HoldfastError {
  return new HoldfastError('STORE_DAMAGED', `${where} is damaged: ${reason}`, { details: { where, reason } })
}
