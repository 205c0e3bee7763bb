import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { compressBlock } from '../../src/format/compress.ts'
import { decodePortably, decompressBlock, prepareDecompression, preparePortable } from '../../src/format/compression.ts'
import { fromHex, toHex } from '../../src/format/hex.ts'
import { checkFrame } from '../../src/format/zstd.ts'
import { canCompress } from '../../src/workers/zstd.ts'
import { rounds } from '../support/effort.ts'
import { frameInput, type ZstdVector } from '../vectors/compute.ts'
import { flips, pattern, prefixes } from './pattern.ts'

const vector = JSON.parse(readFileSync(new URL('../vectors/zstd.json', import.meta.url), 'utf8')) as ZstdVector
const frames = vector.frames.map((entry) => ({ ...entry, frame: fromHex(entry.frame, entry.frame.length / 2) }))

canCompress()
await prepareDecompression()
await preparePortable()

function checkedPortably(stored: Uint8Array, rawLength: number): Uint8Array {
  checkFrame(stored, rawLength)
  return decodePortably(stored, rawLength)
}

/** What this Node uses, and what a Node without zstd uses: on Node 20 they are the same. */
const decoders: [name: string, decompress: (stored: Uint8Array, rawLength: number) => Uint8Array][] = [
  ['decompressBlock', decompressBlock],
  ['the portable decoder', checkedPortably],
]

describe.each(decoders)('%s', (_name, decompress) => {
  test.each(frames)('$input by $by gives its bytes', ({ input, rawLength, digest, frame }) => {
    const raw = decompress(frame, rawLength)
    expect(toHex(blake3(raw))).toBe(digest)
    expect(Buffer.compare(raw, frameInput(input))).toBe(0)
    expect(Buffer.isBuffer(raw)).toBe(false)
  })

  test('a frame is refused for any other length than its own', () => {
    for (const { rawLength, frame } of frames) {
      for (const other of [0, 1, rawLength - 1, rawLength + 1, 16_777_216, 16_777_217, 2 ** 31]) {
        expect(() => decompress(frame, other)).toThrow(Error)
      }
    }
  })

  test('a damaged frame throws, or gives exactly its length of some bytes', () => {
    for (const { rawLength, frame } of frames.filter(({ frame }) => frame.length < 300)) {
      for (const bytes of [...prefixes(frame), Uint8Array.of(...frame, 0), Buffer.concat([frame, frame])]) {
        expect(() => decompress(bytes, rawLength)).toThrow(Error)
      }
      for (const bytes of flips(frame)) {
        let raw: Uint8Array
        try {
          raw = decompress(bytes, rawLength)
        } catch (error) {
          expect(error).toBeInstanceOf(Error)
          continue
        }
        expect(raw.length).toBe(rawLength)
      }
    }
  })

  test('a frame that asks for more than a block is refused before anything is allocated', () => {
    const hostile: [name: string, hex: string][] = [
      ['a content size of 2^62', '28b52ffd e0 0000000000000040 010000'],
      ['a window of 3.75 TiB', '28b52ffd 80 ff 00000001 010000'],
      ['no content size', '28b52ffd 00 58 010000'],
      ['a dictionary', '28b52ffd 21 01 00 010000'],
      ['a reserved bit', '28b52ffd 28 00 010000'],
      ['a reserved block type', '28b52ffd 20 00 070000'],
      ['a skippable frame', '502a4d18 00000000'],
      ['a block beyond the end', '28b52ffd 20 05 f9ffff'],
      ['no last block', '28b52ffd 20 01 080000 41'],
    ]
    for (const [name, hex] of hostile) {
      const frame = new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
      for (const rawLength of [0, 1, 5, 16_777_216]) {
        expect(() => decompress(frame, rawLength), name).toThrow(Error)
      }
    }
  })

  test('a frame that would keep a careless decoder busy for ever is refused at once', () => {
    const busy: [name: string, rawLength: number, hex: string][] = [
      ['weights that take no bits', 10, '28b52ffd 20 0a 5d0000 a2c001 05 f003 ffff01 01 00'],
      ['98,047 matches past the end', 100, '28b52ffd 20 64 4d0000 00 ffffff 54 23 00 34 01'],
    ]
    for (const [name, rawLength, hex] of busy) {
      const frame = new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
      const before = performance.now()
      expect(() => decompress(frame, rawLength), name).toThrow(Error)
      expect(performance.now() - before).toBeLessThan(1000)
    }
  })

  test('noise after a right beginning throws, or gives exactly the length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 255 }), (noise, rawLength) => {
        const body = noise.length
        const head = [0x28, 0xb5, 0x2f, 0xfd, 0x20, rawLength, (body << 3) | 5, (body << 3) >>> 8, 0]
        try {
          expect(decompress(Uint8Array.of(...head, ...noise), rawLength).length).toBe(rawLength)
        } catch (error) {
          expect(error).toBeInstanceOf(Error)
        }
      }),
      rounds(1000),
    )
  })

  test('an empty block and one of a single byte come back', () => {
    expect(decompress(new Uint8Array(Buffer.from('28b52ffd2000010000', 'hex')), 0)).toEqual(new Uint8Array(0))
    expect(decompress(new Uint8Array(Buffer.from('28b52ffd200109000041', 'hex')), 1)).toEqual(Uint8Array.of(0x41))
  })
})

test('what is compressed comes back, and noise is not compressed', () => {
  for (const input of ['squares', 'lines', 'zeros']) {
    const raw = frameInput(input)
    const stored = compressBlock(raw)!
    expect(stored.length).toBeLessThan(raw.length)
    for (const [, decompress] of decoders) expect(Buffer.compare(decompress(stored, raw.length), raw)).toBe(0)
  }
  expect(compressBlock(pattern(16_384, 1))).toBeNull()
  expect(compressBlock(new Uint8Array(0))).toBeNull()
  expect(compressBlock(Uint8Array.of(1))).toBeNull()
})

test('both decoders agree on whatever zstd writes', () => {
  const unit = fc.uint8Array({ minLength: 1, maxLength: 60 })
  const repetitive = fc
    .array(fc.tuple(unit, fc.integer({ min: 1, max: 400 })), { maxLength: 60 })
    .map((runs) => Buffer.concat(runs.flatMap(([unit, times]) => Array.from({ length: times }, () => unit))))
  fc.assert(
    fc.property(repetitive, (bytes) => {
      const stored = compressBlock(bytes)
      if (stored === null) return
      for (const [, decompress] of decoders) expect(Buffer.compare(decompress(stored, bytes.length), bytes)).toBe(0)
    }),
  )
})
