// Images and their locks: who makes, uses and removes one, in several processes, and what a process leaves that is
// killed.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { File, FileSystem } from '../../src/fs/port.ts'
import { createLocalFiles } from '../../src/local/files.ts'
import { createImages, type HeldImage, type Images } from '../../src/local/images.ts'
import type { Home } from '../../src/local/saved-file.ts'
import { type Child, start } from '../support/processes.ts'
import { scratch } from '../support/scratch.ts'

const DIGEST = 'ab'.repeat(32)
const OTHER = 'cd'.repeat(32)
const BYTES = Buffer.alloc(1000, 7)
const script = new URL('image-child.mjs', import.meta.url)

function imagesIn(directory: string, fs: FileSystem = nodeFileSystem): Images {
  return createImages({ fs, directory, store: null, readOnly: false })
}

async function isGood(read: (target: Uint8Array, position: number) => Promise<number>): Promise<boolean> {
  const bytes = Buffer.alloc(BYTES.length)
  return (await read(bytes, 0)) === bytes.length && bytes.equals(BYTES)
}

function use(images: Images, assemble: ((home: Home) => Promise<string>) | null = make): Promise<HeldImage | null> {
  return images.use(DIGEST, { size: BYTES.length, verify: isGood, assemble })
}

async function make({ path }: Home): Promise<string> {
  writeFileSync(join(path, 'part'), BYTES)
  return join(path, 'part')
}

function child(directory: string, ms: number): Child {
  return start(script, directory, DIGEST, String(BYTES.length), String(ms))
}

function put(directory: string, digest: string, bytes = BYTES): string {
  mkdirSync(directory, { recursive: true })
  const path = join(directory, `${digest}.image`)
  writeFileSync(path, bytes, { mode: 0o444 })
  return path
}

test('an image is made by one process, and the others wait for it', async () => {
  const directory = join(scratch(), 'files')
  const children = Array.from({ length: 4 }, () => child(directory, 300))
  const said: string[] = []
  for (const each of children) {
    let line = await each.hear()
    while (line === 'made') {
      said.push(line)
      line = await each.hear()
    }
    said.push(line)
  }
  expect(said.filter((line) => line === 'made')).toHaveLength(1)
  const inode = statSync(join(directory, `${DIGEST}.image`)).ino
  expect(said.filter((line) => line === `has ${inode}`)).toHaveLength(4)
  // All of them use it.
  expect(await imagesIn(directory).free()).toBe(0)
  for (const each of children) await each.end()
  expect(await imagesIn(directory).free()).toBe(1)
  expect(readdirSync(directory)).toEqual(['.tmp'])
})

test('a process that is killed while it makes an image does not keep the next one from it, and what it left is removed', async () => {
  const directory = join(scratch(), 'files')
  const killed = child(directory, 60_000)
  expect(await killed.hear()).toBe('made')
  const reaper = createLocalFiles({
    fs: nodeFileSystem,
    directory,
    lock: true,
    quarantineDirectory: join(dirname(directory), 'quarantine'),
  })
  await reaper.reapTemps()
  // Not what a living process is at.
  expect(readdirSync(join(directory, '.tmp'))).toHaveLength(2)
  const waiting = use(imagesIn(directory))
  await killed.kill()
  const held = (await waiting)!
  expect(readFileSync(held.path).equals(BYTES)).toBe(true)
  await held.release()
  expect(readdirSync(join(directory, '.tmp'))).toHaveLength(2)
  await reaper.reapTemps()
  expect(readdirSync(join(directory, '.tmp'))).toEqual([])
})

test('an image that another process uses is not removed, whatever there is room for', async () => {
  const directory = join(scratch(), 'files')
  const other = child(directory, 0)
  expect([await other.hear(), (await other.hear()).slice(0, 3)]).toEqual(['made', 'has'])
  const images = imagesIn(directory)
  put(directory, OTHER)
  expect(await images.free()).toBe(1)
  await images.collect([DIGEST], null)
  expect(readdirSync(directory).sort()).toEqual(['.tmp', `${DIGEST}.image`, `${DIGEST}.image.lock`])
  await other.kill()
  await images.collect([DIGEST], null)
  expect(readdirSync(directory)).toEqual(['.tmp'])
})

test('a wrong image makes room before another is made', async () => {
  const directory = join(scratch(), 'files')
  const path = put(directory, DIGEST, Buffer.from('rot'))
  const held = await use(imagesIn(directory), async (home) => {
    expect(existsSync(path)).toBe(false)
    return await make(home)
  })
  expect(readFileSync(held!.path).equals(BYTES)).toBe(true)
  await held!.release()
})

test('a wrong image that others use is not waited for: who needs it makes a file of its own', async () => {
  const directory = join(scratch(), 'files')
  const images = imagesIn(directory)
  const user = (await use(images))!
  chmodSync(user.path, 0o600)
  writeFileSync(user.path, 'rot')
  expect(await use(images)).toBe(null)
  // What the other has mapped is still there.
  expect(readFileSync(user.path, 'utf8')).toBe('rot')
  await user.release()
  const held = (await use(images))!
  expect(readFileSync(held.path).equals(BYTES)).toBe(true)
  await held.release()
})

test('a file never replaces an image that is there, and does replace one of another size', async () => {
  const directory = join(scratch(), 'files')
  const images = imagesIn(directory)
  const from = join(scratch(), 'saved')
  const inodes: number[] = []
  for (const there of [null, BYTES, Buffer.from('short')]) {
    if (there !== null) put(directory, DIGEST, there)
    else mkdirSync(directory)
    const before = there === null ? 0 : statSync(join(directory, `${DIGEST}.image`)).ino
    writeFileSync(from, BYTES)
    const held = (await images.put(from, DIGEST))!
    inodes.push(statSync(held.path).ino - before === 0 ? 0 : 1)
    expect(held.isNew).toBe(inodes.at(-1) === 1)
    expect(readFileSync(held.path).equals(BYTES)).toBe(true)
    await held.release()
    unlinkSync(held.path)
  }
  expect(inodes).toEqual([1, 0, 1])
})

test('an image is not put beside one that is being removed or made right now', async () => {
  const directory = join(scratch(), 'files')
  put(directory, DIGEST)
  const lock = await nodeFileSystem.open(join(directory, `${DIGEST}.image.lock`), 'readWrite')
  expect(lock.tryLock('exclusive')).toBe(true)
  const from = join(scratch(), 'saved')
  writeFileSync(from, BYTES)
  expect(await imagesIn(directory).put(from, DIGEST)).toBe(null)
  await lock.close()
})

test('the lock of an image in use counts, though its file was removed as it was being locked', async () => {
  const directory = join(scratch(), 'files')
  put(directory, DIGEST)
  let happened = false
  const fs: FileSystem = {
    ...nodeFileSystem,
    async open(path, how, mode): Promise<File> {
      const file = await nodeFileSystem.open(path, how, mode)
      if (!happened && path.endsWith('.lock')) unlinkSync(path)
      happened ||= path.endsWith('.lock')
      return file
    },
  }
  const held = (await use(imagesIn(directory, fs)))!
  expect(await imagesIn(directory).free()).toBe(0)
  await held.release()
})

test('a disk that cannot read the image has none', async () => {
  const directory = join(scratch(), 'files')
  put(directory, DIGEST)
  const fs: FileSystem = {
    ...nodeFileSystem,
    async open(path, how, mode): Promise<File> {
      const file = await nodeFileSystem.open(path, how, mode)
      if (!path.endsWith('.image')) return file
      const read = (): Promise<number> => Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' }))
      return { ...file, read }
    },
  }
  let made = 0
  const held = await use(imagesIn(directory, fs), async (home) => {
    made += 1
    return await make(home)
  })
  expect(made).toBe(1)
  expect(held?.path).toBe(join(directory, `${DIGEST}.image`))
  await held?.release()
})

test('an image that gets the inode of the bad one that it replaces is made once', async () => {
  const directory = join(scratch(), 'files')
  put(directory, DIGEST, Buffer.alloc(BYTES.length, 'x'))
  const fs: FileSystem = {
    ...nodeFileSystem,
    lstat: async (path) => ({ ...(await nodeFileSystem.lstat(path)), ...(path.endsWith('.image') ? { ino: 7n } : {}) }),
  }
  let made = 0
  const held = await use(imagesIn(directory, fs), async (home) => {
    made += 1
    if (made > 1) throw new Error('made again')
    return await make(home)
  })
  expect(readFileSync(held!.path).equals(BYTES)).toBe(true)
  await held!.release()
})

test('nothing is removed but what has the name of an image', async () => {
  const directory = join(scratch(), 'files')
  put(directory, DIGEST)
  const others = ['notes.image', `${DIGEST}.image.old`, `${DIGEST.toUpperCase()}.image`, DIGEST]
  for (const name of others) writeFileSync(join(directory, name), '')
  writeFileSync(join(directory, `${OTHER}.image.lock`), '')
  expect(await imagesIn(directory).free()).toBe(2)
  expect(readdirSync(directory).sort()).toEqual([...others].sort())
})

test('where nothing can be written, what is there is used', async () => {
  const directory = join(scratch(), 'files')
  const path = put(directory, DIGEST)
  const images = createImages({ fs: nodeFileSystem, directory, store: null, readOnly: true })
  const held = (await use(images))!
  expect(held.path).toBe(path)
  await held.release()
  expect(existsSync(`${path}.lock`)).toBe(false)
  expect(images.home()).toBe(null)
  expect(await images.put(path, DIGEST)).toBe(null)
  expect(await images.free()).toBe(0)
  unlinkSync(path)
  expect(await use(images)).toBe(null)
})
