import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ZSTDDecoder } from 'zstddec'
import { blake3 } from '../../src/format/blake3.ts'
import { compressBlock, decompressBlock } from '../../src/format/compress.ts'
import { compiledDecoder, loadFull, prepareCompression } from '../../src/format/compression.ts'
import { fromHex, toHex } from '../../src/format/hex.ts'
import { openCompressor, openDecompressor, type ZstdModule, ZstdOutOfMemory } from '../../src/format/libzstd.ts'
import { checkFrame } from '../../src/format/zstd.ts'
import { cpuTimer } from '../support/cpu-time.ts'
import { rounds } from '../support/effort.ts'
import { frameInput, type ZstdVector } from '../vectors/compute.ts'
import { flips, pattern, prefixes } from './pattern.ts'

const vector = JSON.parse(readFileSync(new URL('../vectors/zstd.json', import.meta.url), 'utf8')) as ZstdVector
const frames = vector.frames.map((entry) => ({ ...entry, frame: fromHex(entry.frame, entry.frame.length / 2) }))

prepareCompression()
const full = loadFull()
const decoder: ZstdModule = { compiled: (await compiledDecoder(new ZSTDDecoder()))!, build: 'decoder' }

type Decompress = (stored: Uint8Array, rawLength: number) => Uint8Array

function checked(decompress: Decompress): Decompress {
  return (stored, rawLength) => {
    checkFrame(stored, rawLength)
    const raw = decompress(stored, rawLength).slice()
    if (raw.length !== rawLength) throw new Error(`${raw.length} bytes`)
    return raw
  }
}

/** What this Node uses, and what a Node without zstd uses: beside its packages, and in a bundle. */
const decoders: [name: string, decompress: Decompress][] = [
  ['decompressBlock', decompressBlock],
  ['the full WebAssembly', checked(openDecompressor(full))],
  ['the decoder alone', checked(openDecompressor(decoder))],
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

  test('a frame that declares another size than the index is refused before a decoder makes room for it', () => {
    const frame = new Uint8Array(Buffer.from('28b52ffd20052b000041', 'hex'))
    expect(() => checkFrame(frame, 5)).not.toThrow()
    expect(() => checkFrame(frame, 4)).toThrow(/a zstd frame of 5 bytes, not 4/)
  })

  test('a frame that would keep a careless decoder busy for ever is refused at once', () => {
    const busy: [name: string, rawLength: number, hex: string][] = [
      ['weights that take no bits', 10, '28b52ffd 20 0a 5d0000 a2c001 05 f003 ffff01 01 00'],
      ['98,047 matches past the end', 100, '28b52ffd 20 64 4d0000 00 ffffff 54 23 00 34 01'],
    ]
    for (const [name, rawLength, hex] of busy) {
      const frame = new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
      const cpuMs = cpuTimer()
      expect(() => decompress(frame, rawLength), name).toThrow(Error)
      expect(cpuMs()).toBeLessThan(1000)
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

test('all decoders agree on whatever zstd writes', () => {
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

test('each compressor and decompressor has a memory of its own, of bounded size', () => {
  const largest = new Uint8Array(16_777_216)
  for (let i = 0; i < largest.length; i++) largest[i] = (i * i) >>> 11
  const compress = openCompressor(full)
  const other = openCompressor(full)
  for (const bytes of [largest.subarray(0, 1000), largest, largest.subarray(0, 70_000), largest]) {
    const frame = compress(bytes)
    const kept = frame.slice()
    other(pattern(100_000, 3))
    expect(Buffer.compare(frame, kept)).toBe(0)
    expect(frame.buffer.byteLength).toBeLessThanOrEqual(64 * 1024 * 1024)
    for (const module of [full, decoder]) {
      const raw = openDecompressor(module)(kept, bytes.length)
      expect(Buffer.compare(raw, bytes)).toBe(0)
      expect(raw.buffer.byteLength).toBeLessThanOrEqual(64 * 1024 * 1024)
    }
  }
})

test('where memory ends an error says so, and what comes after is right', () => {
  const compress = openCompressor(full)
  const decompress = openDecompressor(full)
  const bytes = pattern(1000, 7)
  const frame = compress(bytes).slice()
  expect(() => compress(new Uint8Array(70 * 1024 * 1024))).toThrow(ZstdOutOfMemory)
  expect(() => decompress(frame, 70 * 1024 * 1024)).toThrow(ZstdOutOfMemory)
  expect(Buffer.compare(compress(bytes), frame)).toBe(0)
  expect(Buffer.compare(decompress(frame, bytes.length), bytes)).toBe(0)
})
