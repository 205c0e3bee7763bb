// The file-system port over `node:fs`.

import * as nodeFs from 'node:fs'
import { dirname } from 'node:path'
import { clock } from '../clock.ts'
import { errorCode } from './io.ts'
import { tryLockDescriptor } from './lock.ts'
import type { Directory, DirectoryEntry, File, FileStat, FileSystem } from './port.ts'

// This uses the callback API on bare descriptors instead of `node:fs/promises`. A FileHandle that is garbage-collected
// unclosed causes a warning (and will one day throw), and finalizers close snapshots as a last resort.

/** Linux caps one call at 2 GiB - 4 KiB, macOS refuses 2 GiB, Node's own argument check refuses 2^31. */
const CALL_BYTES_MAX = 2 ** 30
/** IOV_MAX on Linux, macOS and the BSDs. */
const VIEWS_MAX = 1024

const { COPYFILE_EXCL, COPYFILE_FICLONE_FORCE, O_CREAT, O_EXCL, O_RDONLY, O_RDWR } = nodeFs.constants
// Windows has no O_NOFOLLOW.
const NO_FOLLOW = nodeFs.constants.O_NOFOLLOW ?? 0
// Without it, opening a FIFO waits for its other end: no abort ends that, and it keeps a thread of the pool, or the
// event loop. Regular files do not know it (open(2)). Nor does Windows.
const NO_WAIT = nodeFs.constants.O_NONBLOCK ?? 0

const OPEN_FLAGS = {
  read: O_RDONLY | NO_WAIT,
  create: O_CREAT | O_EXCL | O_RDWR | NO_FOLLOW,
  readWrite: O_CREAT | O_RDWR | NO_FOLLOW | NO_WAIT,
  update: O_RDWR | NO_FOLLOW | NO_WAIT,
} as const

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void

function promised<T>(start: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error ? reject(error) : resolve(value)))
  })
}

/** As `promised`, for operations without a result. */
function completed(start: (done: (error: NodeJS.ErrnoException | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error ? reject(error) : resolve()))
  })
}

/** The file system of this machine. Errors are Node's own, with `path` also where Node leaves it out (descriptors). */
export const nodeFileSystem: FileSystem = {
  async open(path, how, mode = 0o600) {
    const descriptor = await promised<number>((done) => nodeFs.open(path, OPEN_FLAGS[how], mode, done))
    if (how === 'create' || how === 'readWrite') giveToOwner(descriptor, path, how)
    return descriptorFile(descriptor, path)
  },
  async rename(from, to) {
    keepOwner(from, to)
    await withRenameRetries(() => completed((done) => nodeFs.rename(from, to, done)), { platform: process.platform })
  },
  link: (existing, path) => completed((done) => nodeFs.link(existing, path, done)),
  async clone(from, path) {
    await completed((done) => nodeFs.copyFile(from, path, COPYFILE_EXCL | COPYFILE_FICLONE_FORCE, done))
    const descriptor = nodeFs.openSync(path, O_RDONLY)
    giveToOwner(descriptor, path, 'create')
    nodeFs.closeSync(descriptor)
  },
  unlink: (path) => completed((done) => nodeFs.unlink(path, done)),
  async mkdir(path, mode) {
    await completed((done) => nodeFs.mkdir(path, { mode }, (error) => done(error)))
    if (process.geteuid?.() !== 0) return
    try {
      const { uid, gid } = nodeFs.statSync(dirname(path))
      if (uid !== 0 && nodeFs.lstatSync(path).uid === 0) nodeFs.lchownSync(path, uid, gid)
    } catch (error) {
      nodeFs.rmdirSync(path)
      throw error
    }
  },
  rmdir: (path) => completed((done) => nodeFs.rmdir(path, done)),
  async readdir(path) {
    return toEntries(await promised<nodeFs.Dirent[]>((done) => nodeFs.readdir(path, { withFileTypes: true }, done)))
  },
  stat: async (path) =>
    toFileStat(await promised<nodeFs.BigIntStats>((done) => nodeFs.stat(path, { bigint: true }, done))),
  lstat: async (path) =>
    toFileStat(await promised<nodeFs.BigIntStats>((done) => nodeFs.lstat(path, { bigint: true }, done))),
  realpath: (path) => promised((done) => nodeFs.realpath.native(path, done)),
  chmod: (path, mode) => completed((done) => nodeFs.chmod(path, mode, done)),
  async syncDirectory(path) {
    const directory = await openDirectory(path)
    try {
      await directory.sync()
    } finally {
      directory.closeSync()
    }
  },
  openDirectory: (path) => openDirectory(path),
}

/**
 * Gives a file that root makes in another user's directory to that user, before it gets its final name. A service must
 * not be locked out of its store because root saved once. A file that root made there earlier is given to the user,
 * too.
 */
function giveToOwner(descriptor: number, path: string, how: 'create' | 'readWrite'): void {
  if (process.geteuid?.() !== 0) return
  try {
    const { uid, gid } = nodeFs.statSync(dirname(path))
    if (uid !== 0 && nodeFs.fstatSync(descriptor).uid === 0) nodeFs.fchownSync(descriptor, uid, gid)
  } catch (error) {
    nodeFs.closeSync(descriptor)
    // A call that fails leaves no new file. A file that `readWrite` opened may have existed before, so it stays.
    if (how === 'create') nodeFs.unlinkSync(path)
    throw error
  }
}

/**
 * When root replaces another user's file, the new file is given to that user before it gets the name. If the old file
 * belongs to root but its directory to another user, root once saved there: the new file then belongs to the owner of
 * the directory.
 */
function keepOwner(from: string, to: string): void {
  if (process.geteuid?.() !== 0) return
  const replaced = nodeFs.lstatSync(to, { throwIfNoEntry: false })
  if (!replaced?.isFile() || replaced.uid === 0) return
  const moved = nodeFs.lstatSync(from, { throwIfNoEntry: false })
  if (!moved?.isFile() || (moved.uid === replaced.uid && moved.gid === replaced.gid)) return
  nodeFs.lchownSync(from, replaced.uid, replaced.gid)
}

/** Copying this much to or from the page cache takes 10 us. */
const WARM_BYTES_MAX = 64 * 1024

/**
 * The same file system, with synchronous calls for small operations on files that this process used a moment ago and
 * that the kernel therefore has in memory: open, create, stat, and small reads and writes. A synchronous call takes 3
 * to 30 us. A call through the thread pool takes 30 to 90 us, of which the event loop spends up to 60 us on waking a
 * thread. Renames, unlinks and fsyncs stay in the thread pool. (Measured on ext4 beside two processes that each fsync a
 * thousand times a second: creating a file took 0.3 ms at the 99th percentile and 3.6 ms at the 99.9th, a rename 2 ms
 * and 5 ms.) A file system other than `nodeFileSystem` is returned unchanged.
 */
export function withSyncCalls(fs: FileSystem): FileSystem {
  return fs === nodeFileSystem ? warmFileSystem : fs
}

const warmFileSystem: FileSystem = {
  ...nodeFileSystem,
  async open(path, how, mode) {
    const descriptor = nodeFs.openSync(path, OPEN_FLAGS[how], mode ?? 0o600)
    if (how === 'create' || how === 'readWrite') giveToOwner(descriptor, path, how)
    return descriptorFile(descriptor, path, WARM_BYTES_MAX)
  },
  link: async (existing, path) => nodeFs.linkSync(existing, path),
  openDirectory: (path) => openDirectory(path, async (flags) => nodeFs.openSync(path, flags)),
  readdir: async (path) => toEntries(nodeFs.readdirSync(path, { withFileTypes: true })),
  stat: async (path) => toFileStat(nodeFs.statSync(path, { bigint: true })),
  lstat: async (path) => toFileStat(nodeFs.lstatSync(path, { bigint: true })),
}

/** Reads and writes of up to `atOnceMax` bytes are synchronous. */
function descriptorFile(descriptor: number, path: string, atOnceMax = 0): File {
  let underWay = 0
  let idle: (() => void) | undefined
  let closing: Promise<void> | undefined

  function refuseClosed(syscall: string): void {
    if (closing === undefined) return
    throw Object.assign(new Error(`EBADF: file is closed, ${syscall} '${path}'`), { code: 'EBADF', syscall, path })
  }

  // An operation may still wait for a thread while its descriptor is closed. The number may then belong to another
  // file, which would be read or overwritten. So `close` waits for all operations.
  async function operate<T>(syscall: string, operation: () => Promise<T>): Promise<T> {
    refuseClosed(syscall)
    underWay += 1
    try {
      return await operation()
    } catch (error) {
      if (error instanceof Error && !('path' in error)) Object.assign(error, { path })
      throw error
    } finally {
      underWay -= 1
      if (underWay === 0) idle?.()
    }
  }

  async function closeWhenIdle(): Promise<void> {
    if (underWay > 0) {
      await new Promise<void>((resolve) => {
        idle = resolve
      })
    }
    await completed((done) => nodeFs.close(descriptor, done))
  }

  function close(): Promise<void> {
    closing ??= closeWhenIdle()
    return closing
  }

  return {
    async read(target, position) {
      const length = Math.min(target.byteLength, CALL_BYTES_MAX)
      if (length === 0) return 0
      return operate('read', async () =>
        length <= atOnceMax
          ? nodeFs.readSync(descriptor, target, 0, length, position)
          : await promised<number>((done) =>
              nodeFs.read(descriptor, target, 0, length, position, (error, count) => done(error, count)),
            ),
      )
    },
    readv: (views, position) =>
      operate('read', () =>
        promised<number>((done) => nodeFs.readv(descriptor, views, position, (error, count) => done(error, count))),
      ),
    async write(views, position) {
      const batch = firstCall(views)
      const [only] = batch
      if (only === undefined) return 0
      if (batch.reduce((sum, { byteLength }) => sum + byteLength, 0) <= atOnceMax) {
        return operate('write', async () => nodeFs.writevSync(descriptor, batch, position))
      }
      return operate('write', () =>
        promised((done) => {
          if (batch.length > 1) nodeFs.writev(descriptor, batch, position, (error, count) => done(error, count))
          else nodeFs.write(descriptor, only, 0, only.byteLength, position, (error, count) => done(error, count))
        }),
      )
    },
    sync: () => operate('fsync', () => completed((done) => nodeFs.fsync(descriptor, done))),
    // On macOS libuv uses F_FULLFSYNC for this, too.
    dataSync: () => operate('fdatasync', () => completed((done) => nodeFs.fdatasync(descriptor, done))),
    // The inode of an open file is in memory, so a synchronous call takes 2 us. Through the thread pool it takes 30 to
    // 70 us.
    stat: () => operate('fstat', async () => toFileStat(nodeFs.fstatSync(descriptor, { bigint: true }))),
    chmod: (mode) => operate('fchmod', () => completed((done) => nodeFs.fchmod(descriptor, mode, done))),
    tryLock(mode) {
      refuseClosed('lock')
      return tryLockDescriptor(descriptor, mode)
    },
    close,
    closeSync() {
      if (closing !== undefined) return
      if (underWay > 0) {
        close().catch(() => undefined)
        return
      }
      closing = Promise.resolve()
      try {
        nodeFs.closeSync(descriptor)
      } catch {
        // A finalizer cannot report an error.
      }
    },
  }
}

/** As many of the views as one call accepts. An oversized view is truncated, which makes the call a short write. */
function firstCall(views: readonly Uint8Array[]): Uint8Array[] {
  const batch: Uint8Array[] = []
  let room = CALL_BYTES_MAX
  for (const view of views) {
    if (room === 0 || batch.length === VIEWS_MAX) break
    if (view.byteLength === 0) continue
    const part = view.byteLength > room ? view.subarray(0, room) : view
    batch.push(part)
    room -= part.byteLength
  }
  return batch
}

/**
 * The error if this process may not fsync at all, else null. Node's permission model disables fsync for every
 * descriptor. This call uses a descriptor that is not open, so EBADF means that fsync is allowed.
 */
export function syncRefused(): unknown {
  if ((process as { permission?: unknown }).permission === undefined) return null
  try {
    nodeFs.fsyncSync(2 ** 31 - 1)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_ACCESS_DENIED') return error
  }
  return null
}

// Errors of file systems that cannot fsync a directory: EINVAL from fsync(2) "fd is bound to a special file which does
// not support synchronization" (FUSE, 9p, CIFS), ENOSYS and ENOTSUP from user-space ones, EISDIR where a directory
// cannot be opened at all. EIO, ENOSPC and EDQUOT mean that the name may be lost, and are errors.
const SYNC_UNSUPPORTED = new Set(['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'])

/** For platforms on which directories cannot be fsynced. */
const unsynced: Directory = { sync: async () => undefined, closeSync() {} }

async function openDirectory(
  path: string,
  open = (flags: number) => promised<number>((done) => nodeFs.open(path, flags, done)),
): Promise<Directory> {
  if (process.platform === 'win32') return unsynced
  let descriptor: number
  try {
    descriptor = await open(O_RDONLY | (nodeFs.constants.O_DIRECTORY ?? 0))
  } catch (error) {
    if (errorCode(error) === 'EISDIR') return unsynced
    throw error
  }
  const file = descriptorFile(descriptor, path)
  return {
    async sync() {
      try {
        await file.sync()
      } catch (error) {
        if (!SYNC_UNSUPPORTED.has(errorCode(error) ?? '')) throw error
      }
    },
    // Nothing was written through this descriptor, so its close has nothing to report.
    closeSync: file.closeSync,
  }
}

/** Virus scanners and indexers open new files without FILE_SHARE_DELETE, and Windows then refuses the rename. */
const RENAME_BUSY = new Set(['EPERM', 'EBUSY', 'EACCES'])
const RENAME_RETRY_MS = 2_000

/**
 * Runs `rename`. On Windows, retries a refused rename for about two seconds, with jittered backoff.
 *
 * @internal
 */
export async function withRenameRetries(
  rename: () => Promise<void>,
  options: { platform: string; pause?: (ms: number) => Promise<unknown> },
): Promise<void> {
  const pause = options.pause ?? clock.sleep
  let spentMs = 0
  for (let stepMs = 10; ; stepMs = Math.min(stepMs * 2, 250)) {
    try {
      return await rename()
    } catch (error) {
      const passing = options.platform === 'win32' && RENAME_BUSY.has(errorCode(error) ?? '')
      if (!passing || spentMs >= RENAME_RETRY_MS) throw error
    }
    const waitMs = Math.ceil(stepMs * (0.5 + clock.random() / 2))
    await pause(waitMs)
    spentMs += waitMs
  }
}

function toEntries(entries: readonly nodeFs.Dirent[]): DirectoryEntry[] {
  return entries.map((entry) => ({ name: entry.name, kind: kindOf(entry) }))
}

function kindOf(entry: nodeFs.Dirent | nodeFs.BigIntStats): FileStat['kind'] {
  if (entry.isFile()) return 'file'
  if (entry.isDirectory()) return 'directory'
  return entry.isSymbolicLink() ? 'link' : 'other'
}

function toFileStat(stats: nodeFs.BigIntStats): FileStat {
  return {
    kind: kindOf(stats),
    size: Number(stats.size),
    mode: Number(stats.mode & 0o7777n),
    dev: stats.dev,
    ino: stats.ino,
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
  }
}
