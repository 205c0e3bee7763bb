// Rot comes in pages: what is persisted after damage was met loads, however many blocks of a pack are bad.

import { expect, test } from 'vitest'
import { fixed } from '../../src/format/chunking.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import type { DirectoryImage } from '../faulty-disk/image.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { blocksOf, build, fileOf, open, packsOf, visit, withFiles } from '../support/lab.ts'
import { rejects } from '../support/rejects.ts'

const CHUNK = 512
const content = noise(64 * CHUNK, 7)
const index = { blobs: { index: { source: content, chunking: fixed(CHUNK) } } }

/** 4 KiB of the pack are zero, from its chunk number `chunk` on. */
function rottenPage(image: DirectoryImage, chunk = 20): DirectoryImage {
  const [path] = packsOf(image)
  const bytes = new Uint8Array(fileOf(image, path!))
  bytes.fill(0, 64 + chunk * CHUNK, 64 + chunk * CHUNK + 4096)
  return withFiles(image, { [path!]: bytes })
}

const sound = await build((store) => store.persist(index))

test.each(['bytes', 'stream', 'nothing'] as const)(
  'a page of zeros, met by reading %s: the next persist loads',
  async (how) => {
    const disk = createDisk(rottenPage(sound))
    const store = open(disk)
    if (how !== 'nothing') {
      await using snapshot = await store.load()
      const blob = snapshot!.blob('index')
      const read = how === 'bytes' ? blob.bytes() : blob.stream({ start: 21 * CHUNK, end: 22 * CHUNK }).next()
      await rejects(read, 'BLOB_DAMAGED')
    } else await rejects(store.load({ fallback: true }), 'BLOB_DAMAGED')
    await store.persist(index)
    await using again = await store.load()
    expect(sameBytes(await again!.blob('index').bytes(), content)).toBe(true)
    await store.close()
    const { result } = await visit(disk.image(), (fresh) => fresh.verify())
    expect(result.snapshots[0]).toMatchObject({ sequence: 2, intact: true })
  },
)

test('a persist that meets the damage itself does not acknowledge what cannot be read', async () => {
  const [path] = packsOf(sound)
  const node = blocksOf(sound, path!).find(({ kind }) => kind === 1)!
  const page = rottenPage(sound, 60)
  const bytes = new Uint8Array(fileOf(page, path!))
  bytes[node.offset + 9]! ^= 1
  const disk = createDisk(withFiles(page, { [path!]: bytes }))
  const store = open(disk)
  const first = await store.persist(index).catch((error: unknown) => error)
  if (first instanceof Error) {
    expect(first).toMatchObject({ code: 'PACK_DAMAGED' })
    await store.persist(index)
  }
  await using snapshot = await store.load()
  expect(sameBytes(await snapshot!.blob('index').bytes(), content)).toBe(true)
  await store.close()
})

test('the first persist of a process reads each node and segments block of the snapshot before once', async () => {
  const [path] = packsOf(sound)
  const blocks = blocksOf(sound, path!).filter(({ kind }) => kind === 1 || kind === 2)
  expect(new Set(blocks.map(({ kind }) => kind)).size).toBe(2)
  const reads: number[] = []
  const through = (fs: FileSystem): FileSystem => ({
    ...fs,
    async open(name, kind, mode) {
      const file = await fs.open(name, kind, mode)
      if (!name.endsWith('.pack')) return file
      return {
        ...file,
        async read(target, position) {
          reads.push(position)
          return await file.read(target, position)
        },
      }
    },
  })
  const { result } = await visit(sound, (store) => store.persist(index), { through })
  expect(result.unchanged).toBe(true)
  for (const { offset } of blocks) expect(reads.filter((position) => position === offset)).toHaveLength(1)
})

test('a node of an older snapshot that has rotted is not built on, although nothing of the snapshot before told of it', async () => {
  const other = { blobs: { index: { source: noise(64 * CHUNK, 8), chunking: fixed(CHUNK) } } }
  const { image } = await visit(sound, (store) => store.persist(other))
  const [older] = packsOf(sound)
  const bytes = new Uint8Array(fileOf(image, older!))
  for (const { kind, offset } of blocksOf(image, older!)) if (kind === 1) bytes[offset + 9]! ^= 1
  const disk = createDisk(withFiles(image, { [older!]: bytes }))
  const store = open(disk)
  await rejects(store.persist(index), 'PACK_DAMAGED')
  await store.persist(index)
  await store.close()
  const { result } = await visit(disk.image(), async (fresh) => {
    await using snapshot = await fresh.load()
    return sameBytes(await snapshot!.blob('index').bytes(), content)
  })
  expect(result).toBe(true)
})

test('of a pack of which one blob was found to be damaged, the others are not built on unread', async () => {
  const other = noise(64 * CHUNK, 9)
  const both = { blobs: { ...index.blobs, other: { source: other, chunking: fixed(CHUNK) } } }
  const whole = await build((store) => store.persist(both))
  const disk = createDisk(rottenPage(rottenPage(whole, 20), 84))
  const store = open(disk)
  {
    await using snapshot = await store.load()
    await rejects(snapshot!.blob('index').bytes(), 'BLOB_DAMAGED')
  }
  await store.persist(both)
  await using again = await store.load()
  expect(sameBytes(await again!.blob('index').bytes(), content)).toBe(true)
  expect(sameBytes(await again!.blob('other').bytes(), other)).toBe(true)
  await store.close()
})
