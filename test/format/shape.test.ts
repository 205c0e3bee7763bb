import { expect, test } from 'vitest'
import { checkShape, listOf, matching, nullable, optional, record, text, whole } from '../../src/format/shape.ts'

const isTrue = (value: unknown): value is true => value === true
const shape = record({
  count: whole(1, 10),
  name: text('must be short', (name) => name.length < 4),
  sure: matching('must be true', isTrue),
  maybe: optional(nullable(whole(0))),
  inside: optional(record({ sizes: listOf('must be ascending trues', isTrue, (items) => items.length < 3) })),
})
const right = { count: 1, name: 'abc', sure: true } as const

test('what has the shape comes back, its fields in the order of the shape and no others', () => {
  const full = { future: 1, inside: { sizes: [true], more: 2 }, sure: true, name: 'abc', maybe: null, count: 10 }
  const checked = checkShape(shape, full)
  expect(checked).toEqual({ ok: true, value: { ...right, count: 10, maybe: null, inside: { sizes: [true] } } })
  expect(JSON.stringify(checked)).toBe(
    '{"ok":true,"value":{"count":10,"name":"abc","sure":true,"maybe":null,"inside":{"sizes":[true]}}}',
  )
  const least = checkShape(shape, { ...right, maybe: undefined })
  expect(least.ok && Object.keys(least.value)).toEqual(['count', 'name', 'sure'])
  expect(shape.keys).toEqual(['count', 'name', 'sure', 'maybe', 'inside'])
})

test.each([
  [null, 'must be an object'],
  [[], 'must be an object'],
  ['text', 'must be an object'],
  [{ ...right, count: undefined }, 'count must be a whole number from 1 to 10'],
  [{ ...right, count: '1' }, 'count must be a whole number from 1 to 10'],
  [{ ...right, count: 1.5 }, 'count must be a whole number from 1 to 10'],
  [{ ...right, count: 0 }, 'count must be a whole number from 1 to 10'],
  [{ ...right, count: 11 }, 'count must be a whole number from 1 to 10'],
  [{ ...right, maybe: 2 ** 53 }, `maybe must be a whole number from 0 to ${2 ** 53 - 1}`],
  [{ ...right, name: 3 }, 'name must be short'],
  [{ ...right, name: 'abcd' }, 'name must be short'],
  [{ ...right, sure: 1 }, 'sure must be true'],
  [{ ...right, inside: null }, 'inside must be an object'],
  [{ ...right, inside: { sizes: { 0: true } } }, 'inside.sizes must be ascending trues'],
  [{ ...right, inside: { sizes: [true, false] } }, 'inside.sizes must be ascending trues'],
  [{ ...right, inside: { sizes: [true, true, true] } }, 'inside.sizes must be ascending trues'],
])('%j is refused: %s', (value, reason) => {
  expect(checkShape(shape, value)).toEqual({ ok: false, reason })
})

test('a mistake of ours is no wrong shape', () => {
  const broken = text('must be text', () => {
    throw new Error('bug')
  })
  expect(() => checkShape(broken, 'a')).toThrow('bug')
})
