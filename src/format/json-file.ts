// STORE.json, HEAD.json, HEAD.prev.json:
//
//    {                             the fields, UTF-8 JSON
//      "format": …,
//      …,
//      "checksum": "64 hex"        BLAKE3 over every byte before this line's first quote
//    }

import { blake3 } from './blake3.ts'
import { toHex } from './hex.ts'
import { DIGEST_BYTES, JSON_BYTES_MAX } from './limits.ts'

const KEY = '"checksum": "'
const END = '"\n}\n'
const TAIL_BYTES = KEY.length + 2 * DIGEST_BYTES + END.length

/** The file: one line a field, and one a list item that is an object, so that people and `diff` can read it. */
export function sealJson(fields: Record<string, unknown>): Uint8Array {
  let text = '{\n'
  for (const [name, value] of Object.entries(fields)) {
    // As `JSON.stringify` does.
    if (value === undefined) continue
    text += `  ${JSON.stringify(name)}: ${fieldText(value)},\n`
  }
  text += '  '
  const covered = Buffer.from(text)
  return new Uint8Array(Buffer.concat([covered, Buffer.from(`${KEY}${toHex(blake3(covered))}${END}`)]))
}

function fieldText(value: unknown): string {
  if (!Array.isArray(value) || typeof value[0] !== 'object') return JSON.stringify(value)
  return `[\n${value.map((item: object) => `    ${itemText(item)}`).join(',\n')}\n  ]`
}

/** Of items that never change. */
const texts = new WeakMap<object, string>()

function itemText(item: object): string {
  if (!Object.isFrozen(item)) return JSON.stringify(item)
  const text = texts.get(item) ?? JSON.stringify(item)
  texts.set(item, text)
  return text
}

type OpenedJson = { ok: true; fields: Record<string, unknown> } | { ok: false; reason: string }

/**
 * The fields of a sealed file without `checksum`, or why it is not one. Nothing is parsed before the checksum agrees.
 */
export function openJson(bytes: Uint8Array): OpenedJson {
  const opened = openSealed(bytes)
  if (opened.ok) return opened
  const original = originalOf(bytes)
  if (original === null || original === bytes) return opened
  return { ok: false, reason: 'its line ends or its layout were changed, and nothing else' }
}

/**
 * The file as it was written, when no more than its line ends, its layout or a byte-order mark were changed (by an
 * editor, or by git); null otherwise; the same object when nothing was. The checksum covers the text that `sealJson`
 * makes of the same fields.
 */
export function originalOf(bytes: Uint8Array): Uint8Array | null {
  if (bytes.length > 2 * JSON_BYTES_MAX) return null
  if (whyUnsealed(bytes) === null) return bytes
  const hasMark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
  const found = parseJsonObject(hasMark ? bytes.subarray(3) : bytes)
  if (found === null || typeof found.checksum !== 'string') return null
  const { checksum, ...fields } = found
  const original = sealedOrNull(fields)
  if (original === null) return null
  return Buffer.from(original.subarray(-TAIL_BYTES)).toString('latin1') === `${KEY}${checksum}${END}` ? original : null
}

/** Null for fields that are nested so deeply that the stack overflows. This package writes none. */
function sealedOrNull(fields: Record<string, unknown>): Uint8Array | null {
  try {
    return sealJson(fields)
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

function openSealed(bytes: Uint8Array): OpenedJson {
  const reason = whyUnsealed(bytes)
  if (reason !== null) return { ok: false, reason }
  const fields = parseJsonObject(bytes)
  if (fields === null) return { ok: false, reason: 'it is not a JSON object' }
  delete fields.checksum
  return { ok: true, fields }
}

/** Why the bytes do not end in their checksum; null when they do. */
function whyUnsealed(bytes: Uint8Array): string | null {
  if (bytes.length > JSON_BYTES_MAX) return `it has ${bytes.length} bytes`
  const keyAt = bytes.length - TAIL_BYTES
  if (keyAt < 0) return bytes.length === 0 ? 'it is empty' : 'it is too short'
  const tail = Buffer.from(bytes.subarray(keyAt)).toString('latin1')
  if (!tail.startsWith(KEY) || !tail.endsWith(END)) return 'it does not end in a checksum'
  const checksum = toHex(blake3(bytes.subarray(0, keyAt)))
  return tail === `${KEY}${checksum}${END}` ? null : `its checksum is not ${checksum}`
}

/** The JSON object in these bytes, checksum or not; null when it is none. */
export function parseJsonObject(bytes: Uint8Array): Record<string, unknown> | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}
