// Goes through many stores of one kind, and fails with what it found, by rule.

import { afterAll } from 'vitest'
import { seed as runSeed } from '../../support/effort.ts'
import { type DamageKind, fuzzStore } from './fuzz.ts'

const found = new Map<string, number>()
let tried = 0

afterAll(() => {
  const parts = [...found].map(([rule, count]) => `${count} break "${rule}"`)
  console.info(`damaged stores: ${tried.toLocaleString('en')} tried${parts.length > 0 ? `, ${parts.join(', ')}` : ''}`)
})

/** How many seeds are named for each rule that is broken. */
const SEEDS_NAMED = 20

/**
 * Tries `count` stores of `all`, beginning anywhere. Fails at the end with the first of each rule that is broken, and
 * further seeds.
 */
export async function searchStores(kind: DamageKind, all: number, count: number): Promise<void> {
  const from = count === all ? 0 : (runSeed % 1_000_000) * 100
  const broken = new Map<string, { first: string; seeds: number[] }>()
  for (let seed = from; seed < from + count; seed++) {
    const { base, done, failures } = await fuzzStore(kind, seed)
    tried += 1
    for (const rule of new Set(failures.map((failure) => failure.rule))) {
      found.set(rule, (found.get(rule) ?? 0) + 1)
      const { message } = failures.find((failure) => failure.rule === rule)!
      const first = `${rule}: ${kind}, seed ${seed}, '${base}': ${done.join(' + ')}: ${message}`
      const known = broken.get(rule) ?? { first, seeds: [] }
      known.seeds.push(seed)
      broken.set(rule, known)
    }
  }
  const texts = [...broken.values()].map(
    ({ first, seeds }) => `${first}${seeds.length > 1 ? `; and seeds ${seeds.slice(1, SEEDS_NAMED).join(', ')}` : ''}`,
  )
  if (texts.length > 0) throw new Error(texts.join('\n\n'))
}
