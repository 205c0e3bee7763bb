// A long list that is parsed in slices has the same items.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parsedSlices } from '../../src/encodings/json-slices.ts'
import { rounds } from '../support/effort.ts'

test('slices of any list have its items, whatever their strings hold', () => {
  const text = fc.string({ unit: fc.constantFrom('a', '"', '\\', ',', '[', ']', '{', '}', '\n', 'é', '\ud800') })
  const value = fc.anything({ maxDepth: 3, values: [text, fc.integer(), fc.constant(null)], key: text })
  const list = fc.array(value.filter((each) => each !== undefined))
  fc.assert(
    fc.property(list, fc.integer({ min: 0, max: 40 }), (given, slice) => {
      const json = JSON.stringify(given)
      expect([...parsedSlices(json, slice)].flat(1)).toEqual(JSON.parse(json))
    }),
    rounds(300),
  )
})

test('each slice but the last is as long as was asked for, and little more', () => {
  const items = Array.from({ length: 1000 }, (_, n) => [`term ${n}`, [[n]]])
  const lengths = [...parsedSlices(JSON.stringify(items), 500)].map((slice) => JSON.stringify(slice).length)
  expect(lengths.length).toBeGreaterThan(20)
  for (const length of lengths.slice(0, -1)) expect(length).toBeLessThan(600)
})
