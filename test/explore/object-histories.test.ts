import { expect, test } from 'vitest'
import { seeded, share } from '../support/effort.ts'
import { type History, runHistory } from './object-histories.ts'

// Over a simulated object store with faults. `npm run test:histories` runs 200,000, or as many as it is told.

/** Two minutes of one processor hold more. */
const HISTORIES = Number(process.env.HOLDFAST_HISTORIES ?? 3_000)

test('whatever an object store does to requests, nothing acknowledged is lost and nothing needed is deleted', async () => {
  const random = seeded('object histories', 1)
  const done: History[] = []
  const sum = (name: keyof History): number => done.reduce((total, history) => total + history[name], 0)
  const count = process.env.HOLDFAST_HISTORIES === undefined ? share(HISTORIES, 40) : HISTORIES
  for (let i = 0; i < count; i++) done.push(await runHistory(random.below(2 ** 31)))
  // That something was tried at all.
  expect(sum('acknowledged')).toBeGreaterThan(count)
  expect(sum('reads')).toBeGreaterThan(count / 2)
  expect(sum('deletedPacks')).toBeGreaterThan(count)
  // A persist is refused in one of ten or twenty.
  if (count >= 500) expect(sum('conflicts')).toBeGreaterThan(0)
}, 3_600_000)

// Seeds of histories that went wrong once, or that alone notice a rule which is taken out.
test.each([3, 1037, 1056, 1299, 702_717, 5_009_773, 5_010_801, 5_024_927, 5_030_545, 9067, 9301])(
  'history %i',
  async (seed) => {
    await runHistory(seed)
  },
)
