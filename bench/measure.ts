import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import type { Stat } from './result.ts'

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB

export function stat(values: readonly number[]): Stat {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)!, runs: sorted.length }
}

/** Ratios of runs beside each other: what the machine did to one it did to the other too. */
export function ratios(ours: readonly number[], theirs: readonly number[]): Stat {
  return stat(ours.map((ms, i) => ms / theirs[i]!))
}

let cpuMs = 0

export async function timed(work: () => unknown): Promise<number> {
  const cpu = process.cpuUsage()
  const startMs = performance.now()
  await work()
  const ms = performance.now() - startMs
  const { user, system } = process.cpuUsage(cpu)
  cpuMs = (user + system) / 1000
  return ms
}

/** What both sides took, in ms: by the clock, and of the processor, all threads together. */
export interface Times {
  ours: number
  theirs: number
  cpu: { ours: number; theirs: number }
}

/** Both sides once each, the one first that was second the last time. */
export async function inTurn(round: number, sides: readonly (() => Promise<void>)[]): Promise<void> {
  for (const side of round % 2 === 0 ? sides : sides.toReversed()) await side()
}

/** Times of both sides, each of which ends with something `timed`. */
export async function compare(
  round: number,
  theirs: () => Promise<number>,
  ours: () => Promise<number>,
): Promise<Times> {
  const times: Times = { ours: 0, theirs: 0, cpu: { ours: 0, theirs: 0 } }
  await inTurn(round, [
    async () => {
      times.theirs = await theirs()
      times.cpu.theirs = cpuMs
    },
    async () => {
      times.ours = await ours()
      times.cpu.ours = cpuMs
    },
  ])
  return times
}

/** Waits for what others left to be written, so that it is not counted as ours. */
export function settleDisk(): void {
  spawnSync('sync')
  globalThis.gc?.()
}

/** Empties the page cache; false where that is not allowed. */
export function dropCaches(): boolean {
  try {
    spawnSync('sync')
    writeFileSync('/proc/sys/vm/drop_caches', '3')
    return true
  } catch {
    return false
  }
}

/** Stops a loop of rounds early, but never before `least`. */
export function rounds(wanted: number, budgetMs: number, least = 3): (round: number) => boolean {
  const startMs = performance.now()
  return (round) => round < wanted && (round < Math.min(least, wanted) || performance.now() - startMs < budgetMs)
}

export function log(text: string): void {
  process.stderr.write(`  ${text}\n`)
}

export function bytesText(bytes: number): string {
  if (bytes >= GIB) return `${trim(bytes / GIB)} GiB`
  if (bytes >= MIB) return `${trim(bytes / MIB)} MiB`
  if (bytes >= KIB) return `${trim(bytes / KIB)} KiB`
  return `${bytes} B`
}

export function msText(ms: number): string {
  if (ms >= 10_000) return `${trim(ms / 1000)} s`
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`
  return ms >= 10 ? `${Math.round(ms)} ms` : `${trim(ms)} ms`
}

/** Three digits that count. */
export function trim(n: number): string {
  if (n === 0) return '0'
  if (Math.abs(n) >= 100) return String(Math.round(n))
  return String(Number(n.toPrecision(n >= 10 ? 3 : 2)))
}
