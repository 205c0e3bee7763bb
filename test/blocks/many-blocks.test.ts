import { expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { fixed } from '../../src/index.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { storeOver } from '../support/store-over.ts'
import { watch } from '../support/watched.ts'

test('a pack has at most about 65,536 blocks, however small they are, and is left alone by what comes later', async () => {
  const { storage, head } = watch(memoryStorage())
  const store = storeOver(storage, nodeFileSystem, { keepLast: 2, compression: 'none' })
  const large = noise(140_000 * 512, 1)
  const blobs = (i: number) => ({ large, small: noise(1000, i) })
  await store.persist({ blobs: blobs(0), chunking: fixed(512) })
  const packs = (await head()).packs
  const full = packs.slice(0, -1)
  expect(full.map(({ blocks }) => Math.floor(blocks / 65_536))).toEqual([1, 1])
  // No more than a segment's chunks beyond the limit.
  for (const { blocks } of packs) expect(blocks).toBeLessThan(65_536 + 8192 + 512)
  for (let i = 1; i <= 3; i++) {
    const { bytes } = await store.persist({ blobs: blobs(i), chunking: fixed(512) })
    expect(bytes.compacted).toBeLessThan(100_000)
  }
  expect((await head()).packs.map(({ id }) => id)).toEqual(expect.arrayContaining(full.map(({ id }) => id)))
  await using snapshot = (await store.load())!
  expect(sameBytes(await snapshot.blob('large').bytes(), large)).toBe(true)
  await store.close()
})
