import * as dagCbor from '@ipld/dag-cbor'
import { expect, test } from 'vitest'
import { BLOB_BYTES_MAX, BLOCK_BYTES_MAX, SEGMENT_BYTES } from '../../src/format/limits.ts'
import { decodeSegments, encodeSegments } from '../../src/format/segments.ts'
import { expectCode } from './expect-code.ts'
import { flips, pattern, prefixes } from './pattern.ts'

test('the block is the dag-cbor of the specification, and gives its digests back', () => {
  for (const count of [1, 2, 7, 8, 2047, 2048, 5000]) {
    const digests = pattern(32 * count, count)
    const block = encodeSegments(digests)
    expect(block).toEqual(new Uint8Array(dagCbor.encode({ digests, length: SEGMENT_BYTES })))
    for (const size of [(count - 1) * SEGMENT_BYTES + 1, count * SEGMENT_BYTES]) {
      expect(decodeSegments(block, size, 'test')).toEqual(digests)
    }
    for (const size of [(count - 1) * SEGMENT_BYTES, count * SEGMENT_BYTES + 1, 0]) {
      expectCode(() => decodeSegments(block, size, 'test'), 'SNAPSHOT_DAMAGED')
    }
  }
})

test('the segments of the largest blob fit into a block, and those of a larger one do not', () => {
  const block = encodeSegments(new Uint8Array(32 * (BLOB_BYTES_MAX / SEGMENT_BYTES)))
  expect(block.length).toBeLessThanOrEqual(BLOCK_BYTES_MAX)
  expect(decodeSegments(block, BLOB_BYTES_MAX, 'test').length).toBe(block.length - 26)
  expect(() => encodeSegments(new Uint8Array(32 * (BLOB_BYTES_MAX / SEGMENT_BYTES + 1)))).toThrow(/bug/)
})

test('no digests, or a part of one, is a bug', () => {
  expect(() => encodeSegments(new Uint8Array(0))).toThrow(/bug/)
  expect(() => encodeSegments(new Uint8Array(33))).toThrow(/bug/)
})

test('every shortened block is refused; only the digests may vary', () => {
  const block = encodeSegments(pattern(64, 1))
  const size = SEGMENT_BYTES + 1
  for (const bytes of prefixes(block)) expectCode(() => decodeSegments(bytes, size, 'test'), 'SNAPSHOT_DAMAGED')
  expectCode(() => decodeSegments(Uint8Array.of(...block, 0), size, 'test'), 'SNAPSHOT_DAMAGED')
  let i = 0
  for (const bytes of flips(block, [1])) {
    if (i++ < block.length - 64) expectCode(() => decodeSegments(bytes, size, 'test'), 'SNAPSHOT_DAMAGED')
    else expect(decodeSegments(bytes, size, 'test')).toEqual(bytes.subarray(block.length - 64))
  }
})
