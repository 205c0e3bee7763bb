import { nodeFileSystem } from '../../src/fs/node.ts'
import type { File, FileSystem } from '../../src/fs/port.ts'

// The real disk, with somebody between it and the store who sees every operation before it is done, and may do something
// else in its place. What is faulty here is only ever one thing at a time:
//
//   crashingDisk   the process dies before the k-th change, or in the middle of it when it is a write
//   failingDisk    one operation fails once, and the process lives on
//   recordingDisk  nothing fails; the order of things is written down
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
        interpose({ name: 'open', path, how: 'read' }, async () => {
          const directory = await real.openDirectory(path)
          return {
            sync: () => interpose({ name: 'syncDirectory', path }, () => directory.sync()),
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
  return ['file.write', 'file.chmod', 'rename', 'link', 'unlink', 'mkdir', 'rmdir', 'chmod'].includes(name)
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
export function systemError(code: string, { name, path }: Operation): NodeJS.ErrnoException {
  const syscall = name.replace('file.', '')
  return Object.assign(new Error(`${code}: made up, ${syscall} '${path}'`), { code, syscall, path, errno: -1 })
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
      throw systemError(code, operation)
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
