import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { type Chunking, chunkBytesMax, content, cutter, fixed, parseChunking } from '../../src/format/chunking.ts'
import { gearTable } from '../../src/format/gear.ts'
import { expectCode } from './expect-code.ts'
import { pattern } from './pattern.ts'

const mask64 = 2n ** 64n - 1n

// Straight from docs/format.md, section 2, with nothing clever about it.
const referenceGear = Array.from({ length: 256 }, (_, b) => {
  const digest = blake3(Buffer.concat([Buffer.from('holdfast gear v1', 'ascii'), Buffer.of(b)]))
  let value = 0n
  for (let i = 7; i >= 0; i--) value = value * 256n + BigInt(digest[i]!)
  return value
})

function referenceCut(s: Uint8Array, average: number): number {
  const n = s.length
  const min = average / 4
  const max = average * 4
  const k = BigInt(Math.log2(average))
  const maskS = mask64 ^ (2n ** (64n - (k + 2n)) - 1n)
  const maskL = mask64 ^ (2n ** (64n - (k - 2n)) - 1n)
  if (n <= min) return n
  let h = 0n
  let i = min
  while (i < Math.min(average, n)) {
    h = ((h << 1n) + referenceGear[s[i]!]!) & mask64
    i++
    if ((h & maskS) === 0n) return i
  }
  while (i < Math.min(max, n)) {
    h = ((h << 1n) + referenceGear[s[i]!]!) & mask64
    i++
    if ((h & maskL) === 0n) return i
  }
  return i
}

function lengths(bytes: Uint8Array, chunking: Chunking): number[] {
  const cut = cutter(chunking)
  const out: number[] = []
  for (let at = 0; at < bytes.length; at += out.at(-1)!) out.push(cut(bytes, at, bytes.length))
  return out
}

function referenceLengths(bytes: Uint8Array, average: number): number[] {
  const out: number[] = []
  for (let at = 0; at < bytes.length; at += out.at(-1)!) out.push(referenceCut(bytes.subarray(at), average))
  return out
}

describe('content chunks', () => {
  test('the Gear table is the one of the specification', () => {
    expect(gearTable()).toEqual(referenceGear)
  })

  test('the loop cuts where the specification cuts, for every average', () => {
    for (let k = 12; k <= 20; k++) {
      const average = 2 ** k
      const bytes = pattern(Math.max(150_000, average * 5 + 77), k)
      expect(lengths(bytes, content({ averageBytes: average })), `average ${average}`).toEqual(
        referenceLengths(bytes, average),
      )
    }
  })

  test('the loop cuts where the specification cuts, on bytes that repeat', () => {
    for (const period of [2, 3, 64, 1000]) {
      const bytes = repeat(pattern(period, period), 70_000)
      expect(lengths(bytes, content({ averageBytes: 4096 }))).toEqual(referenceLengths(bytes, 4096))
      expect(lengths(bytes, content({ averageBytes: 2048 }))).toEqual(referenceLengths(bytes, 2048))
    }
    for (let byte = 0; byte < 256; byte++) {
      const bytes = new Uint8Array(17_000).fill(byte)
      expect(lengths(bytes, content({ averageBytes: 4096 })), `byte ${byte}`).toEqual(referenceLengths(bytes, 4096))
    }
  })

  test('the loop cuts where the specification cuts, at every length around the limits', () => {
    const bytes = pattern(16_500, 99)
    const cut = cutter(content({ averageBytes: 4096 }))
    for (const around of [0, 1, 1024, 4096, 16_384]) {
      for (let n = Math.max(0, around - 20); n <= around + 20; n++) {
        expect(cut(bytes, 0, n), `length ${n}`).toBe(referenceCut(bytes.subarray(0, n), 4096))
      }
    }
  })

  test('a chunk depends on nothing before it, and on nothing after its largest size', () => {
    const bytes = pattern(100_000, 5)
    const cut = cutter(content({ averageBytes: 4096 }))
    fc.assert(
      fc.property(fc.nat(60_000), fc.nat(20_000), (start, more) => {
        const whole = cut(bytes, start, bytes.length)
        expect(cut(bytes, start, start + 16_384 + more)).toBe(whole)
        expect(cut(bytes.slice(start), 0, bytes.length - start)).toBe(whole)
      }),
    )
  })

  test('chunks keep within a quarter and four times the average, and come close to it', () => {
    const bytes = pattern(4_000_000, 6)
    const cuts = lengths(bytes, content())
    expect(Math.max(...cuts)).toBeLessThanOrEqual(chunkBytesMax(content()))
    expect(Math.min(...cuts.slice(0, -1))).toBeGreaterThan(4096)
    expect(bytes.length / cuts.length).toBeGreaterThan(12_000)
    expect(bytes.length / cuts.length).toBeLessThan(24_000)
  })

  test('an insertion moves only the chunks around it', () => {
    const before = pattern(1_000_000, 7)
    const after = Buffer.concat([before.subarray(0, 500_000), Buffer.from('inserted'), before.subarray(500_000)])
    const digests = (bytes: Uint8Array): Set<string> => {
      const out = new Set<string>()
      let at = 0
      for (const length of lengths(bytes, content())) {
        out.add(Buffer.from(blake3(bytes.subarray(at, at + length))).toString('hex'))
        at += length
      }
      return out
    }
    const old = digests(before)
    expect([...digests(after)].filter((digest) => !old.has(digest)).length).toBeLessThanOrEqual(3)
  })

  test('shared memory and Buffers are cut like arrays', () => {
    const bytes = pattern(200_000, 8)
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length))
    shared.set(bytes)
    expect(lengths(shared, content())).toEqual(lengths(bytes, content()))
    expect(lengths(Buffer.from(bytes), content())).toEqual(lengths(bytes, content()))
  })
})

test('fixed chunks are all of their size but the last', () => {
  expect(lengths(new Uint8Array(1300), fixed(512))).toEqual([512, 512, 276])
  expect(lengths(new Uint8Array(1024), fixed(512))).toEqual([512, 512])
  expect(cutter(fixed(512))(new Uint8Array(0), 0, 0)).toBe(0)
  expect(chunkBytesMax(fixed(4096))).toBe(4096)
})

test('content() and fixed() take what the format can record, and nothing else', () => {
  expect(content()).toEqual({ kind: 'content', average: 16_384 })
  expect(content({ averageBytes: 4096 })).toEqual({ kind: 'content', average: 4096 })
  expect(fixed(1000)).toEqual({ kind: 'fixed', size: 1000 })
  for (const averageBytes of [0, 1024, 4097, 12_288, 2 ** 21, -4096, 4096.5, Number.NaN]) {
    expect(() => content({ averageBytes })).toThrow(RangeError)
  }
  for (const bytes of [0, 511, 512.5, 1_048_577, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => fixed(bytes)).toThrow(RangeError)
  }
  expect(() => content({ averageBytes: '4096' as unknown as number })).toThrow(TypeError)
  expect(() => content(null as unknown as object)).toThrow(TypeError)
  expect(() => fixed('512' as unknown as number)).toThrow(TypeError)
})

test('a recorded chunking is read back, and anything else is damage', () => {
  for (const chunking of [
    content(),
    content({ averageBytes: 2048 }),
    content({ averageBytes: 2 ** 20 }),
    fixed(512),
    fixed(1_048_576),
  ]) {
    expect(parseChunking({ ...chunking })).toEqual(chunking)
  }
  const wrong = [
    null,
    'content',
    [],
    {},
    { kind: 'content' },
    { kind: 'content', average: 1024 },
    { kind: 'content', average: 5000 },
    { kind: 'content', average: 16384n },
    { kind: 'content', size: 16_384 },
    { kind: 'fixed', size: 100 },
    { kind: 'fixed', size: 512, average: 4096 },
    { kind: 'rabin', average: 16_384 },
  ]
  for (const value of wrong) expectCode(() => parseChunking(value), 'SNAPSHOT_DAMAGED')
})

function repeat(unit: Uint8Array, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => unit[i % unit.length]!)
}
