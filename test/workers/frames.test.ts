import { expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { prepareCompression } from '../../src/format/compression.ts'
import { compressChunks, decompressFrames } from '../../src/workers/frames.ts'
import type { Tools } from '../../src/workers/jobs.ts'
import { noise } from '../support/bytes.ts'

const CHUNK = 4096
const text = Buffer.from(Array.from({ length: 2000 }, (_, i) => `line ${i} of many, `).join(''))
const memory = new Uint8Array(
  Buffer.concat([text.subarray(0, 4 * CHUNK), noise(2 * CHUNK, 1), text.subarray(0, CHUNK)]),
)
const tools: Tools = { memory, blake3, cutOne: () => 0 }
const ranges = Uint32Array.from({ length: 14 }, (_, i) => Math.ceil(i / 2) * CHUNK)

/** The chunks of text, compressed; those of noise are not. */
function packed() {
  expect(prepareCompression()).toEqual({ ready: true })
  const { stored, lengths, checks, skip } = compressChunks(
    { kind: 'compress', ranges, skip: { chunks: 0, next: 1 } },
    tools,
  )
  const kept = [...lengths.keys()].filter((i) => lengths[i]! > 0)
  const frames = Uint32Array.from(kept, (i) => lengths[i]!)
  const offsets = Uint32Array.from(frames, (_, k) => frames.subarray(0, k).reduce((sum, length) => sum + length, 0))
  const job = {
    kind: 'decompress' as const,
    stored,
    raw: new Uint8Array(kept.length * CHUNK),
    offsets,
    lengths: frames,
    rawLengths: Uint32Array.from(kept, () => CHUNK),
    checks: new Uint8Array(Buffer.concat(kept.map((i) => checks.subarray(i * 8, i * 8 + 8)))),
  }
  return { job, kept, skip }
}

test('chunks that shrink come back; after one that does not, fewer are tried', () => {
  const { job, kept, skip } = packed()
  // The first of noise is tried, the second skipped, the next one tried again.
  expect(kept).toEqual([0, 1, 2, 3, 6])
  expect(skip).toEqual({ chunks: 0, next: 1 })
  expect(job.stored.length).toBeLessThan((5 * CHUNK) / 2)
  decompressFrames(job, blake3)
  expect(Buffer.compare(job.raw.subarray(0, 4 * CHUNK), memory.subarray(0, 4 * CHUNK))).toBe(0)
  expect(Buffer.compare(job.raw.subarray(4 * CHUNK), memory.subarray(6 * CHUNK))).toBe(0)
})

test('no frame that is not what it was reaches the decompressor', () => {
  const { job } = packed()
  for (const at of [0, 5, job.offsets[2]! + 9, job.stored.length - 1]) {
    const stored = job.stored.slice()
    stored[at]! ^= 1
    expect(() => decompressFrames({ ...job, stored }, blake3)).toThrow('do not match their check')
  }
})
