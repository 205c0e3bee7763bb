import { describe, expect, test } from 'vitest'
import { createRandom } from '../support/random.ts'
import { crashStates, leastState } from './crash-states.ts'
import { createDisk, type Disk } from './disk.ts'
import { contentOf, type DirectoryImage, filesBelow, walk } from './image.ts'

// What the disk claims of itself: the tests that stand on it are worth as much.

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

async function write(disk: Disk, path: string, content: string, options: { sync?: boolean; at?: number } = {}) {
  const file = await disk.start().fs.open(path, 'readWrite')
  await file.write([Buffer.from(content)], options.at ?? 0)
  if (options.sync === true) await file.sync()
  await file.close()
}

/** What each legal state after a power loss holds, as text; sorted, without repetition. */
function outcomes(disk: Disk, describeImage: (image: DirectoryImage) => string, limit = 2000): string[] {
  const { states, exhaustive } = crashStates(disk.pending(), { limit, random: createRandom(1) })
  expect(exhaustive).toBe(true)
  return [...new Set(states.map(describeImage))].sort()
}

const names = (image: DirectoryImage): string => filesBelow(image, '').join(' ') || 'nothing'

describe('a power loss', () => {
  test('keeps a new file only if both its bytes and its name were fsynced', async () => {
    const disk = createDisk()
    await write(disk, '/f', 'bytes')
    const show = (image: DirectoryImage): string => {
      if (names(image) !== 'f') return names(image)
      const content = text(contentOf(image, '/f'))
      return content === '' || content === 'bytes' ? `"${content}"` : 'zeros or garbage'
    }
    expect(outcomes(disk, show)).toEqual(['""', '"bytes"', 'nothing', 'zeros or garbage'])
    await write(disk, '/f', 'bytes', { sync: true })
    expect(outcomes(disk, show)).toEqual(['"bytes"', 'nothing'])
    await disk.start().fs.syncDirectory('/')
    expect(outcomes(disk, show)).toEqual(['"bytes"'])
  })

  test('keeps the name of a file without its bytes when only the directory was fsynced', async () => {
    const disk = createDisk()
    await write(disk, '/f', 'bytes')
    await disk.start().fs.syncDirectory('/')
    const lengths = outcomes(disk, (image) => String(contentOf(image, '/f').length))
    expect(lengths).toEqual(['0', '5'])
    expect(text(contentOf(leastState(disk.pending()), '/f'))).toBe('')
  })

  test('keeps bytes and length, and perhaps not the mode, after a data sync', async () => {
    const disk = createDisk()
    await write(disk, '/f', 'old', { sync: true })
    disk.settle()
    const file = await disk.start().fs.open('/f', 'update')
    await file.write([Buffer.from('new and longer')], 0)
    await file.chmod(0o640)
    await file.dataSync()
    const show = (image: DirectoryImage): string => {
      const node = image.entries.get('f')!
      return node.kind === 'file' ? `${text(node.content)} ${node.mode.toString(8)}` : ''
    }
    expect(show(leastState(disk.pending()))).toBe('new and longer 600')
    await file.sync()
    expect(show(leastState(disk.pending()))).toBe('new and longer 640')
  })

  test('reorders writes and tears them at 512 bytes', async () => {
    const disk = createDisk()
    await write(disk, '/f', 'a'.repeat(1024), { sync: true })
    disk.settle()
    await write(disk, '/f', 'b'.repeat(1024))
    await write(disk, '/f', 'c'.repeat(512))
    const seen = outcomes(disk, (image) => {
      const content = text(contentOf(image, '/f'))
      return content[0]! + content[511]! + content[512]! + content[1023]!
    })
    expect(seen).toEqual(['aaaa', 'aabb', 'bbaa', 'bbbb', 'ccaa', 'ccbb'])
  })

  test('leaves zeros or garbage where a length was kept and its bytes were not', async () => {
    const disk = createDisk()
    await write(disk, '/f', '', { sync: true })
    disk.settle()
    await write(disk, '/f', 'x'.repeat(512))
    const seen = outcomes(disk, (image) => {
      const content = contentOf(image, '/f')
      if (content.length === 0) return 'empty'
      const kinds = new Set(content)
      return kinds.size > 1 ? 'garbage' : kinds.has(0) ? 'zeros' : 'written'
    })
    expect(seen).toEqual(['empty', 'garbage', 'written', 'zeros'])
  })

  test('brings an unlinked file back, and takes a made directory with all that is in it', async () => {
    const disk = createDisk()
    await write(disk, '/old', 'old', { sync: true })
    disk.settle()
    const { fs } = disk.start()
    await fs.unlink('/old')
    await fs.mkdir('/d', 0o700)
    await write(disk, '/d/f', 'f', { sync: true })
    await fs.syncDirectory('/d')
    expect(outcomes(disk, names)).toEqual(['d/f', 'd/f old', 'nothing', 'old'])
  })

  test.each([
    ['atomic', ['a/f', 'b/f']],
    ['both', ['a/f', 'a/f b/f', 'b/f']],
    ['parts', ['a/f', 'a/f b/f', 'b/f', 'nothing']],
  ] as const)('leaves of a rename between directories, %s: %j', async (rename, expected) => {
    const disk = createDisk(null, { rename })
    const { fs } = disk.start()
    for (const path of ['/a', '/b']) await fs.mkdir(path, 0o700)
    await write(disk, '/a/f', 'f', { sync: true })
    disk.settle()
    await fs.rename('/a/f', '/b/f')
    expect(outcomes(disk, names)).toEqual(expected)
    await fs.syncDirectory('/b')
    expect(outcomes(disk, names)).toEqual(rename === 'atomic' ? ['b/f'] : ['a/f b/f', 'b/f'])
    await fs.syncDirectory('/a')
    expect(outcomes(disk, names)).toEqual(['b/f'])
  })

  test('keeps the changes of one name in order', async () => {
    const disk = createDisk()
    const { fs } = disk.start()
    for (const content of ['1', '2', '3']) {
      await write(disk, '/new', content, { sync: true })
      await fs.rename('/new', '/f')
      if (content === '1') disk.settle()
    }
    const seen = outcomes(disk, (image) => text(contentOf(image, '/f')))
    expect(seen).toEqual(['1', '2', '3'])
  })

  test('ends every process, and loses no lock file but every lock', async () => {
    const disk = createDisk()
    const process = disk.start()
    const file = await process.fs.open('/lock', 'create')
    expect(file.tryLock('exclusive')).toBe(true)
    disk.kill()
    await expect(file.sync()).rejects.toThrow('was killed')
    await expect(process.fs.stat('/lock')).rejects.toThrow('was killed')
    const again = await disk.start().fs.open('/lock', 'update')
    expect(again.tryLock('exclusive')).toBe(true)
  })
})

describe('an fsync', () => {
  test('that fails and forgets is reported once; the next one succeeds, and the bytes are gone', async () => {
    const lost = new Set<string>()
    for (let seed = 0; seed < 20; seed++) {
      const disk = createDisk(null, { seed })
      const file = await disk.start().fs.open('/f', 'create')
      await file.write([Buffer.from('bytes')], 0)
      await disk.start().fs.syncDirectory('/')
      disk.onCall = ({ name }) => (name === 'sync' ? { error: 'EIO', lose: true } : undefined)
      await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
      disk.onCall = null
      await file.sync()
      lost.add(text(contentOf(leastState(disk.pending()), '/f')).replaceAll('\0', '0'))
      expect(text(contentOf(disk.image(), '/f'))).toBe('bytes')
    }
    expect([...lost].sort()).toEqual(['', '00000', 'bytes'])
  })

  test('writes what was lost only when its page is written to again', async () => {
    const disk = createDisk(null, { seed: 3 })
    const file = await disk.start().fs.open('/f', 'create')
    await disk.start().fs.syncDirectory('/')
    disk.onCall = ({ name }) => (name === 'write' ? { writebackFails: true } : undefined)
    for (let page = 0; page < 8; page++) await file.write([Buffer.alloc(4096, 'a')], page * 4096)
    disk.onCall = null
    await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
    await file.sync()
    const pages = () => {
      const content = text(contentOf(leastState(disk.pending()), '/f'))
      return Array.from({ length: 8 }, (_, page) => content[page * 4096] === 'a')
    }
    expect(pages()).toContain(false)
    const first = pages().indexOf(false)
    await file.write([Buffer.from('a')], first * 4096)
    await file.sync()
    expect(pages()[first]).toBe(true)
  })

  test('through a descriptor that was opened after the write-back failed says nothing', async () => {
    const disk = createDisk()
    const file = await disk.start().fs.open('/f', 'create')
    disk.onCall = ({ name }) => (name === 'write' ? { writebackFails: true } : undefined)
    await file.write([Buffer.from('bytes')], 0)
    disk.onCall = null
    const later = await disk.start().fs.open('/f', 'update')
    await later.sync()
    await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
  })

  test('of a directory that fails and forgets is made good by another change of that directory', async () => {
    const forgotten = new Set<string>()
    for (let seed = 0; seed < 12; seed++) {
      const disk = createDisk(null, { seed })
      const { fs } = disk.start()
      await write(disk, '/f', 'f', { sync: true })
      disk.onCall = ({ name }) => (name === 'syncDirectory' ? { error: 'EIO', lose: true } : undefined)
      await expect(fs.syncDirectory('/')).rejects.toMatchObject({ code: 'EIO' })
      disk.onCall = null
      await fs.syncDirectory('/')
      forgotten.add(names(leastState(disk.pending())))
      await write(disk, '/g', 'g', { sync: true })
      await fs.syncDirectory('/')
      expect(names(leastState(disk.pending()))).toBe('f g')
    }
    expect([...forgotten].sort()).toEqual(['f', 'nothing'])
  })
})

describe('locks', () => {
  test('exclude other descriptors, of any process, until they are closed or their process dies', async () => {
    const disk = createDisk()
    const [one, two] = [disk.start(), disk.start()]
    const mine = await one.fs.open('/lock', 'create')
    const same = await one.fs.open('/lock', 'update')
    const other = await two.fs.open('/lock', 'update')
    expect(mine.tryLock('shared')).toBe(true)
    expect(other.tryLock('shared')).toBe(true)
    expect(mine.tryLock('exclusive')).toBe(false)
    two.kill()
    expect(mine.tryLock('exclusive')).toBe(true)
    expect(same.tryLock('shared')).toBe(false)
    await mine.close()
    expect(same.tryLock('shared')).toBe(true)
    const reading = await one.fs.open('/lock', 'read')
    expect(() => reading.tryLock('exclusive')).toThrow('no lock')
  })
})

test('inode numbers are used again once nobody has the file, and not before', async () => {
  const disk = createDisk()
  const { fs } = disk.start()
  const file = await fs.open('/f', 'create')
  const { ino } = await file.stat()
  await fs.unlink('/f')
  await write(disk, '/g', 'g')
  expect((await fs.stat('/g')).ino).not.toBe(ino)
  await file.close()
  await write(disk, '/h', 'h')
  expect((await fs.stat('/h')).ino).toBe(ino)
})

test('faults hit the call that they are meant for, and only that', async () => {
  const disk = createDisk(null, { capacityBytes: 10 })
  const { fs } = disk.start()
  disk.onCall = ({ number }) => [{ error: 'EMFILE' }, undefined, { short: 2 }, undefined, { flip: 0 }][number - 1]
  await expect(fs.open('/f', 'create')).rejects.toMatchObject({ code: 'EMFILE', syscall: 'open', path: '/f' })
  expect(names(disk.image())).toBe('nothing')
  const file = await fs.open('/f', 'create')
  expect(await file.write([Buffer.from('abc')], 0)).toBe(2)
  expect(await file.write([Buffer.from('c')], 2)).toBe(1)
  const target = Buffer.alloc(8)
  expect(await file.read(target, 0)).toBe(3)
  expect(text(target.subarray(0, 3))).toBe('`bc')
  expect(await file.read(target, 0)).toBe(3)
  expect(text(target.subarray(0, 3))).toBe('abc')
  // The disk is full.
  expect(await file.write([Buffer.from('0123456789')], 3)).toBe(7)
  await expect(file.write([Buffer.from('x')], 10)).rejects.toMatchObject({ code: 'ENOSPC' })
  disk.onCall = ({ name }) => (name === 'rename' ? { error: 'EIO', done: true } : undefined)
  await expect(fs.rename('/f', '/g')).rejects.toMatchObject({ code: 'EIO' })
  expect(names(disk.image())).toBe('g')
})

test('a large space of states is sampled: nothing, everything, and much between; and the same for the same seed', async () => {
  const disk = createDisk(null, { rename: 'parts' })
  const { fs } = disk.start()
  await fs.mkdir('/d', 0o700)
  for (let i = 0; i < 12; i++) await write(disk, `/f${i}`, 'x'.repeat(2000 * i))
  for (let i = 0; i < 12; i += 2) await fs.rename(`/f${i}`, `/d/g${i}`)
  const sample = (seed: number) => {
    const { states, exhaustive } = crashStates(disk.pending(), { limit: 200, random: createRandom(seed) })
    expect(exhaustive).toBe(false)
    return states.map((image) =>
      [...walk(image)].map(([path, node]) => `${path} ${node.kind === 'file' ? text(node.content) : ''}`).join(),
    )
  }
  const states = sample(1)
  expect(states).toHaveLength(200)
  expect(new Set(states).size).toBeGreaterThan(100)
  expect(states).toContain('')
  expect(sample(1)).toEqual(states)
  expect(sample(2)).not.toEqual(states)
})
