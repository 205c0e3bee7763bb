import fc from 'fast-check'
import SearchableMap from 'minisearch/SearchableMap'
import { expect, test } from 'vitest'
import { decodeTermOrder, encodeTermOrder, sortedPositions } from '../../src/engine/term-order.ts'

/** MiniSearch's tree, walked from the last child of each node to the first. */
function walkedBackwards(tree: SearchableMap<number>): string[] {
  return [...tree.keys()].reverse()
}

const term = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 6 }),
  fc.string({ unit: 'binary', maxLength: 3 }),
)

test('restores the very tree that was, whatever was inserted and removed in which order', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(term, fc.boolean()), { maxLength: 60 }), (edits) => {
      const tree = new SearchableMap<number>()
      for (const [text, insert] of edits) {
        if (insert) tree.set(text, 1)
        else tree.delete(text)
      }
      const terms = walkedBackwards(tree)
      const bytes = encodeTermOrder(terms, sortedPositions(terms))
      const again = new SearchableMap<number>()
      for (const text of decodeTermOrder([...terms].sort(), bytes)) again.set(text, 1)
      expect([...again.keys()]).toEqual([...tree.keys()])
      // Fuzzy search walks the nodes themselves.
      expect([...again.fuzzyGet('abc', 2).keys()]).toEqual([...tree.fuzzyGet('abc', 2).keys()])
    }),
    { numRuns: 2000 },
  )
})

test('takes nothing where every node has its children in order', () => {
  expect(encodeTermOrder([], [])).toEqual(new Uint8Array(0))
  expect(encodeTermOrder(['one'], [0])).toEqual(new Uint8Array(0))
})

test('does not recurse: terms may be prefixes of each other thousands of times', () => {
  const terms = Array.from({ length: 5000 }, (_, n) => 'a'.repeat(n))
  const bytes = encodeTermOrder(terms, sortedPositions(terms))
  expect(decodeTermOrder([...terms].sort(), bytes)).toEqual(terms)
})

test('refuses an order of other terms', () => {
  const terms = ['b', 'a', 'c']
  const bytes = encodeTermOrder(terms, sortedPositions(terms))
  for (const [sorted, wrong] of [
    [['a', 'b'], bytes],
    [['a', 'b', 'c', 'd'], bytes],
    [['a', 'b', 'c'], Uint8Array.of(0, 0, 1)],
    [['a', 'b', 'c'], Uint8Array.of(0, 3, 1)],
  ] as const) {
    expect(() => decodeTermOrder(sorted, wrong)).toThrow(expect.objectContaining({ code: 'ENGINE_MISMATCH' }))
  }
})
