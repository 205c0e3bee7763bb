import { describe, expect, test } from 'vitest'
import type { HeadPack } from '../../src/format/head.ts'
import { chooseCompacted, planCompaction } from '../../src/gc/plan-compaction.ts'
import { createRandom } from '../support/random.ts'

const KIB = 1024
const MIB = 1024 * KIB

function pack(id: number, bytes: number, live: number | null = bytes): HeadPack {
  return { id, name: `${id}`, bytes, blocks: 1, live }
}

function packs(...sizes: number[]): HeadPack[] {
  return sizes.map((bytes, i) => pack(i, bytes))
}

const none = new Set<string>()

describe('small packs', () => {
  test.each<[string, number[], number[]]>([
    ['are left alone while there are few', [...Array(7).fill(KIB)], []],
    ['of one size become one when there are eight', [...Array(8).fill(KIB)], [0, 1, 2, 3, 4, 5, 6, 7]],
    ['of very different sizes are left alone', [KIB, 300 * KIB, 2 * MIB, 5 * MIB, 20 * MIB, 63 * MIB, KIB, KIB], []],
    ['take those smaller than themselves with them', [...Array(8).fill(MIB), KIB, KIB], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ['leave those larger than themselves alone', [...Array(8).fill(KIB), MIB, 50 * MIB], [0, 1, 2, 3, 4, 5, 6, 7]],
    ['from 64 MiB on are not small', [...Array(20).fill(64 * MIB)], []],
  ])('%s', (_, sizes, small) => {
    const plan = planCompaction(packs(...sizes), none, true)
    expect(plan.small.toSorted((a, b) => a - b)).toEqual(small)
    expect(plan.measure).toBe(small.length > 0)
  })

  test('are not those with very many blocks, which would be as large again', () => {
    const many = packs(...Array(8).fill(KIB)).map((one) => ({ ...one, blocks: 32_768 }))
    expect(planCompaction(many, none, true).small).toEqual([])
    expect(
      planCompaction([...many.slice(1), { ...many[0]!, blocks: 32_767 }, ...packs(KIB)], none, true).small,
    ).toEqual([])
    expect(
      planCompaction(
        many.map((one) => ({ ...one, blocks: 32_767 })),
        none,
        true,
      ).small,
    ).toHaveLength(8)
  })

  test('with bad blocks are evidence, and neither counted nor moved', () => {
    const eight = packs(...Array(8).fill(KIB))
    expect(planCompaction(eight, new Set(['3']), true).small).toEqual([])
    const nine = packs(...Array(9).fill(KIB))
    expect(planCompaction(nine, new Set(['3']), true).small).toEqual([0, 1, 2, 4, 5, 6, 7, 8])
  })

  test('stay few however many persists there are, and no byte is moved often', () => {
    const r = createRandom(1)
    let all: HeadPack[] = []
    let written = 0
    let moved = 0
    for (let id = 0; id < 5000; id++) {
      const fresh = 10 * KIB + r.below(20 * KIB)
      written += fresh
      const { small } = planCompaction(all, none, true)
      const folded = all.filter((one) => small.includes(one.id))
      const bytes = folded.reduce((sum, one) => sum + one.bytes, 0)
      moved += bytes
      all = [...all.filter((one) => !small.includes(one.id)), pack(id, fresh + bytes)]
      expect(all.length).toBeLessThan(50)
    }
    expect(all.reduce((sum, one) => sum + one.bytes, 0)).toBe(written)
    expect(moved).toBeLessThan(6 * written)
  })
})

describe('measuring', () => {
  test.each<[string, HeadPack[], boolean]>([
    ['an empty store needs none', [], false],
    ['what was measured needs none', [pack(0, 100 * MIB)], false],
    ['a little that was never measured needs none', [pack(0, 100 * MIB), pack(1, 3 * MIB, null)], false],
    ['4 MiB on a small store are due', [pack(0, MIB), pack(1, 4 * MIB, null)], true],
    ['half as much as is alive is due', [pack(0, 100 * MIB), pack(1, 50 * MIB, null)], true],
    ['less than half is not', [pack(0, 100 * MIB), pack(1, 49 * MIB, null)], false],
    ['a pack that is known to be mostly garbage is due', [pack(0, 100 * MIB, 49 * MIB)], true],
    ['one that is half garbage is not', [pack(0, 100 * MIB, 50 * MIB)], false],
  ])('%s', (_, all, measure) => {
    expect(planCompaction(all, none, true)).toEqual({ small: [], measure, rewrite: true })
    // Where something else rewrites, nothing is measured for it.
    expect(planCompaction(all, none, false).measure).toBe(false)
  })

  test('does not look at packs with bad blocks', () => {
    expect(planCompaction([pack(0, 100 * MIB, 1), pack(1, 100 * MIB, null)], new Set(['0', '1']), true).measure).toBe(
      false,
    )
  })
})

describe('what is folded', () => {
  const plan = { small: [1], measure: true, rewrite: true }

  test('are the small ones, and those that are mostly garbage', () => {
    const all = [pack(1, KIB), pack(2, 100 * MIB), pack(3, 100 * MIB), pack(4, 100 * MIB)]
    const live = new Map([
      [1, KIB],
      [2, 40 * MIB],
      [3, 60 * MIB],
      [4, 50 * MIB],
    ])
    expect(chooseCompacted(plan, all, live, none)).toEqual([1, 2])
    expect(chooseCompacted({ ...plan, rewrite: false }, all, live, none)).toEqual([1])
  })

  test('comes first what is emptiest, as far as the budget goes', () => {
    const all = [10, 11, 12, 13].map((id) => pack(id, 100 * MIB))
    const live = new Map([
      [10, 30 * MIB],
      [11, 10 * MIB],
      [12, 0],
      [13, 29 * MIB],
    ])
    // 64 MiB may be moved at a time.
    expect(chooseCompacted({ small: [], measure: true, rewrite: true }, all, live, none)).toEqual([12, 11, 13])
  })

  test('may be an eighth of a large store', () => {
    const all = Array.from({ length: 16 }, (_, id) => pack(id, 256 * MIB))
    const live = new Map(all.map(({ id }) => [id, 100 * MIB]))
    expect(chooseCompacted({ small: [], measure: true, rewrite: true }, all, live, none)).toHaveLength(5)
  })

  test('are never packs with bad blocks, nor those of which nothing is known', () => {
    const all = [pack(2, 100 * MIB), pack(3, 100 * MIB)]
    expect(
      chooseCompacted({ small: [], measure: true, rewrite: true }, all, new Map([[2, 0]]), new Set(['2'])),
    ).toEqual([])
    expect(chooseCompacted({ small: [], measure: true, rewrite: true }, all, new Map(), none)).toEqual([])
  })

  test('is each only once', () => {
    expect(chooseCompacted(plan, [pack(1, 100 * MIB)], new Map([[1, 0]]), none)).toEqual([1])
  })
})
