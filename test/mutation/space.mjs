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
  {
    file: 'src/space/gc.ts',
    find: 'await marked.sync(session.stored)',
    replace: '',
    why: 'gc drops what a persist reused since it looked without the lock',
    tests: ['test/space/gc.test.ts'],
  },
  {
    file: 'src/space/gc.ts',
    find: 'await swapOnceMore(ctx, session, seen, complete)',
    replace: '',
    why: 'what gc retired is deleted when the call resolves',
    tests: ['test/space/gc.test.ts'],
  },
  {
    file: 'src/space/gc.ts',
    find: '!isWaiting && !hasOldNames && !session.uncertain',
    replace: '!isWaiting && !session.uncertain',
    why: 'HEAD.prev.json names what was erased',
    tests: ['test/space/erase.test.ts'],
  },
  {
    file: 'src/space/gc-step.ts',
    find: 'await assertOtherCopies(ctx, source, reach, packNumber, signal)',
    replace: '',
    why: 'gc lets the good copy of a block go while the other one has rotted',
    tests: ['test/space/gc.test.ts'],
  },
  {
    file: 'src/space/gc-step.ts',
    find: 'await session.swapHead(next, () => ready)',
    replace: 'await session.swapHead(next)',
    why: 'HEAD names a pack of gc that is not durable',
    tests: ['test/space/gc.test.ts'],
  },
  {
    file: 'src/space/pack-use.ts',
    find: 'if (key !== null && kept.has(key)) bytes',
    replace: 'if (key !== null) bytes',
    why: 'the records of dropped snapshots are erased',
    tests: ['test/space/erase.test.ts'],
  },
  {
    file: 'src/space/pack-use.ts',
    find: 'isPinned || bad.some((packs) => packs.has(name))',
    replace: 'isPinned',
    why: 'packs with bad blocks are evidence',
    tests: ['test/space/gc.test.ts'],
  },
  {
    file: 'src/gc/reach.ts',
    find: 'if (isGone || [...manifests.keys()].some((manifest) => !kept.has(manifest))) reset()',
    replace: 'if (isGone) reset()',
    why: 'what only a dropped snapshot needed is garbage',
    tests: ['test/space/gc.test.ts'],
  },
  {
    file: 'src/blocks/copy-blocks.ts',
    find: `      if (!isWhole(index, entry, stored)) {
        options.onBadBlock(file.name, digest)`,
    replace: `      if (stored.length < 0) {
        options.onBadBlock(file.name, digest)`,
    why: 'gc copies damage',
    tests: ['test/space/gc.test.ts'],
  },
]
