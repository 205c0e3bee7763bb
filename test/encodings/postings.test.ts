import fc from 'fast-check'
import { expect, test } from 'vitest'
import { byDocument, documentOrder, type PostingLists } from '../../src/encodings/postings.ts'
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

test('sorts postings by document, and those of one document by the order of lists, beyond 2^16', async () => {
  const posting = fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { maxLength: 20 }), {
    maxLength: 8,
  })
  await fc.assert(
    fc.asyncProperty(posting, fc.infiniteStream(fc.nat()), async (lists, dice) => {
      const given = columns(lists)
      const order = lists.map((_, list) => list).sort(() => (dice.next().value! % 2) - 0.5)
      const sorted = await byDocument(order, given)
      const got = [...sorted.order].map((at) => [given.documents[at]!, sorted.listOf[at]!])
      const expected = order
        .flatMap((list) => lists[list]!.map((document) => [document, list]))
        .map((pair, position) => [...pair, position])
        .sort((a, b) => a[0]! - b[0]! || a[2]! - b[2]!)
        .map(([document, list]) => [document!, list!])
      expect(got).toEqual(expected)
    }),
  )
})
