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

/** Tries `count` stores of `all`, beginning anywhere. Fails at the end with the first of each rule that is broken. */
export async function searchStores(kind: DamageKind, all: number, count: number): Promise<void> {
  const from = count === all ? 0 : (runSeed % 1_000_000) * 100
  const broken = new Map<string, string>()
  for (let seed = from; seed < from + count; seed++) {
    const { base, done, failures } = await fuzzStore(kind, seed)
    tried += 1
    for (const rule of new Set(failures.map((failure) => failure.rule))) {
      found.set(rule, (found.get(rule) ?? 0) + 1)
      if (broken.has(rule)) continue
      const { message } = failures.find((failure) => failure.rule === rule)!
      broken.set(rule, `${rule}: ${kind}, seed ${seed}, '${base}': ${done.join(' + ')}: ${message}`)
    }
  }
  if (broken.size > 0) throw new Error([...broken.values()].join('\n\n'))
}
