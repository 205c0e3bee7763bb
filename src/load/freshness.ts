// Compares a snapshot's watermark with the position of the source of truth.

import { inspect } from 'node:util'
import { HoldfastError } from '../errors.ts'
import { assertOptions, refusePromise } from '../misuse.ts'

/**
 * A position of the source of truth that can be compared: a count or a sequence, several of them by name, or text that sorts by code
 * units (an ISO time; numbers in text do not sort).
 */
export type Watermark = number | bigint | string | Readonly<Record<string, number | bigint>>

/** Where the source of truth stands now, and what to do about a snapshot that stands elsewhere. */
export interface SourcePosition {
  watermark: Watermark
  /** The source has more than the snapshot: replay it. Default `accept`. */
  behind?: 'accept' | 'refuse' | undefined
  /**
   * The snapshot knows of things that the source does not: wrong results. Default `refuse`; `fallback` takes the newest snapshot that is
   * not ahead.
   */
  ahead?: 'accept' | 'refuse' | 'fallback' | undefined
}

/** How a snapshot's watermark compares with the source's. */
export type Freshness =
  | { state: 'current' }
  /** `by`: how much to replay, in the watermark's units; by name when it has several; null for text. */
  | { state: 'behind' | 'ahead'; by: number | bigint | Record<string, number | bigint> | null }
  /** No watermark was persisted, or it is of another kind or has other names than the one given. No policy applies. */
  | { state: 'unknown' }

/** Compares a persisted watermark with the source's. One named position ahead makes the snapshot `ahead`. */
export function compareWatermarks(persisted: unknown, source: Watermark): Freshness {
  if (typeof persisted === 'string' && typeof source === 'string') {
    if (persisted === source) return { state: 'current' }
    return { state: persisted < source ? 'behind' : 'ahead', by: null }
  }
  if (isCount(persisted) && isCount(source)) return fromDifference(difference(source, persisted))
  if (!isCounts(persisted) || !isCounts(source)) return { state: 'unknown' }
  const names = Object.keys(source)
  if (names.length !== Object.keys(persisted).length || names.some((name) => !Object.hasOwn(persisted, name))) {
    return { state: 'unknown' }
  }
  const by = names.map((name) => [name, difference(source[name]!, persisted[name]!)] as const)
  const ahead = by.filter(([, n]) => n < 0).map(([name, n]) => [name, -n] as const)
  if (ahead.length > 0) return { state: 'ahead', by: Object.fromEntries(ahead) }
  const behind = by.filter(([, n]) => n > 0)
  return behind.length > 0 ? { state: 'behind', by: Object.fromEntries(behind) } : { state: 'current' }
}

/** A policy that is misspelt, or a position that compares with nothing, must not pass for "accepted". */
export function assertSource(source: SourcePosition): void {
  assertOptions('load: source', source, { watermark: 'any', behind: 'any', ahead: 'any' })
  const { watermark, behind, ahead } = source
  refusePromise(watermark, 'load: source.watermark')
  if (typeof watermark !== 'string' && !isCount(watermark) && !isCounts(watermark)) {
    throw new TypeError(
      `load: source.watermark is a number, a bigint, text, or numbers by name; got ${inspect(watermark)}`,
    )
  }
  if (behind !== undefined && !['accept', 'refuse'].includes(behind)) {
    throw new TypeError(`load: source.behind is 'accept' or 'refuse', got ${String(behind)}`)
  }
  if (ahead !== undefined && !['accept', 'refuse', 'fallback'].includes(ahead)) {
    throw new TypeError(`load: source.ahead is 'accept', 'refuse' or 'fallback', got ${String(ahead)}`)
  }
}

/** Throws `SNAPSHOT_BEHIND` or `SNAPSHOT_AHEAD` where the policy says so. */
export function assertFresh(freshness: Freshness, position: SourcePosition, sequence: number): void {
  if (freshness.state !== 'behind' && freshness.state !== 'ahead') return
  const policy = freshness.state === 'behind' ? (position.behind ?? 'accept') : (position.ahead ?? 'refuse')
  if (policy === 'accept') return
  const by = freshness.by === null ? '' : ` by ${inspect(freshness.by)}`
  throw freshness.state === 'behind'
    ? new HoldfastError(
        'SNAPSHOT_BEHIND',
        `snapshot ${sequence} is behind its source${by}; rebuild, or accept it and replay`,
        {
          details: { sequence, by: freshness.by },
        },
      )
    : new HoldfastError(
        'SNAPSHOT_AHEAD',
        `snapshot ${sequence} is ahead of its source${by}: it knows of entries that the source does not have (was the source restored ` +
          'from a backup?)',
        { details: { sequence, by: freshness.by } },
      )
}

function fromDifference(by: number | bigint): Freshness {
  if (by > 0) return { state: 'behind', by }
  if (by < 0) return { state: 'ahead', by: -by }
  return { state: 'current' }
}

/** Exact also where a number and a BigInt meet: integers beyond 2^53 come back as BigInt. */
function difference(a: number | bigint, b: number | bigint): number | bigint {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  if (!Number.isInteger(Number(a)) || !Number.isInteger(Number(b))) return Number(a) - Number(b)
  return BigInt(a) - BigInt(b)
}

function isCount(value: unknown): value is number | bigint {
  return typeof value === 'bigint' || (typeof value === 'number' && Number.isFinite(value))
}

function isCounts(value: unknown): value is Record<string, number | bigint> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) return false
  const counts = Object.values(value)
  return counts.length > 0 && counts.every(isCount)
}
