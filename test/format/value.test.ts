import vm from 'node:vm'
import * as dagCbor from '@ipld/dag-cbor'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { describe, expect, test } from 'vitest'
import { CODEC_RAW, cidOf } from '../../src/format/cid.ts'
import { decodeValue, encodeValue, isWellFormed } from '../../src/format/value.ts'
import { rounds } from '../support/effort.ts'
import { expectCode } from './expect-code.ts'
import { flips, pattern, prefixes } from './pattern.ts'

const link = cidOf({ codec: CODEC_RAW, digest: pattern(32, 9) })

const number = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).filter((x) => !Number.isInteger(x)),
)
const bigint = fc
  .bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n })
  .filter((x) => x > Number.MAX_SAFE_INTEGER || x < Number.MIN_SAFE_INTEGER)
const key = fc
  .oneof(fc.string({ unit: 'binary' }), fc.constantFrom('', '__proto__', 'constructor', '/', 'bytes', '\uFEFF'))
  .filter(isWellFormed)
const { value: anyValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(null, true, false, link),
    number,
    bigint,
    fc.string({ unit: 'binary' }).filter(isWellFormed),
    fc.uint8Array(),
    fc.array(tie('value')),
    fc.array(fc.tuple(key, tie('value'))).map((entries) => Object.fromEntries(entries)),
  ),
}))

describe('encoding', () => {
  test('every strict value comes back equal, and encodes to the same bytes again', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        const bytes = encodeValue(value, 'metadata')
        const back = decodeValue(bytes)
        expect(back).toEqual(value)
        expect(encodeValue(back, 'metadata')).toEqual(bytes)
      }),
    )
  })

  test('the bytes are those of @ipld/dag-cbor, whatever the order of the keys', () => {
    // No keys here that @ipld/dag-cbor itself takes for a link.
    const tame = fc.dictionary(
      fc.string().filter((k) => k !== '/' && isWellFormed(k)),
      fc.oneof(number, bigint, fc.boolean(), fc.uint8Array()),
    )
    fc.assert(
      fc.property(tame, (map) => {
        const reversed = Object.fromEntries(Object.entries(map).reverse())
        expect(encodeValue(map, 'm')).toEqual(new Uint8Array(dagCbor.encode(map)))
        expect(encodeValue(reversed, 'm')).toEqual(encodeValue(map, 'm'))
      }),
    )
  })

  test('numbers at the edges of their forms come back exactly', () => {
    const edges = [0, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]
    const bigs = [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, -(2n ** 53n), -(2n ** 63n), -(2n ** 64n)]
    const floats = [0.5, -0.1, Number.MIN_VALUE, 4503599627370495.5, Math.PI]
    for (const value of [...edges, ...edges.slice(1).map((x) => -x), ...bigs, ...floats]) {
      expect(decodeValue(encodeValue(value, 'x'))).toBe(value)
    }
  })

  test('strings keep a leading byte-order mark, long or short, as value and as key', () => {
    for (const text of ['\uFEFF', '\uFEFFshort', `\uFEFF${'long'.repeat(100)}`, 'é\uFEFF']) {
      expect(decodeValue(encodeValue({ [text]: text }, 'x'))).toEqual({ [text]: text })
    }
  })

  test('an empty key is a key like any other', () => {
    const value = { '': 1, a: { '': { '': [] } } }
    expect(decodeValue(encodeValue(value, 'x'))).toEqual(value)
    expect(Buffer.from(encodeValue({ '': 0 }, 'x')).toString('hex')).toBe('a16000')
    expect(() => encodeValue({ a: { '': Number.NaN } }, 'metadata')).toThrow('metadata.a[""]')
  })

  test('an own field `__proto__` is kept as a field, and changes no prototype', () => {
    const value = JSON.parse('{"__proto__": {"polluted": 1}, "a": [{"__proto__": 2}]}') as unknown
    const back = decodeValue(encodeValue(value, 'x')) as Record<string, unknown>
    expect(Object.keys(back).sort()).toEqual(['__proto__', 'a'])
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype)
    expect(back.polluted).toBeUndefined()
    expect(JSON.stringify(back)).toBe('{"a":[{"__proto__":2}],"__proto__":{"polluted":1}}')
  })

  test('a map that looks like a CID is a map', () => {
    const same = 'x'
    for (const value of [
      { '/': same, bytes: same },
      { '/': 'bafy', version: 1, code: 85, bytes: 'bafy', multihash: 0 },
    ]) {
      expect(decodeValue(encodeValue(value, 'x'))).toEqual(value)
    }
  })

  test('links made by any copy of multiformats are links', () => {
    class CID {
      version = link.version
      code = link.code
      multihash = link.multihash
      bytes = link.bytes
      get '/'() {
        return this.bytes
      }
    }
    expect(decodeValue(encodeValue([link, new CID()], 'x'))).toEqual([link, link])
  })

  test('bytes of any kind of Uint8Array come back as plain, unshared copies', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(2))
    shared.set([1, 2])
    const other = vm.runInNewContext('new Uint8Array([1, 2])') as unknown
    const block = encodeValue([shared, other, Buffer.from([1, 2]), pattern(4, 1).fill(7).subarray(1, 3)], 'x')
    const back = decodeValue(Buffer.from(block)) as Uint8Array[]
    expect(back).toEqual([Uint8Array.of(1, 2), Uint8Array.of(1, 2), Uint8Array.of(1, 2), Uint8Array.of(7, 7)])
    for (const bytes of back) expect(Object.getPrototypeOf(bytes)).toBe(Uint8Array.prototype)
    const kept = block.slice()
    for (const bytes of back) bytes.fill(0xff)
    expect(block).toEqual(kept)
  })

  test('plain objects and lists of another realm, and without a prototype, are kept', () => {
    const other = vm.runInNewContext('({ list: [1, { a: null }], s: "x" })') as unknown
    expect(decodeValue(encodeValue(other, 'x'))).toEqual({ list: [1, { a: null }], s: 'x' })
    expect(decodeValue(encodeValue(Object.assign(Object.create(null), { a: 1 }), 'x'))).toEqual({ a: 1 })
  })

  test('a getter is read once', () => {
    let reads = 0
    const value = {
      get a() {
        reads++
        return reads === 1 ? 'first' : Number.NaN
      },
    }
    expect(decodeValue(encodeValue(value, 'x'))).toEqual({ a: 'first' })
    expect(reads).toBe(1)
  })

  test('one value in two places is no cycle', () => {
    const leaf = { a: [1] }
    expect(decodeValue(encodeValue([leaf, leaf, leaf.a], 'x'))).toEqual([{ a: [1] }, { a: [1] }, [1]])
  })
})

describe('refusing', () => {
  const cycle: Record<string, unknown> = { a: 1 }
  cycle.self = [cycle]
  const sparse: unknown[] = [1]
  sparse[2] = 1
  class Point {
    x = 1
  }
  const cases: [name: string, value: unknown, path: string][] = [
    ['undefined', { a: undefined }, 'metadata.a'],
    ['-0', { fields: [0, 1, 2, { weight: -0 }] }, 'metadata.fields[3].weight'],
    ['NaN', [Number.NaN], 'metadata[0]'],
    ['infinity', { 'a b': Number.POSITIVE_INFINITY }, 'metadata["a b"]'],
    ['an unsafe integer', { 'x"y': 2 ** 53 }, 'metadata["x\\"y"]'],
    ['a large float', { é: 1e300 }, 'metadata.é'],
    ['a BigInt that fits a number', [5n], 'metadata[0]'],
    ['a BigInt that fits a number', [-(2n ** 53n) + 1n], 'metadata[0]'],
    ['a BigInt of 65 bits', [2n ** 64n], 'metadata[0]'],
    ['a BigInt of 65 bits', [-(2n ** 64n) - 1n], 'metadata[0]'],
    ['a lone surrogate', { s: 'a\uD800b' }, 'metadata.s'],
    ['a lone surrogate in a key', { '\uDC00': 1 }, 'metadata["\\udc00"]'],
    ['a symbol for a key', { [Symbol('s')]: 1 }, 'metadata'],
    ['a Float32Array', { v: new Float32Array(2) }, 'metadata.v'],
    ['a DataView', [new DataView(new ArrayBuffer(1))], 'metadata[0]'],
    ['an ArrayBuffer', [new ArrayBuffer(1)], 'metadata[0]'],
    ['a Uint8ClampedArray', [new Uint8ClampedArray(1)], 'metadata[0]'],
    ['a Date', { at: new Date(0) }, 'metadata.at'],
    ['a Map', { m: new Map() }, 'metadata.m'],
    ['a Set', { m: new Set() }, 'metadata.m'],
    ['an instance', { p: new Point() }, 'metadata.p'],
    ['an object with an inherited field', Object.create({ a: 1 }), 'metadata'],
    ['a boxed number', [Object(1)], 'metadata[0]'],
    ['a function', { f() {} }, 'metadata.f'],
    ['a symbol', [Symbol('s')], 'metadata[0]'],
    ['a hole', sparse, 'metadata[1]'],
    ['a list with fields', Object.assign([1], { index: 3 }), 'metadata'],
    ['a cycle', { a: cycle }, 'metadata.a.self[0]'],
  ]
  test.each(cases)('%s is refused, with its path', (_name, value, path) => {
    expect(expectCode(() => encodeValue(value, 'metadata'), 'METADATA_INVALID')).toEqual({
      path,
      reason: expect.any(String) as string,
    })
  })

  test('64 containers may lie in one another, and no more', () => {
    const nest = (depth: number): unknown => (depth === 0 ? 1 : depth % 2 ? [nest(depth - 1)] : { a: nest(depth - 1) })
    const deepest = encodeValue(nest(64), 'x')
    expect(decodeValue(deepest)).toEqual(nest(64))
    expectCode(() => encodeValue(nest(65), 'x'), 'METADATA_INVALID')
    expectCode(() => decodeValue(Uint8Array.of(0x81, ...deepest)), 'SNAPSHOT_DAMAGED')
  })
})

describe('decoding', () => {
  const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'))
  const refused: [name: string, bytes: string][] = [
    ['nothing', ''],
    ['two values', '00 00'],
    ['a number in a longer form', '18 17'],
    ['a number in a longer form', '19 00ff'],
    ['a number in a longer form', '1a 0000ffff'],
    ['a number in a longer form', '1b 00000000ffffffff'],
    ['a length in a longer form', '78 01 61'],
    ['a string that ends too early', '62 61'],
    ['a string that is not UTF-8', '61 ff'],
    ['a string with an encoded surrogate', '63 eda080'],
    ['a string in an overlong form', '62 c080'],
    ['an indefinite list', '9f ff'],
    ['an indefinite string', '7f ff'],
    ['a break', 'ff'],
    ['undefined', 'f7'],
    ['another simple value', 'f8 20'],
    ['a half float', 'f9 3800'],
    ['a single float', 'fa 3f000000'],
    ['a whole float', 'fb 3ff0000000000000'],
    ['-0', 'fb 8000000000000000'],
    ['a large whole float', 'fb 7e37e43c8800759c'],
    ['NaN', 'fb 7ff8000000000000'],
    ['infinity', 'fb 7ff0000000000000'],
    ['a float that ends too early', 'fb 3fe00000000000'],
    ['keys out of order', 'a2 6162 00 6161 00'],
    ['a longer key before a shorter', 'a2 626161 00 6162 00'],
    ['a key twice', 'a2 6161 00 6161 01'],
    ['a key that is a number', 'a1 01 00'],
    ['a key that is bytes', 'a1 4161 00'],
    ['another tag', 'c1 00'],
    ['tag 42 in a longer form', 'd9 002a 41 00'],
    ['a link to nothing', 'd8 2a 40'],
    ['a link without its zero', 'd8 2a 45 0155120100'],
    ['a list of more than there is', '9a ffffffff 00'],
    ['a list of 2^63', '9b 8000000000000000'],
    ['a map of more than there is', 'ba 7fffffff 6161 00'],
    ['bytes of more than there are', '5b 001fffffffffffff 00'],
    ['bytes of 2^64 - 1', '5b ffffffffffffffff 00'],
    ['reserved information', '1c'],
  ]
  test.each(refused)('%s is refused', (_name, bytes) => {
    expectCode(() => decodeValue(hex(bytes)), 'SNAPSHOT_DAMAGED')
  })

  test('a million nested lists are refused without exhausting the stack', () => {
    expectCode(() => decodeValue(new Uint8Array(1_000_000).fill(0x81)), 'SNAPSHOT_DAMAGED')
  })

  test('whatever is accepted encodes to the same bytes again', () => {
    const accept = (bytes: Uint8Array): void => {
      let value: unknown
      try {
        value = decodeValue(bytes)
      } catch (error) {
        expectCode(() => {
          throw error
        }, 'SNAPSHOT_DAMAGED')
        return
      }
      expect(encodeValue(value, 'x')).toEqual(bytes)
    }
    const block = encodeValue({ a: [1, -5, 2n ** 60n, 0.5, 'text', null], é: { b: link, c: pattern(30, 1) } }, 'x')
    for (const bytes of flips(block, [1, 2, 4, 8, 16, 32, 64, 128])) accept(bytes.slice())
    for (const bytes of prefixes(block)) expectCode(() => decodeValue(bytes), 'SNAPSHOT_DAMAGED')
    fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), accept), rounds(2000))
  })

  test('a link comes back as a CID of multiformats', () => {
    const back = decodeValue(encodeValue({ link }, 'x')) as { link: CID }
    expect(back.link).toBeInstanceOf(CID)
    expect(back.link.toString()).toBe(link.toString())
  })
})
