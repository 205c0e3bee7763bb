import { expect, test } from 'vitest'
import { TermTable } from '../../src/encodings/term-table.ts'
import { random } from '../engines/text.ts'

test('tells terms of one length apart that meet in one hash', async () => {
  const table = new TermTable()
  // So many of 32 bits that some dozens meet.
  const count = 500_000
  const next = random(5)
  const texts = new Set<string>()
  const text = Buffer.alloc(8)
  while (texts.size < count) {
    for (let i = 0; i < 8; i++) text[i] = 32 + next() * 95
    texts.add(text.toString('latin1'))
  }
  const all = Buffer.from([...texts].join(''))
  const term = (n: number): Buffer => all.subarray(8 * n, 8 * n + 8)
  let apart = 0
  for (let n = 0; n < count; n++) if (table.number(0, term(n), 0, 8) === n) apart += 1
  expect(apart).toBe(count)
  for (let n = 0; n < count; n += 1000) {
    const bytes = term(n)
    expect(table.number(0, bytes, 0, 5)).toBe(table.number(5, bytes, 8, 8))
    expect(table.number(5, bytes, 5, 8)).toBe(n)
  }
  const read = await table.texts(() => undefined)
  expect(read.slice(0, count)).toEqual([...texts])
  expect(table.count).toBe(read.length)
})
