import { hash } from 'blake3-jit'
import { afterEach, expect, test, vi } from 'vitest'
import { blake3, blake3Implementation, digestsEqual } from '../../src/format/blake3.ts'
import { fromHex, toHex } from '../../src/format/hex.ts'
import { pattern } from './pattern.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  vi.doUnmock('../../src/native.ts')
  vi.resetModules()
})

/**
 * Input bytes 0, 1 … 250, 0, 1 …, as in
 * https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json
 */
const official: [length: number, digest: string][] = [
  [0, 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'],
  [1, '2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213'],
  [1023, '10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11'],
  [1024, '42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7'],
  [1025, 'd00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444'],
]

test('gives the digests of the official test vectors, with either implementation', () => {
  for (const [length, digest] of official) {
    const input = Uint8Array.from({ length }, (_, i) => i % 251)
    expect(toHex(blake3(input))).toBe(digest)
    expect(toHex(hash(input))).toBe(digest)
  }
})

test('both implementations agree on every length up to three BLAKE3 chunks, and on some long ones', () => {
  expect(blake3Implementation().name).toBe('native')
  const input = pattern(1_100_000, 1)
  const lengths = Array.from({ length: 3 * 1024 + 2 }, (_, i) => i)
  for (const length of [...lengths, 4096, 16_383, 16_384, 16_385, 65_537, 262_144, 1_048_577]) {
    const part = input.subarray(0, length)
    expect(toHex(blake3(part)), `length ${length}`).toBe(toHex(hash(part)))
  }
})

test('hashes shared memory, Buffers and views that begin anywhere', () => {
  const input = pattern(40_000, 2)
  const shared = new Uint8Array(new SharedArrayBuffer(40_000))
  shared.set(input)
  expect(blake3(shared)).toEqual(blake3(input))
  expect(hash(shared)).toEqual(blake3(input))
  expect(blake3(Buffer.from(input))).toEqual(blake3(input))
  expect(blake3(input.subarray(3, 20_000))).toEqual(hash(input.slice(3, 20_000)))
})

test('a digest is an array of its own: the next digest does not change it', async () => {
  for (const implementation of ['native', 'wasm']) {
    vi.stubEnv('HOLDFAST_BLAKE3', implementation)
    vi.resetModules()
    const { blake3 } = await import('../../src/format/blake3.ts')
    const first = blake3(pattern(20_000, 3))
    const kept = first.slice()
    blake3(pattern(20_000, 4))
    expect(first).toEqual(kept)
    expect(first.length).toBe(32)
    expect(Buffer.isBuffer(first)).toBe(false)
  }
})

test('HOLDFAST_BLAKE3=wasm chooses the portable implementation, without a reason to warn about', async () => {
  vi.stubEnv('HOLDFAST_BLAKE3', 'wasm')
  vi.resetModules()
  const fresh = await import('../../src/format/blake3.ts')
  expect(fresh.blake3Implementation()).toEqual({ name: 'wasm' })
  expect(fresh.blake3(pattern(70_000, 5))).toEqual(blake3(pattern(70_000, 5)))
})

test('an addon that does not load leaves the portable implementation, and the reason', async () => {
  vi.resetModules()
  const missing = new Error('Cannot find module')
  vi.doMock('../../src/native.ts', () => ({
    whyNotLoaded: (name: string, cause: Error) => `${name}: ${cause.message}`,
    requireNative: () => {
      throw missing
    },
  }))
  const fresh = await import('../../src/format/blake3.ts')
  expect(fresh.blake3Implementation()).toEqual({
    name: 'wasm',
    reason: new Error('@napi-rs/blake-hash: Cannot find module', { cause: missing }),
  })
  expect(fresh.blake3(pattern(100, 6))).toEqual(blake3(pattern(100, 6)))
})

test('an addon that gives wrong digests is not trusted', async () => {
  vi.resetModules()
  vi.doMock('../../src/native.ts', () => ({ requireNative: () => ({ blake3: () => Buffer.alloc(32) }) }))
  const fresh = await import('../../src/format/blake3.ts')
  expect(fresh.blake3Implementation()).toMatchObject({ name: 'wasm', reason: expect.any(Error) })
  expect(fresh.blake3(pattern(100, 6))).toEqual(blake3(pattern(100, 6)))
})

test('digestsEqual sees a difference in any of the 32 bytes and in no other', () => {
  const a = pattern(40, 7)
  const b = new Uint8Array(50)
  b.set(a.subarray(5, 37), 11)
  expect(digestsEqual(a, 5, b, 11)).toBe(true)
  for (let i = 0; i < b.length; i++) {
    b[i]! ^= 4
    expect(digestsEqual(a, 5, b, 11)).toBe(i < 11 || i >= 43)
    b[i]! ^= 4
  }
})

test('hex digits go there and back, and only the one spelling is taken', () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
  expect(toHex(bytes)).toBe(Buffer.from(bytes).toString('hex'))
  expect(fromHex(toHex(bytes), 256)).toEqual(bytes)
  for (const text of ['', '0', '00', '000000', '0G00', '00FF', ' 000', '00\n0']) {
    expect(() => fromHex(text, 2)).toThrow(TypeError)
  }
})
