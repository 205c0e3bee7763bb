import { describe, expect, test } from 'vitest'
import { compareWatermarks, type Freshness, type SourcePosition, type Watermark } from '../../src/load/freshness.ts'
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
    // Several, by name.
    [{ rows: 5, seq: 9 }, { rows: 5, seq: 9 }, current],
    [{ rows: 5, seq: 9 }, { seq: 9, rows: 5 }, current],
    [{ rows: 5, seq: 9 }, { rows: 6, seq: 9 }, behind({ rows: 1 })],
    [{ rows: 5, seq: 9 }, { rows: 6, seq: 12 }, behind({ rows: 1, seq: 3 })],
    [{ rows: 5, seq: 9 }, { rows: 4, seq: 9 }, ahead({ rows: 1 })],
    // One that is ahead is enough: replaying cannot take it back.
    [{ rows: 5, seq: 9 }, { rows: 4, seq: 20 }, ahead({ rows: 1 })],
    [{ seq: big }, { seq: big + 2n }, behind({ seq: 2n })],
    [JSON.parse('{"__proto__":5}'), JSON.parse('{"__proto__":7}'), behind(JSON.parse('{"__proto__":2}'))],
    // Not comparable.
    [undefined, 5, unknown],
    [null, 5, unknown],
    ['5', 5, unknown],
    [5, '5', unknown],
    [5, { rows: 5 }, unknown],
    [{ rows: 5 }, 5, unknown],
    [{ rows: 5 }, { rows: 5, seq: 9 }, unknown],
    [{ rows: 5, seq: 9 }, { rows: 5 }, unknown],
    [{ rows: 5 }, { seq: 5 }, unknown],
    [{ rows: '5' }, { rows: 5 }, unknown],
    [{}, { rows: 5 }, unknown],
    [[5], { 0: 5 }, unknown],
    [Uint8Array.of(5), { 0: 5 }, unknown],
    [true, 1, unknown],
  ]
  test.each(table)('%o and %o', (persisted, source, expected) => {
    expect(compareWatermarks(persisted, source)).toEqual(expected)
  })
})

async function storeWith(...watermarks: unknown[]): Promise<Store> {
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
    ['a date', { watermark: new Date() }],
    ['bytes', { watermark: Uint8Array.of(1) }],
    ['nothing by name', { watermark: {} }],
    ['text by name', { watermark: { a: '1' } }],
    ['a policy that there is not', { watermark: 1, ahead: 'ignore' }],
    ['fallback for behind', { watermark: 1, behind: 'fallback' }],
  ])('%s is misuse, not "unknown"', async (_name, source) => {
    const store = await storeWith(5)
    expect(await failure(store.load({ source: source as SourcePosition }))).toBeInstanceOf(TypeError)
    await store.close()
  })
})
