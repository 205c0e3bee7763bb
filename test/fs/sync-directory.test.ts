import * as nodeFs from 'node:fs'
import { beforeEach, expect, test, vi } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { scratch } from '../support/scratch.ts'
import { systemError } from '../support/watched-disk.ts'

// The real fsync of a directory cannot be seen from outside, nor made to fail: it is watched here.
vi.mock('node:fs', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs')>()
  return { ...real, fsync: vi.fn(real.fsync), open: vi.fn(real.open), closeSync: vi.fn(real.closeSync) }
})

type Done = (error: NodeJS.ErrnoException | null) => void

beforeEach(() => {
  vi.clearAllMocks()
})

test.skipIf(process.platform === 'win32')('a directory is opened, fsynced and closed', async () => {
  await nodeFileSystem.syncDirectory(scratch())
  const opened = vi.mocked(nodeFs.fsync).mock.calls.map(([descriptor]) => descriptor)
  expect(opened).toHaveLength(1)
  expect(vi.mocked(nodeFs.closeSync).mock.calls.map(([descriptor]) => descriptor)).toEqual(opened)
})

test.skipIf(process.platform === 'win32')(
  'only codes that mean "unsupported" are passed over, never a failure',
  async () => {
    const root = scratch()
    const failWith = (code: string) =>
      vi
        .mocked(nodeFs.fsync)
        .mockImplementationOnce(((_: number, done: Done) => done(systemError(code, 'fsync'))) as never)
    for (const code of ['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP']) {
      failWith(code)
      await nodeFileSystem.syncDirectory(root)
    }
    for (const code of ['EIO', 'ENOSPC', 'EDQUOT', 'EBADF', 'EROFS', 'EPERM']) {
      failWith(code)
      await expect(nodeFileSystem.syncDirectory(root)).rejects.toMatchObject({ code, path: root })
    }
    expect(vi.mocked(nodeFs.closeSync)).toHaveBeenCalledTimes(10)
  },
)

test.skipIf(process.platform === 'win32')(
  'a directory that cannot be opened for lack of rights or descriptors is an error',
  async () => {
    const root = scratch()
    for (const code of ['EACCES', 'EMFILE', 'EIO', 'ENOENT']) {
      vi.mocked(nodeFs.open).mockImplementationOnce(((...args: unknown[]) =>
        (args.at(-1) as Done)(systemError(code, 'open'))) as never)
      await expect(nodeFileSystem.syncDirectory(root)).rejects.toMatchObject({ code })
    }
  },
)
