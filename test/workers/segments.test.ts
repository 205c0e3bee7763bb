import { expect, test } from 'vitest'
import { SEGMENT_BYTES } from '../../src/format/limits.ts'
import { createSegmentDigests, digestSegments } from '../../src/workers/segments.ts'
import { noise } from '../support/bytes.ts'

function digestsOf(bytes: Uint8Array, size: number, partBytes: number): Uint8Array | null {
  const digests = createSegmentDigests(size)
  for (let at = 0; at < bytes.length; at += partBytes) digests.add(bytes.subarray(at, at + partBytes))
  return digests.finish()
}

const sizes = [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES, 2 * SEGMENT_BYTES + 77_777]

test.each(sizes)('a file of %i bytes that is made has the digests that it has when it is read', async (size) => {
  const bytes = noise(size, size + 1)
  const read = async (target: Uint8Array, position: number): Promise<number> => {
    const part = bytes.subarray(position, position + target.length)
    target.set(part)
    return part.length
  }
  const expected = await digestSegments(size, read)
  for (const partBytes of [Math.max(size, 1), SEGMENT_BYTES, 1_000_003]) {
    expect(digestsOf(bytes, size, partBytes)).toEqual(expected)
  }
})

test.each([1, SEGMENT_BYTES, SEGMENT_BYTES + 5])('parts of another size than %i bytes have no digests', (size) => {
  const bytes = noise(size + 1, 3)
  expect(digestsOf(bytes.subarray(0, size - 1), size, 1_000_003)).toBeNull()
  expect(digestsOf(bytes, size, 1_000_003)).toBeNull()
  expect(digestsOf(bytes, size, size + 1)).toBeNull()
  expect(digestsOf(bytes.subarray(0, size), size, 1_000_003)).not.toBeNull()
})

test('a file that is shorter has no digests, and no read is left when it fails', async () => {
  const bytes = noise(2 * SEGMENT_BYTES, 4)
  let reads = 0
  const read = async (target: Uint8Array, position: number): Promise<number> => {
    reads += 1
    await new Promise((resolve) => setTimeout(resolve, position === 0 ? 0 : 20))
    reads -= 1
    const part = bytes.subarray(position, position + target.length)
    target.set(part)
    return part.length
  }
  expect(await digestSegments(bytes.length, read)).toHaveLength(64)
  expect(await digestSegments(bytes.length + 1, read)).toBeNull()
  const controller = new AbortController()
  const stopped = digestSegments(
    bytes.length,
    async (target, position) => {
      if (position > 0) controller.abort(new Error('stopped'))
      return await read(target, position)
    },
    controller.signal,
  )
  await expect(stopped).rejects.toThrow('stopped')
  expect(reads).toBe(0)
})
