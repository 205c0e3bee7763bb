// How much of a space of crashes, faults, bytes or rounds a test goes through. `npm test` takes a sample of it, drawn
// by a seed that is printed; `npm run test:full` takes all of it. The same effort and the same seed draw the same
// sample.
//
//   HOLDFAST_EFFORT   quick (the default), full, or a number: 1 is full, 0.1 a tenth
//   HOLDFAST_SEED     the seed, an integer; by default another one for each run
import { createRandom, type Random } from './random.ts'

/** What `quick` stands for. */
const QUICK = 0.05

function parseEffort(text: string): number {
  if (text === 'quick' || text === '') return QUICK
  if (text === 'full') return 1
  const effort = Number(text)
  if (!(effort > 0 && effort <= 1)) throw new Error(`HOLDFAST_EFFORT is quick, full, or from 0 to 1, and not ${text}`)
  return effort
}

/** From 0 (nothing) to 1 (all). */
export const effort = parseEffort(process.env.HOLDFAST_EFFORT ?? '')

/** Of this run. vitest.config.ts sets it for all test files alike. */
export const seed = Number(process.env.HOLDFAST_SEED ?? 1)
if (!Number.isInteger(seed)) throw new Error(`HOLDFAST_SEED is an integer, and not ${process.env.HOLDFAST_SEED}`)

/** Random numbers of this run for one purpose. Other purposes do not change them. */
export function randomFor(purpose: string): Random {
  let mixed = seed
  for (const character of purpose) mixed = (Math.imul(mixed, 31) + character.codePointAt(0)!) | 0
  return createRandom(mixed)
}

/**
 * Random numbers from `whenFull` at full effort, so that a full run is the same each time; else from the seed of this
 * run.
 */
export function seeded(purpose: string, whenFull: number): Random {
  return effort === 1 ? createRandom(whenFull) : randomFor(`${purpose}, ${whenFull}`)
}

/** How many of `all` rounds are done: at least `least`, and never more than all. */
export function share(all: number, least = 1): number {
  return Math.min(all, Math.max(least, Math.round(all * effort)))
}

/** Runs of a property of fast-check, from the seed of this run. */
export function rounds(all: number): { numRuns: number; seed: number } {
  return { numRuns: share(all, Math.min(all, 5)), seed }
}

/**
 * Positions from 1 on, in order and without an end: all of them, or one by chance of each stretch of equal length. So
 * no region is left out, and a loop that stops at the last position need not know it beforehand. `least` is the part
 * taken at any effort.
 */
export function* positions(purpose: string, least = 0): Generator<number, never> {
  const part = Math.max(effort, least)
  const random = randomFor(purpose)
  const stretch = 1 / part
  for (let i = 0; ; i++) {
    const from = Math.floor(i * stretch)
    yield 1 + from + random.below(Math.max(1, Math.floor((i + 1) * stretch) - from))
  }
}

/** All items, or a sample that is spread over them, in order: at least `least`. */
export function sample<T>(purpose: string, items: readonly T[], least = 1): T[] {
  const part = Math.min(1, least / Math.max(1, items.length))
  const chosen: T[] = []
  for (const position of positions(purpose, part)) {
    if (position > items.length) break
    chosen.push(items[position - 1]!)
  }
  // The last stretch may reach beyond the end.
  return chosen.length === 0 ? items.slice(-1) : chosen
}
