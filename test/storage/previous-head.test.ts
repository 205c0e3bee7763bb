import { linkSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import type { Store } from '../../src/store.ts'
import { scratch } from '../support/scratch.ts'
import { storeOver } from '../support/store-over.ts'

function storeOn(fs: FileSystem, path: string): Store {
  return storeOver(directoryStorage({ fs, path, readOnly: false, lock: 'os' }), fs)
}

/** A store of two snapshots; what its HEAD says, and which file it is. */
async function storeOfTwo(): Promise<{ path: string; head: string; previous: string; inode: number; text: string }> {
  const path = join(scratch(), 'store')
  await using store = storeOn(nodeFileSystem, path)
  for (const text of ['one', 'two']) await store.persist({ blobs: { text } })
  const [head, previous] = [join(path, 'HEAD.json'), join(path, 'HEAD.prev.json')]
  return { path, head, previous, inode: statSync(head).ino, text: readFileSync(head, 'utf8') }
}

function refused(code: string): Promise<never> {
  return Promise.reject(Object.assign(new Error(`${code}: made up`), { code, syscall: 'link' }))
}

test('HEAD becomes the HEAD before, as the file it is', async () => {
  const { path, head, previous, inode, text } = await storeOfTwo()
  await using store = storeOn(nodeFileSystem, path)
  await store.persist({ blobs: { text: 'three' } })
  expect(statSync(previous).ino).toBe(inode)
  expect(readFileSync(previous, 'utf8')).toBe(text)
  expect(statSync(previous).nlink).toBe(1)
  expect(statSync(head).ino).not.toBe(inode)
  expect(readdirSync(join(path, 'tmp'))).toEqual([])
})

test.each(['EPERM', 'ENOTSUP', 'EMLINK', 'EIO'])(
  'a copy becomes the HEAD before where a link is answered with %s',
  async (code) => {
    const { path, previous, inode, text } = await storeOfTwo()
    await using store = storeOn({ ...nodeFileSystem, link: () => refused(code) }, path)
    for (const [i, word] of ['three', 'four', 'five'].entries()) {
      const before = readFileSync(join(path, 'HEAD.json'), 'utf8')
      await store.persist({ blobs: { text: word } })
      expect(readFileSync(previous, 'utf8')).toBe(before)
      if (i === 0) expect(before).toBe(text)
      if (i === 0) expect(statSync(previous).ino).not.toBe(inode)
      expect(readdirSync(join(path, 'tmp'))).toEqual([])
    }
  },
)

test('a file that another put in the place of HEAD while it was linked does not become the HEAD before', async () => {
  const { path, previous, text } = await storeOfTwo()
  const strange = join(path, 'strange')
  writeFileSync(strange, 'not a HEAD')
  const fs: FileSystem = { ...nodeFileSystem, link: (_head, to) => nodeFileSystem.link(strange, to) }
  await using store = storeOn(fs, path)
  await store.persist({ blobs: { text: 'three' } })
  expect(readFileSync(previous, 'utf8')).toBe(text)
  expect(readdirSync(join(path, 'tmp'))).toEqual([])
  expect(statSync(strange).nlink).toBe(1)
})

test('where a writer died between the two renames, the next leaves nothing in tmp/ and the right HEAD before', async () => {
  const { path, head, previous, inode, text } = await storeOfTwo()
  rmSync(previous)
  linkSync(head, previous)
  await using store = storeOn(nodeFileSystem, path)
  await store.persist({ blobs: { text: 'three' } })
  expect(readFileSync(previous, 'utf8')).toBe(text)
  expect(statSync(previous).ino).toBe(inode)
  expect(readdirSync(join(path, 'tmp'))).toEqual([])
  const before = readFileSync(head, 'utf8')
  await store.persist({ blobs: { text: 'four' } })
  expect(readFileSync(previous, 'utf8')).toBe(before)
})

test('several swaps by one writer each keep the HEAD before', async () => {
  const { path, head, previous } = await storeOfTwo()
  const storage = directoryStorage({ fs: nodeFileSystem, path, readOnly: false, lock: 'os' })
  await storage.write({ waitMs: 0 }, async (session) => {
    for (let i = 0; i < 12; i++) {
      const before = readFileSync(head, 'utf8')
      const stored = session.stored!.head
      await session.swapHead({ ...stored, revision: stored.revision + 1 })
      expect(readFileSync(previous, 'utf8')).toBe(before)
    }
  })
  expect(readdirSync(join(path, 'tmp'))).toEqual([])
})
