import { test, vi } from 'vitest'
import { simulate } from '../explore/simulate.ts'
import { tally } from '../explore/tally.ts'
import { seed } from '../support/effort.ts'

// It must stand here: see determinism.ts. That is imported in it, because what comes before it in the list of imports
// needs node:crypto.
vi.mock('node:crypto', async (original) => {
  const { randomBytes } = await import('../faulty-disk/determinism.ts')
  return { ...(await original<object>()), randomBytes }
})

const count = tally('simulated machines')
const first = seed

// The seed is in the message of whatever fails; it belongs into the list in test/explore/machines.test.ts.
test.each(Array.from({ length: 50 }, (_, i) => first + i * 100))(
  'machines of a hundred seeds from %i on',
  async (from) => {
    for (let seed = from; seed < from + 100; seed++) count(await simulate(seed))
  },
)
