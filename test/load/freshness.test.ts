import { describe, expect, test } from 'vitest'
import { compareWatermarks, type Freshness, type SourcePosition } from '../../src/load/freshness.ts'
import type { Watermark } from '../../src/load/watermark.ts'
import { memory } from '../../src/open.ts'
import type { Store } from '../../src/store.ts'
import { failure, rejects } from '../support/rejects.ts'

const current: Freshness = { state: 'current' }
const unknown: Freshness = { state: 'unknown' }
const behind = (by: unknown): Freshness => ({ state: 'behind', by }) as Freshness
const ahead = (by: unknown): Freshness => ({ state: 'ahead', by }) as Freshness

describe('a persisted watermark compared with the source’s', () => {
  const big = 2n ** 60n
  const table: [persisted: unknown, source: Watermark, Freshness][] = [
    // One count.
    [5, 5, current],
    [0, 0, current],
    [5, 7, behind(2)],
    [7, 5, ahead(2)],
    [-3, 2, behind(5)],
    [0.5, 2, behind(1.5)],
    [big, big, current],
    [big, big + 1n, behind(1n)],
    [big + 1n, big, ahead(1n)],
    // As they come back: integers below 2^53 as numbers, others as BigInt.
    [5, 5n, current],
    [5, 7n, behind(2n)],
    [2 ** 53 - 1, BigInt(2 ** 53) + 2n, behind(3n)],
    [big, 5, ahead(big - 5n)],
    // Text.
    ['2025-01-31T00:00:00Z', '2025-01-31T00:00:00Z', current],
    ['2025-01-31T00:00:00Z', '2025-02-01T00:00:00Z', behind(null)],
    ['b', 'a', ahead(null)],
    ['', 'a', behind(null)],
    // Digits in text are numbers, as databases give their 64-bit ids.
    ['9', '10', behind(1n)],
    ['10', '9', ahead(1n)],
    ['0010', '10', current],
    ['-9', '-10', ahead(1n)],
    ['9', 10, behind(1n)],
    [10, '9', ahead(1n)],
    ['9', 10n, behind(1n)],
    ['18446744073709551615', '18446744073709551616', behind(1n)],
    ['9'.repeat(500), '1'.repeat(500), ahead(null)],
    [0.5, '9'.repeat(400), behind(Number.POSITIVE_INFINITY)],
    // Positions of streams and logs.
    ['1526919030474-9', '1526919030474-10', behind(null)],
    ['16/B374D848', '16/B374D848', current],
    ['F/FF', '10/A', behind(null)],
    ['0/1F', '0/FF', behind(null)],
    ['2025-01-31', '2025-02-01', behind(null)],
    ['5', '5-1', behind(null)],
    // Times, whatever their zone and their zeros.
    ['2025-01-31T00:00:00Z', '2025-01-31T00:00:00.000Z', current],
    ['2025-01-31T00:00:00.5Z', '2025-01-31T00:00:00Z', ahead(null)],
    ['2025-01-31T00:00:00.000001Z', '2025-01-31 00:00:00.000002+0000', behind(null)],
    ['2025-01-31T01:00:00+01:00', '2025-01-31T00:00:00Z', current],
    ['2025-01-31T00:00:00.000Z', new Date('2025-01-31T00:00:00Z'), current],
    ['2025-01-31T00:00:00.000Z', new Date('2025-02-01T00:00:00Z'), behind(null)],
    [5, new Date(7), behind(2)],
    // Several, by name.
    [{ rows: 5, seq: 9 }, { rows: 5, seq: 9 }, current],
    [{ rows: 5, seq: 9 }, { seq: 9, rows: 5 }, current],
    [{ rows: 5, seq: 9 }, { rows: 6, seq: 9 }, behind({ rows: 1 })],
    [{ rows: 5, seq: 9 }, { rows: 6, seq: 12 }, behind({ rows: 1, seq: 3 })],
    [{ rows: 5, seq: 9 }, { rows: 4, seq: 9 }, ahead({ rows: 1 })],
    // One that is ahead is enough: replaying cannot take it back.
    [{ rows: 5, seq: 9 }, { rows: 4, seq: 20 }, ahead({ rows: 1 })],
    [{ seq: big }, { seq: big + 2n }, behind({ seq: 2n })],
    [{ id: '9', at: 'a', n: 1 }, { id: '10', at: 'b', n: 2 }, behind({ id: 1n, at: null, n: 1 })],
    [{ id: '9', at: 'b' }, { id: '10', at: 'a' }, ahead({ at: null })],
    [
      { id: 9, at: 5 },
      new Map<string, number | Date>([
        ['id', 9],
        ['at', new Date(6)],
      ]),
      behind({ at: 1 }),
    ],
    [JSON.parse('{"__proto__":5}'), JSON.parse('{"__proto__":7}'), behind(JSON.parse('{"__proto__":2}'))],
    // Not comparable.
    [undefined, 5, unknown],
    [null, 5, unknown],
    [5, { rows: 5 }, unknown],
    [{ rows: 5 }, 5, unknown],
    [{ rows: 5 }, { rows: 5, seq: 9 }, unknown],
    [{ rows: 5, seq: 9 }, { rows: 5 }, unknown],
    [{ rows: 5 }, { seq: 5 }, unknown],
    [{ rows: 'x' }, { rows: 5 }, unknown],
    ['x', 5, unknown],
    [5, 'x', unknown],
    [new Date(Number.NaN), new Date(0), unknown],
    [{}, { rows: 5 }, unknown],
    [[5], { 0: 5 }, unknown],
    [Uint8Array.of(5), { 0: 5 }, unknown],
    [true, 1, unknown],
  ]
  test.each(table)('%o and %o', (persisted, source, expected) => {
    expect(compareWatermarks(persisted, source)).toEqual(expected)
  })
})

describe('a watermark is stored', () => {
  test.each<[given: Watermark, stored: unknown]>([
    [5n, 5],
    [-5n, -5],
    [-0, 0],
    [2n ** 53n, 2n ** 53n],
    [2n ** 64n - 1n, 2n ** 64n - 1n],
    [new Date(0), '1970-01-01T00:00:00.000Z'],
    ['0042', '0042'],
    [
      { a: 1n, b: 'x', c: new Date(0), d: 0.5 },
      { a: 1, b: 'x', c: '1970-01-01T00:00:00.000Z', d: 0.5 },
    ],
    [new Map([['a', 7n]]), { a: 7 }],
    [Object.assign(Object.create(null) as object, { a: 1 }) as Watermark, { a: 1 }],
  ])('%o', async (given, stored) => {
    const store = memory()
    await store.persist({ blobs: {}, watermark: given })
    await using snapshot = await store.load({ source: { watermark: given } })
    expect(snapshot).toMatchObject({ watermark: stored, freshness: current })
  })

  test.each<[unknown, path: string]>([
    [null, 'watermark'],
    [true, 'watermark'],
    [Number.NaN, 'watermark'],
    [Number.POSITIVE_INFINITY, 'watermark'],
    [2 ** 53, 'watermark'],
    [2n ** 64n, 'watermark'],
    [new Date(Number.NaN), 'watermark'],
    [[1, 2], 'watermark'],
    [{}, 'watermark'],
    [new Map([[1, 1]]), 'watermark'],
    [Uint8Array.of(1), 'watermark'],
    [() => 5, 'watermark'],
    [
      new (class Position {
        at = 5
      })(),
      'watermark',
    ],
    [{ a: 1, b: null }, 'watermark.b'],
    [{ a: { b: 1 } }, 'watermark.a'],
    ['\ud800', 'watermark'],
  ])('unless nothing can be compared with it: %o', async (given, path) => {
    const store = memory()
    const error = await rejects(store.persist({ blobs: {}, watermark: given as Watermark }), 'METADATA_INVALID')
    expect(error.details.path).toBe(path)
    expect(await store.load()).toBeNull()
  })
})

async function storeWith(...watermarks: (Watermark | undefined)[]): Promise<Store> {
  const store = memory({ keepLast: 10, onWarning: () => undefined })
  for (const watermark of watermarks) {
    await store.persist({ blobs: { a: String(watermark) }, ...(watermark === undefined ? {} : { watermark }) })
  }
  return store
}

describe('load with the position of its source', () => {
  async function outcome(store: Store, source: SourcePosition): Promise<string> {
    try {
      await using snapshot = await store.load({ source })
      return `${snapshot!.sequence} ${snapshot!.freshness.state}`
    } catch (error) {
      return (error as { code: string }).code
    }
  }

  const policies: [string, number | undefined, SourcePosition, string][] = [
    ['current is accepted', 5, { watermark: 5 }, '1 current'],
    ['current is never refused', 5, { watermark: 5, behind: 'refuse', ahead: 'refuse' }, '1 current'],
    ['behind is accepted by default', 5, { watermark: 7 }, '1 behind'],
    ['behind is accepted', 5, { watermark: 7, behind: 'accept', ahead: 'refuse' }, '1 behind'],
    ['behind is refused', 5, { watermark: 7, behind: 'refuse' }, 'SNAPSHOT_BEHIND'],
    ['ahead is refused by default', 7, { watermark: 5 }, 'SNAPSHOT_AHEAD'],
    ['ahead is refused', 7, { watermark: 5, ahead: 'refuse', behind: 'accept' }, 'SNAPSHOT_AHEAD'],
    ['ahead is accepted', 7, { watermark: 5, ahead: 'accept' }, '1 ahead'],
    ['ahead, and nothing to fall back to', 7, { watermark: 5, ahead: 'fallback' }, 'SNAPSHOT_AHEAD'],
    [
      'unknown is accepted, whatever the policies',
      undefined,
      { watermark: 5, behind: 'refuse', ahead: 'refuse' },
      '1 unknown',
    ],
  ]
  test.each(policies)('%s', async (_name, persisted, source, expected) => {
    const store = await storeWith(persisted)
    expect(await outcome(store, source)).toBe(expected)
    await store.close()
  })

  test('tells by how much, in the error too', async () => {
    const store = await storeWith({ rows: 5, seq: 9 })
    await using snapshot = await store.load({ source: { watermark: { rows: 8, seq: 9 } } })
    expect(snapshot!.freshness).toEqual({ state: 'behind', by: { rows: 3 } })
    const error = await rejects(store.load({ source: { watermark: { rows: 4, seq: 9n } } }), 'SNAPSHOT_AHEAD')
    expect(error.details).toMatchObject({ sequence: 1, by: { rows: 1 } })
    expect(error.message).toMatch(/ahead of its source by \{ rows: 1 \}/)
    await store.close()
  })

  test('by default knows nothing', async () => {
    const store = await storeWith(5)
    await using snapshot = await store.load()
    expect(snapshot!.freshness).toEqual({ state: 'unknown' })
    expect(snapshot!.watermark).toBe(5)
    await store.close()
  })

  test('ahead: fallback takes the newest that is not ahead, and tells what it passed over', async () => {
    const store = await storeWith(3, 5, 8, 9)
    await using snapshot = await store.load({ source: { watermark: 6, ahead: 'fallback' } })
    expect(snapshot).toMatchObject({ sequence: 2, freshness: { state: 'behind', by: 1 } })
    expect(snapshot!.skipped).toMatchObject([
      { sequence: 4, error: { code: 'SNAPSHOT_AHEAD' } },
      { sequence: 3, error: { code: 'SNAPSHOT_AHEAD' } },
    ])
    const restored = await store.restore((each) => each.sequence, { source: { watermark: 6, ahead: 'fallback' } })
    expect(restored!.value).toBe(2)
    await restored!.snapshot.dispose()
    await store.close()
  })

  test('ahead: fallback does not go below minSequence, nor to what a rollback stepped over', async () => {
    const store = await storeWith(3, 5, 8)
    const source: SourcePosition = { watermark: 6, ahead: 'fallback' }
    await rejects(store.load({ source, minSequence: 3 }), 'SNAPSHOT_AHEAD')
    await store.rollback(1)
    await store.persist({ blobs: { a: 'x' }, watermark: 20 })
    await using snapshot = await store.load({ source })
    expect(snapshot!.sequence).toBe(4)
    await store.close()
  })

  test('behind: refuse is not a reason to fall back', async () => {
    const store = await storeWith(3, 5)
    await rejects(
      store.load({ fallback: true, source: { watermark: 9, behind: 'refuse', ahead: 'fallback' } }),
      'SNAPSHOT_BEHIND',
    )
    await store.close()
  })

  test.each<[string, unknown]>([
    ['no watermark', {}],
    ['a watermark that is NaN', { watermark: Number.NaN }],
    ['a date that is none', { watermark: new Date(Number.NaN) }],
    ['bytes', { watermark: Uint8Array.of(1) }],
    ['nothing by name', { watermark: {} }],
    ['lists by name', { watermark: { a: [1] } as never }],
    ['a policy that there is not', { watermark: 1, ahead: 'ignore' }],
    ['fallback for behind', { watermark: 1, behind: 'fallback' }],
  ])('%s is misuse, not "unknown"', async (_name, source) => {
    const store = await storeWith(5)
    expect(await failure(store.load({ source: source as SourcePosition }))).toBeInstanceOf(TypeError)
    await store.close()
  })
})
