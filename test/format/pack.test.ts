import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { CODEC_DAG_CBOR, CODEC_RAW } from '../../src/format/cid.ts'
import { compactingIndex } from '../../src/format/compact-index.ts'
import { toHex } from '../../src/format/hex.ts'
import {
  encodePackHeader,
  KIND,
  type PackIndex,
  type PackParts,
  parsePackFooter,
  parsePackHeader,
  parsePackIndex,
} from '../../src/format/pack.ts'
import { createPackIndex } from '../../src/format/pack-builder.ts'
import { atOnce } from '../../src/format/steps.ts'
import { expectCode } from './expect-code.ts'
import { flips, pattern, prefixes } from './pattern.ts'

interface Block {
  digest: Uint8Array
  stored: number
  raw: number
  codec: number
  compression: number
  kind: number
  check: Uint8Array | null
}

const storeId = pattern(16, 1)
const header = encodePackHeader({ storeId, revision: 5, nonce: pattern(16, 2) })
const block = (digest: Uint8Array, more: Partial<Block> = {}): Block => ({
  ...{ digest, stored: 100, raw: 100, codec: CODEC_RAW, compression: 0, kind: KIND.chunk, check: null },
  ...more,
})

/** A sealed pack of these blocks, back to back, in the parts that a reader reads. */
function seal(blocks: Block[], dataBytes = 0): PackParts & { built: PackIndex } {
  const builder = createPackIndex()
  let offset = 64
  const scratch = new Uint8Array(34)
  for (const { digest, stored, raw, codec, compression, kind, check } of blocks) {
    scratch.set(digest, 2)
    const lengths = { storedLength: stored, rawLength: raw }
    builder.add({ digest: scratch, digestAt: 2, offset, ...lengths, codec, compression, kind, check })
    offset += stored
  }
  expect(builder.count).toBe(blocks.length)
  const end = offset + dataBytes
  const { trailer, name, index } = builder.finish(header, end)
  return {
    name,
    header,
    index: trailer.subarray(0, -64),
    footer: trailer.subarray(-64),
    fileBytes: end + trailer.length,
    storeId,
    where: 'packs/x.pack',
    built: index,
  }
}

/** The same pack with other bytes in its index, and a digest that agrees with them. */
function forge(parts: PackParts, change: (index: Uint8Array, view: DataView) => void): PackParts {
  const index = parts.index.slice()
  change(index, new DataView(index.buffer))
  const digest = blake3(Buffer.concat([parts.header, index]))
  const footer = parts.footer.slice()
  footer.set(digest, 24)
  return { ...parts, index, footer, name: toHex(digest) }
}

const sample = seal([
  block(pattern(32, 3)),
  block(pattern(32, 4), { stored: 70, raw: 3000, compression: 1, check: pattern(8, 5) }),
  block(pattern(32, 6), { codec: CODEC_DAG_CBOR, kind: KIND.manifest }),
  block(new Uint8Array(32), { stored: 0, raw: 0 }),
  block(new Uint8Array(32).fill(0xff), { codec: CODEC_DAG_CBOR, kind: KIND.commit }),
])

describe('header', () => {
  test('is the 64 bytes of the specification, and comes back equal', () => {
    const nonce = pattern(16, 2)
    for (const revision of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 48]) {
      const bytes = encodePackHeader({ storeId, revision, nonce })
      const expected = Buffer.alloc(64)
      expected.write('89484650 41434b0a'.replace(' ', ''), 0, 'hex')
      expected.writeUInt16LE(1, 8)
      expected.writeUInt16LE(0x1e, 10)
      expected.set(storeId, 16)
      expected.writeBigUInt64LE(BigInt(revision), 32)
      expected.set(nonce, 40)
      expect(toHex(bytes)).toBe(expected.toString('hex'))
      expect(parsePackHeader(bytes, 'x')).toEqual({ storeId, revision, nonce })
    }
    expect(() => encodePackHeader({ storeId, revision: -1, nonce })).toThrow(/bug/)
    expect(() => encodePackHeader({ storeId: pattern(15, 1), revision: 1, nonce })).toThrow(/bug/)
    expect(() => encodePackHeader({ storeId, revision: 1, nonce: pattern(17, 1) })).toThrow(/bug/)
  })

  test('every flipped byte is refused but those of the three fields, and a newer version is called one', () => {
    let i = 0
    for (const bytes of flips(header, [0xff])) {
      const at = i++
      if ((at >= 16 && at < 38) || (at >= 40 && at < 56)) parsePackHeader(bytes, 'x')
      else expectCode(() => parsePackHeader(bytes, 'x'), at === 8 || at === 9 ? 'VERSION_UNSUPPORTED' : 'PACK_DAMAGED')
    }
    for (const bytes of prefixes(header)) expectCode(() => parsePackHeader(bytes, 'x'), 'PACK_DAMAGED')
    const zero = header.slice()
    zero[8] = 0
    expectCode(() => parsePackHeader(zero, 'x'), 'PACK_DAMAGED')
  })
})

describe('index', () => {
  test('every block that was added is found, with what was said about it; no other is', () => {
    const blocks = fc.uniqueArray(
      fc.record({
        digest: fc.oneof(
          fc.uint8Array({ minLength: 32, maxLength: 32 }),
          // Digests that agree in what the sort looks at first.
          fc
            .uint8Array({ minLength: 2, maxLength: 2 })
            .map((tail) => new Uint8Array(32).fill(7, 0, 30).fill(tail[0]!, 30).fill(tail[1]!, 31)),
        ),
        stored: fc.nat(5000),
        zstd: fc.boolean(),
        codec: fc.constantFrom(CODEC_RAW, CODEC_DAG_CBOR),
        kind: fc.nat(4),
      }),
      { selector: ({ digest }) => toHex(digest), maxLength: 300 },
    )
    fc.assert(
      fc.property(blocks, fc.nat(1000), (given, dataBytes) => {
        const all = given.map(({ digest, stored, zstd, codec, kind }) =>
          block(digest, {
            stored,
            raw: zstd ? stored * 3 : stored,
            codec,
            kind,
            compression: zstd ? 1 : 0,
            check: zstd ? pattern(8, stored) : null,
          }),
        )
        const parts = seal(all, dataBytes)
        const parsed = parsePackIndex(parts)
        for (const index of [parsed, parts.built]) {
          expect(index.blocks).toBe(all.length)
          let offset = 64
          for (const { digest, stored, raw, codec, compression, kind, check } of all) {
            const i = index.find(Buffer.concat([new Uint8Array(3), digest]), 3)
            expect(index.digest(i)).toEqual(digest)
            expect(index.bytes.slice(index.digestAt(i), index.digestAt(i) + 32)).toEqual(digest)
            expect([index.offset(i), index.storedLength(i), index.rawLength(i)]).toEqual([offset, stored, raw])
            expect([index.codec(i), index.compression(i), index.kind(i)]).toEqual([codec, compression, kind])
            expect(index.check(i)).toEqual(check ?? new Uint8Array(8))
            offset += stored
            const other = digest.slice()
            other[31]! ^= 1
            if (!all.some((block) => toHex(block.digest) === toHex(other))) expect(index.find(other, 0)).toBe(-1)
          }
          expect(index.find(pattern(32, 77), 0)).toBe(-1)
        }
        expect(parsed.bytes).toEqual(parts.built.bytes)
      }),
    )
  })

  test('an empty pack, and one of many blocks, are sorted and found', () => {
    expect(parsePackIndex(seal([])).find(pattern(32, 1), 0)).toBe(-1)
    const many = Array.from({ length: 20_000 }, (_, i) => block(blake3(Buffer.from(`${i}`)), { stored: 1, raw: 1 }))
    const index = parsePackIndex(seal(many))
    many.forEach(({ digest }, i) => {
      expect(index.offset(index.find(digest, 0))).toBe(64 + i)
    })
  })

  test('a digest twice, or a block outside the data, is a bug', () => {
    expect(() => seal([block(pattern(32, 1)), block(pattern(32, 1))])).toThrow(/bug/)
    const builder = createPackIndex()
    builder.add({
      digest: pattern(32, 1),
      offset: 64,
      storedLength: 100,
      rawLength: 100,
      codec: CODEC_RAW,
      compression: 0,
      kind: KIND.chunk,
      check: null,
    })
    expect(() => builder.finish(header, 163)).toThrow(/bug/)
    expect(() => createPackIndex().finish(header, 2 ** 32)).toThrow(/bug/)
    expect(() =>
      createPackIndex().add({
        digest: pattern(32, 1),
        offset: 64,
        storedLength: 1,
        rawLength: 9,
        codec: CODEC_RAW,
        compression: 1,
        kind: 0,
        check: pattern(7, 1),
      }),
    ).toThrow(/bug/)
  })

  test('the trailer is one buffer: index, then footer', () => {
    const builder = createPackIndex()
    builder.add({
      digest: pattern(32, 1),
      offset: 64,
      storedLength: 10,
      rawLength: 10,
      codec: CODEC_RAW,
      compression: 0,
      kind: KIND.chunk,
      check: null,
    })
    const { trailer, name, index } = builder.finish(header, 74)
    expect(trailer.length).toBe(1024 + 56 + 64)
    expect(index.bytes).toEqual(trailer.subarray(0, 1080))
    expect(toHex(blake3(Buffer.concat([header, index.bytes])))).toBe(name)
    expect(toHex(trailer.subarray(1080 + 24, 1080 + 56))).toBe(name)
  })

  test('a builder serves for pack after pack, and nothing of the one before is in the next', () => {
    const builder = createPackIndex()
    const packs = [1, 2].map((n) => {
      for (let i = 0; i < 90; i++)
        builder.add({
          digest: pattern(32, n * 100 + i),
          offset: 64,
          storedLength: 3,
          rawLength: 9,
          codec: CODEC_RAW,
          compression: 1,
          kind: 0,
          check: pattern(8, i),
        })
      builder.finish(header, 67)
      for (let i = 0; i < 80; i++)
        builder.add({
          digest: pattern(32, i),
          offset: 64,
          storedLength: 9,
          rawLength: 9,
          codec: CODEC_RAW,
          compression: 0,
          kind: 0,
          check: null,
        })
      return builder.finish(header, 73)
    })
    expect(packs[0]!.index.blocks).toBe(80)
    expect(packs[1]!.name).toBe(packs[0]!.name)
    expect(packs[1]!.trailer).toEqual(packs[0]!.trailer)
  })
})

test('is regular when its blocks lie back to back, in any order, and compressed ones are smaller for it', () => {
  const digests = Array.from({ length: 300 }, (_, i) => blake3(Uint8Array.of(i, i >> 8)))
  const zstd = { compression: 1, check: pattern(8, 3) }
  const blocks = digests.map((digest, i) => block(digest, i % 7 === 0 ? { ...zstd, stored: i % 99, raw: 100 } : {}))
  const regular = seal(blocks)
  expect(regular.built.isRegular).toBe(true)
  expect(parsePackIndex(regular).isRegular).toBe(true)
  expect(atOnce(compactingIndex(parsePackIndex(regular))).isRegular).toBe(true)
  // Bytes of no block, at the end.
  const longer = seal(blocks, 1)
  expect(longer.built.isRegular).toBe(false)
  expect(parsePackIndex(longer).isRegular).toBe(false)
  expect(atOnce(compactingIndex(parsePackIndex(longer))).isRegular).toBe(false)
  expect(seal(blocks.with(0, { ...block(digests[0]!), ...zstd })).built.isRegular).toBe(false)
  // Each place and length that an entry may have in the place of its own.
  const builder = (change: (i: number) => object) => {
    const made = createPackIndex()
    for (const [i, digest] of digests.slice(0, 5).entries()) {
      const entry = { offset: 64 + 10 * i, storedLength: 10, rawLength: 20, codec: CODEC_RAW, kind: KIND.chunk }
      made.add({ digest, ...entry, compression: 1, check: pattern(8, 1), ...change(i) })
    }
    return made.finish(header, 64 + 50).index.isRegular
  }
  expect(builder(() => ({}))).toBe(true)
  for (let offset = 64; offset <= 104; offset++) {
    expect(
      builder((i) => (i === 2 ? { offset } : {})),
      `at ${offset}`,
    ).toBe(offset === 84)
  }
  for (let storedLength = 0; storedLength <= 15; storedLength++) {
    expect(
      builder((i) => (i === 2 ? { storedLength } : {})),
      `${storedLength} bytes`,
    ).toBe(storedLength === 10)
  }
})

describe('reading', () => {
  test('every flipped bit of header, index and footer is damage, and never a newer version', () => {
    parsePackIndex(sample)
    for (const part of ['header', 'index', 'footer'] as const) {
      for (const bytes of flips(sample[part], [1, 0x80])) {
        expect(expectCode(() => parsePackIndex({ ...sample, [part]: bytes }), 'PACK_DAMAGED')).toMatchObject({
          where: 'packs/x.pack',
        })
      }
    }
  })

  test('a file of another length, a part too short, another name and another store are damage', () => {
    for (const fileBytes of [0, 1, sample.fileBytes - 1, sample.fileBytes + 1, 2 ** 33]) {
      expectCode(() => parsePackFooter(sample.footer, fileBytes, 'x'), 'PACK_DAMAGED')
      expectCode(() => parsePackIndex({ ...sample, fileBytes }), 'PACK_DAMAGED')
    }
    for (const part of ['header', 'index', 'footer'] as const) {
      expectCode(() => parsePackIndex({ ...sample, [part]: sample[part].subarray(1) }), 'PACK_DAMAGED')
    }
    const name = sample.name.replace(/^./, (digit) => (digit === '0' ? '1' : '0'))
    expectCode(() => parsePackIndex({ ...sample, name }), 'PACK_DAMAGED')
    expectCode(() => parsePackIndex({ ...sample, storeId: pattern(16, 9) }), 'PACK_DAMAGED')
  })

  test('an intact pack of a newer version is unsupported', () => {
    const newer = sample.header.slice()
    newer[8] = 2
    expectCode(() => parsePackIndex(forge({ ...sample, header: newer }, () => {})), 'VERSION_UNSUPPORTED')
  })

  test('the footer says where the index lies, and must say it consistently', () => {
    expect(parsePackFooter(sample.footer, sample.fileBytes, 'x')).toEqual({
      indexOffset: sample.fileBytes - 64 - sample.index.length,
      indexBytes: 1024 + 5 * 56,
      blocks: 5,
    })
    const lies: [at: number, value: number][] = [
      [0, 63],
      [0, 0],
      [8, 1024],
      [16, 4],
      [16, 0xffffffff],
      [20, 1],
      [4, 1],
      [12, 0x00200000],
    ]
    for (const [at, value] of lies) {
      const footer = sample.footer.slice()
      new DataView(footer.buffer).setUint32(at, value, true)
      expectCode(() => parsePackFooter(footer, sample.fileBytes, 'x'), 'PACK_DAMAGED')
    }
  })

  test('an index that hashes right but lies is damage', () => {
    const entry = (i: number): number => 1024 + i * 56
    const lies: [name: string, change: (index: Uint8Array, view: DataView) => void][] = [
      ['fan-out too low', (_, view) => view.setUint32(4 * 100, 0, true)],
      ['fan-out too high', (_, view) => view.setUint32(4 * 254, 5, true)],
      ['last fan-out', (_, view) => view.setUint32(4 * 255, 4, true)],
      ['digests out of order', (index) => index.fill(0xff, entry(3), entry(3) + 32)],
      ['a digest twice', (index) => index.copyWithin(entry(1), entry(2), entry(2) + 32)],
      ['an offset in the header', (_, view) => view.setUint32(entry(1) + 32, 63, true)],
      ['an offset beyond the data', (_, view) => view.setUint32(entry(1) + 32, 0xffffffff, true)],
      ['a stored length beyond the data', (_, view) => view.setUint32(entry(0) + 36, 0xfffffff0, true)],
      ['lengths that differ uncompressed', (_, view) => view.setUint32(entry(0) + 40, 1, true)],
      [
        'a block too large',
        (index, view) => {
          index[entry(0) + 45] = 1
          view.setUint32(entry(0) + 40, 16_777_217, true)
        },
      ],
      ['an unknown codec', (index) => index.fill(0x70, entry(0) + 44, entry(0) + 45)],
      ['an unknown compression', (index) => index.fill(2, entry(0) + 45, entry(0) + 46)],
      ['an unknown kind', (index) => index.fill(5, entry(0) + 46, entry(0) + 47)],
      ['a byte that must be zero', (index) => index.fill(1, entry(0) + 47, entry(0) + 48)],
      ['a check without compression', (index) => index.fill(1, entry(0) + 48, entry(0) + 49)],
    ]
    parsePackIndex(forge(sample, () => {}))
    for (const [name, change] of lies) {
      expect(
        expectCode(() => parsePackIndex(forge(sample, change)), 'PACK_DAMAGED'),
        name,
      ).toHaveProperty('reason')
    }
  })
})
