import { expect, test } from 'vitest'
import type { Context } from './explore.ts'
import { exploreSuccession } from './killed.ts'
import { persistOf } from './model.ts'
import { histories, persists } from './scenarios.ts'
import { tally } from './tally.ts'

// A process dies, another goes on from the page cache that it left, and only then the power fails.

const count = tally('killed writers and their successors')

const again =
  (label: string) =>
  async ({ store }: Context): Promise<void> =>
    void (await store.persist(persistOf(label)))

const tag = async ({ store }: Context): Promise<void> => {
  if ((await store.snapshots()).length > 0) await store.tag('mine')
}

test.each([
  ['the first persist', 'the same persist', persists[0]!, again('a/1')],
  ['a persist', 'the same persist', persists[1]!, again('a/3')],
  ['a persist', 'a tag', persists[1]!, tag],
  ['a tag', 'a persist', histories[0]!, again('b/3')],
  ['a persist that retires packs', 'the same persist', histories[2]!, again('e/1')],
])(
  '%s is killed anywhere, %s of another process is acknowledged, and survives a power loss',
  async (_first, _second, scenario, then) => {
    for (const rename of ['atomic', 'both'] as const) {
      const explored = await exploreSuccession({ scenario, then }, { seed: 1, rename, pointsEach: 1, limit: 2 })
      count(explored)
      expect(explored.distinct).toBeGreaterThan(40)
    }
  },
  300_000,
)
