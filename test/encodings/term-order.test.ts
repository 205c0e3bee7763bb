import fc from 'fast-check'
import SearchableMap from 'minisearch/SearchableMap'
import { expect, test } from 'vitest'
import { decodeTermOrder, encodeTermOrder, sortedPositions } from '../../src/encodings/term-order.ts'
import { random } from '../engines/text.ts'
import { rounds } from '../support/effort.ts'

/** MiniSearch's tree, walked from the last child of each node to the first. */
function walkedBackwards(tree: SearchableMap<number>): string[] {
  return [...tree.keys()].reverse()
}

async function encoded(terms: readonly string[]): Promise<Uint8Array> {
  return await encodeTermOrder(terms, await sortedPositions(terms))
}

const term = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 6 }),
  fc.string({ unit: 'binary', maxLength: 3 }),
)

test('restores the very tree that was, whatever was inserted and removed in which order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(term, fc.boolean()), { maxLength: 60 }), async (edits) => {
      const tree = new SearchableMap<number>()
      for (const [text, insert] of edits) {
        if (insert) tree.set(text, 1)
        else tree.delete(text)
      }
      const terms = walkedBackwards(tree)
      const bytes = await encoded(terms)
      const again = new SearchableMap<number>()
      for (const text of await decodeTermOrder([...terms].sort(), bytes)) again.set(text, 1)
      expect([...again.keys()]).toEqual([...tree.keys()])
      // Fuzzy search walks the nodes themselves.
      expect([...again.fuzzyGet('abc', 2).keys()]).toEqual([...tree.fuzzyGet('abc', 2).keys()])
    }),
    rounds(2000),
  )
})

test('takes nothing where every node has its children in order', async () => {
  expect(await encoded([])).toEqual(new Uint8Array(0))
  expect(await encoded(['one'])).toEqual(new Uint8Array(0))
})

test('does not recurse: terms may be prefixes of each other thousands of times', async () => {
  const terms = Array.from({ length: 5000 }, (_, n) => 'a'.repeat(n))
  expect(await decodeTermOrder(terms.toReversed(), await encoded(terms))).toEqual(terms)
})

test('refuses an order of other terms', async () => {
  const bytes = await encoded(['b', 'a', 'c'])
  for (const [terms, wrong] of [
    [['a', 'b'], bytes],
    [['a', 'b', 'c', 'd'], bytes],
    [['a', 'b', 'c'], Uint8Array.of(0, 0, 1)],
    [['a', 'b', 'c'], Uint8Array.of(0, 3, 1)],
    [['a', 'b', 'c'], bytes.subarray(1)],
  ] as const) {
    await expect(decodeTermOrder(terms, wrong)).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' })
  }
})

test('sorts by UTF-16 code units, any number of terms', async () => {
  const next = random(7)
  for (const count of [0, 1, 2, 16_384, 16_385, 40_000, 70_000]) {
    const terms = Array.from({ length: count }, (_, n) => `${Math.floor(next() * 1e9).toString(36)}\ud83d${n}`)
    const sorted = Array.from(await sortedPositions(terms), (position) => terms[position])
    expect(sorted).toEqual([...terms].sort())
  }
})

test('sorts by UTF-16 code units, whatever the first of them are', async () => {
  const unit = fc.constantFrom('\0', 'a', 'b', '\u00fe', '\u00ff', '\u0100', '\ud800', '\uffff')
  // Enough of them for a sort by their beginnings.
  const some = Array.from({ length: 1024 }, (_, n) => `${n}`)
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(fc.string({ unit, maxLength: 6 }), { maxLength: 300 }), async (odd) => {
      const terms = [...new Set([...odd, ...some])]
      const sorted = Array.from(await sortedPositions(terms), (position) => terms[position])
      expect(sorted).toEqual([...terms].sort())
    }),
    rounds(100),
  )
})
