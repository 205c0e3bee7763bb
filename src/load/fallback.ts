// How far `fallback` may go back, and how old what it takes is.

import { clock } from '../clock.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { assertOptions } from '../misuse.ts'

/** How far `fallback` may go back. Older snapshots are not tried, and the load fails with the damage of the first. */
export interface FallbackLimits {
  /** How old a snapshot may be now, in ms, by the clock of its writer. */
  maxAgeMs?: number | undefined
  /** The lowest sequence that may be taken. */
  minSequence?: number | undefined
}

/** @throws TypeError */
export function assertFallback(fallback: unknown): void {
  if (fallback === undefined || typeof fallback === 'boolean') return
  if (typeof fallback !== 'object' || fallback === null) {
    throw new TypeError('load: fallback must be true, false or { maxAgeMs, minSequence }')
  }
  assertOptions('load: fallback', fallback, { maxAgeMs: 'ms', minSequence: 'count' })
}

/** The limits; null when a load does not fall back. */
export function fallbackLimits(fallback: boolean | FallbackLimits | undefined): FallbackLimits | null {
  if (fallback === undefined || fallback === false) return null
  return fallback === true ? {} : fallback
}

export function isWithin(limits: FallbackLimits, snapshot: Pick<HeadSnapshot, 'sequence' | 'time'>): boolean {
  return (
    snapshot.sequence >= (limits.minSequence ?? 0) && ageMsOf(snapshot) <= (limits.maxAgeMs ?? Number.POSITIVE_INFINITY)
  )
}

/** 0 for a snapshot from the future: its writer's clock is ahead of ours. */
export function ageMsOf({ time }: { time: string }): number {
  return Math.max(0, clock.nowMs() - Date.parse(time))
}

const UNITS = [
  ['days', 86_400_000],
  ['hours', 3_600_000],
  ['minutes', 60_000],
] as const

/** An age in words, such as `3 hours`, rounded down. */
export function ageInWords(ageMs: number): string {
  for (const [unit, ms] of UNITS) if (ageMs >= 2 * ms) return `${Math.floor(ageMs / ms)} ${unit}`
  return `${Math.floor(ageMs / 1000)} seconds`
}
