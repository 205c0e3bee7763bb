// What a watermark may be, how it is stored, and which of two comes first. It compares them as people mean them: digits
// in text are a number, a `Date` is an instant.

import { inspect } from 'node:util'
import { HoldfastError } from '../errors.ts'

/** One position: a count or a sequence, an instant, or text. */
type Position = number | bigint | string | Date

/**
 * A position of the source of truth, or several of them by name. Text compares as what it is: digits (`'10'`, also
 * joined by `-` as in the ids of a Redis stream) as numbers, PostgreSQL's LSNs (`'0/16B3748'`) as such, ISO 8601 times
 * as instants, and other text by code units. A `Date` is stored as the text of its `toISOString()`.
 */
export type Watermark = Position | Readonly<Record<string, Position>> | ReadonlyMap<string, Position>

/** How far two positions are apart; null where text says only which is first. */
export type Distance = number | bigint | null

/**
 * The watermark as it is stored.
 *
 * @throws METADATA_INVALID for what no source could be compared with: it is told when it is saved, not when the next
 * process starts
 */
export function storedWatermark(value: unknown): number | bigint | string | Record<string, number | bigint | string> {
  if (isPosition(value)) return storedPosition(value, 'watermark')
  const named = entriesOf(value)
  if (named === null || named.length === 0) throw refused('watermark', value)
  const stored = named.map(([name, position]) => {
    const path = `watermark.${name}`
    if (!isPosition(position)) throw refused(path, position)
    return [name, storedPosition(position, path)] as const
  })
  return Object.fromEntries(stored)
}

/** Whether it is one that can be compared. */
export function isWatermark(value: unknown): boolean {
  if (isPosition(value)) return true
  const named = entriesOf(value)
  return named !== null && named.length > 0 && named.every(([, position]) => isPosition(position))
}

/** Positions by name; null for what has no names. */
export function entriesOf(value: unknown): [string, unknown][] | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) return null
  if (value instanceof Map) return [...value].every(([name]) => typeof name === 'string') ? [...value] : null
  const prototype = Object.getPrototypeOf(value) as object | null
  // A plain object, of this realm or another.
  const plain = prototype === null || Object.getPrototypeOf(prototype) === null
  return plain ? Object.entries(value) : null
}

/** How much `source` is beyond `persisted`: its sign tells, and `by` says how much. Null: they cannot be compared. */
export function distance(persisted: unknown, source: unknown): { sign: number; by: Distance } | null {
  if (!isPosition(persisted) || !isPosition(source)) return null
  const [a, b] = [numberOf(persisted), numberOf(source)]
  if (a !== null && b !== null) return fromDifference(difference(b, a))
  if (typeof persisted === 'number' || typeof source === 'number') {
    // Milliseconds since 1970, where a `Date` meets what `Date.now()` gave.
    const [from, to] = [millisecondsOf(persisted), millisecondsOf(source)]
    return from === null || to === null ? null : fromDifference(to - from)
  }
  const [text, other] = [textOf(persisted), textOf(source)]
  return text === null || other === null ? null : { sign: compareTexts(other, text), by: null }
}

function refused(path: string, value: unknown): HoldfastError {
  const reason = `${inspect(value, { depth: 0 })} cannot be compared with a later position`
  return new HoldfastError(
    'METADATA_INVALID',
    `${path} cannot be stored: ${reason}. A watermark is a number, a bigint, text, a Date, or several of them by name; leave it out when ` +
      'there is none, and keep other data in metadata',
    { details: { path, reason } },
  )
}

function storedPosition(position: Position, path: string): number | bigint | string {
  if (position instanceof Date) return position.toISOString()
  if (typeof position === 'bigint') {
    if (BigInt.asIntN(64, position) !== position && BigInt.asUintN(64, position) !== position) {
      throw refused(path, position)
    }
    return small(position)
  }
  if (typeof position === 'number' && Number.isInteger(position) && !Number.isSafeInteger(position)) {
    throw refused(path, position)
  }
  // What subtraction gave; it would come back as 0.
  return position === 0 ? 0 : position
}

function isPosition(value: unknown): value is Position {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value)
    case 'bigint':
    case 'string':
      return true
    default:
      return value instanceof Date && !Number.isNaN(value.getTime())
  }
}

/** Longer digits are compared as text, so that a hostile watermark costs no time. */
const DIGITS = /^[+-]?\d{1,400}$/

function numberOf(position: Position): number | bigint | null {
  if (typeof position === 'number' || typeof position === 'bigint') return position
  return typeof position === 'string' && DIGITS.test(position) ? BigInt(position.replace(/^\+/, '')) : null
}

function millisecondsOf(position: Position): number | null {
  if (typeof position === 'number') return position
  if (position instanceof Date) return position.getTime()
  return typeof position === 'string' ? (instantOf(position)?.ms ?? null) : null
}

function textOf(position: Position): string | null {
  if (position instanceof Date) return position.toISOString()
  return typeof position === 'string' ? position : null
}

function compareTexts(a: string, b: string): number {
  const [first, second] = [instantOf(a), instantOf(b)]
  if (first !== null && second !== null) {
    return Math.sign(first.ms - second.ms) || byCodeUnits(first.fraction, second.fraction)
  }
  const [some, others] = [groupsOf(a), groupsOf(b)]
  if (some === null || others === null || some.length !== others.length) return byCodeUnits(a, b)
  for (const [i, group] of some.entries()) if (group !== others[i]) return group < others[i]! ? -1 : 1
  return 0
}

function byCodeUnits(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1
}

const ISO = /^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,40}))?(Z|[+-]\d\d:?\d\d)$/

/** An ISO 8601 time with its zone; databases give more digits of a second than a `Date` keeps, and leave zeros out. */
function instantOf(text: string): { ms: number; fraction: string } | null {
  const found = ISO.exec(text)
  if (found === null) return null
  const ms = Date.parse(`${found[1]!.replace(' ', 'T')}${found[3]!.replace(/^(.\d\d)(\d\d)$/, '$1:$2')}`)
  const fraction = (found[2] ?? '').padEnd(40, '0')
  return Number.isNaN(ms) ? null : { ms: ms + Number(fraction.slice(0, 3)), fraction }
}

/** The numbers in ids of Redis streams (`1526919030474-55`) and in LSNs of PostgreSQL (`16/B374D848`, hexadecimal). */
function groupsOf(text: string): bigint[] | null {
  if (/^\d{1,40}(-\d{1,40})+$/.test(text)) return text.split('-').map(BigInt)
  if (/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/i.test(text)) return text.split('/').map((hex) => BigInt(`0x${hex}`))
  return null
}

function fromDifference(by: number | bigint): { sign: number; by: number | bigint } {
  return { sign: by > 0 ? 1 : by < 0 ? -1 : 0, by: by < 0 ? -by : by }
}

/** Exact also where a number and a BigInt meet: integers beyond 2^53 come back as BigInt. */
function difference(a: number | bigint, b: number | bigint): number | bigint {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  if (isFraction(a) || isFraction(b)) return Number(a) - Number(b)
  return BigInt(a) - BigInt(b)
}

function small(value: bigint): number | bigint {
  const isSmall = value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER
  return isSmall ? Number(value) : value
}

function isFraction(value: number | bigint): boolean {
  return typeof value === 'number' && !Number.isInteger(value)
}
