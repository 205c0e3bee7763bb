import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { createLinkCache } from '../../src/blocks/link-cache.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { fixed } from '../../src/index.ts'
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

test('a persist that merges packs does not read again what a large blob of each kept snapshot names', async () => {
  const { storage, take } = counting(memoryStorage())
  const store = storeOver(storage, nodeFileSystem, { keepLast: 60, compression: 'none' })
  const most: number[] = []
  // Each snapshot has nodes of its own, in both of its blobs.
  for (let thirty = 0; thirty < 2; thirty++) {
    const reads: number[] = []
    for (let i = 0; i < 30; i++) {
      const bytes = noise(2000 * 512, 1)
      bytes.set(noise(64, 1000 + 30 * thirty + i), 512 * i)
      bytes.set(noise(64, 5000 + 30 * thirty + i), 512 * (1000 + i))
      take()
      await store.persist({ blobs: { a: { source: bytes, chunking: fixed(512) } } })
      reads.push(take())
    }
    most.push(Math.max(...reads))
  }
  expect(most[1]).toBeLessThan(1.3 * most[0]!)
  await store.close()
})

describe('what is remembered of manifests and nodes', () => {
  const links = new Uint8Array(450)

  test('has a limit, and stays when that is met: the next walk begins with it again', () => {
    const cache = createLinkCache(10_000)
    const walk = cache.walk()
    for (let i = 0; i < 100; i++) walk.add(`${i}`, links)
    walk.add('0', links)
    const known = Array.from({ length: 100 }, (_, i) => `${i}`).filter((key) => walk.get(key) !== undefined)
    expect(known).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
  })

  test.each([2, 8, 256])('takes the memory that is counted for it, with %i links each', async (links) => {
    const bytesMax = 50_000_000
    const script = fileURLToPath(new URL('link-cache-memory.mjs', import.meta.url))
    const flags = ['--expose-gc', '--max-semi-space-size=1']
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, script, `${bytesMax}`, `${links}`])
    const { entries, bytes, full } = JSON.parse(stdout) as { entries: number; bytes: number; full: boolean }
    expect(full).toBe(true)
    expect(entries).toBeGreaterThan(1000)
    expect(bytes).toBeLessThan(1.15 * bytesMax)
    expect(bytes).toBeGreaterThan(0.7 * bytesMax)
  })

  test('is forgotten when a walk through all kept snapshots does not meet it', () => {
    const cache = createLinkCache(10_000)
    const first = cache.walk()
    for (let i = 0; i < 10; i++) first.add(`${i}`, links)
    first.metAll()
    const second = cache.walk()
    const beside = cache.walk()
    second.get('3')
    // Another walk that is under way needs this one.
    beside.get('5')
    second.metAll()
    expect(second.get('2')).toBeUndefined()
    expect(second.get('3')).toBe(links)
    expect(second.get('5')).toBe(links)
    for (let i = 10; i < 20; i++) second.add(`${i}`, links)
    expect(second.get('17')).toBe(links)
    expect(second.get('18')).toBeUndefined()
  })
})
