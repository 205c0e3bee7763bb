// Searches: stores in which anything may lie, judged by every operation. Raw damage, sealed lies, both, files in the wrong place, and
// small stores that ask for much. What must hold is in fuzz/oracles.ts.

import { expect, test, vi } from 'vitest'
import { randomBytes } from '../faulty-disk/determinism.ts'
import { effort, sample, share } from '../support/effort.ts'
import { BOMBS } from './fuzz/bombs.ts'
import { type DamageKind, fuzzBomb, fuzzStore, KINDS } from './fuzz/fuzz.ts'
import { searchStores } from './fuzz/search.ts'

// Names of packs decide in which order they are looked at.
vi.mock('node:crypto', async (original) => ({ ...(await original<object>()), randomBytes }))

/** Seeds that found something, for ever. `done` says what the seed must still do: a new lie gives seeds another meaning. */
const REGRESSIONS: readonly [kind: DamageKind, seed: number, done: string][] = []

test.each(REGRESSIONS)('%s, seed %i: %s', async (kind, seed, done) => {
  const fuzzed = await fuzzStore(kind, seed)
  expect(fuzzed.done.join(' + ')).toContain(done)
  expect(fuzzed.failures).toEqual([])
})

// 20,000 stores are tried by `npm run test:fuzz`.
test.each(KINDS)(
  'any store, whatever happened to it, is judged alike by all operations: %s',
  async (kind) => {
    await searchStores(kind, 400, effort === 1 ? 400 : share(125))
  },
  600_000,
)

const sizes = effort === 1 ? [0, 1] : [1]

/** They take more time or memory than they may today. */
const KNOWN_BOMBS = Object.keys(BOMBS)

test.each(
  sample('bombs', Object.keys(BOMBS), 2)
    .filter((name) => !KNOWN_BOMBS.includes(name))
    .flatMap((name) => sizes.map((seed): [string, number] => [name, seed])),
)(
  'a small store is small to every operation: %s, seed %i',
  async (name, seed) => {
    const { failures } = await fuzzBomb(name, seed)
    expect(failures).toEqual([])
  },
  120_000,
)
