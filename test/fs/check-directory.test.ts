import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, parse } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import {
  checkDirectory,
  type DirectoryCheck,
  type DirectoryReport,
  inspectDirectory,
} from '../../src/fs/check-directory.ts'
import { type DirectorySystem, thisSystem } from '../../src/fs/directory-system.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { File, FileSystem } from '../../src/fs/port.ts'
import { failure } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { systemError } from '../support/watched-disk.ts'

const MiB = 1024 * 1024

/** No other process, and a disk with room, whatever this machine is. */
const system: DirectorySystem = {
  platform: 'linux',
  syncDirectory: () => Promise.resolve(),
  freeSpace: () => Promise.resolve({ bytes: 1000 * MiB, files: 1000, filesFree: 10 }),
  mounts: () => Promise.resolve('1 1 0:1 / / rw - ext4 /dev/a rw'),
  lockingProcess: () => Promise.reject(new Error('none here')),
}

async function inspect(
  faults: { fs?: Partial<FileSystem>; system?: Partial<DirectorySystem>; path?: string } = {},
): Promise<DirectoryReport> {
  const path = faults.path ?? scratch()
  return await inspectDirectory({ ...nodeFileSystem, ...faults.fs }, { ...system, ...faults.system }, path, 64 * MiB)
}

function answer(report: DirectoryReport, name: DirectoryCheck['name']): DirectoryCheck {
  const found = report.checks.find((check) => check.name === name)
  if (found === undefined) throw new Error(`no check ${name} among ${report.checks.map((check) => check.name)}`)
  return found
}

/** What is not in order. */
function failing(report: DirectoryReport): string[] {
  expect(report.ok).toBe(report.checks.every(({ ok }) => ok))
  return report.checks.filter(({ ok }) => !ok).map(({ name }) => name)
}

/** A disk whose files are changed as `wrap` says. */
function filesOf(wrap: (file: File, path: string) => File): Partial<FileSystem> {
  return { open: async (path, how, mode) => wrap(await nodeFileSystem.open(path, how, mode), path) }
}

describe('the directory of this machine', () => {
  test('keeps what is relied on, between processes too, and is left as it was', async () => {
    const path = scratch()
    writeFileSync(join(path, 'file'), '')
    const report = await checkDirectory(path)
    expect(answer(report, 'locks')).toEqual({
      name: 'locks',
      ok: true,
      detail: 'locks exclude other processes of this machine, and end with their process',
    })
    // What it lies on, and how full that is, is this machine's business.
    const depends = new Set(['file-system', 'network', 'free-space'])
    expect(report.checks.filter(({ name, ok }) => !ok && !depends.has(name))).toEqual([])
    expect(report.checks.map(({ name }) => name)).toEqual([
      'directory',
      'writable',
      'exclusive-create',
      'rename',
      'open-files',
      'directory-fsync',
      'locks',
      'same-file-system',
      'free-space',
      'file-system',
      'network',
    ])
    expect(report).toMatchObject({ path, freeBytes: expect.any(Number), fileSystem: expect.any(String) })
    expect(readdirSync(path)).toEqual(['file'])
  })

  test.runIf(process.platform === 'linux')(
    'has the type that stat(1) tells, and the free space that df(1) tells',
    async () => {
      const report = await checkDirectory(pathToFileURL(scratch()))
      const said = execFileSync('stat', ['-f', '-c', '%T %a %S', report.path], { encoding: 'utf8' }).split(' ')
      expect(report.fileSystem.slice(0, 3)).toBe(said[0]!.slice(0, 3))
      // Others write to it meanwhile.
      expect(Math.abs(report.freeBytes! / (Number(said[1]) * Number(said[2])) - 1)).toBeLessThan(0.1)
    },
  )

  test.runIf(process.platform === 'linux')('in memory is said to be', async (context) => {
    let path: string
    try {
      path = mkdtempSync('/dev/shm/holdfast-test-')
    } catch {
      return context.skip('/dev/shm cannot be written')
    }
    try {
      const report = await checkDirectory(path)
      expect([report.fileSystem, answer(report, 'file-system').ok, report.ok]).toEqual(['tmpfs', false, false])
    } finally {
      rmSync(path, { recursive: true })
    }
  })

  test('is the nearest one above when it does not exist, which stays as it was', async () => {
    const path = scratch()
    const report = await checkDirectory(join(path, 'not', 'yet'))
    expect(report.path).toBe(path)
    expect(answer(report, 'directory')).toMatchObject({
      ok: true,
      detail: expect.stringContaining('does not exist yet'),
    })
    expect(readdirSync(path)).toEqual([])
  })

  test('is looked at behind links; a file, or a link that leads nowhere, is none', async () => {
    const path = scratch()
    mkdirSync(join(path, 'real'))
    writeFileSync(join(path, 'file'), '')
    symlinkSync('real', join(path, 'link'))
    symlinkSync('missing', join(path, 'nowhere'))
    expect((await inspect({ path: join(path, 'link') })).path).toBe(join(path, 'real'))
    for (const name of ['file', 'nowhere', 'nowhere/below', 'file/below']) {
      const report = await inspect({ path: join(path, name) })
      expect([report.ok, report.checks.map((check) => check.name)], name).toEqual([false, ['directory']])
    }
  })

  test('may be the root, and misuse is a TypeError', async () => {
    const fs = { mkdir: () => Promise.reject(systemError('EROFS', 'mkdir')) }
    expect((await inspect({ fs, path: join(parse(tmpdir()).root, 'holdfast', 'missing') })).path).toBe('/')
    for (const wrong of ['', 7, undefined, new URL('https://example.com')]) {
      expect(await failure(checkDirectory(wrong as string))).toBeInstanceOf(TypeError)
    }
  })
})

describe('a directory where', () => {
  test('nothing is wrong is ok', async () => {
    expect(failing(await inspect())).toEqual([])
  })

  test('nothing can be written is told so, and what needs no writing is still looked at', async () => {
    const report = await inspect({ fs: { mkdir: () => Promise.reject(systemError('EROFS', 'mkdir')) } })
    expect(failing(report)).toEqual(['writable'])
    expect(answer(report, 'writable').advice).toContain('readOnly: true')
    expect(answer(report, 'free-space').ok).toBe(true)
  })

  test('no space is left is not told that its file system is at fault', async () => {
    const open: FileSystem['open'] = async (path, how, mode) => ({
      ...(await nodeFileSystem.open(path, how, mode)),
      write: () => Promise.reject(systemError('ENOSPC', 'write')),
    })
    const report = await inspect({ fs: { open } })
    expect(answer(report, 'rename')).toEqual({
      name: 'rename',
      ok: false,
      detail: 'not tried: no space is left (ENOSPC)',
    })
    expect(report.checks.map(({ detail }) => detail).join()).not.toContain('ENOSPC:')
  })

  test('a file can be created twice has no O_EXCL', async () => {
    const open: FileSystem['open'] = (path, how, mode) =>
      nodeFileSystem.open(path, how === 'create' ? 'readWrite' : how, mode)
    expect(failing(await inspect({ fs: { open } }))).toEqual(['exclusive-create'])
  })

  test('a rename does not replace, or is refused, is told so', async () => {
    const fs = { rename: () => Promise.resolve() }
    const lazy = await inspect({ fs })
    expect([failing(lazy), answer(lazy, 'rename').detail]).toEqual([['rename'], expect.stringContaining('"old"')])
    const removes = await inspect({ fs: { rename: (from) => nodeFileSystem.unlink(from) } })
    expect([failing(removes), answer(removes, 'rename').detail]).toEqual([['rename'], expect.stringContaining('gone')])
    const copies = await inspect({
      fs: {
        async rename(from, to) {
          writeFileSync(to, 'new')
          writeFileSync(from, 'new')
        },
      },
    })
    expect([failing(copies), answer(copies, 'rename').detail]).toEqual([
      ['rename'],
      expect.stringContaining('still there'),
    ])
    const refused = await inspect({ fs: { rename: () => Promise.reject(systemError('EXDEV', 'rename')) } })
    expect(answer(refused, 'rename').detail).toContain('EXDEV')
  })

  test('deleted files cannot be read any more is told so', async () => {
    const fs = filesOf((file, path) => ({
      ...file,
      read: (target, position) => (path.endsWith('/open') ? Promise.resolve(0) : file.read(target, position)),
    }))
    expect(failing(await inspect({ fs }))).toEqual(['open-files'])
    const fs2: Partial<FileSystem> = {
      unlink: (path) =>
        path.endsWith('/open') ? Promise.reject(systemError('EBUSY', 'unlink')) : nodeFileSystem.unlink(path),
    }
    // It cannot be removed at the end either.
    const path = scratch()
    expect(failing(await inspect({ fs: fs2, path }))).toEqual(['open-files', 'writable'])
  })

  test('directories cannot be fsynced is told so with the code', async () => {
    const report = await inspect({ system: { syncDirectory: () => Promise.reject(systemError('EINVAL', 'fsync')) } })
    expect([failing(report), answer(report, 'directory-fsync').detail]).toEqual([
      ['directory-fsync'],
      expect.stringContaining('EINVAL'),
    ])
  })

  test('parts of a store are mounts of their own is told which', async () => {
    const path = scratch()
    mkdirSync(join(path, 'packs'))
    mkdirSync(join(path, 'tmp'))
    const stat: FileSystem['stat'] = async (at) => {
      const found = await nodeFileSystem.stat(at)
      return at.endsWith('packs') ? { ...found, dev: found.dev + 1n } : found
    }
    const report = await inspect({ path, fs: { stat } })
    expect([failing(report), answer(report, 'same-file-system').detail]).toEqual([
      ['same-file-system'],
      `packs is on another file system than ${path}`,
    ])
  })

  test.each([
    [{ bytes: 64 * MiB - 1, files: 10, filesFree: 10 }, ['free-space']],
    [{ bytes: 64 * MiB, files: 0, filesFree: 0 }, []],
    [{ bytes: 1000 * MiB, files: 10, filesFree: 0 }, ['free-space']],
  ])('there is free %o', async (free, expected) => {
    const report = await inspect({ system: { freeSpace: () => Promise.resolve(free) } })
    expect([failing(report), report.freeBytes]).toEqual([expected, free.bytes])
  })

  test('the system tells nothing is not failed for that', async () => {
    const report = await inspect({ system: { mounts: () => Promise.resolve(null), platform: 'darwin' } })
    expect([failing(report), report.fileSystem, answer(report, 'network').detail]).toEqual([
      [],
      'unknown',
      expect.stringContaining('unknown'),
    ])
    const blind = await inspect({ system: { freeSpace: () => Promise.reject(systemError('ENOSYS', 'statfs')) } })
    expect([failing(blind), blind.freeBytes]).toEqual([['free-space'], null])
  })
})

describe('a file system', () => {
  test.each([
    ['ext4 /dev/a rw', []],
    ['xfs /dev/a rw', []],
    ['btrfs /dev/a rw', []],
    ['zfs pool rw', []],
    ['overlay overlay rw', []],
    ['ext4 /dev/a rw,nobarrier', ['file-system']],
    ['ext4 /dev/a rw,barrier=0', ['file-system']],
    ['overlay overlay rw,volatile', ['file-system']],
    ['tmpfs none rw', ['file-system']],
    ['vfat /dev/a rw', ['file-system']],
    ['nfs4 server:/x rw', ['network']],
    ['cifs //server/x rw', ['network']],
    ['9p host rw', ['network']],
    ['fuse.sshfs user@host: rw', ['network']],
  ])('"%s" fails %o', async (mount, expected) => {
    const report = await inspect({ system: { mounts: () => Promise.resolve(`1 1 0:1 / / rw - ${mount}`) } })
    expect([failing(report), report.fileSystem]).toEqual([expected, mount.split(' ')[0]])
    for (const name of expected) expect(answer(report, name as 'network').advice).toBeTruthy()
  })
})

describe('locks', () => {
  const other = (answers: string[], path?: string[]): Partial<DirectorySystem> => ({
    lockingProcess: async (at) => {
      path?.push(at)
      return { tryLock: () => Promise.resolve(answers.shift() ?? 'asked too often'), kill: () => Promise.resolve() }
    },
  })

  test('without another process are tried between two open files, and that is said', async () => {
    const report = await inspect()
    expect(answer(report, 'locks').detail).toContain('no other process was asked (none here)')
    const twice = filesOf((file) => ({ ...file, tryLock: () => true }))
    expect(failing(await inspect({ fs: twice }))).toEqual(['locks'])
  })

  test('that another process gets while they are held do not exclude it', async () => {
    const report = await inspect({ system: other(['locked']) })
    expect([failing(report), answer(report, 'locks').detail]).toEqual([['locks'], expect.stringContaining('locked')])
  })

  test('that stay when they are let go, or fail, are told', async () => {
    for (const said of ['held', 'failed: ENOLCK']) {
      const report = await inspect({ system: other(['held', said]) })
      expect([failing(report), answer(report, 'locks').detail]).toEqual([['locks'], expect.stringContaining(said)])
    }
  })

  test('that another holds and we get too are told; so is one that outlives its process', async () => {
    const report = await inspect({ system: other(['held', 'locked']) })
    expect([failing(report), answer(report, 'locks').detail]).toEqual([
      ['locks'],
      expect.stringContaining('that another holds'),
    ])
    // Its answer is true, and yet its kill does nothing: the lock stays with this other open file.
    let holder: File | undefined
    const immortal: Partial<DirectorySystem> = {
      async lockingProcess(path) {
        holder = await nodeFileSystem.open(path, 'update')
        return {
          tryLock: () => Promise.resolve(holder!.tryLock('exclusive') ? 'locked' : 'held'),
          kill: () => Promise.resolve(),
        }
      },
    }
    const stays = await inspect({ system: immortal })
    await holder!.close()
    expect([failing(stays), answer(stays, 'locks').detail]).toEqual([['locks'], 'the lock of a killed process stays'])
  })

  test('that are not to be had at all are told with the reason', async () => {
    const { HoldfastError } = await import('../../src/errors.ts')
    const fs = filesOf((file) => ({
      ...file,
      tryLock() {
        throw new HoldfastError('LOCK_UNAVAILABLE', 'no lock service')
      },
    }))
    const report = await inspect({ fs })
    expect([failing(report), answer(report, 'locks').detail]).toEqual([['locks'], 'no lock service'])
  })

  test('are asked for by no program but node: another would start itself once more', async () => {
    const { execPath } = process
    const path = join(scratch(), 'lock')
    writeFileSync(path, '')
    for (const not of ['/opt/app/MyServer', '/usr/bin/bun', '/opt/nodemon']) {
      try {
        process.execPath = not
        expect(String(await failure(thisSystem.lockingProcess(path)))).toContain('is not node')
      } finally {
        process.execPath = execPath
      }
    }
    // Nor is a node that does not start, or does not find the addon, an answer about the disk.
    try {
      process.execPath = join(scratch(), 'node')
      expect(String(await failure(thisSystem.lockingProcess(path)))).toContain('ENOENT')
    } finally {
      process.execPath = execPath
    }
  })
})
