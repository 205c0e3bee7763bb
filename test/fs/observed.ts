import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { File, FileSystem } from '../../src/fs/port.ts'

/** An empty directory that goes when the test ends. */
export function scratch(): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-fs-')))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** What a system call answers when it fails. */
export function systemError(code: string, syscall = 'test'): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made up, ${syscall}`), { code, syscall, errno: -1 })
}

export interface Observed {
  fs: FileSystem
  /** `open`, `write`, `sync`, `rename`, `openDirectory`, `syncDirectory` … in order, each with its path below the scratch directory. */
  log: string[]
}

/**
 * A disk that logs what it is asked, and fails where `fault` throws. `fault` sees each line of the log before the
 * operation is done.
 */
export function observe(root: string, fault: (line: string) => void = () => undefined): Observed {
  const log: string[] = []
  const short = (path: string) => path.replace(root, '').replace(/[0-9a-f]{24}/, '#')
  function note(line: string): void {
    log.push(line)
    fault(line)
  }
  function watch(file: File, path: string): File {
    return {
      ...file,
      write: async (views, position) => {
        note(`write ${short(path)}`)
        return file.write(views, position)
      },
      sync: async () => {
        note(`sync ${short(path)}`)
        return file.sync()
      },
      close: async () => {
        note(`close ${short(path)}`)
        return file.close()
      },
    }
  }
  const fs: FileSystem = {
    ...nodeFileSystem,
    open: async (path, how, mode) => {
      note(`open ${how} ${short(path)}`)
      return watch(await nodeFileSystem.open(path, how, mode), path)
    },
    rename: async (from, to) => {
      note(`rename ${short(from)} ${short(to)}`)
      return nodeFileSystem.rename(from, to)
    },
    unlink: async (path) => {
      note(`unlink ${short(path)}`)
      return nodeFileSystem.unlink(path)
    },
    mkdir: async (path, mode) => {
      note(`mkdir ${short(path)}`)
      return nodeFileSystem.mkdir(path, mode)
    },
    syncDirectory: async (path) => {
      note(`syncDirectory ${short(path)}`)
      return nodeFileSystem.syncDirectory(path)
    },
    openDirectory: async (path) => {
      note(`openDirectory ${short(path)}`)
      const directory = await nodeFileSystem.openDirectory(path)
      return {
        ...directory,
        sync: async () => {
          note(`syncDirectory ${short(path)}`)
          return directory.sync()
        },
      }
    },
  }
  return { fs, log }
}
