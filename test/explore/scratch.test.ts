import { expect, test, vi } from 'vitest'
import { randomBytes } from '../faulty-disk/determinism.ts'
import { fuzzStore } from './fuzz/fuzz.ts'

vi.mock('node:crypto', async (original) => ({ ...(await original<object>()), randomBytes }))
const seeds = process.env.SEEDS!.split(',').map((each) => each.split(':'))
test.each(seeds)(
  '%s %s',
  async (kind, seed) => {
    const fuzzed = await fuzzStore(kind as 'raw', Number(seed))
    console.log(kind, seed, fuzzed.base, fuzzed.done.join(' + '), JSON.stringify(fuzzed.failures, null, 1))
    expect(fuzzed.failures).toEqual([])
  },
  100000,
)
