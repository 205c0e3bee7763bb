import { expect, test } from 'vitest'
import { TermTable } from '../../src/encodings/term-table.ts'

test('tells terms of one length apart that meet in one hash', async () => {
  const table = new TermTable()
  // So many of 32 bits that some dozens meet.
  const count = 500_000
  const term = (n: number): Buffer => Buffer.from(n.toString(36).padStart(8, '0'))
  let apart = 0
  for (let n = 0; n < count; n++) if (table.number(0, term(n), 0, 8) === n) apart += 1
  expect(apart).toBe(count)
  for (let n = 0; n < count; n += 1000) {
    const bytes = term(n)
    expect(table.number(0, bytes, 0, 5)).toBe(table.number(5, bytes, 8, 8))
    expect(table.number(5, bytes, 5, 8)).toBe(n)
  }
  const texts = await table.texts(() => undefined)
  expect(texts.slice(0, count)).toEqual(Array.from({ length: count }, (_, n) => `${term(n)}`))
  expect(table.count).toBe(texts.length)
})
