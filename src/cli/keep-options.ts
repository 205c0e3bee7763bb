// The options that say which snapshots are kept, as `persist` and `forget` take them.

import { type Command, Option } from 'commander'
import type { Keep } from '../index.ts'
import { usage } from './failure.ts'
import { parseCount } from './notation.ts'

/** What commander makes of them. */
export interface KeepOptions {
  keepLast?: number | undefined
  keepHourly?: number | undefined
  keepDaily?: number | undefined
  keepWeekly?: number | undefined
  keepMonthly?: number | undefined
  keepYearly?: number | undefined
}

const RULES = {
  keepLast: ['--keep-last <n>', 'keep the newest'],
  keepHourly: ['--keep-hourly <n>', 'keep the newest of each hour, for so many hours'],
  keepDaily: ['--keep-daily <n>', 'the same for days'],
  keepWeekly: ['--keep-weekly <n>', 'the same for weeks'],
  keepMonthly: ['--keep-monthly <n>', 'the same for months'],
  keepYearly: ['--keep-yearly <n>', 'the same for years'],
} as const satisfies Record<keyof KeepOptions, readonly [string, string]>

/** The most that a policy may keep. */
const COUNTS_MAX = 1000

/** Keeps whatever there is: a HEAD has room for no more. */
export const KEEP_ALL: Keep = { last: COUNTS_MAX }

export function addKeepOptions(command: Command): Command {
  for (const [flags, description] of Object.values(RULES)) {
    command.addOption(new Option(flags, description).argParser((text) => parseCount(text, 1)))
  }
  return command
}

/** The policy; null when no option was given. */
export function keepOf(options: KeepOptions): Keep | null {
  const { keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly } = options
  const keep: Keep = {
    last: keepLast,
    hourly: keepHourly,
    daily: keepDaily,
    weekly: keepWeekly,
    monthly: keepMonthly,
    yearly: keepYearly,
  }
  const counts = Object.values(keep).filter((count): count is number => count !== undefined)
  if (counts.length === 0) return null
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total > COUNTS_MAX) throw usage(`the --keep-… options may keep ${COUNTS_MAX} snapshots together, not ${total}`)
  return keep
}
