import { test, vi } from 'vitest'
import { simulate } from '../explore/simulate.ts'
import { tally } from '../explore/tally.ts'
import { pause, randomBytes } from '../faulty-disk/determinism.ts'
import { seed } from '../support/effort.ts'

// Both must stand here: see determinism.ts.
vi.mock('node:crypto', async (original) => ({ ...(await original<object>()), randomBytes }))
vi.mock('node:timers/promises', async (original) => ({ ...(await original<object>()), setTimeout: pause }))

const count = tally('simulated machines')
const first = seed

// The seed is in the message of whatever fails; it belongs into the list in test/explore/machines.test.ts.
test.each(Array.from({ length: 50 }, (_, i) => first + i * 100))(
  'machines of a hundred seeds from %i on',
  async (from) => {
    for (let seed = from; seed < from + 100; seed++) count(await simulate(seed))
  },
)
