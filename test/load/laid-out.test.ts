// A blob that lies on this machine as a file already is cloned when it is written to a path, and verified first.

import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, type TestContext, test, vi } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { type Progress, persistSnapshot, type Store } from '../../src/index.ts'
import { openStore } from '../../src/open.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { skip } from '../support/mounted.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { storeOver } from '../support/store-over.ts'

const MIB = 1024 * 1024
const bytes = noise(9 * MIB + 5, 1)

/** A file system that clones, by copying, and says what it cloned. */
function cloning(clone: (from: string, to: string) => void = copyFileSync): { fs: FileSystem; cloned: string[] } {
  const cloned: string[] = []
  return {
    cloned,
    fs: {
      ...nodeFileSystem,
      async clone(from, to) {
        cloned.push(from)
        clone(from, to)
      },
    },
  }
}

interface Place {
  root: string
  store: Store
  /** Of the blob, laid out. */
  file: string
  out: string
}

async function laidOut(fs: FileSystem, blob: Uint8Array = bytes): Promise<Place> {
  const root = scratch()
  const path = join(root, 'store')
  const store = storeOver(directoryStorage({ fs, path, readOnly: false, lock: 'os' }), fs)
  onTestFinished(() => store.close())
  await store.persist({ blobs: { a: blob } })
  const { files } = await store.materialize()
  return { root, store, file: files.a!, out: join(root, 'out') }
}

async function write({ store, out }: Place, onProgress?: (progress: Progress) => void): Promise<void> {
  await using snapshot = (await store.load({ required: true }))!
  await snapshot.blob('a').writeTo(out, onProgress === undefined ? {} : { onProgress })
}

function flipByte(path: string): void {
  const wrong = bytes.map((byte, at) => (at === 5 * MIB ? byte ^ 1 : byte))
  writeFileSync(path, wrong)
}

test.each([0, 1, 5000, bytes.length])(
  'a blob of %d bytes is cloned, and no pack is read for its bytes',
  async (size) => {
    const { fs, cloned } = cloning()
    const place = await laidOut(fs, bytes.subarray(0, size))
    writeFileSync(place.out, 'before')
    chmodSync(place.out, 0o640)
    const seen: number[] = []
    await write(place, (progress) => seen.push((progress as { bytes: number }).bytes))
    expect(cloned).toEqual([place.file])
    expect(sameBytes(readFileSync(place.out), bytes.subarray(0, size))).toBe(true)
    expect(statSync(place.out).mode & 0o777).toBe(0o640)
    expect(seen.at(-1)).toBe(size)
    expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b))
    expect(readdirSync(place.root).sort()).toEqual(['out', 'store'])
  },
)

test.each([
  ['a flipped byte', flipByte],
  ['zeros', (path: string) => writeFileSync(path, new Uint8Array(bytes.length))],
  ['another size', (path: string) => truncateSync(path, MIB)],
  ['a size that changes meanwhile', null],
])('what was laid out and has rotted is not what is written: %s', async (_, rot) => {
  const { fs, cloned } = cloning((from, to) => {
    copyFileSync(from, to)
    chmodSync(to, 0o600)
    if (rot === null) truncateSync(to, MIB)
  })
  const place = await laidOut(fs)
  chmodSync(place.file, 0o600)
  rot?.(place.file)
  const seen: number[] = []
  await write(place, (progress) => seen.push((progress as { bytes: number }).bytes))
  expect(seen.at(-1)).toBe(bytes.length)
  expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b))
  expect(cloned).toEqual(_ === 'another size' ? [] : [place.file])
  expect(sameBytes(readFileSync(place.out), bytes)).toBe(true)
  expect(readdirSync(place.root).sort()).toEqual(['out', 'store'])
})

test('a file that grows while it is cloned is not what is written', async () => {
  const { fs } = cloning((from, to) => {
    copyFileSync(from, to)
    chmodSync(to, 0o600)
    appendFileSync(to, 'and more')
  })
  const place = await laidOut(fs)
  await write(place)
  expect(sameBytes(readFileSync(place.out), bytes)).toBe(true)
})

test('a blob whose pack has rotted comes from the file, and from nowhere without', async () => {
  const { fs } = cloning()
  const place = await laidOut(fs)
  await using snapshot = (await place.store.load({ required: true }))!
  const packs = join(place.root, 'store', 'packs')
  for (const name of readdirSync(packs)) {
    const pack = readFileSync(join(packs, name))
    pack.fill(0, 4 * MIB, 5 * MIB)
    writeFileSync(join(packs, name), pack)
  }
  await snapshot.blob('a').writeTo(place.out)
  expect(sameBytes(readFileSync(place.out), bytes)).toBe(true)
  rmSync(place.file, { force: true })
  const error = await rejects(snapshot.blob('a').writeTo(place.out), 'BLOB_DAMAGED')
  expect(error.message).toContain('"a"')
  expect(sameBytes(readFileSync(place.out), bytes)).toBe(true)
})

function cannot(): never {
  throw Object.assign(new Error('not here'), { code: 'ENOTSUP' })
}

test('where files cannot share their blocks the file is copied, holes and all, and no pack is read', async () => {
  const { fs, cloned } = cloning(cannot)
  const holey = bytes.slice()
  holey.fill(0, 3 * MIB, 6 * MIB)
  holey.fill(0, 8 * MIB)
  const place = await laidOut(fs, holey)
  const parts = vi.spyOn(fs, 'open')
  const seen: number[] = []
  await write(place, (progress) => seen.push((progress as { bytes: number }).bytes))
  expect(parts.mock.calls.filter(([path]) => path === place.file)).toHaveLength(1)
  expect(cloned).toEqual([place.file])
  expect(seen.at(-1)).toBe(holey.length)
  expect(sameBytes(readFileSync(place.out), holey)).toBe(true)
  if (process.platform === 'linux') expect(statSync(place.out).blocks * 512).toBeLessThan(6 * MIB)
  expect(readdirSync(place.root).sort()).toEqual(['out', 'store'])
})

test.each([
  ['a flipped byte', flipByte],
  ['a file that is gone', (path: string) => rmSync(path, { force: true })],
])('nor is it copied: %s', async (_, rot) => {
  const { fs } = cloning((from) => {
    chmodSync(from, 0o600)
    rot(from)
    cannot()
  })
  const place = await laidOut(fs)
  await write(place)
  expect(sameBytes(readFileSync(place.out), bytes)).toBe(true)
  expect(readdirSync(place.root).sort()).toEqual(['out', 'store'])
})

test.each(['cloned', 'copied'])('a part of it that the disk cannot read comes from the packs (%s)', async (how) => {
  const { fs } = cloning(how === 'copied' ? cannot : copyFileSync)
  const place = await laidOut(fs)
  const { open } = fs
  fs.open = async (path, mode, bits) => {
    const file = await open(path, mode, bits)
    if (path.includes('/packs/') || mode === 'create') return file
    return {
      ...file,
      read: (target, position) =>
        position > 4 * MIB
          ? Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' }))
          : file.read(target, position),
    }
  }
  await write(place)
  expect(sameBytes(readFileSync(place.out), bytes)).toBe(true)
})

test('an abort ends it, and what was there stays', async () => {
  const abort = new AbortController()
  const { fs } = cloning((from, to) => {
    copyFileSync(from, to)
    abort.abort(new Error('enough'))
  })
  const place = await laidOut(fs)
  writeFileSync(place.out, 'before')
  await using snapshot = (await place.store.load({ required: true }))!
  await expect(snapshot.blob('a').writeTo(place.out, { signal: abort.signal })).rejects.toThrow('enough')
  expect(readFileSync(place.out, 'utf8')).toBe('before')
  expect(readdirSync(place.root).sort()).toEqual(['out', 'store'])
})

/** An XFS whose files can share blocks, until the test ends. */
function mountXfs(context: TestContext): string {
  if (process.platform !== 'linux') skip(context, 'mounts an XFS in a file')
  if (process.geteuid?.() !== 0) skip(context, 'mounts an XFS, and this is not root')
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-xfs-')))
  const [image, path] = [join(home, 'image'), join(home, 'mount')]
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  try {
    writeFileSync(image, '')
    truncateSync(image, 400 * MIB)
    execFileSync('mkfs.xfs', ['-q', '-m', 'reflink=1', image], { stdio: 'pipe' })
    execFileSync('mkdir', [path])
    execFileSync('mount', ['-o', 'loop', image, path], { stdio: 'pipe' })
  } catch (error) {
    skip(context, `mounts an XFS, and that fails: ${(error as Error).message.trim()}`)
  }
  onTestFinished(() => void execFileSync('umount', ['-l', path]))
  return path
}

test('on XFS the copy takes no room, and writing to it leaves the file as it was', async (context) => {
  const root = mountXfs(context)
  const path = join(root, 'store')
  const large = noise(40 * MIB, 2)
  await persistSnapshot(path, { blobs: { a: large } })
  await using store = await openStore(path)
  const { files } = await store.materialize()
  await using snapshot = (await store.load({ required: true }))!
  const free = (): number => {
    execFileSync('sync', ['-f', root])
    const { bavail, bsize } = statfsSync(root)
    return bavail * bsize
  }
  const before = free()
  const out = join(root, 'out')
  await snapshot.blob('a').writeTo(out)
  expect(before - free()).toBeLessThan(4 * MIB)
  expect(sameBytes(readFileSync(out), large)).toBe(true)
  writeFileSync(out, 'now the engine writes to it')
  expect(sameBytes(readFileSync(files.a!), large)).toBe(true)
  expect(existsSync(`${out}.lock`)).toBe(false)
})
