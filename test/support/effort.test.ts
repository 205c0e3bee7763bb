import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

const all = Array.from({ length: 1000 }, (_, i) => i)

async function effortOf(effort: string, seed: number): Promise<typeof import('./effort.ts')> {
  vi.stubEnv('HOLDFAST_EFFORT', effort)
  vi.stubEnv('HOLDFAST_SEED', String(seed))
  vi.resetModules()
  return await import('./effort.ts')
}

beforeEach(() => void vi.resetModules())
afterEach(() => void vi.unstubAllEnvs())

describe('the effort of the tests', () => {
  test('when full, leaves nothing out', async () => {
    const { sample, share, rounds, positions } = await effortOf('full', 1)
    expect(sample('x', all)).toEqual(all)
    expect(share(100)).toBe(100)
    expect(rounds(60)).toEqual({ numRuns: 60, seed: 1 })
    const iterator = positions('x')
    expect([1, 2, 3, 4].map(() => iterator.next().value)).toEqual([1, 2, 3, 4])
  })

  test.each([0.01, 0.3, 0.77])('when %f, takes that part of a space, from all of its regions', async (effort) => {
    const { sample } = await effortOf(String(effort), 7)
    const chosen = sample('x', all)
    expect(new Set(chosen).size).toBe(chosen.length)
    expect(Math.abs(chosen.length - 1000 * effort)).toBeLessThanOrEqual(1)
    for (let region = 0; region < 5; region++) {
      const inside = chosen.filter((item) => Math.floor(item / 200) === region)
      expect(Math.abs(inside.length - 200 * effort)).toBeLessThanOrEqual(2)
    }
  })

  test('draws the same sample by the same seed, and comes to everything by others', async () => {
    const { sample } = await effortOf('0.2', 3)
    const again = (await effortOf('0.2', 3)).sample
    expect(again('x', all)).toEqual(sample('x', all))
    expect(again('y', all)).not.toEqual(sample('x', all))
    const seen = new Set<number>()
    for (let seed = 0; seed < 60; seed++)
      for (const item of (await effortOf('0.2', seed)).sample('x', all)) seen.add(item)
    expect(seen.size).toBe(1000)
  })

  test('takes what is needed at the least, and one of anything', async () => {
    const { sample, share } = await effortOf('0.01', 1)
    expect(sample('x', all, 50).length).toBe(50)
    expect(sample('x', [5])).toEqual([5])
    expect(sample('x', [])).toEqual([])
    expect(share(100, 30)).toBe(30)
    expect(share(20, 30)).toBe(20)
  })

  test('is a word or a number, and nothing else', async () => {
    await expect(effortOf('2', 1)).rejects.toThrow('HOLDFAST_EFFORT')
    await expect(effortOf('much', 1)).rejects.toThrow('HOLDFAST_EFFORT')
  })
})
