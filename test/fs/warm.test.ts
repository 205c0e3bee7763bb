import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nodeFileSystem, withSyncCalls } from '../../src/fs/node.ts'
import { scratch } from '../support/scratch.ts'

// What is done at once does what is otherwise done in a thread.

const fs = withSyncCalls(nodeFileSystem)

test('only the disk of this machine has a way without threads', () => {
  expect(fs).not.toBe(nodeFileSystem)
  const other = { ...nodeFileSystem }
  expect(withSyncCalls(other)).toBe(other)
})

test('files are made and opened by the same rules', async () => {
  const root = scratch()
  const at = (name: string) => join(root, name)
  const made = await fs.open(at('a'), 'create', 0o640)
  expect(statSync(at('a')).mode & 0o777).toBe(0o640)
  await made.close()
  symlinkSync(at('a'), at('link'))
  await expect(fs.open(at('a'), 'create')).rejects.toMatchObject({ code: 'EEXIST' })
  await expect(fs.open(at('missing'), 'update')).rejects.toMatchObject({ code: 'ENOENT' })
  await expect(fs.open(at('missing'), 'read')).rejects.toMatchObject({ code: 'ENOENT', path: at('missing') })
  for (const how of ['create', 'readWrite', 'update'] as const) {
    await expect(fs.open(at('link'), how), how).rejects.toMatchObject({ code: how === 'create' ? 'EEXIST' : 'ELOOP' })
  }
  await (await fs.open(at('link'), 'read')).close()
  await (await fs.open(at('new'), 'readWrite')).close()
  writeFileSync(at('new'), 'kept')
  await (await fs.open(at('new'), 'readWrite')).close()
  expect(readFileSync(at('new'), 'utf8')).toBe('kept')
})

test.each([0, 1, 1000, 64 * 1024, 64 * 1024 + 1, 300_000])(
  '%i bytes are written and read back, at a position',
  async (length) => {
    const path = join(scratch(), 'a')
    const bytes = Uint8Array.from({ length }, (_, i) => i * 7)
    const file = await fs.open(path, 'create')
    const half = length >> 1
    expect(await file.write([bytes.subarray(0, half), new Uint8Array(0), bytes.subarray(half)], 5)).toBe(length)
    await file.sync()
    const found = new Uint8Array(length)
    expect(await file.read(found, 5)).toBe(length)
    expect(found).toEqual(bytes)
    expect(await file.read(new Uint8Array(10), 5 + length)).toBe(0)
    await file.close()
    await expect(file.write([bytes, Uint8Array.of(1)], 0)).rejects.toMatchObject({ code: 'EBADF' })
    await expect(file.read(new Uint8Array(1), 0)).rejects.toMatchObject({ code: 'EBADF' })
  },
)

test('looks, links and directories are the same', async () => {
  const root = scratch()
  writeFileSync(join(root, 'a'), 'x')
  mkdirSync(join(root, 'd'))
  symlinkSync(join(root, 'a'), join(root, 'l'))
  await fs.link(join(root, 'a'), join(root, 'b'))
  expect((await fs.stat(join(root, 'b'))).ino).toBe((await fs.stat(join(root, 'a'))).ino)
  await expect(fs.link(join(root, 'a'), join(root, 'b'))).rejects.toMatchObject({ code: 'EEXIST' })
  for (const name of ['a', 'b', 'd', 'l']) {
    for (const look of ['stat', 'lstat'] as const) {
      expect(await fs[look](join(root, name))).toEqual(await nodeFileSystem[look](join(root, name)))
    }
  }
  expect(await fs.readdir(root)).toEqual(await nodeFileSystem.readdir(root))
  for (const look of ['stat', 'lstat', 'readdir', 'openDirectory'] as const) {
    await expect(fs[look](join(root, 'none')), look).rejects.toMatchObject({ code: 'ENOENT' })
  }
  await expect(fs.openDirectory(join(root, 'a'))).rejects.toMatchObject({ code: 'ENOTDIR' })
  const directory = await fs.openDirectory(root)
  await directory.sync()
  directory.closeSync()
})
