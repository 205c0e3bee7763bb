import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { fromHex, toHex } from '../../src/format/hex.ts'
import { checkFrame, decodeFrameHeader, entriesIn, FRAME_HEADER_BYTES, nextIn } from '../../src/journal/frame.ts'
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  parseSegmentFileName,
  type SegmentHeader,
  segmentFileName,
} from '../../src/journal/segment.ts'
import { expectCode } from '../format/expect-code.ts'
import { type JournalVector, journalVector, sampleSegment } from '../vectors/compute-journal.ts'
import { dataOf, journal, nameOf, segment, store } from './build.ts'

const { name, header } = sampleSegment()

test('a segment is the committed one, and is read from it', () => {
  const vector = JSON.parse(readFileSync(new URL('../vectors/journal.json', import.meta.url), 'utf8')) as JournalVector
  expect(journalVector()).toEqual(vector)
  expect(parseSegmentFileName(vector.name)).toEqual(name)
  const bytes = new Uint8Array(vector.bytes)
  for (const { at, hex } of vector.content) bytes.set(fromHex(hex, hex.length / 2), at)
  const read = decodeSegmentHeader(name, bytes)!
  expect(read.fields).toEqual(header)
  let at = read.end
  let before = read.hash
  const seen: string[] = []
  while (at < bytes.length) {
    const frame = decodeFrameHeader(name.id, at, bytes.subarray(at))!
    expect(frame.before).toBe(before)
    before = checkFrame(frame, bytes.subarray(at))!
    if (frame.kind === 'entries') {
      seen.push(...entriesIn(frame, bytes.subarray(at), 0, 0)!.entries.map(({ data }) => toHex(data)))
    } else if (frame.kind === 'next') expect(nextIn(bytes.subarray(at))).toEqual(nameOf(4))
    at = vector.frames[frame.batch]?.offset ?? bytes.length
  }
  expect(seen).toEqual(vector.entries)
  expect(before).toBe(vector.frames.at(-1)!.hash)
})

test('the worked example of docs/format.md is the committed one', () => {
  const page = readFileSync(new URL('../../docs/format.md', import.meta.url), 'utf8')
  const example = page.slice(page.indexOf('**A journal segment**'))
  const [, text] = /```\n([\s\S]*?)```/.exec(example)!
  const hex = text!
    .split('\n')
    .map((line) => /^(?:(?:[0-9a-f]{2})+(?: |$))*/.exec(line)![0])
    .join('')
    .replaceAll(' ', '')
  const vector = journalVector()
  expect(hex).toBe(
    vector.content
      .slice(0, 2)
      .map((part) => part.hex)
      .join(''),
  )
  expect(example).toContain(vector.name)
})

test('a file name is read back, and no other name is taken for one', () => {
  for (const number of [1, 42, 99_999_999, 123_456_789]) {
    const each = { number, id: name.id }
    expect(parseSegmentFileName(segmentFileName(each))).toEqual(each)
  }
  for (const other of [
    `1-${name.id}.log`,
    `000000001-${name.id}.log`,
    `00000001-${name.id}`,
    `00000001-${name.id.toUpperCase().replace('0', 'A')}.log`,
    `00000001-${name.id}0.log`,
    `x00000001-${name.id}.log`,
  ]) {
    expect(parseSegmentFileName(other), other).toBeNull()
  }
})

test('a header with one flipped bit, or cut short, or under another name, is no header', () => {
  const { bytes } = encodeSegmentHeader(name.id, header)
  expect(decodeSegmentHeader(name, bytes)?.fields).toEqual(header)
  for (let at = 0; at < bytes.length; at++) {
    const broken = bytes.slice()
    broken[at] = broken[at]! ^ 4
    expect(decodeSegmentHeader(name, broken), `byte ${at}`).toBeNull()
  }
  for (const length of [0, 1, 47, 48, 100, bytes.length - 1]) {
    expect(decodeSegmentHeader(name, bytes.subarray(0, length))).toBeNull()
  }
  expect(decodeSegmentHeader(nameOf(3), bytes)).toEqual(decodeSegmentHeader(name, bytes))
  expect(decodeSegmentHeader({ ...name, id: nameOf(9).id }, bytes)).toBeNull()
  expect(decodeSegmentHeader({ ...name, number: 9 }, bytes)).toBeNull()
})

test('a frame of many entries is decoded some at a time', () => {
  const made = segment(1)
  const written = made.entries(...Array.from({ length: 20_000 }, (_, i) => i % 7))
  const frame = made.bytes.slice(written.offset, written.end)
  const header = decodeFrameHeader(made.name.id, written.offset, frame)!
  const seen: number[] = []
  for (let from = 0; seen.length < header.count; ) {
    const { entries, end } = entriesIn(header, frame, from, seen.length)!
    expect(entries.length).toBeLessThan(10_000)
    for (const { sequence, data } of entries) {
      expect(data.length).toBe((sequence - 1) % 7)
      seen.push(sequence)
    }
    from = end
  }
  expect(seen).toEqual(Array.from({ length: 20_000 }, (_, i) => i + 1))
  // A count that is not the payload's.
  expect(entriesIn({ ...header, count: 1 }, frame, 0, 0)).toBe(null)
  expect(entriesIn({ ...header, count: 20_001 }, frame, frame.length - 4000, 19_999)).toBe(null)
})

test('a frame with one flipped bit, or at another place, is no frame', () => {
  const made = segment(1)
  const written = made.entries(10, 0, 2000, 3000)
  const frame = made.bytes.slice(written.offset, written.end)
  const good = decodeFrameHeader(made.name.id, written.offset, frame)!
  expect(checkFrame(good, frame)).toBe(written.hash)
  const { entries } = entriesIn(good, frame, 0, 0)!
  expect(entries.map(({ data }) => data)).toEqual([dataOf(1, 10), dataOf(2, 0), dataOf(3, 2000), dataOf(4, 3000)])
  for (let at = 0; at < frame.length; at++) {
    const broken = frame.slice()
    broken[at] = broken[at]! ^ 32
    const read = decodeFrameHeader(made.name.id, written.offset, broken)
    expect(read === null).toBe(at < FRAME_HEADER_BYTES)
    expect(read === null ? null : checkFrame(read, broken), `byte ${at}`).toBeNull()
  }
  expect(decodeFrameHeader(made.name.id, written.offset + 4096, frame)).toBeNull()
  expect(decodeFrameHeader(nameOf(2).id, written.offset, frame)).toBeNull()
  expect(checkFrame(good, frame.subarray(0, -1))).toBeNull()
})

test('a header that contradicts itself is a bug when written', () => {
  const previous = { ...nameOf(1), end: 8192, last: 5, hash: 'ab'.repeat(32) }
  const good: SegmentHeader = {
    store,
    journal,
    number: 2,
    changes: 0,
    first: 6,
    previous,
    named: 'next',
    copied: false,
    holes: [],
    skips: [],
  }
  const holes = [{ first: 6, last: 8, snapshot: 2 }]
  for (const fine of [
    good,
    { ...good, first: 9, holes },
    { ...good, first: 1, previous: null, named: 'swap' as const },
  ]) {
    expect(encodeSegmentHeader(nameOf(2).id, fine).bytes.length).toBe(4096)
  }
  for (const wrong of [
    { number: 0 },
    { first: 7 },
    { first: 9, holes: [{ first: 6, last: 7, snapshot: 2 }] },
    { previous: { ...previous, end: 100 } },
    { previous: { ...previous, number: 2 } },
    { previous: null },
    { skips: [{ first: 4, last: 3 }] },
    { changes: -1 },
  ]) {
    expect(() => encodeSegmentHeader(nameOf(2).id, { ...good, ...wrong }), JSON.stringify(wrong)).toThrow('bug')
  }
})

test('a list of skips that does not fit a header is refused', () => {
  const skips = Array.from({ length: 200_000 }, (_, i) => ({ first: 2 * i + 1, last: 2 * i + 1 }))
  expectCode(() => encodeSegmentHeader(name.id, { ...header, skips }), 'LIMIT_EXCEEDED')
  const some = { ...header, skips: skips.slice(0, 2000) }
  const { bytes } = encodeSegmentHeader(name.id, some)
  expect(bytes.length).toBeGreaterThan(4096)
  expect(decodeSegmentHeader(name, bytes)?.fields).toEqual(some)
})

test('a newer version is told from damage', () => {
  const { bytes } = encodeSegmentHeader(name.id, header)
  bytes[8] = 2
  // The version is under the hash: without the right one it is damage.
  expect(decodeSegmentHeader(name, bytes)).toBeNull()
})
