import { describe, expect, test } from 'vitest'
import { type Call, createDisk, type Fault } from './disk.ts'
import type { Scenario } from './explore.ts'
import { FAULTS, injectFaults, injectOutage, OUTAGES, rehearse } from './faults.ts'
import { observe, openOn, persistOf, STORE } from './model.ts'
import { histories, housekeeping, persists } from './scenarios.ts'
import { tally } from './tally.ts'

const count = tally('faults')

/** All but those that would say the same again at greater length. */
const scenarios: Scenario[] = [...persists.filter(({ limit }) => limit === undefined), ...histories, ...housekeeping]

/**
 * What a directory's fsync forgets can only be written by another change of that directory. HEAD is renamed once more for that; a directory
 * that was made and forgotten stays so: no file system with a journal forgets like this.
 */
export function possible({ name, path }: Call, fault: Fault): boolean {
  return !(name === 'syncDirectory' && fault.lose === true && STORE.startsWith(path) && path !== STORE)
}

describe('a call fails', () => {
  test.each(scenarios)(
    '$name: it succeeds or nothing has changed, no temp stays, and the next goes well',
    async (scenario) => {
      const rehearsed = await rehearse(scenario)
      // Every call; one of its faults, another one for the next call of its kind.
      const turns = new Map<string, number>()
      const injected = await injectFaults(
        rehearsed,
        (call, random) => {
          const turn = turns.get(call.name) ?? random.below(8)
          turns.set(call.name, turn + 1)
          const faults = FAULTS[call.name].filter((fault) => possible(call, fault))
          return [faults[turn % faults.length]!]
        },
        1,
      )
      count(injected)
      expect(injected.faults).toBe(rehearsed.calls.length)
      expect(injected.survived).toBeLessThan(injected.faults)
    },
    300_000,
  )
})

describe.each(Object.entries(OUTAGES))('from some call on there is %s', (_name, outage) => {
  test.each([persists[0]!, persists[1]!, persists[3]!, histories[3]!])(
    '$name: nothing has changed, and when that is over it goes well',
    async (scenario) => {
      const injected = await injectOutage(await rehearse(scenario), outage, 9, 1)
      count(injected)
      expect(injected.survived).toBeLessThan(injected.faults)
    },
    300_000,
  )
})

test('a disk that is really full fails a persist and keeps what it has; with room again all goes well', async () => {
  const disk = createDisk(null, { capacityBytes: 40_000 })
  const store = openOn(disk.start(), { keepLast: 1 })
  let full: unknown = null
  let persisted = 0
  for (; full === null; persisted++) {
    full = await store.persist({ ...persistOf(`${persisted}/1`), keepLast: 100 }).then(
      () => null,
      (error: unknown) => error,
    )
  }
  expect(full).toMatchObject({ code: 'NO_SPACE' })
  expect(persisted).toBeGreaterThan(2)
  const seen = await observe(openOn(createDisk(disk.image()).start()))
  expect(seen.split('\n')).toHaveLength(persisted - 1)
  expect(disk.image().entries.size).toBe(1)
  const roomy = createDisk(disk.image())
  const again = openOn(roomy.start(), { keepLast: 1 })
  await again.persist(persistOf('fits/1'))
  await again.persist(persistOf('fits/2'))
  expect(await observe(again)).toBe(`${persisted + 1} fits/2 current`)
})
