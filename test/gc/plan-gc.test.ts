import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type PackUse, planGc, withinBudget } from '../../src/gc/plan-gc.ts'

/** `a 10 90`: a pack of that name with so many live and dead bytes; a `!` pins it. */
function packs(...texts: string[]): PackUse[] {
  return texts.map((text, i) => {
    const [name, live, dead, pinned] = text.split(' ')
    const liveBytes = Number(live)
    const deadBytes = Number(dead)
    return { id: i + 1, name: name!, bytes: liveBytes + deadBytes + 10, liveBytes, deadBytes, isPinned: pinned === '!' }
  })
}

function planned(all: readonly PackUse[], complete = false): string[] {
  return planGc(all, { complete }).map(({ action, pack }) => `${action} ${pack}`)
}

test.each<[string, string[], string[]]>([
  ['nothing when nothing is dead', ['a 10 0', 'b 5 0'], []],
  ['drops what is wholly dead, before all else', ['a 10 90', 'b 0 50', 'c 0 1'], ['drop b', 'drop c', 'rewrite a']],
  ['rewrites what is mostly dead, the emptiest first', ['a 40 60', 'b 10 90', 'c 50 50'], ['rewrite b', 'rewrite a']],
  ['leaves the rest while it is at most half of what is live', ['a 60 40', 'b 100 40'], []],
  ['rewrites the emptiest as long as it is more', ['a 60 55', 'b 60 56', 'c 60 0'], ['rewrite b']],
  ['touches no pinned pack', ['a 10 90 !', 'b 0 50 !', 'c 10 90'], ['rewrite c']],
  ['leaves a pack with records only', ['a 0 0', 'b 5 0'], []],
])('gc plans %s', (_, all, expected) => {
  expect(planned(packs(...all))).toEqual(expected)
})

test('a complete gc rewrites every pack that has a dead block', () => {
  expect(planned(packs('a 100 1', 'b 0 5', 'c 10 0', 'd 5 5 !', 'e 50 30'), true)).toEqual([
    'drop b',
    'rewrite e',
    'rewrite a',
  ])
})

const anyPack = fc.record({
  liveBytes: fc.constantFrom<number[]>(0, 1, 10, 1000, 5000),
  deadBytes: fc.constantFrom<number[]>(0, 0, 1, 10, 900, 1100, 9000),
})

test('what is left takes at most one and a half times what is live, and doing one pack after the other is the same plan', () => {
  fc.assert(
    fc.property(fc.array(anyPack, { maxLength: 12 }), fc.boolean(), (sizes, complete) => {
      const all = sizes.map((each, i) => {
        return { ...each, id: i + 1, name: `p${i}`, bytes: each.liveBytes + each.deadBytes, isPinned: false }
      })
      const plan = planGc(all, { complete })
      const live = all.reduce((sum, { liveBytes }) => sum + liveBytes, 0)
      const done = new Set(plan.map(({ pack }) => pack))
      const dead = all.filter(({ name }) => !done.has(name)).reduce((sum, { deadBytes }) => sum + deadBytes, 0)
      expect(dead).toBeLessThanOrEqual(complete ? 0 : live / 2)
      const [first] = plan
      if (first === undefined) return
      // The first one done: what moved is in a new pack without garbage.
      const next = all
        .filter(({ name }) => name !== first.pack)
        .concat({
          id: 99,
          name: 'new',
          bytes: first.liveBytes,
          liveBytes: first.liveBytes,
          deadBytes: 0,
          isPinned: false,
        })
      expect(planGc(next, { complete })).toEqual(plan.slice(1))
    }),
  )
})

test('a budget is kept, but for the first pack', () => {
  const plan = planGc(packs('a 10 90', 'b 20 90', 'c 30 90'))
  expect(withinBudget(plan, 0).map(({ pack }) => pack)).toEqual(['a'])
  expect(withinBudget(plan, 29).map(({ pack }) => pack)).toEqual(['a'])
  expect(withinBudget(plan, 30).map(({ pack }) => pack)).toEqual(['a', 'b'])
  expect(withinBudget(plan, 1000)).toEqual(plan)
  expect(withinBudget([], 0)).toEqual([])
})
