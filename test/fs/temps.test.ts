import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { HoldfastError } from '../../src/errors.ts'
import { nodeFileSystem as fs } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { createTemp, createWorkDirectory, reapTemps } from '../../src/fs/temps.ts'
import { scratch } from '../support/scratch.ts'
import { observe, systemError } from '../support/watched-disk.ts'
import { startChild } from './children.ts'

const locked = { mode: 0o600, lock: true }
const reaping = { lock: true, olderThanMs: 0, nowMs: Date.now() }

describe('a temp', () => {
  test('has 96 random bits in its name, the mode asked for and a lock', async () => {
    const root = scratch()
    const umask = process.umask(0o077)
    const temp = await createTemp(fs, root, { mode: 0o644, lock: true, suffix: '.pack' })
    process.umask(umask)
    expect(basename(temp.path)).toMatch(/^[0-9a-f]{24}\.pack$/)
    expect(statSync(temp.path).mode & 0o777).toBe(0o644)
    const other = await fs.open(temp.path, 'update')
    expect(other.tryLock('exclusive')).toBe(false)
    await other.close()
    await temp.discard()
    expect(readdirSync(root)).toEqual([])
  })

  test('is unlinked before it is closed, so that it is locked until it is gone', async () => {
    const root = scratch()
    const { fs: disk, log } = observe(root)
    const temp = await createTemp(disk, root, locked)
    await temp.discard()
    await temp.discard()
    expect(log).toEqual(['open create /#', 'unlink /#', 'close /#'])
  })

  test('that was kept is neither removed nor closed', async () => {
    const root = scratch()
    const temp = await createTemp(fs, root, locked)
    temp.keep()
    await temp.discard()
    expect(existsSync(temp.path)).toBe(true)
    expect((await temp.file.stat()).size).toBe(0)
    await temp.file.close()
  })

  test('takes another name when a reaper removed it before it was locked', async () => {
    const root = scratch()
    let thefts = 0
    const thief: FileSystem = {
      ...fs,
      async open(path, how, mode) {
        const file = await fs.open(path, how, mode)
        if (thefts < 2) await fs.unlink(path)
        if (thefts === 0) await (await fs.open(path, 'create')).close()
        thefts += 1
        return file
      },
    }
    const temp = await createTemp(thief, root, locked)
    expect(thefts).toBe(3)
    expect(existsSync(temp.path)).toBe(true)
    await temp.discard()
    // The stranger that took the first name is not ours to remove.
    expect(readdirSync(root)).toHaveLength(1)
  })

  test('gives up after a bounded number of names', async () => {
    const root = scratch()
    const thief: FileSystem = {
      ...fs,
      async open(path, how, mode) {
        const file = await fs.open(path, how, mode)
        await fs.unlink(path)
        return file
      },
    }
    await expect(createTemp(thief, root, locked)).rejects.toMatchObject({ code: 'IO_FAILED' })
  })

  test('is not left behind where there are no locks', async () => {
    const root = scratch()
    const lockless: FileSystem = {
      ...fs,
      open: async (path, how, mode) => ({
        ...(await fs.open(path, how, mode)),
        tryLock() {
          throw new HoldfastError('LOCK_UNAVAILABLE', 'none here')
        },
      }),
    }
    await expect(createTemp(lockless, root, locked)).rejects.toMatchObject({ code: 'LOCK_UNAVAILABLE' })
    expect(readdirSync(root)).toEqual([])
  })

  test('on a full disk is NO_SPACE', async () => {
    const root = scratch()
    const { fs: disk } = observe(root, () => {
      throw systemError('ENOSPC')
    })
    await expect(createTemp(disk, root, locked)).rejects.toMatchObject({ code: 'NO_SPACE' })
  })
})

describe('a work directory', () => {
  test('is gone with its temp and everything in it once discarded', async () => {
    const root = scratch()
    const work = await createWorkDirectory(fs, root, { lock: true })
    expect(statSync(work.path).mode & 0o777).toBe(0o700)
    expect(readdirSync(root)).toHaveLength(2)
    mkdirSync(join(work.path, 'sub'))
    writeFileSync(join(work.path, 'sub', 'a'), 'x')
    await work.discard()
    await work.discard()
    expect(readdirSync(root)).toEqual([])
  })

  test('that cannot be removed now is left to a reaper, unlocked', async () => {
    const root = scratch()
    const work = await createWorkDirectory({ ...fs, rmdir: () => Promise.reject(systemError('EIO')) }, root, {
      lock: true,
    })
    await work.discard()
    expect(readdirSync(root)).toHaveLength(2)
    expect(await reapTemps(fs, root, reaping)).toEqual([basename(work.path, '.d')])
    expect(readdirSync(root)).toEqual([])
  })

  test('whose directory cannot be made leaves no temp', async () => {
    const root = scratch()
    const { fs: disk } = observe(root, (line) => {
      if (line.startsWith('mkdir')) throw systemError('EIO')
    })
    await expect(createWorkDirectory(disk, root, { lock: true })).rejects.toMatchObject({ code: 'IO_FAILED' })
    expect(readdirSync(root)).toEqual([])
  })
})

/** Names as temps have. */
const [A, B, C, OLD, YOUNG, BUSY] = ['a', 'b', 'c', 'd', 'e', 'f'].map(
  (digit) => `${digit.repeat(24)}.holdfast-tmp`,
) as [string, string, string, string, string, string]

describe('reaping', () => {
  test('leaves what has another name than temps have', async () => {
    const root = scratch()
    const digits = 'a'.repeat(24)
    const names = ['notes.txt', 'a', digits, A.toUpperCase(), `0${A}`, `${A}.txt`, `${digits}.tmp`]
    for (const name of names) writeFileSync(join(root, name), 'mine')
    for (const name of ['conf.d', `${digits}.d`, `${A}.dir`]) mkdirSync(join(root, name))
    expect(await reapTemps(fs, root, reaping)).toEqual([])
    expect(readdirSync(root).sort()).toEqual([...names, 'conf.d', `${digits}.d`, `${A}.dir`].sort())
  })

  test('spares what a living process holds and removes what a killed one left', async () => {
    const root = scratch()
    const [dead, alive] = [await startChild('temp', root), await startChild('temp', root)]
    const [deadWork, aliveWork] = [await startChild('work', root), await startChild('work', root)]
    for (const work of [deadWork, aliveWork]) writeFileSync(join(work.path, 'saved'), 'x')
    expect(await reapTemps(fs, root, reaping)).toEqual([])
    await Promise.all([dead.kill(), deadWork.kill()])
    const removed = await reapTemps(fs, root, reaping)
    expect(removed.sort()).toEqual([basename(dead.path), basename(deadWork.path, '.d')].sort())
    const left = [basename(alive.path), basename(aliveWork.path), basename(aliveWork.path, '.d')]
    expect(readdirSync(root).sort()).toEqual(left.sort())
    await Promise.all([alive.kill(), aliveWork.kill()])
    await reapTemps(fs, root, reaping)
    expect(readdirSync(root)).toEqual([])
  })

  test('spares what this process holds', async () => {
    const root = scratch()
    const temp = await createTemp(fs, root, locked)
    expect(await reapTemps(fs, root, reaping)).toEqual([])
    await temp.discard()
  })

  test('removes a work directory whose temp is gone', async () => {
    const root = scratch()
    mkdirSync(join(root, `${A}.d`, 'sub'), { recursive: true })
    expect(await reapTemps(fs, root, reaping)).toEqual([`${A}.d`])
    expect(readdirSync(root)).toEqual([])
  })

  test('does not take a work directory for orphaned because the listing missed its temp', async () => {
    const root = scratch()
    const work = await createWorkDirectory(fs, root, { lock: true })
    const disk: FileSystem = {
      ...fs,
      readdir: async (path) => (await fs.readdir(path)).filter((entry) => entry.kind === 'directory'),
    }
    expect(await reapTemps(disk, root, reaping)).toEqual([])
    expect(existsSync(work.path)).toBe(true)
    await work.discard()
  })

  test('leaves links and other directories alone, and never follows a link out', async () => {
    const [root, outside] = [scratch(), scratch()]
    writeFileSync(join(outside, 'precious'), 'x')
    mkdirSync(join(outside, 'directory'))
    symlinkSync(join(outside, 'precious'), join(root, 'link'))
    symlinkSync(join(outside, 'directory'), join(root, `${B}.d`))
    mkdirSync(join(root, 'other'))
    mkdirSync(join(root, `${A}.d`))
    symlinkSync(outside, join(root, `${A}.d`, 'out'))
    symlinkSync(join(outside, 'precious'), join(root, `${A}.d`, 'file'))
    expect(await reapTemps(fs, root, reaping)).toEqual([`${A}.d`])
    expect(readdirSync(root).sort()).toEqual([`${B}.d`, 'link', 'other'])
    expect(readdirSync(outside).sort()).toEqual(['directory', 'precious'])
  })

  test('removes a link that took the place of a work directory, not what it leads to', async () => {
    const [root, outside] = [scratch(), scratch()]
    writeFileSync(join(outside, 'precious'), 'x')
    writeFileSync(join(root, A), '')
    symlinkSync(outside, join(root, `${A}.d`))
    expect(await reapTemps(fs, root, reaping)).toEqual([A])
    expect(readdirSync(root)).toEqual([])
    expect(readdirSync(outside)).toEqual(['precious'])
  })

  test('does not remove a name that leads to another file by the time its lock is held', async () => {
    const root = scratch()
    const path = join(root, A)
    writeFileSync(path, 'dead')
    const disk: FileSystem = {
      ...fs,
      async open(name, how, mode) {
        const file = await fs.open(name, how, mode)
        renameSync(path, `${path}.published`)
        writeFileSync(path, 'new')
        return file
      },
    }
    const [entry] = await fs.readdir(root)
    expect(await reapTemps({ ...disk, readdir: async () => [entry!] }, root, reaping)).toEqual([])
    expect(readdirSync(root).sort()).toEqual([A, `${A}.published`])
  })

  test('refuses a directory that is a link', async () => {
    const [root, outside] = [scratch(), scratch()]
    writeFileSync(join(outside, 'precious'), 'x')
    symlinkSync(outside, join(root, 'tmp'))
    await expect(reapTemps(fs, join(root, 'tmp'), reaping)).rejects.toMatchObject({ code: 'IO_FAILED' })
    expect(readdirSync(outside)).toEqual(['precious'])
    expect(await reapTemps(fs, join(root, 'missing'), reaping)).toEqual([])
  })

  test('goes on after a failure, and reports it', async () => {
    const root = scratch()
    for (const name of [A, B, C]) writeFileSync(join(root, name), '')
    const disk: FileSystem = {
      ...fs,
      unlink: (path) => (path.endsWith(B) ? Promise.reject(systemError('EIO')) : fs.unlink(path)),
    }
    await expect(reapTemps(disk, root, reaping)).rejects.toMatchObject({ code: 'IO_FAILED' })
    expect(readdirSync(root)).toEqual([B])
  })

  test('without locks goes by the age of the newest file, in work directories too', async () => {
    const root = scratch()
    const hours = (count: number) => Date.now() / 1_000 - count * 3_600
    for (const name of [OLD, YOUNG, BUSY]) writeFileSync(join(root, name), '')
    mkdirSync(join(root, `${BUSY}.d`))
    writeFileSync(join(root, `${BUSY}.d`, 'saving'), '')
    for (const name of [OLD, BUSY, `${BUSY}.d`]) utimesSync(join(root, name), hours(3), hours(3))
    utimesSync(join(root, YOUNG), hours(1), hours(1))
    const options = { lock: false, olderThanMs: 2 * 3_600_000, nowMs: Date.now() }
    expect(await reapTemps(fs, root, options)).toEqual([OLD])
    expect(readdirSync(root).sort()).toEqual([BUSY, `${BUSY}.d`, YOUNG].sort())
  })

  test('by many at once, while temps are made, takes none from its owner', async () => {
    const root = scratch()
    for (let index = 0; index < 50; index += 1) {
      writeFileSync(join(root, `${String(index).padStart(24, 'd')}.holdfast-tmp`), '')
    }
    const making = Array.from({ length: 50 }, () => createTemp(fs, root, locked))
    await Promise.all(Array.from({ length: 10 }, () => reapTemps(fs, root, reaping)))
    const temps = await Promise.all(making)
    await reapTemps(fs, root, reaping)
    expect(readdirSync(root).sort()).toEqual(temps.map((temp) => basename(temp.path)).sort())
    await Promise.all(temps.map((temp) => temp.discard()))
    expect(readdirSync(root)).toEqual([])
  })
})
