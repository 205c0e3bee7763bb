import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CODEC_DAG_CBOR, CODEC_RAW } from '../../src/format/cid.ts'
import { compactingIndex } from '../../src/format/compact-index.ts'
import { BLOCK_BYTES_MAX } from '../../src/format/limits.ts'
import type { PackIndex } from '../../src/format/pack.ts'
import { createPackIndex } from '../../src/format/pack-builder.ts'
import { atOnce } from '../../src/format/steps.ts'
import { noise } from '../support/bytes.ts'

const DATA_BYTES = 2 ** 32 - 2 ** 20

const block = fc.record({
  offset: fc.integer({ min: 64, max: DATA_BYTES - BLOCK_BYTES_MAX }),
  stored: fc.oneof(fc.integer({ min: 0, max: BLOCK_BYTES_MAX }), fc.constant(BLOCK_BYTES_MAX)),
  raw: fc.oneof(fc.integer({ min: 0, max: BLOCK_BYTES_MAX }), fc.constant(BLOCK_BYTES_MAX)),
  codec: fc.constantFrom(CODEC_RAW, CODEC_DAG_CBOR),
  kind: fc.integer({ min: 0, max: 4 }),
  compressed: fc.boolean(),
})

function facts(index: PackIndex, i: number): unknown[] {
  const { offset, storedLength, rawLength, codec, compression, kind, check, digest, digestAt, bytes } = index
  const at = digestAt(i)
  return [
    ...[offset, storedLength, rawLength, codec, compression, kind].map((of) => of(i)),
    ...[check(i), digest(i), bytes.subarray(at, at + 32)].map((part) => Buffer.from(part).toString('hex')),
  ]
}

test('an index in less memory says the same of each block, compressed or not, and finds the same', () => {
  fc.assert(
    fc.property(fc.array(block, { maxLength: 300 }), fc.boolean(), fc.integer(), (blocks, mayCompress, seed) => {
      const builder = createPackIndex()
      const digests = noise(blocks.length * 32, seed)
      for (const [i, { offset, stored, raw, codec, kind, compressed }] of blocks.entries()) {
        const entry = { digest: digests, digestAt: i * 32, offset, rawLength: raw, codec, kind }
        if (mayCompress && compressed) {
          builder.add({ ...entry, storedLength: stored, compression: 1, check: noise(8, i + 1) })
        } else builder.add({ ...entry, storedLength: raw, compression: 0, check: null })
      }
      const { index } = builder.finish(new Uint8Array(64), DATA_BYTES)
      const compact = atOnce(compactingIndex(index))
      expect(compact.blocks).toBe(blocks.length)
      for (let i = 0; i < blocks.length; i++) {
        expect(facts(compact, i)).toEqual(facts(index, i))
        expect(compact.find(digests, i * 32)).toBe(index.find(digests, i * 32))
      }
      expect(compact.find(noise(32, seed + 1), 0)).toBe(-1)
      const shifted = new Uint8Array(index.bytes.length + 1)
      shifted.set(index.bytes, 1)
      const odd = atOnce(compactingIndex({ ...index, bytes: shifted.subarray(1) }))
      expect(Buffer.compare(odd.bytes, compact.bytes)).toBe(0)
      // Of its own: what it was made of may be overwritten.
      expect(compact.bytes.buffer).not.toBe(index.bytes.buffer)
      const isCompressed = mayCompress && blocks.some(({ compressed }) => compressed)
      expect(compact.bytes.length).toBe(1024 + blocks.length * (isCompressed ? 52 : 40))
    }),
  )
})
