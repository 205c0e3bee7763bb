import { execFileSync, spawn } from 'node:child_process'
import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { nodeFileSystem as fs, withRenameRetries, withSyncCalls } from '../../src/fs/node.ts'
import { scratch } from '../support/scratch.ts'
import { systemError } from '../support/watched-disk.ts'

describe('opening', () => {
  test('create refuses an existing file and a link', async () => {
    const root = scratch()
    writeFileSync(join(root, 'a'), 'x')
    symlinkSync(join(root, 'nowhere'), join(root, 'link'))
    await expect(fs.open(join(root, 'a'), 'create')).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(fs.open(join(root, 'link'), 'create')).rejects.toMatchObject({ code: 'EEXIST' })
  })

  test('readWrite makes a missing file, keeps the content of an existing one, and follows no link', async () => {
    const root = scratch()
    await (await fs.open(join(root, 'a'), 'readWrite', 0o600)).close()
    writeFileSync(join(root, 'a'), 'kept')
    await (await fs.open(join(root, 'a'), 'readWrite')).close()
    expect(readFileSync(join(root, 'a'), 'utf8')).toBe('kept')
    symlinkSync(join(root, 'a'), join(root, 'link'))
    await expect(fs.open(join(root, 'link'), 'readWrite')).rejects.toMatchObject({ code: 'ELOOP' })
  })

  test('update wants an existing file and follows no link; read follows links', async () => {
    const root = scratch()
    await expect(fs.open(join(root, 'a'), 'update')).rejects.toMatchObject({ code: 'ENOENT' })
    writeFileSync(join(root, 'a'), 'x')
    symlinkSync(join(root, 'a'), join(root, 'link'))
    await expect(fs.open(join(root, 'link'), 'update')).rejects.toMatchObject({ code: 'ELOOP' })
    await (await fs.open(join(root, 'link'), 'read')).close()
  })

  test.skipIf(process.platform === 'win32')('a FIFO is opened without waiting for its other end', async () => {
    const path = join(scratch(), 'fifo')
    execFileSync('mkfifo', [path])
    for (const disk of [fs, withSyncCalls(fs)]) {
      // An open that waits would wait for ever, the synchronous one together with this test.
      const rescue = spawn('sh', ['-c', 'sleep 3; exec 3<>"$0"; sleep 1', path], { stdio: 'ignore' })
      const startedMs = performance.now()
      const file = await disk.open(path, 'read')
      expect((await file.stat()).kind).not.toBe('file')
      await file.close()
      expect(performance.now() - startedMs).toBeLessThan(2_500)
      rescue.kill()
    }
  })

  test('modes are those asked for', async () => {
    const root = scratch()
    const file = await fs.open(join(root, 'a'), 'create', 0o600)
    expect((await file.stat()).mode).toBe(0o600)
    await file.chmod(0o640)
    expect((await fs.stat(join(root, 'a'))).mode).toBe(0o640)
    await file.close()
  })
})

describe('an open file', () => {
  test('gathers more views than one call may carry', async () => {
    const path = join(scratch(), 'a')
    const file = await fs.open(path, 'create')
    const views = Array.from({ length: 1030 }, (_, index) => Uint8Array.of(index & 255))
    expect(await file.write([new Uint8Array(0), ...views], 0)).toBe(1024)
    expect(await file.write(views.slice(1024), 1024)).toBe(6)
    expect(await file.write([], 0)).toBe(0)
    expect(await file.write([Uint8Array.of(9)], 1)).toBe(1)
    await file.close()
    const bytes = readFileSync(path)
    expect(bytes.length).toBe(1030)
    expect([...bytes.subarray(0, 3), bytes[1029]]).toEqual([0, 9, 2, 5])
  })

  test('reads up to the end and then nothing', async () => {
    const path = join(scratch(), 'a')
    writeFileSync(path, 'hello')
    const file = await fs.open(path, 'read')
    const target = new Uint8Array(10)
    expect(await file.read(target, 2)).toBe(3)
    expect(await file.read(target, 5)).toBe(0)
    expect(await file.read(new Uint8Array(0), 0)).toBe(0)
    await file.close()
  })

  test('closes twice without harm, and refuses everything afterwards', async () => {
    const path = join(scratch(), 'a')
    const file = await fs.open(path, 'create')
    await Promise.all([file.close(), file.close()])
    file.closeSync()
    await file.close()
    await expect(file.write([Uint8Array.of(1)], 0)).rejects.toMatchObject({ code: 'EBADF', path })
    await expect(file.sync()).rejects.toMatchObject({ code: 'EBADF' })
    await expect(file.dataSync()).rejects.toMatchObject({ code: 'EBADF', syscall: 'fdatasync' })
    expect(() => file.tryLock('shared')).toThrow(/EBADF/)
  })

  test('closeSync then close is harmless too', async () => {
    const file = await fs.open(join(scratch(), 'a'), 'create')
    file.closeSync()
    file.closeSync()
    await file.close()
  })

  test('a close waits for the writes under way, so that none lands in the next file of that descriptor', async () => {
    const root = scratch()
    const block = new Uint8Array(1 << 16).fill(7)
    for (let round = 0; round < 20; round += 1) {
      const first = await fs.open(join(root, `a${round}`), 'create')
      const writes = Array.from({ length: 64 }, (_, index) => first.write([block], index * block.length))
      if (round % 2 === 0) void first.close()
      else first.closeSync()
      const second = await fs.open(join(root, `b${round}`), 'create')
      expect(await Promise.all(writes)).toEqual(writes.map(() => block.length))
      await first.close()
      expect((await second.stat()).size).toBe(0)
      await second.close()
    }
  })

  test('errors carry the path although the system call had only a descriptor', async () => {
    const path = join(scratch(), 'a')
    writeFileSync(path, '')
    const file = await fs.open(path, 'read')
    await expect(file.write([Uint8Array.of(1)], 0)).rejects.toMatchObject({ code: 'EBADF', syscall: 'write', path })
    await file.close()
  })
})

test('stat gives the identity, kind and times; lstat sees the link', async () => {
  const root = scratch()
  writeFileSync(join(root, 'a'), 'abc')
  linkSync(join(root, 'a'), join(root, 'b'))
  symlinkSync('a', join(root, 'link'))
  mkdirSync(join(root, 'd'))
  const [a, b, link, lstat] = [
    await fs.stat(join(root, 'a')),
    await fs.stat(join(root, 'b')),
    await fs.stat(join(root, 'link')),
    await fs.lstat(join(root, 'link')),
  ]
  expect([a.kind, a.size, b.ino, link.ino]).toEqual(['file', 3, a.ino, a.ino])
  expect(typeof a.mtimeNs).toBe('bigint')
  expect(lstat.kind).toBe('link')
  const entries = await fs.readdir(root)
  expect(Object.fromEntries(entries.map((entry) => [entry.name, entry.kind]))).toEqual({
    a: 'file',
    b: 'file',
    link: 'link',
    d: 'directory',
  })
})

describe('fsync of a directory', () => {
  test('works, and reports a missing directory', async () => {
    const root = scratch()
    await fs.syncDirectory(root)
    await expect(fs.syncDirectory(join(root, 'missing'))).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

describe('rename on Windows', () => {
  test('is repeated while another program has the file open, for about two seconds', async () => {
    const pauses: number[] = []
    const pause = async (ms: number) => void pauses.push(ms)
    let tries = 0
    const third = async () => {
      tries += 1
      if (tries < 3) throw systemError('EPERM', 'rename')
    }
    await withRenameRetries(third, { platform: 'win32', pause })
    expect([tries, pauses.length]).toEqual([3, 2])
    const never = () => Promise.reject(systemError('EBUSY', 'rename'))
    await expect(withRenameRetries(never, { platform: 'win32', pause })).rejects.toMatchObject({ code: 'EBUSY' })
    const totalMs = pauses.reduce((sum, ms) => sum + ms, 0)
    expect(totalMs).toBeGreaterThan(1_900)
    expect(totalMs).toBeLessThan(2_600)
  })

  test('is not repeated for other errors, nor elsewhere', async () => {
    let tries = 0
    const fail = (code: string) => () => {
      tries += 1
      return Promise.reject(systemError(code, 'rename'))
    }
    await expect(withRenameRetries(fail('ENOSPC'), { platform: 'win32' })).rejects.toMatchObject({ code: 'ENOSPC' })
    await expect(withRenameRetries(fail('EPERM'), { platform: 'linux' })).rejects.toMatchObject({ code: 'EPERM' })
    expect(tries).toBe(2)
  })
})
