// Blobs and directories of them, written out into a caller's directory.

import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { reapOrphans } from '../../src/durable.ts'
import { tryLockDescriptor } from '../../src/fs/lock.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { isSiblingTemp } from '../../src/fs/sibling-temps.ts'
import { memory, type Snapshot } from '../../src/index.ts'
import { wrongPart } from '../../src/load/path-names.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { storeOver } from '../support/store-over.ts'

const posix = process.platform !== 'win32'

async function snapshotOf(blobs: Record<string, string | Uint8Array>): Promise<Snapshot> {
  const store = memory()
  await store.persist({ blobs })
  return (await store.load({ required: true }))!
}

test.runIf(posix)('names that this system can have come back, whatever they mean on another', async () => {
  const root = scratch()
  const names = ['1499.mail:2,S', 'a\\b', 'CON', 'dot.', ' x ', 'new\nline', '__proto__', 'x'.repeat(255)]
  for (const name of names) writeFileSync(join(root, name), name)
  const store = memory()
  await store.persist({ blobs: { d: { directory: root } } })
  const target = join(scratch(), 'copy')
  await (await store.load())!.directory('d').writeTo(target)
  for (const name of names) expect(readFileSync(join(target, name), 'utf8')).toBe(name)
})

test('names that Windows cannot have are known there', () => {
  for (const name of ['a:b', 'a\\b', 'x?', 'CON', 'nul.txt', 'dot.', 'space ', 'new\nline', 'fine/com1/x']) {
    expect(wrongPart(name, 'win32')).not.toBeNull()
    expect(wrongPart(name, 'linux')).toBeNull()
  }
  for (const name of ['plain', 'with space/.hidden', 'console', 'ünï']) expect(wrongPart(name, 'win32')).toBeNull()
  for (const name of ['..', 'a/../b', '', 'a//b', 'x\0']) expect(wrongPart(name, 'linux')).not.toBeNull()
})

test.each([
  ['files', ['d/A', 'd/a']],
  ['directories', ['d/A/x', 'd/a/y']],
])('%s that the file system there cannot tell apart are refused, and nothing is written', async (_, names) => {
  const parent = scratch()
  const folded = (path: string): string =>
    path.startsWith(parent) ? parent + path.slice(parent.length).toLowerCase() : path
  const fs: FileSystem = {
    ...nodeFileSystem,
    open: (path, how, mode) => nodeFileSystem.open(folded(path), how, mode),
    rename: (from, to) => nodeFileSystem.rename(folded(from), folded(to)),
    mkdir: (path, mode) => nodeFileSystem.mkdir(folded(path), mode),
    stat: (path) => nodeFileSystem.stat(folded(path)),
    lstat: (path) => nodeFileSystem.lstat(folded(path)),
    chmod: (path, mode) => nodeFileSystem.chmod(folded(path), mode),
    openDirectory: (path) => nodeFileSystem.openDirectory(folded(path)),
  }
  await using store = storeOver(directoryStorage({ fs, path: join(scratch(), 's'), readOnly: false, lock: 'os' }), fs)
  await store.persist({ blobs: Object.fromEntries(names.map((name) => [name, name])) })
  await using snapshot = (await store.load({ required: true }))!
  await rejects(snapshot.directory('d').writeTo(join(parent, 'out')), 'BLOB_NAME_INVALID')
  expect(readdirSync(parent)).toEqual([])
})

test('a name that is a file and a directory in one is refused', async () => {
  const parent = scratch()
  for (const names of [
    ['d/a', 'd/a/b'],
    ['d/a/b', 'd/a'],
    ['d/a/', 'd/a'],
  ]) {
    const snapshot = await snapshotOf(Object.fromEntries(names.map((name) => [name, ''])))
    await rejects(snapshot.directory('d').writeTo(join(parent, 'out')), 'BLOB_NAME_INVALID')
  }
  expect(readdirSync(parent)).toEqual([])
})

test('an empty directory is filled and keeps its mode; a link to it stays', async () => {
  const parent = scratch()
  const snapshot = await snapshotOf({ 'd/a': 'A' })
  mkdirSync(join(parent, 'empty'))
  chmodSync(join(parent, 'empty'), 0o755)
  if (posix) symlinkSync('empty', join(parent, 'link'))
  await snapshot.directory('d').writeTo(join(parent, posix ? 'link' : 'empty'))
  expect(readFileSync(join(parent, 'empty', 'a'), 'utf8')).toBe('A')
  if (posix) expect(lstatSync(join(parent, 'link')).isSymbolicLink()).toBe(true)
  if (posix) expect(statSync(join(parent, 'empty')).mode & 0o777).toBe(0o755)
  await rejects(snapshot.directory('d').writeTo(join(parent, 'empty')), 'TARGET_EXISTS')
  writeFileSync(join(parent, 'file'), 'mine')
  await rejects(snapshot.directory('d').writeTo(join(parent, 'file')), 'TARGET_EXISTS')
  expect(readFileSync(join(parent, 'file'), 'utf8')).toBe('mine')
})

test.runIf(posix)('a link that leads nowhere is no place for a directory', async () => {
  const parent = scratch()
  symlinkSync('nowhere', join(parent, 'link'))
  const snapshot = await snapshotOf({ 'd/a': 'A' })
  await rejects(snapshot.directory('d').writeTo(join(parent, 'link')), 'IO_FAILED')
  expect(readdirSync(parent)).toEqual(['link'])
})

test('what a killed writer left of a file or directory goes with the next one, and a living one stays', async () => {
  const parent = scratch()
  const name = 'out'
  const left = `.${name}.1-0-abc-0123456789abcdef01234567.tmp`
  const other = '.other.1-0-abc-0123456789abcdef01234567.tmp'
  const snapshot = await snapshotOf({ 'd/a': 'A' })
  for (const write of [
    () => snapshot.blob('d/a').writeTo(join(parent, name)),
    () => snapshot.directory('d').writeTo(join(parent, 'inner', name)),
  ]) {
    const at = existsSync(join(parent, 'inner')) ? join(parent, 'inner') : parent
    writeFileSync(join(at, left), 'half')
    mkdirSync(join(at, `${left}.d`))
    writeFileSync(join(at, `${left}.d`, 'x'), 'half')
    writeFileSync(join(at, other), 'of another')
    const held = await nodeFileSystem.open(join(at, left.replace('.1-', '.2-')), 'create')
    held.tryLock('exclusive')
    await write()
    expect(readdirSync(at).sort()).toEqual([other, left.replace('.1-', '.2-'), name].sort())
    await held.close()
    mkdirSync(join(parent, 'inner'), { recursive: true })
  }
})

test('the temp of a blob that is being written is named after its file, and locked', async () => {
  const path = join(scratch(), 'out')
  const snapshot = await snapshotOf({ a: 'A' })
  let kept: string[] = []
  await snapshot.blob('a').writeTo(path, {
    onProgress() {
      const [temp] = readdirSync(join(path, '..'))
      kept = [temp!]
      const file = openSync(join(path, '..', temp!), 'r+')
      expect(tryLockDescriptor(file, 'exclusive')).toBe(false)
      closeSync(file)
    },
  })
  expect(kept).toHaveLength(1)
  expect(isSiblingTemp(kept[0]!, 'out')).toBe(true)
})

test.runIf(posix)('reapOrphans takes what a killed writeTo of a directory left', async () => {
  const parent = scratch()
  const left = '.out.1-0-abc-0123456789abcdef01234567.tmp'
  writeFileSync(join(parent, left), '')
  mkdirSync(join(parent, `${left}.d`, 'deep'), { recursive: true })
  const { removed } = await reapOrphans(join(parent, 'out'), { olderThanMs: 0 })
  expect(removed).toEqual([join(parent, left)])
  expect(readdirSync(parent)).toEqual([])
})

test.runIf(process.platform === 'linux')('long runs of zeros come back as holes, in every way to a file', async () => {
  const size = 8 * 1024 * 1024
  const bytes = new Uint8Array(size)
  bytes.set(Buffer.from('first'))
  bytes.set(Buffer.from('middle'), size / 2)
  const store = storeOver(
    directoryStorage({ fs: nodeFileSystem, path: join(scratch(), 's'), readOnly: false, lock: 'os' }),
    nodeFileSystem,
  )
  await store.persist({ blobs: { 'd/a': bytes } })
  const snapshot = (await store.load({ required: true }))!
  const parent = scratch()
  await snapshot.blob('d/a').writeTo(join(parent, 'blob'))
  await snapshot.directory('d').writeTo(join(parent, 'tree'))
  for (const path of [join(parent, 'blob'), join(parent, 'tree', 'a'), await snapshot.blob('d/a').file()]) {
    expect(Buffer.compare(readFileSync(path), bytes)).toBe(0)
    expect(statSync(path).blocks * 512).toBeLessThan(1024 * 1024)
  }
  await snapshot.dispose()
  await store.close()
})

test.runIf(posix)('a blob is not written over a pipe or through a link that leads nowhere', async () => {
  const parent = scratch()
  execFileSync('mkfifo', [join(parent, 'pipe')])
  symlinkSync('nowhere', join(parent, 'link'))
  const snapshot = await snapshotOf({ a: 'A' })
  for (const name of ['pipe', 'link']) await rejects(snapshot.blob('a').writeTo(join(parent, name)), 'IO_FAILED')
  expect(readdirSync(parent)).toEqual(['link', 'pipe'])
})

test('a file of the store itself is not replaced, by whatever name', async () => {
  const root = scratch()
  const path = join(root, 'store')
  await using store = storeOver(
    directoryStorage({ fs: nodeFileSystem, path, readOnly: false, lock: 'os' }),
    nodeFileSystem,
  )
  await store.persist({ blobs: { a: 'of the caller' } })
  const before = readFileSync(join(path, 'HEAD.json'))
  symlinkSync(path, join(root, 'link'))
  symlinkSync(join(path, 'HEAD.json'), join(root, 'head'))
  await using snapshot = (await store.load({ required: true }))!
  const blob = snapshot.blob('a')
  for (const target of [
    join(path, 'HEAD.json'),
    join(path, 'packs', 'new'),
    join(root, 'link', 'x'),
    join(root, 'head'),
  ]) {
    await expect(blob.writeTo(target), target).rejects.toThrow(/TypeError|files are its own/)
  }
  expect(readFileSync(join(path, 'HEAD.json'))).toEqual(before)
  await blob.writeTo(join(root, 'store-2'))
  expect(readFileSync(join(root, 'store-2'), 'utf8')).toBe('of the caller')
})
