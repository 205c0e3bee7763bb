import { describe, expect, test } from 'vitest'
import { CODEC_DAG_CBOR, CODEC_RAW, cidText } from '../../src/format/cid.ts'
import { encodeHead, type Head, type HeadSnapshot, parseHead } from '../../src/format/head.ts'
import { sealJson } from '../../src/format/json-file.ts'
import { expectCode } from './expect-code.ts'
import { flips, pattern, prefixes } from './pattern.ts'

const manifest = cidText({ codec: CODEC_DAG_CBOR, digest: pattern(32, 1) })
const name = (digit: string): string => digit.repeat(64)
const snapshot = (sequence: number, more: Partial<HeadSnapshot> = {}): HeadSnapshot => ({
  sequence,
  manifest,
  time: '2025-01-31T23:59:59.999Z',
  tags: [],
  abandoned: false,
  pack: 1,
  packs: [1],
  size: 1000,
  ...more,
})
const empty: Head = {
  ...{ storeId: '0123456789abcdef'.repeat(2), revision: 0, sequence: 0, current: null },
  ...{ snapshots: [], packs: [], retired: [], damaged: [], writes: [] },
}
const head: Head = {
  ...{ storeId: '0123456789abcdef'.repeat(2), revision: 9, sequence: 7, current: 6 },
  snapshots: [
    snapshot(6, { message: 'after "the" fix\n', tags: ['latest', 'v2'], pack: 3, packs: [1, 3] }),
    snapshot(4, { abandoned: true }),
    snapshot(2),
  ],
  packs: [
    { id: 1, name: name('a'), bytes: 1000, blocks: 3, live: null },
    { id: 3, name: name('b'), bytes: 2 ** 32 - 1, blocks: 100, live: 5 },
  ],
  retired: [{ name: name('c'), bytes: 1, revision: 9 }],
  damaged: [{ pack: name('a'), digests: [name('d'), name('e')] }],
  writes: ['0123456789abcdef', 'fedcba9876543210'],
}

/** The fields on disk, to be changed and sealed again. */
const seal = (changes: Record<string, unknown>): Uint8Array =>
  sealJson({ format: 'holdfast-head', version: 3, requires: [], ...head, ...changes })

test('HEAD comes back equal', () => {
  for (const given of [head, empty])
    expect(parseHead(encodeHead(given), 'HEAD.json')).toEqual({ head: given, unknown: [] })
  expect(JSON.parse(Buffer.from(encodeHead(head)).toString())).toMatchObject({
    format: 'holdfast-head',
    version: 3,
    requires: [],
    ...head,
  })
})

test('every flipped bit and every shortened HEAD is damage, never another error', () => {
  const bytes = encodeHead(head)
  for (const flipped of flips(bytes)) {
    expect(expectCode(() => parseHead(flipped, 'HEAD.json'), 'HEAD_DAMAGED')).toMatchObject({ where: 'HEAD.json' })
  }
  for (const prefix of prefixes(bytes)) expectCode(() => parseHead(prefix, 'HEAD.json'), 'HEAD_DAMAGED')
})

test('fields of a later version are ignored, and named for writers to refuse', () => {
  const bytes = seal({
    future: 1,
    snapshots: [{ ...snapshot(6), signature: 'x' }],
    packs: head.packs.map((pack) => ({ ...pack, tier: 'cold' })),
  })
  const parsed = parseHead(bytes, 'HEAD.json')
  expect(parsed.unknown.sort()).toEqual(['future', 'packs[].tier', 'snapshots[].signature'])
  expect(parsed.head).toEqual({ ...head, snapshots: [snapshot(6)] })
})

test('a newer version, and anything required, is unsupported; another format is no store', () => {
  expectCode(() => parseHead(seal({ version: 4, snapshots: 'new' }), 'x'), 'VERSION_UNSUPPORTED')
  expect(expectCode(() => parseHead(seal({ requires: ['sharding'] }), 'x'), 'VERSION_UNSUPPORTED')).toMatchObject({
    requires: ['sharding'],
  })
  expectCode(() => parseHead(seal({ format: 'other-head' }), 'x'), 'NOT_A_STORE')
})

describe('what contradicts itself is damage when read, and a bug when written', () => {
  const [pack1, pack3] = head.packs as [Head['packs'][number], Head['packs'][number]]
  const cases: [name: string, changes: Partial<Head>][] = [
    ['a head that is not there', { current: 5 }],
    ['no head among snapshots', { current: null }],
    ['a head of 0', { current: 0 }],
    ['two packs of one id', { packs: [pack1, pack3, { ...pack1, name: name('f') }] }],
    ['a pack twice', { packs: [pack1, pack3, { ...pack1, id: 4 }] }],
    ['a pack in use and retired', { retired: [{ name: name('a'), bytes: 1, revision: 1 }] }],
    ['a pack retired twice', { retired: [...head.retired, ...head.retired] }],
    ['a pack retired in the future', { retired: [{ name: name('c'), bytes: 1, revision: 10 }] }],
    ['snapshots out of order', { snapshots: [...head.snapshots].reverse() }],
    ['a snapshot twice', { snapshots: [snapshot(6), snapshot(6)] }],
    ['a sequence not given out yet', { snapshots: [snapshot(8), snapshot(6)] }],
    ['a pack that is not there', { snapshots: [snapshot(6, { packs: [1, 2] })] }],
    ['the pack of the manifest not needed', { snapshots: [snapshot(6, { pack: 3 })] }],
    ['packs out of order', { snapshots: [snapshot(6, { packs: [3, 1] })] }],
    ['tags out of order', { snapshots: [snapshot(6, { tags: ['b', 'a'] })] }],
    ['a tag twice', { snapshots: [snapshot(6, { tags: ['a', 'a'] })] }],
    [
      'a manifest that is raw',
      { snapshots: [snapshot(6, { manifest: cidText({ codec: CODEC_RAW, digest: pattern(32, 1) }) })] },
    ],
    ['a manifest that is no CID', { snapshots: [snapshot(6, { manifest: 'bafy' })] }],
    ['a time that is none', { snapshots: [snapshot(6, { time: '2025-02-30T00:00:00.000Z' })] }],
    ['a lone surrogate', { snapshots: [snapshot(6, { message: '\uD800' })] }],
    ['a size with a fraction', { snapshots: [snapshot(6, { size: 0.5 })] }],
    ['a size beyond 2^53', { snapshots: [snapshot(6, { size: 2 ** 53 })] }],
    ['a negative revision', { revision: -1 }],
    ['a store id too short', { storeId: '00' }],
    ['a store id in upper case', { storeId: 'A'.repeat(32) }],
    ['a pack name that is none', { packs: [{ ...pack1, name: '../../etc/passwd' }, pack3] }],
    ['a pack too large', { packs: [{ ...pack1, bytes: 2 ** 32 }, pack3] }],
    ['a damaged digest that is none', { damaged: [{ pack: name('a'), digests: ['x'] }] }],
    ['a write id that is none', { writes: ['0'] }],
    ['65 writes', { writes: Array.from({ length: 65 }, () => '0123456789abcdef') }],
  ]
  test.each(cases)('%s', (_name, changes) => {
    expectCode(() => parseHead(seal(changes), 'HEAD.json'), 'HEAD_DAMAGED')
    expect(() => encodeHead({ ...head, ...changes })).toThrow(/bug/)
  })

  test.each(Object.keys(empty))('without %s', (field) => {
    expectCode(() => parseHead(seal({ [field]: undefined }), 'HEAD.json'), 'HEAD_DAMAGED')
  })
})

test('more than 1,024 snapshots, and more than 16 MiB, exceed the limits', () => {
  const snapshots = Array.from({ length: 1025 }, (_, i) => snapshot(1025 - i))
  const many = { ...head, sequence: 1025, current: 1025, snapshots }
  expect(expectCode(() => encodeHead(many), 'LIMIT_EXCEEDED')).toMatchObject({ limit: 'snapshots' })
  const most = { ...many, snapshots: snapshots.slice(0, 1024) }
  expect(parseHead(encodeHead(most), 'x').head).toEqual(most)
  const message = 'x'.repeat(20_000)
  const long = { ...most, snapshots: most.snapshots.map((entry) => ({ ...entry, message })) }
  expect(expectCode(() => encodeHead(long), 'LIMIT_EXCEEDED')).toMatchObject({ limit: 'headBytes' })
})

test('entries that were in a HEAD before give the same bytes as new ones, and cannot be changed any more', () => {
  const fresh = structuredClone(head)
  const before = encodeHead(head)
  expect(encodeHead({ ...head, revision: head.revision + 1 })).toEqual(
    encodeHead({ ...fresh, revision: fresh.revision + 1 }),
  )
  expect(encodeHead(parseHead(before, 'x').head)).toEqual(before)
  for (const list of [head.snapshots, head.packs, head.retired, head.damaged]) {
    for (const entry of list) {
      expect(Object.isFrozen(entry)).toBe(true)
      for (const inside of Object.values(entry)) if (Array.isArray(inside)) expect(Object.isFrozen(inside)).toBe(true)
    }
  }
})

test('a HEAD of version 1, which called its `current` `head`, is not supported, and not damaged', () => {
  const { current, ...fields } = JSON.parse(Buffer.from(encodeHead(head)).toString())
  delete fields.checksum
  const old = sealJson({ ...fields, version: 1, head: current })
  expectCode(() => parseHead(old, 'HEAD.json'), 'VERSION_UNSUPPORTED')
  expectCode(() => parseHead(sealJson({ ...fields, version: 2 }), 'HEAD.json'), 'VERSION_UNSUPPORTED')
})

describe('the packs of a snapshot', () => {
  const packs = Array.from({ length: 10 }, (_, id) => ({ ...head.packs[0]!, id, name: name(String(id)) }))
  const of = (...ids: number[]): Head => ({
    ...head,
    packs,
    retired: [],
    snapshots: [snapshot(6, { pack: ids[0]!, packs: ids })],
  })
  const stored = (given: Head): unknown => JSON.parse(Buffer.from(encodeHead(given)).toString()).snapshots[0].packs

  test.each([
    [[5], [5]],
    [[0, 1], [[0, 1]]],
    [
      [0, 2, 4],
      [0, 2, 4],
    ],
    [
      [0, 1, 2, 4, 6, 7, 9],
      [[0, 2], 4, [6, 7], 9],
    ],
  ])('%j are %j in the file', (ids, ranges) => {
    expect(stored(of(...ids))).toEqual(ranges)
    expect(parseHead(encodeHead(of(...ids)), 'x').head).toEqual(of(...ids))
  })

  test.each([
    [[[1]]],
    [[[1, 1]]],
    [[[2, 1]]],
    [[[1, 2, 3]]],
    [[[1, '2']]],
    [[['1', '2']]],
    [[[1, 2.5]]],
    [[[0, 2 ** 31]]],
    [[1, [1, 2]]],
    [[[0, 2], 2]],
    [
      [
        [0, 2],
        [1, 3],
      ],
    ],
    [[-1, 0]],
    [[null]],
    ['1'],
    [[[]]],
  ])('are damaged as %j', (ranges) => {
    const snapshots = [{ ...snapshot(6, { pack: 1 }), packs: ranges }]
    expectCode(() => parseHead(seal({ packs, retired: [], snapshots }), 'x'), 'HEAD_DAMAGED')
  })

  test('are not made of ranges that would fill the memory', () => {
    const snapshots = [{ ...snapshot(6, { pack: 1 }), packs: [[0, 2 ** 31 - 1]] }]
    const before = process.memoryUsage().rss
    expectCode(() => parseHead(seal({ packs, retired: [], snapshots }), 'x'), 'HEAD_DAMAGED')
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 28)
    const oneMore = [{ ...snapshot(6, { pack: 1 }), packs: [[0, 2 ** 23]] }]
    expect(() => parseHead(seal({ packs, retired: [], snapshots: oneMore }), 'x')).toThrow(/need 8388609 packs in all/)
  })

  test('are at most 2^23 of all snapshots together', () => {
    const ids = Array.from({ length: 2 ** 16 }, (_, id) => id)
    const snapshots = Array.from({ length: 129 }, (_, i) => snapshot(129 - i, { packs: ids }))
    const many = { ...head, sequence: 129, current: 129, packs: [], snapshots }
    expect(expectCode(() => encodeHead(many), 'LIMIT_EXCEEDED')).toMatchObject({
      limit: 'packIds',
      actual: 129 * 2 ** 16,
    })
  })
})

describe('the entries that a snapshot does not cover', () => {
  const covering = (skips: unknown): Uint8Array =>
    seal({ snapshots: [{ ...snapshot(6), covers: { journal: head.storeId, sequence: 90, mark: null, skips } }] })

  test('are ascending ranges', () => {
    const skips = [
      [1, 1],
      [3, 8],
    ]
    expect(parseHead(covering(skips), 'HEAD.json').head.snapshots[0]!.covers!.skips).toEqual(skips)
  })

  test.each([
    ['no list', { 0: [1, 2] }],
    ['numbers', [1, 2]],
    ['a range of one number', [[1]]],
    ['a range of three', [[1, 2, 3]]],
    ['an entry 0', [[0, 1]]],
    ['a fraction', [[1, 1.5]]],
    ['text', [['1', '2']]],
    ['a number that is not exact', [[1, 2 ** 53]]],
    ['a range that ends before it begins', [[3, 2]]],
    [
      'ranges that overlap',
      [
        [1, 3],
        [3, 4],
      ],
    ],
  ])('are damaged as %s', (_what, skips) => {
    expectCode(() => parseHead(covering(skips), 'HEAD.json'), 'HEAD_DAMAGED')
  })

  // An error for each took half a minute, and a message of 150 MB.
  test('are told once, however many are wrong', () => {
    expect(() => parseHead(covering(new Array(2_000_000).fill(0)), 'HEAD.json')).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^.{1,300}$/s) }),
    )
  }, 20_000)
})
