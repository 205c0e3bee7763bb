import { describe, expect, test } from 'vitest'
import type { HeadSnapshot } from '../../src/format/head.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { nextHead } from '../../src/history/next-head.ts'
import { type Keep, memory, openStore, type Store, type Warning } from '../../src/index.ts'
import { localScratch } from '../../src/local/local.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/port.ts'
import { createStore } from '../../src/store.ts'
import { failure } from '../support/rejects.ts'
import { storeOver } from '../support/store-over.ts'

async function persist(store: Store, ...numbers: number[]): Promise<void> {
  for (const n of numbers) await store.persist({ blobs: { a: `blob ${n}` } })
}

async function sequences(store: Store): Promise<number[]> {
  return (await store.snapshots()).map(({ sequence }) => sequence)
}

/** A store of `count` snapshots, of which the one of sequence n was made `hoursAgo[n - 1]` hours ago. */
async function aged(hoursAgo: readonly number[]): Promise<Storage> {
  const storage = memoryStorage()
  const store = storeOver(storage, nodeFileSystem, { keepLast: hoursAgo.length })
  await persist(store, ...hoursAgo.map((_, i) => i))
  await storage.write({ waitMs: 1000 }, async (session) => {
    const { head } = session.stored!
    const snapshots = head.snapshots.map((snapshot): HeadSnapshot => {
      const timeMs = Date.now() - hoursAgo[snapshot.sequence - 1]! * 3_600_000
      return { ...snapshot, time: new Date(timeMs).toISOString() }
    })
    await session.swapHead(nextHead(head, { snapshots }))
  })
  return storage
}

function openOver(storage: Storage, warnings: Warning[] = [], keep?: Keep): Store {
  return storeOver(storage, nodeFileSystem, { keep, onWarning: (warning) => void warnings.push(warning) })
}

describe('what a persist keeps', () => {
  test('is by default the last three, and the newest of two hours and of two days', async () => {
    // Hours from 300 on are days apart, so whenever this runs they are in other days than those before.
    const storage = await aged([400, 300, 299.9, 0, 0, 0])
    const store = createStore({
      storage,
      fs: nodeFileSystem,
      local: localScratch(nodeFileSystem),
      journal: null,
      storageAt: () => storage,
    })
    const { dropped } = await store.persist({ blobs: { a: 'new' } })
    const kept = await sequences(store)
    expect(kept.slice(0, 3)).toEqual([7, 6, 5])
    expect(kept).toContain(3)
    expect(kept).not.toContain(1)
    expect([...kept, ...dropped].sort()).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  test('is what the store says, and the result lists what was dropped', async () => {
    const store = openOver(await aged([80, 50, 26, 25, 2, 1]), [], { last: 1, daily: 3 })
    const { dropped } = await store.persist({ blobs: { a: 'new' } })
    const kept = await sequences(store)
    expect(kept[0]).toBe(7)
    expect([...kept, ...dropped].sort()).toEqual([1, 2, 3, 4, 5, 6, 7])
    expect(dropped).toEqual([...dropped].sort((a, b) => b - a))
    const days = (await store.snapshots()).map(({ time }) => time.toISOString().slice(0, 10))
    expect(new Set(days).size).toBe(3)
    expect(days).toHaveLength(3)
  })

  test('is for one persist what that one says', async () => {
    const store = memory({ keep: { last: 5 } })
    await persist(store, 1, 2, 3, 4, 5)
    expect((await store.persist({ blobs: { a: 'six' }, keep: { last: 2 } })).dropped).toEqual([4, 3, 2, 1])
    expect((await store.persist({ blobs: { a: 'seven' }, keepLast: 3 })).dropped).toEqual([])
    await persist(store, 8, 9)
    expect(await sequences(store)).toEqual([9, 8, 7, 6, 5])
  })

  test('loses nothing when the content is unchanged', async () => {
    const store = memory({ keep: { last: 5 } })
    await persist(store, 1, 2, 3)
    expect(await store.persist({ blobs: { a: 'blob 3' }, keepLast: 1 })).toMatchObject({ unchanged: true, dropped: [] })
    expect(await sequences(store)).toEqual([3, 2, 1])
  })

  test('is warned of when a persist drops more than half of eight or more', async () => {
    const warnings: Warning[] = []
    const store = openOver(await aged(Array(8).fill(0)), warnings, { last: 20 })
    await persist(store, 9)
    expect(warnings).toEqual([])
    await store.persist({ blobs: { a: 'new' }, keep: { last: 4, daily: 1 } })
    expect(warnings).toMatchObject([
      { code: 'MANY_DROPPED', details: { dropped: [6, 5, 4, 3, 2, 1], kept: 3, keep: { last: 4, daily: 1 } } },
    ])
    expect(warnings[0]!.message).toContain('last 4, daily 1')
  })

  test.each([
    ['half of eight', 8, 5],
    ['most of seven', 7, 1],
  ])('is not warned of when it drops %s', async (_, before, last) => {
    const warnings: Warning[] = []
    const store = openOver(await aged(Array(before).fill(0)), warnings, { last })
    await persist(store, 9)
    expect(await sequences(store)).toHaveLength(last)
    expect(warnings).toEqual([])
  })
})

test.each([
  ['both', { keep: { last: 1 }, keepLast: 1 }, TypeError, /keep or keepLast, not both/],
  ['an unknown rule', { keep: { dayly: 3 } }, TypeError, /did you mean daily\?/],
  ['a number', { keep: 3 }, TypeError, /must be an object/],
  ['null', { keep: null }, TypeError, /must be an object/],
  ['no rule', { keep: {} }, RangeError, /1 to 1,000 together; got 0/],
  ['rules that keep none', { keep: { last: 0, daily: 0 } }, RangeError, /1 to 1,000 together; got 0/],
  ['too many together', { keep: { last: 500, hourly: 501 } }, RangeError, /1 to 1,000 together; got 1001/],
  ['a fraction', { keep: { last: 1.5 } }, RangeError, /keep\.last/],
  ['a negative count', { keep: { last: 3, daily: -1 } }, RangeError, /keep\.daily/],
  ['text', { keep: { last: '3' } }, RangeError, /keep\.last/],
  ['keepLast of none', { keepLast: 0 }, RangeError, /1 to 1,000; got 0/],
  ['keepLast of too many', { keepLast: 1001 }, RangeError, /1 to 1,000; got 1001/],
])(
  'a policy with %s is refused when the store is opened, and by a persist before anything is read',
  async (_, wrong, type, message) => {
    const options = wrong as { keep?: Keep }
    for (const error of [
      await failure(openStore('/nowhere/at/all', options)),
      await failure((async () => memory(options))()),
      await failure(memory().persist({ blobs: { a: 'a' }, ...options })),
    ]) {
      expect(error).toBeInstanceOf(type)
      expect((error as Error).message).toMatch(message)
    }
  },
)

test('counts of 1,000 together are taken', async () => {
  const store = memory({ keep: { last: 500, hourly: 100, daily: 100, weekly: 100, monthly: 100, yearly: 100 } })
  await persist(store, 1, 2)
  expect(await sequences(store)).toEqual([2, 1])
})
