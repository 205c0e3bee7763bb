// Compares a snapshot's watermark with the position of the source of truth.

import { inspect } from 'node:util'
import { HoldfastError } from '../errors.ts'
import { assertOptions, refusePromise } from '../misuse.ts'
import { type Distance, distance, entriesOf, isWatermark, type Watermark } from './watermark.ts'

/** Where the source of truth stands now, and what to do about a snapshot that stands elsewhere. */
export interface SourcePosition {
  watermark: Watermark
  /** The source has more than the snapshot: replay it. Default `accept`. */
  behind?: 'accept' | 'refuse' | undefined
  /**
   * The snapshot has entries that the source does not have, so results would be wrong. Default `refuse`; `fallback`
   * takes the newest snapshot that is not ahead.
   */
  ahead?: 'accept' | 'refuse' | 'fallback' | undefined
}

/** How a snapshot's watermark compares with the source's. */
export type Freshness =
  | { state: 'current' }
  /**
   * `by`: how much to replay, in the watermark's units; by name when it has several; null for text that is no number.
   */
  | { state: 'behind' | 'ahead'; by: Distance | Record<string, Distance> }
  /** No watermark was persisted, or it is of another kind or has other names than the one given. No policy applies. */
  | { state: 'unknown' }

/** Compares a persisted watermark with the source's. One named position ahead makes the snapshot `ahead`. */
export function compareWatermarks(persisted: unknown, source: Watermark): Freshness {
  const single = distance(persisted, source)
  if (single !== null) {
    return single.sign === 0 ? { state: 'current' } : { state: single.sign > 0 ? 'behind' : 'ahead', by: single.by }
  }
  const before = new Map(entriesOf(persisted))
  const named = entriesOf(source) ?? []
  if (named.length === 0 || named.length !== before.size) return { state: 'unknown' }
  const behind: [string, Distance][] = []
  const ahead: [string, Distance][] = []
  for (const [name, position] of named) {
    const each = distance(before.get(name), position)
    if (each === null) return { state: 'unknown' }
    if (each.sign !== 0) (each.sign > 0 ? behind : ahead).push([name, each.by])
  }
  if (ahead.length > 0) return { state: 'ahead', by: Object.fromEntries(ahead) }
  return behind.length > 0 ? { state: 'behind', by: Object.fromEntries(behind) } : { state: 'current' }
}

/** A misspelt policy, or a position that cannot be compared, must not count as "accepted". */
export function assertSource(source: SourcePosition): void {
  assertOptions('load: source', source, { watermark: 'any', behind: 'any', ahead: 'any' })
  const { watermark, behind, ahead } = source
  refusePromise(watermark, 'load: source.watermark')
  if (!isWatermark(watermark)) {
    throw new TypeError(
      `load: source.watermark is a number, a bigint, text, a Date, or several of them by name; got ${inspect(watermark)}`,
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
