import { expect, test } from 'vitest'
import { isFlaw, scanSegment } from '../../src/journal/scan.ts'
import { nameOf, scan, segment } from './build.ts'

test('a frame that does not follow on the one before it is a flaw', async () => {
  const one = segment(1)
  one.entries(10)
  const second = one.entries(20)
  const other = segment(1)
  other.entries(10, 11)
  other.entries(20)
  const mixed = one.bytes.slice()
  // The same place, the same segment: only the hash and the sequence of the frame before tell.
  mixed.set(other.bytes.subarray(second.offset, second.end), second.offset)
  const { places } = await scan({ name: one.name, bytes: mixed })
  expect(places.map((place) => (isFlaw(place) ? place.kind : place.header.kind))).toEqual(['entries', 'header'])
})

test('a segment is read from the middle, and what is before is not looked at', async () => {
  const one = segment(1)
  const first = one.entries(10)
  one.entries(20)
  const bytes = one.bytes.slice()
  bytes.fill(0xff, first.offset, first.end)
  const { places, from } = await scan({ name: one.name, bytes }, first.end)
  expect(from).toBe(first.end)
  expect(places).toMatchObject([{ header: { first: 2, count: 1 } }])
})

test('flaws that follow each other are one, so that a file of garbage needs no memory', async () => {
  const size = 4 * 1024 * 1024
  const { places } = await scanSegment(nameOf(1), size, async (target) => {
    target.fill(0xab)
    return target.length
  })
  expect(places).toEqual([{ at: 4096, kind: 'bad', header: null }])
})
