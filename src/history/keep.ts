// The policy for what is kept: how a caller gives it, and the periods that its rules count.

import { assertOptions, type OptionTable } from '../misuse.ts'

/**
 * How many snapshots each rule keeps; a rule that is not given keeps none. A snapshot stays when any rule keeps it.
 * Beside them the current one and tagged ones always stay. Periods are those of UTC, and weeks those of ISO 8601.
 */
export interface Keep {
  /** The newest, whenever they were made. */
  last?: number | undefined
  /** The newest of each hour in which there are snapshots, for so many hours. The other rules count in the same way. */
  hourly?: number | undefined
  daily?: number | undefined
  weekly?: number | undefined
  monthly?: number | undefined
  yearly?: number | undefined
}

/** A `Keep` with every rule. */
export type Policy = Readonly<Record<keyof Keep, number>>

const KEEP_OPTIONS: OptionTable<Keep> = {
  last: 'any',
  hourly: 'any',
  daily: 'any',
  weekly: 'any',
  monthly: 'any',
  yearly: 'any',
}

/** A HEAD holds 1,024 snapshots. The rest is for tags. */
const COUNTS_MAX = 1000

/** Three autosaves may be a minute and a half, so an hour and a day back are kept too. */
export const DEFAULT_POLICY: Policy = { last: 3, hourly: 2, daily: 2, weekly: 0, monthly: 0, yearly: 0 }

/** The rules that count periods. `periodOf` takes an ISO time in UTC. */
export const PERIODS: readonly { name: Exclude<keyof Keep, 'last'>; periodOf: (time: string) => string }[] = [
  { name: 'hourly', periodOf: (time) => time.slice(0, 'YYYY-MM-DDTHH'.length) },
  { name: 'daily', periodOf: (time) => time.slice(0, 'YYYY-MM-DD'.length) },
  { name: 'weekly', periodOf: weekOf },
  { name: 'monthly', periodOf: (time) => time.slice(0, 'YYYY-MM'.length) },
  { name: 'yearly', periodOf: (time) => time.slice(0, 'YYYY'.length) },
]

const DAY_MS = 24 * 60 * 60 * 1000

/** The ISO week, such as `2026-W47`. A week belongs to the year in which its Thursday lies. */
function weekOf(time: string): string {
  const day = new Date(`${time.slice(0, 'YYYY-MM-DD'.length)}T00:00:00.000Z`)
  const sinceMonday = (day.getUTCDay() + 6) % 7
  const thursday = new Date(day.getTime() + (3 - sinceMonday) * DAY_MS)
  const year = thursday.toISOString().slice(0, 'YYYY'.length)
  const sinceNewYear = thursday.getTime() - new Date(`${year}-01-01T00:00:00.000Z`).getTime()
  const week = 1 + Math.floor(sinceNewYear / (7 * DAY_MS))
  return `${year}-W${String(week).padStart(2, '0')}`
}

/** The options of a store or a persist that say what is kept. */
interface KeepOptions {
  keep?: Keep | undefined
  keepLast?: number | undefined
}

/**
 * The policy that a caller gives; null when it gives none.
 *
 * @param where begins the message: the call, as the caller writes it
 * @throws TypeError, RangeError
 */
export function policyOf(where: string, { keep, keepLast }: KeepOptions): Policy | null {
  if (keep !== undefined && keepLast !== undefined) {
    throw new TypeError(`${where}: give keep or keepLast, not both; keepLast: n is keep: { last: n }`)
  }
  if (keepLast !== undefined) {
    if (!isCount(keepLast) || keepLast < 1 || keepLast > COUNTS_MAX) {
      throw new RangeError(`keepLast is the number of snapshots to keep, 1 to 1,000; got ${String(keepLast)}`)
    }
    return completed({ last: keepLast })
  }
  return keep === undefined ? null : keepPolicy(where, keep)
}

/** As `policyOf`, of a `keep` alone. */
export function keepPolicy(where: string, keep: Keep): Policy {
  if (keep === null) throw new TypeError(`${where}: keep must be an object such as { last: 3, daily: 7 }, got null`)
  assertOptions(`${where}: keep`, keep, KEEP_OPTIONS)
  const policy = completed(keep)
  for (const [rule, places] of Object.entries(policy)) {
    if (!isCount(places)) throw new RangeError(`${where}: keep.${rule} is a number of snapshots; got ${String(places)}`)
  }
  const total = Object.values(policy).reduce((sum, places) => sum + places, 0)
  if (total < 1 || total > COUNTS_MAX) {
    throw new RangeError(`${where}: the counts of keep are 1 to 1,000 together; got ${total}`)
  }
  return policy
}

/** A policy in words, such as `last 3, daily 7`. */
export function describePolicy(policy: Policy): string {
  return Object.entries(policy)
    .filter(([, places]) => places > 0)
    .map(([rule, places]) => `${rule} ${places}`)
    .join(', ')
}

function completed({ last = 0, hourly = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0 }: Keep): Policy {
  return { last, hourly, daily, weekly, monthly, yearly }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
