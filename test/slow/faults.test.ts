import { describe, expect, test } from 'vitest'
import { faultsFor, injectFaults, injectOutage, OUTAGES, rehearse } from '../explore/faults.ts'
import { histories, housekeeping, persists } from '../explore/scenarios.ts'
import { files } from '../explore/scenarios-files.ts'
import { tally } from '../explore/tally.ts'

const count = tally('faults')
const scenarios = [
  ...persists.filter(({ limit }) => limit === undefined),
  ...histories,
  ...housekeeping,
  ...files.slice(0, 2),
]

test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
  'every fault of every call: %s',
  async (_name, scenario) => {
    const injected = await injectFaults(await rehearse(scenario), faultsFor, 1)
    count(injected)
    expect(injected.survived).toBeLessThan(injected.faults)
  },
)

describe.each(Object.entries(OUTAGES))('from every call on there is %s', (_outage, outage) => {
  test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))('%s', async (_name, scenario) => {
    count(await injectOutage(await rehearse(scenario), outage, 1, 1))
  })
})
