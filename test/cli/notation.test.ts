// What is typed on the command line.

import { expect, test } from 'vitest'
import { Refusal } from '../../src/cli/failure.ts'
import {
  parseChunking,
  parseCount,
  parseDuration,
  parseSize,
  parseSnapshot,
  parseSource,
} from '../../src/cli/notation.ts'

test('a snapshot is a number, a tag, or the current one and so many before it', () => {
  expect(parseSnapshot('41')).toEqual({ kind: 'sequence', sequence: 41 })
  expect(parseSnapshot('v1')).toEqual({ kind: 'tag', tag: 'v1' })
  expect(parseSnapshot('tag:v1')).toEqual({ kind: 'tag', tag: 'v1' })
  expect(parseSnapshot('tag:41')).toEqual({ kind: 'tag', tag: '41' })
  expect(parseSnapshot('tag:tag:x')).toEqual({ kind: 'tag', tag: 'tag:x' })
  expect(parseSnapshot('current')).toEqual({ kind: 'current', back: 0 })
  expect(parseSnapshot('current~')).toEqual({ kind: 'current', back: 1 })
  expect(parseSnapshot('current~2')).toEqual({ kind: 'current', back: 2 })
  expect(parseSnapshot('tag:current~2')).toEqual({ kind: 'tag', tag: 'current~2' })
  expect(parseSnapshot('currents')).toEqual({ kind: 'tag', tag: 'currents' })
  for (const wrong of ['', 'tag:', '99999999999999999999', '0', '00', '-1', '-2x', 'current~x', 'current~-1']) {
    expect(() => parseSnapshot(wrong), wrong).toThrow(Refusal)
  }
  // Tags that look like numbers, as those of releases do.
  for (const tag of ['1.5', '9e9', '-', 'v-1']) expect(parseSnapshot(tag)).toEqual({ kind: 'tag', tag })
  for (const tag of ['-1', '0', 'current~x']) expect(parseSnapshot(`tag:${tag}`)).toEqual({ kind: 'tag', tag })
})

test('a duration has a unit', () => {
  expect(['500ms', '90s', '15m', '15min', '1h', '1h30m', '1.5h', '2d', '1w'].map(parseDuration)).toEqual([
    500, 90_000, 900_000, 900_000, 3_600_000, 5_400_000, 5_400_000, 172_800_000, 604_800_000,
  ])
  for (const wrong of ['', '5', '1 h', 'h', '-1h', '1h 2m', '1x', '1hh']) {
    expect(() => parseDuration(wrong), wrong).toThrow(Refusal)
  }
})

test('a size is in bytes, or has a unit', () => {
  expect(['0', '4096', '4096B', '4k', '4KiB', '4kB', '1.5GiB', '2 MiB', '1T'].map(parseSize)).toEqual([
    0,
    4096,
    4096,
    4096,
    4096,
    4000,
    1.5 * 2 ** 30,
    2 ** 21,
    2 ** 40,
  ])
  for (const wrong of ['', 'k', '1x', '-1', '1e3', '99999999TiB'])
    expect(() => parseSize(wrong), wrong).toThrow(Refusal)
})

test('a count is whole and large enough', () => {
  expect(parseCount('12', 1)).toBe(12)
  for (const wrong of ['0', '-1', '1.5', '1e3', '', ' 1', '99999999999999999999']) {
    expect(() => parseCount(wrong, 1), wrong).toThrow(Refusal)
  }
})

test('chunking is by content or fixed', () => {
  expect(parseChunking('content')).toEqual({ kind: 'content', bytes: null })
  expect(parseChunking('content:16KiB')).toEqual({ kind: 'content', bytes: 16_384 })
  expect(parseChunking('fixed:4096')).toEqual({ kind: 'fixed', bytes: 4096 })
  for (const wrong of ['fixed', 'fixed:', 'other', 'content16'])
    expect(() => parseChunking(wrong), wrong).toThrow(Refusal)
})

test('a source ends the name at the first =', () => {
  expect(parseSource('a=./b=c')).toEqual({ name: 'a', path: './b=c' })
  expect(parseSource('a/b=-')).toEqual({ name: 'a/b', path: '-' })
  for (const wrong of ['', 'a', '=b', 'a=']) expect(() => parseSource(wrong), wrong).toThrow(Refusal)
})
