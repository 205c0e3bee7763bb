import { describe, expect, test } from 'vitest'
import { explore, RENAME_MODELS, type Scenario } from './explore.ts'
import { tally } from './tally.ts'

/** One test a scenario and rename model. `more` multiplies the states looked at. */
export function crashSuite(
  what: string,
  scenarios: readonly Scenario[],
  more = 1,
  seeds: readonly number[] = [1],
): void {
  const count = tally(`crashes, ${what}`)
  describe.each(RENAME_MODELS)('renames %s: run into a crash at every call that changes the disk', (rename) => {
    test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
      '%s',
      async (_name, scenario) => {
        for (const seed of seeds) {
          const explored = await explore(scenario, { seed, rename, limit: (scenario.limit ?? 16) * more })
          count(explored)
          expect(explored.points).toBeGreaterThan(scenario.steps.length)
          expect(explored.distinct).toBeGreaterThan(scenario.steps.length)
        }
      },
      300_000 * seeds.length,
    )
  })
}
