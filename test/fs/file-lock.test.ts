import { execFileSync } from 'node:child_process'
import { readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { acquireFileLock, type FileLockOptions } from '../../src/fs/file-lock.ts'
import { nodeFileSystem as fs } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { scratch } from '../support/scratch.ts'
import { systemError } from '../support/watched-disk.ts'
import { startChild } from './children.ts'

const options: FileLockOptions = { mode: 0o600, waitMs: 0, hint: Buffer.from('pid 1 on tests') }

describe('a lock file', () => {
  test('is made, holds the hint, and stays when it is released', async () => {
    const path = join(scratch(), 'writer.lock')
    writeFileSync(path, 'pid 123456789 on an-earlier-host-with-a-long-name')
    const lock = await acquireFileLock(fs, path, options)
    expect(await lock.stillHeld()).toBe(true)
    await lock.release()
    await lock.release()
    expect(await lock.stillHeld()).toBe(false)
    expect(readFileSync(path, 'utf8').trim()).toBe('pid 1 on tests')
  })

  test.skipIf(process.platform === 'win32')('is no pipe: one in its place is said to be one', async () => {
    const path = join(scratch(), 'writer.lock')
    execFileSync('mkfifo', [path])
    await expect(acquireFileLock(fs, path, options)).rejects.toMatchObject({
      code: 'IO_FAILED',
      message: expect.stringContaining('A pipe, a socket or a device is in the place of that file'),
    })
  })

  test('that another holds is STORE_LOCKED after the time given, and says who', async () => {
    const path = join(scratch(), 'writer.lock')
    const lock = await acquireFileLock(fs, path, options)
    const started = performance.now()
    const waits: number[] = []
    const failing = acquireFileLock(fs, path, { ...options, waitMs: 120, onWait: (ms) => waits.push(ms) })
    await expect(failing).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      message: expect.stringContaining('pid 1 on tests'),
      details: { path, holder: 'pid 1 on tests', waitedMs: expect.any(Number) },
    })
    expect(performance.now() - started).toBeGreaterThanOrEqual(119)
    expect(waits.length).toBeGreaterThan(2)
    expect(waits).toEqual([...waits].sort((a, b) => a - b))
    await lock.release()
    await (await acquireFileLock(fs, path, options)).release()
  })

  test('is taken as soon as its holder lets go', async () => {
    const path = join(scratch(), 'writer.lock')
    const first = await acquireFileLock(fs, path, options)
    const second = acquireFileLock(fs, path, { ...options, waitMs: 10_000 })
    setTimeout(() => void first.release(), 30)
    await (await second).release()
  })

  test('is free once the process that held it was killed', async () => {
    const child = await startChild('lock', join(scratch(), 'writer.lock'))
    await expect(acquireFileLock(fs, child.path, options)).rejects.toMatchObject({
      details: { holder: `pid ${child.pid} on here` },
    })
    await child.kill()
    await (await acquireFileLock(fs, child.path, options)).release()
  })

  test('lets processes that race for it in one by one', async () => {
    const path = join(scratch(), 'count')
    writeFileSync(path, '0')
    await Promise.all(Array.from({ length: 4 }, () => startChild('count', path)))
    expect(readFileSync(path, 'utf8')).toBe('200')
  })

  test('that was deleted or replaced under its holder is not held any more', async () => {
    const path = join(scratch(), 'writer.lock')
    const first = await acquireFileLock(fs, path, options)
    rmSync(path)
    expect(await first.stillHeld()).toBe(false)
    const second = await acquireFileLock(fs, path, options)
    expect([await first.stillHeld(), await second.stillHeld()]).toEqual([false, true])
    await Promise.all([first.release(), second.release()])
  })

  test('that was replaced while waiting is opened anew', async () => {
    const path = join(scratch(), 'writer.lock')
    const first = await acquireFileLock(fs, path, options)
    const second = acquireFileLock(fs, path, { ...options, waitMs: 10_000 })
    renameSync(path, `${path}.old`)
    setTimeout(() => void first.release(), 30)
    const lock = await second
    expect(await lock.stillHeld()).toBe(true)
    await lock.release()
  })

  test('an abort ends the wait at once, with the reason given', async () => {
    const path = join(scratch(), 'writer.lock')
    const lock = await acquireFileLock(fs, path, options)
    const controller = new AbortController()
    const waiting = acquireFileLock(fs, path, { ...options, waitMs: 60_000, signal: controller.signal })
    setTimeout(() => controller.abort('enough'), 20)
    await expect(waiting).rejects.toBe('enough')
    await expect(acquireFileLock(fs, path, { ...options, signal: controller.signal })).rejects.toBe('enough')
    await lock.release()
  })

  test('closes its file whenever it fails', async () => {
    const path = join(scratch(), 'writer.lock')
    let open = 0
    const counting = (fault: Partial<FileSystem>): FileSystem => ({
      ...fs,
      async open(...args) {
        const file = await fs.open(...args)
        open += 1
        return {
          ...file,
          async close() {
            await file.close()
            open -= 1
          },
          closeSync() {
            file.closeSync()
            open -= 1
          },
        }
      },
      ...fault,
    })
    const failing = counting({ lstat: () => Promise.reject(systemError('EIO', 'lstat')) })
    await expect(acquireFileLock(failing, path, options)).rejects.toMatchObject({ code: 'IO_FAILED' })
    expect(open).toBe(0)
    const lock = await acquireFileLock(counting({}), path, options)
    await expect(acquireFileLock(counting({}), path, options)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
    expect(open).toBe(1)
    await lock.release()
    expect(open).toBe(0)
  })

  test('is not followed through a link, and failures to open say what to do', async () => {
    const root = scratch()
    writeFileSync(join(root, 'precious'), 'x')
    symlinkSync(join(root, 'precious'), join(root, 'writer.lock'))
    await expect(acquireFileLock(fs, join(root, 'writer.lock'), options)).rejects.toMatchObject({
      code: 'IO_FAILED',
      details: { code: 'ELOOP' },
    })
    expect(readFileSync(join(root, 'precious'), 'utf8')).toBe('x')
  })

  test('an unreadable disk is an error of stillHeld, not "no longer held"', async () => {
    const path = join(scratch(), 'writer.lock')
    let broken = false
    const disk: FileSystem = { ...fs, lstat: (at) => (broken ? Promise.reject(systemError('EIO')) : fs.lstat(at)) }
    const lock = await acquireFileLock(disk, path, options)
    broken = true
    await expect(lock.stillHeld()).rejects.toMatchObject({ code: 'IO_FAILED' })
    await lock.release()
  })
})
