// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are pieces of source

// What is kept, dropped and given back: as in `durability.mjs`, each with the tests that catch its absence.

/** @type {import('./durability.mjs').Mutation[]} */
export const space = [
  {
    file: 'src/history/retention.ts',
    find: '...snapshot.tags.map((tag) => `tag ${tag}`),',
    replace: '',
    why: 'tagged snapshots are kept',
    tests: ['test/history'],
  },
  {
    file: 'src/history/retention.ts',
    find: "...(snapshot.sequence === current ? ['current'] : []),",
    replace: '',
    why: 'the current snapshot is kept',
    tests: ['test/history'],
  },
  {
    file: 'src/space/forget.ts',
    find: 'if (sequence === head.current) {',
    replace: 'if (sequence === 0) {',
    why: 'the current snapshot is not forgotten',
    tests: ['test/space/forget.test.ts'],
  },
  {
    file: 'src/space/forget.ts',
    find: 'if (others.length === 0) return',
    replace: 'if (others.length >= 0) return',
    why: 'a tagged snapshot is not forgotten by its number',
    tests: ['test/space/forget.test.ts'],
  },
  {
    file: 'src/space/forget.ts',
    find: 'isSame ? counted : await countAndPlan(ctx, selection, options)',
    replace: 'counted',
    why: 'forget drops what the policy drops now, not what it dropped before somebody persisted',
    tests: ['test/space/forget.test.ts'],
  },
  {
    file: 'src/load/load.ts',
    find: 'each.sequence >= (options.minSequence ?? 0) && isWithin(limits ?? {}, each)',
    replace: 'each.sequence >= (options.minSequence ?? 0)',
    why: 'fallback takes nothing that is too old',
    tests: ['test/load/fallback.test.ts'],
  },
  {
    file: 'src/load/load.ts',
    find: 'if (spare === undefined || !isWithin(limits, spare)) throw error',
    replace: 'if (spare === undefined) throw error',
    why: 'nor does it with HEAD.prev.json',
    tests: ['test/load/fallback.test.ts'],
  },
]
