import { describe, expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { createReachableCache, REACHABLE_BLOCKS_MAX } from '../../src/gc/reachable-cache.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/port.ts'
import { noise } from '../support/bytes.ts'
import { storeOver } from '../support/store-over.ts'

/** How many times packs are read. */
function counting(storage: Storage): { storage: Storage; take(): number } {
  let reads = 0
  async function openPack(name: string): ReturnType<Storage['openPack']> {
    const file = await storage.openPack(name)
    return {
      ...file,
      async read(target, position) {
        reads += 1
        await file.read(target, position)
      },
    }
  }
  return {
    storage: { ...storage, openPack },
    take() {
      const taken = reads
      reads = 0
      return taken
    },
  }
}

test('a persist that merges packs does not read the more, the more snapshots are kept', async () => {
  const { storage, take } = counting(memoryStorage())
  const store = storeOver(storage, nodeFileSystem, { keepLast: 300, compression: 'none' })
  const most: number[] = []
  for (let hundred = 0; hundred < 3; hundred++) {
    const reads: number[] = []
    for (let i = 0; i < 100; i++) {
      take()
      await store.persist({ blobs: { a: noise(200, 100 * hundred + i) } })
      reads.push(take())
    }
    most.push(Math.max(...reads))
  }
  // Following each snapshot kept would take two reads for each.
  expect(most[2]).toBeLessThan(150)
  await store.close()
})

describe('what is remembered of snapshots', () => {
  test('is no more than some MiB: the oldest are forgotten', () => {
    const walks = createReachableCache()
    const large = new Uint8Array(REACHABLE_BLOCKS_MAX * 32)
    for (let i = 0; i < 1000; i++) walks.add(`${i}`, large)
    const known = Array.from({ length: 1000 }, (_, i) => `${i}`).filter((cid) => walks.get(cid) !== undefined)
    expect(known).toHaveLength(512)
    expect(known[0]).toBe('488')
  })

  test('is nothing of large ones', () => {
    const walks = createReachableCache()
    walks.add('large', new Uint8Array((REACHABLE_BLOCKS_MAX + 1) * 32))
    expect(walks.get('large')).toBeUndefined()
  })
})
