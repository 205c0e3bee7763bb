import fc from 'fast-check'
import { expect, test } from 'vitest'
import { documentOrder, type PostingLists, sortedByKey } from '../../src/encodings/postings.ts'
import { rounds } from '../support/effort.ts'

function columns(lists: readonly (readonly number[])[]): PostingLists {
  const listStart = [0]
  for (const list of lists) listStart.push(listStart.at(-1)! + list.length)
  return { listStart, documents: Uint32Array.from(lists.flat()) }
}

const documents = fc.uniqueArray(fc.integer({ min: 0, max: 40 }), { maxLength: 30 })

test('finds an order that every list agrees with, and the same one for the same lists', async () => {
  await fc.assert(
    fc.asyncProperty(
      documents,
      fc.array(fc.array(fc.boolean(), { minLength: 41, maxLength: 41 })),
      async (indexed, chosen) => {
        const lists = chosen.map((choice) => indexed.filter((document) => choice[document]))
        const order = (await documentOrder(41, [columns(lists.slice(0, 2)), columns(lists.slice(2))]))!
        const rank = new Map([...order].map((document, position) => [document, position]))
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 41 }, (_, n) => n))
        for (const list of lists) {
          expect([...list].sort((a, b) => rank.get(a)! - rank.get(b)!)).toEqual(list)
        }
        expect(await documentOrder(41, [columns(lists)])).toEqual(order)
      },
    ),
    rounds(500),
  )
})

test('prefers smaller numbers first', async () => {
  expect([...(await documentOrder(5, [columns([[3, 1]])]))!]).toEqual([0, 2, 3, 1, 4])
})

test('says that there is none when lists contradict each other', async () => {
  expect(await documentOrder(3, [columns([[0, 2, 1]]), columns([[1, 2]])])).toBeNull()
})

test('sorts positions by their keys, beyond 2^16, and equal keys as they come', async () => {
  const key = fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constantFrom(0, 1, 0x10000, 0x10001))
  await fc.assert(
    fc.asyncProperty(fc.array(key, { maxLength: 60 }), async (keys) => {
      const expected = keys.map((_, n) => n).sort((a, b) => keys[a]! - keys[b]! || a - b)
      expect([...(await sortedByKey(Uint32Array.from(keys)))]).toEqual(expected)
    }),
  )
})
