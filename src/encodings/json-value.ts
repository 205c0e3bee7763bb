// Turns an engine's documents and ids into JSON. A value that JSON cannot represent is refused, with the id of its
// document, before anything is committed. As in the engines' own JSON, a `Date` in a document becomes text and a `NaN`
// becomes null.

import { HoldfastError } from '../index.ts'

/**
 * JSON text of a document, or of other data kept with it. `ENGINE_VALUE_INVALID` for a value without JSON text: a
 * BigInt or a cycle.
 */
export function documentJson(engine: string, id: unknown, value: unknown): string {
  let text: string | undefined
  let cause: unknown
  try {
    text = JSON.stringify(value)
  } catch (error) {
    cause = error
  }
  if (text !== undefined) return text
  const because = cause instanceof Error ? `: ${cause.message}` : ''
  throw invalid(engine, `its document ${show(id)} has no JSON text${because}`, id, cause)
}

/** `ENGINE_VALUE_INVALID` unless the id of a document comes back equal: a string, a boolean or a finite number. */
export function assertId(engine: string, id: unknown): void {
  if (typeof id === 'string' || typeof id === 'boolean' || (typeof id === 'number' && Number.isFinite(id))) return
  const why = `the document id ${show(id)} would not come back from JSON equal; use a string or a finite number`
  throw invalid(engine, why, id)
}

/** `ENGINE_VALUE_INVALID`; `document` is the id of the document, if it is in one. */
export function invalid(engine: string, why: string, document?: unknown, cause?: unknown): HoldfastError {
  return new HoldfastError('ENGINE_VALUE_INVALID', `this ${engine} cannot be saved: ${why}`, {
    details: { engine, ...(document === undefined ? {} : { document }) },
    cause,
  })
}

/** The document that is restored where this one was saved: itself, unless JSON changes it. */
export function asRestored<T>(engine: string, id: unknown, document: T): T {
  return isJson(document) ? document : (JSON.parse(documentJson(engine, id, document)) as T)
}

/** Whether all of `value` is what `JSON.parse` could have given. */
function isJson(value: unknown): boolean {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || typeof (value as { toJSON?: unknown }).toJSON === 'function') return false
  if (Array.isArray(value)) return value.every(isJson)
  const prototype: unknown = Object.getPrototypeOf(value)
  return (prototype === Object.prototype || prototype === null) && Object.values(value).every(isJson)
}

function show(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value !== 'object' || value === null) return String(value)
  return `(a ${value.constructor?.name ?? 'value'})`
}
