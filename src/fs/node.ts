// The file-system port over `node:fs`.

import * as nodeFs from 'node:fs'
import { dirname } from 'node:path'
import { clock } from '../clock.ts'
import { errorCode } from './io.ts'
import { tryLockDescriptor } from './lock.ts'
import type { Directory, DirectoryEntry, File, FileStat, FileSystem } from './port.ts'

// The callback API on bare descriptors, not `node:fs/promises`: a FileHandle warns (and will one day throw) when it is
// collected unclosed, and snapshots are closed by finalizers as a last resort.

/** Linux caps one call at 2 GiB - 4 KiB, macOS refuses 2 GiB, Node's own argument check refuses 2^31. */
const callBytesMax = 2 ** 30
/** IOV_MAX on Linux, macOS and the BSDs. */
const viewsMax = 1024

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR } = nodeFs.constants
// Windows has no O_NOFOLLOW.
const noFollow = nodeFs.constants.O_NOFOLLOW ?? 0
// Without it, opening a FIFO waits for its other end: no abort ends that, and it keeps a thread of the pool, or the event
// loop. Regular files do not know it (open(2)). Nor does Windows.
const noWait = nodeFs.constants.O_NONBLOCK ?? 0

const openFlags = {
  read: O_RDONLY | noWait,
  create: O_CREAT | O_EXCL | O_RDWR | noFollow,
  readWrite: O_CREAT | O_RDWR | noFollow | noWait,
  update: O_RDWR | noFollow | noWait,
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
    const descriptor = await promised<number>((done) => nodeFs.open(path, openFlags[how], mode, done))
    if (how === 'create' || how === 'readWrite') giveToOwner(descriptor, path, how)
    return descriptorFile(descriptor, path)
  },
  async rename(from, to) {
    keepOwner(from, to)
    await withRenameRetries(() => completed((done) => nodeFs.rename(from, to, done)), { platform: process.platform })
  },
  link: (existing, path) => completed((done) => nodeFs.link(existing, path, done)),
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
 * What root makes in a directory of another user becomes that user's, before it gets its last name: a service must not be locked out of its
 * store by one save of root's. A file that root has made there before is given back too.
 */
function giveToOwner(descriptor: number, path: string, how: 'create' | 'readWrite'): void {
  if (process.geteuid?.() !== 0) return
  try {
    const { uid, gid } = nodeFs.statSync(dirname(path))
    if (uid !== 0 && nodeFs.fstatSync(descriptor).uid === 0) nodeFs.fchownSync(descriptor, uid, gid)
  } catch (error) {
    nodeFs.closeSync(descriptor)
    // Nothing of a call that is refused stays. What `readWrite` opened may have been there before.
    if (how === 'create') nodeFs.unlinkSync(path)
    throw error
  }
}

/**
 * What root puts in the place of another user's file becomes that user's, before it gets the name. A file of root's in the directory of
 * another user was left by a save of root's: what replaces it stays the directory's owner's.
 */
function keepOwner(from: string, to: string): void {
  if (process.geteuid?.() !== 0) return
  const replaced = nodeFs.lstatSync(to, { throwIfNoEntry: false })
  if (!replaced?.isFile() || replaced.uid === 0) return
  const moved = nodeFs.lstatSync(from, { throwIfNoEntry: false })
  if (!moved?.isFile() || (moved.uid === replaced.uid && moved.gid === replaced.gid)) return
  nodeFs.lchownSync(from, replaced.uid, replaced.gid)
}

/** The page cache takes or gives so much in 10 us. */
const warmBytesMax = 64 * 1024

/**
 * The same disk, for small work on what the kernel has in memory because this process used it a moment ago: files opened and made, looks,
 * reads and writes of little. It is done at once, in 3 to 30 us. A way through the thread pool takes 30 to 90, of which the event loop itself
 * spends up to 60 waking a thread. Beside two processes that each fsync a thousand times a second, making a file took 0.3 ms at the 99th
 * percentile and 3.6 ms at the 99.9th (ext4); a rename 2 ms and 5 ms: those, unlinks and of course fsyncs stay with the threads. Any disk but this
 * machine's is its own.
 */
export function withSyncCalls(fs: FileSystem): FileSystem {
  return fs === nodeFileSystem ? warmFileSystem : fs
}

const warmFileSystem: FileSystem = {
  ...nodeFileSystem,
  async open(path, how, mode) {
    const descriptor = nodeFs.openSync(path, openFlags[how], mode ?? 0o600)
    if (how === 'create' || how === 'readWrite') giveToOwner(descriptor, path, how)
    return descriptorFile(descriptor, path, warmBytesMax)
  },
  link: async (existing, path) => nodeFs.linkSync(existing, path),
  openDirectory: (path) => openDirectory(path, async (flags) => nodeFs.openSync(path, flags)),
  readdir: async (path) => toEntries(nodeFs.readdirSync(path, { withFileTypes: true })),
  stat: async (path) => toFileStat(nodeFs.statSync(path, { bigint: true })),
  lstat: async (path) => toFileStat(nodeFs.lstatSync(path, { bigint: true })),
}

/** What reads or writes up to `atOnceMax` bytes does so at once. */
function descriptorFile(descriptor: number, path: string, atOnceMax = 0): File {
  let underWay = 0
  let idle: (() => void) | undefined
  let closing: Promise<void> | undefined

  function refuseClosed(syscall: string): void {
    if (closing === undefined) return
    throw Object.assign(new Error(`EBADF: file is closed, ${syscall} '${path}'`), { code: 'EBADF', syscall, path })
  }

  // A descriptor closed under an operation that still waits for a thread may by then belong to another file, which
  // would be read or, worse, overwritten: so `close` waits for all of them.
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
      const length = Math.min(target.byteLength, callBytesMax)
      if (length === 0) return 0
      return operate('read', async () =>
        length <= atOnceMax
          ? nodeFs.readSync(descriptor, target, 0, length, position)
          : await promised<number>((done) =>
              nodeFs.read(descriptor, target, 0, length, position, (error, count) => done(error, count)),
            ),
      )
    },
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
    // On macOS libuv asks for F_FULLFSYNC here too.
    dataSync: () => operate('fdatasync', () => completed((done) => nodeFs.fdatasync(descriptor, done))),
    // The inode of an open file is in memory: 2 us, where the way through the thread pool takes 30 to 70.
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
        // A finalizer has nobody to tell.
      }
    },
  }
}

/** As many of the views as one call may carry; an oversized view is cut, and the rest is a short write. */
function firstCall(views: readonly Uint8Array[]): Uint8Array[] {
  const batch: Uint8Array[] = []
  let room = callBytesMax
  for (const view of views) {
    if (room === 0 || batch.length === viewsMax) break
    if (view.byteLength === 0) continue
    const part = view.byteLength > room ? view.subarray(0, room) : view
    batch.push(part)
    room -= part.byteLength
  }
  return batch
}

/**
 * Why this process may not fsync at all, or null. Node's permission model disables it, on whatever descriptor: this one
 * is nobody's, and EBADF says that it was allowed.
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

// What file systems without directory fsync answer: EINVAL from fsync(2) "fd is bound to a special file which does not
// support synchronization" (FUSE, 9p, CIFS), ENOSYS and ENOTSUP from user-space ones, EISDIR where a directory cannot
// be opened at all. EIO, ENOSPC and EDQUOT mean that the name may be lost, and are errors.
const syncUnsupported = new Set(['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'])

/** For where there is nothing to fsync. */
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
        if (!syncUnsupported.has(errorCode(error) ?? '')) throw error
      }
    },
    // Nothing was written through this descriptor, so its close has nothing to report.
    closeSync: file.closeSync,
  }
}

/** Virus scanners and indexers open new files without FILE_SHARE_DELETE, and Windows then refuses the rename. */
const renameBusy = new Set(['EPERM', 'EBUSY', 'EACCES'])
const renameRetryMs = 2_000

/**
 * Runs `rename`; on Windows repeats what is refused for a moment, up to about two seconds, with jittered backoff.
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
      const passing = options.platform === 'win32' && renameBusy.has(errorCode(error) ?? '')
      if (!passing || spentMs >= renameRetryMs) throw error
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
