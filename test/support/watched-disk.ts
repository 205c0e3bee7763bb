import { nodeFileSystem } from '../../src/fs/node.ts'
import type { File, FileSystem } from '../../src/fs/port.ts'

// The real disk, with somebody between it and the store who sees every operation before it is done, and may do
// something else in its place. What is faulty here is only ever one thing at a time:
//
//   crashingDisk   the process dies before the k-th change, or in the middle of it when it is a write
//   failingDisk    one operation fails once, and the process lives on
//   recordingDisk  nothing fails; the order of things is written down
//   countingDisk   nothing fails; calls and bytes are counted
//   observe        operations are logged as lines, and fail where the test throws
//
// The page cache survives all of them, as it does when a process dies and the machine does not.

/** One operation on the disk. `path` is as the caller gave it; of an open file, the path it was opened under. */
export interface Operation {
  /** As in the port; operations of an open file have a dot: `file.write`. */
  name: string
  path: string
  /** Where a rename goes. */
  to?: string
  /** How a file is opened. */
  how?: string
  /** It goes through a directory that is held open: `openDirectory`, or `sync` of what that answered. */
  held?: boolean
  /** Does only a part of a write. */
  half?: () => Promise<unknown>
}

/** Does `proceed`, or something else, or throws. */
export type Interpose = <T>(operation: Operation, proceed: () => Promise<T>) => Promise<T>

export interface WatchedDisk {
  fs: FileSystem
  /** What the kernel does for a dead process: closes every file, which drops its locks. */
  closeAll(): void
}

/** `interpose` sees every operation; `interposeLock` sees `tryLock`, which is synchronous. */
export function watchedDisk(
  interpose: Interpose,
  interposeLock: (operation: Operation) => void = () => {},
): WatchedDisk {
  const files = new Set<File>()

  function watch(file: File, path: string): File {
    files.add(file)
    const at = (name: string) => ({ name: `file.${name}`, path })
    return {
      read: (target, position) => interpose(at('read'), () => file.read(target, position)),
      write: (views, position) =>
        interpose(
          { ...at('write'), half: () => file.write([views[0]!.subarray(0, views[0]!.length >> 1)], position) },
          () => file.write(views, position),
        ),
      sync: () => interpose(at('sync'), () => file.sync()),
      dataSync: () => interpose(at('dataSync'), () => file.dataSync()),
      stat: () => interpose(at('stat'), () => file.stat()),
      chmod: (mode) => interpose(at('chmod'), () => file.chmod(mode)),
      tryLock(mode) {
        interposeLock(at('tryLock'))
        return file.tryLock(mode)
      },
      close: () =>
        interpose(at('close'), async () => {
          files.delete(file)
          await file.close()
        }),
      closeSync() {
        files.delete(file)
        file.closeSync()
      },
    }
  }

  const real = nodeFileSystem
  return {
    fs: {
      open: (path, how, mode) =>
        interpose({ name: 'open', path, how }, async () => watch(await real.open(path, how, mode), path)),
      rename: (from, to) => interpose({ name: 'rename', path: from, to }, () => real.rename(from, to)),
      link: (existing, path) => interpose({ name: 'link', path: existing, to: path }, () => real.link(existing, path)),
      clone: (from, path) => interpose({ name: 'clone', path: from, to: path }, () => real.clone(from, path)),
      unlink: (path) => interpose({ name: 'unlink', path }, () => real.unlink(path)),
      mkdir: (path, mode) => interpose({ name: 'mkdir', path }, () => real.mkdir(path, mode)),
      rmdir: (path) => interpose({ name: 'rmdir', path }, () => real.rmdir(path)),
      readdir: (path) => interpose({ name: 'readdir', path }, () => real.readdir(path)),
      stat: (path) => interpose({ name: 'stat', path }, () => real.stat(path)),
      lstat: (path) => interpose({ name: 'lstat', path }, () => real.lstat(path)),
      realpath: (path) => interpose({ name: 'realpath', path }, () => real.realpath(path)),
      chmod: (path, mode) => interpose({ name: 'chmod', path }, () => real.chmod(path, mode)),
      syncDirectory: (path) => interpose({ name: 'syncDirectory', path }, () => real.syncDirectory(path)),
      openDirectory: (path) =>
        interpose({ name: 'open', path, how: 'read', held: true }, async () => {
          const directory = await real.openDirectory(path)
          return {
            sync: () => interpose({ name: 'syncDirectory', path, held: true }, () => directory.sync()),
            closeSync: () => directory.closeSync(),
          }
        }),
    },
    closeAll() {
      for (const file of files) file.closeSync()
      files.clear()
    },
  }
}

/** What a dead process's code sees. It has no `code`: nobody may take it for an answer of the disk. */
export class Crashed extends Error {
  constructor() {
    super('the process is dead')
  }
}

/** What leaves the disk other than it was. To die before any other operation is to die before the next of these. */
export function changesDisk({ name, how }: Operation): boolean {
  if (name === 'open') return how === 'create' || how === 'readWrite'
  return ['file.write', 'file.chmod', 'rename', 'link', 'clone', 'unlink', 'mkdir', 'rmdir', 'chmod'].includes(name)
}

/** A disk under a process that dies before change `at` (from 0); if `torn`, in the middle of it, when it is a write. */
export function crashingDisk(
  at: number,
  options: { torn?: boolean } = {},
): WatchedDisk & { readonly diedAt: Operation | null } {
  let changes = 0
  let diedAt: Operation | null = null
  const disk = watchedDisk(
    async (operation, proceed) => {
      if (diedAt === null && changesDisk(operation) && changes++ === at) {
        diedAt = operation
        if (options.torn === true) await operation.half?.()
      }
      if (diedAt !== null) throw new Crashed()
      return await proceed()
    },
    () => {
      if (diedAt !== null) throw new Crashed()
    },
  )
  return {
    ...disk,
    get diedAt() {
      return diedAt
    },
  }
}

/** What a system call answers when it fails. */
export function systemError(code: string, syscall = 'test', path?: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made up, ${syscall} '${path}'`), {
    code,
    syscall,
    errno: -1,
    ...(path === undefined ? {} : { path }),
  })
}

/** What an operation answers when it fails. */
export function failureOf(code: string, { name, path }: Operation): NodeJS.ErrnoException {
  return systemError(code, name.replace('file.', ''), path)
}

/** A disk on which the first operation that `chosen` picks (`n` counts from 0) fails with `code`; all others work. */
export function failingDisk(
  code: string,
  chosen: (operation: Operation, n: number) => boolean,
): WatchedDisk & { readonly failed: (Operation & { n: number }) | null } {
  let failed: (Operation & { n: number }) | null = null
  let operations = 0
  const disk = watchedDisk(async (operation, proceed) => {
    const n = operations++
    if (failed === null && chosen(operation, n)) {
      failed = { ...operation, n }
      // Whatever `close` answers, the file is closed.
      if (operation.name === 'file.close') await proceed()
      throw failureOf(code, operation)
    }
    return await proceed()
  })
  return {
    ...disk,
    get failed() {
      return failed
    },
  }
}

/** Writes down what is asked of the disk, in order. */
export function recordingDisk(): WatchedDisk & { operations: Operation[] } {
  const operations: Operation[] = []
  const disk = watchedDisk(
    async (operation, proceed) => {
      operations.push(operation)
      return await proceed()
    },
    (operation) => void operations.push(operation),
  )
  return { ...disk, operations }
}

/**
 * Operations asked of a disk, by the port's name: those of a file as `file.read`, of a directory as `directory.sync`.
 */
export interface Counts {
  calls: Record<string, number>
  bytesRead: number
  bytesWritten: number
}

/** Counts what is asked of the disk. `take` answers what was asked since its last call. */
export function countingDisk(): { fs: FileSystem; take(): Counts } {
  const none = (): Counts => ({ calls: {}, bytesRead: 0, bytesWritten: 0 })
  let counts = none()
  function count({ name, held }: Operation): void {
    const call = held !== true ? name : name === 'open' ? 'openDirectory' : 'directory.sync'
    counts.calls[call] = (counts.calls[call] ?? 0) + 1
  }
  const { fs } = watchedDisk(async (operation, proceed) => {
    count(operation)
    const result = await proceed()
    if (operation.name === 'file.read') counts.bytesRead += Number(result)
    if (operation.name === 'file.write') counts.bytesWritten += Number(result)
    return result
  }, count)
  return {
    fs,
    take() {
      const taken = counts
      counts = none()
      return taken
    },
  }
}

export interface Observed {
  fs: FileSystem
  /**
   * `open`, `write`, `sync`, `rename`, `openDirectory`, `syncDirectory` … in order, each with its path below `root`.
   */
  log: string[]
}

/** What a line of `observe` says, by the operation's name. Others are not logged. */
const LINES: Readonly<Record<string, (operation: Operation) => string>> = {
  open: ({ how, held }) => (held === true ? 'openDirectory' : `open ${how}`),
  'file.write': () => 'write',
  'file.sync': () => 'sync',
  'file.close': () => 'close',
  rename: () => 'rename',
  unlink: () => 'unlink',
  mkdir: () => 'mkdir',
  syncDirectory: () => 'syncDirectory',
}

/** Logs what the disk is asked, and fails where `fault` throws, which sees each line before the operation is done. */
export function observe(root: string, fault: (line: string) => void = () => undefined): Observed {
  const log: string[] = []
  const short = (path: string) => path.replace(root, '').replace(/[0-9a-f]{24}(\.holdfast-tmp)?/, '#')
  const { fs } = watchedDisk(async (operation, proceed) => {
    const lineOf = LINES[operation.name]
    if (lineOf !== undefined) {
      const paths = operation.to === undefined ? [operation.path] : [operation.path, operation.to]
      const line = [lineOf(operation), ...paths.map(short)].join(' ')
      log.push(line)
      fault(line)
    }
    return await proceed()
  })
  return { fs, log }
}
