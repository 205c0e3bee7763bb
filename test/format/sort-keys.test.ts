import { describe, expect, test } from 'vitest'
import { sortingKeys } from '../../src/format/sort-keys.ts'
import { atOnce } from '../../src/format/steps.ts'
import { createRandom } from '../support/random.ts'

describe('numbers sorted in steps', () => {
  test.each([0, 1, 2, 8191, 8192, 8193, 16_384, 16_385, 24_577, 100_000])('%i of them are in order', (count) => {
    const random = createRandom(count)
    const keys = Float64Array.from({ length: count }, () => random.below(2 ** 32) * 2 ** 20)
    const expected = keys.slice().sort()
    expect(Buffer.compare(bytesOf(atOnce(sortingKeys(keys))), bytesOf(expected))).toBe(0)
  })

  test('no step sorts or merges more than a few thousand', () => {
    let steps = 0
    for (const _ of sortingKeys(new Float64Array(130_000).fill(1))) steps += 1
    // 16 runs, and four times 130,000 merged.
    expect(steps).toBeGreaterThan(70)
  })
})

function bytesOf(keys: Float64Array): Uint8Array {
  return new Uint8Array(keys.buffer, keys.byteOffset, keys.byteLength)
}
