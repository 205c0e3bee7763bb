// A file system in the memory of this process, for what a store without a disk keeps in files. Nothing of it survives
// the process, so a sync has nothing to do. It keeps to the port, errors included.

import type { File, FileStat, FileSystem } from './port.ts'

interface MemoryNode {
  kind: 'file' | 'directory'
  mode: number
  ino: bigint
  bytes: Uint8Array
  size: number
}

/** A file system that has one empty directory. */
export function memoryFileSystem(root: string): FileSystem {
  const nodes = new Map<string, MemoryNode>()
  let inodes = 0n
  make(root, 'directory', 0o700)

  function make(path: string, kind: MemoryNode['kind'], mode: number): MemoryNode {
    inodes += 1n
    const node = { kind, mode, ino: inodes, bytes: new Uint8Array(0), size: 0 }
    nodes.set(path, node)
    return node
  }

  function find(path: string, syscall: string): MemoryNode {
    const node = nodes.get(path)
    if (node === undefined) throw failure('ENOENT', syscall, path)
    return node
  }

  function namesIn(path: string): string[] {
    const start = `${path}/`
    return [...nodes.keys()].filter((each) => each.startsWith(start) && !each.slice(start.length).includes('/'))
  }

  async function rename(from: string, to: string): Promise<void> {
    find(from, 'rename')
    for (const [path, node] of [...nodes]) {
      if (path !== from && !path.startsWith(`${from}/`)) continue
      nodes.delete(path)
      nodes.set(to + path.slice(from.length), node)
    }
  }

  async function stat(path: string): Promise<FileStat> {
    return statOf(find(path, 'stat'))
  }

  return {
    async open(path, how, mode = 0o600) {
      const known = nodes.get(path)
      if (known !== undefined && how === 'create') throw failure('EEXIST', 'open', path)
      if (known?.kind === 'directory') throw failure('EISDIR', 'open', path)
      if (known !== undefined) return fileOf(known)
      if (how !== 'create' && how !== 'readWrite') throw failure('ENOENT', 'open', path)
      find(parentOf(path), 'open')
      return fileOf(make(path, 'file', mode))
    },
    rename,
    async link(existing, path) {
      const node = find(existing, 'link')
      if (nodes.has(path)) throw failure('EEXIST', 'link', path)
      nodes.set(path, node)
    },
    async clone(_from, path) {
      throw failure('ENOTSUP', 'clone', path)
    },
    async unlink(path) {
      if (find(path, 'unlink').kind === 'directory') throw failure('EISDIR', 'unlink', path)
      nodes.delete(path)
    },
    async mkdir(path, mode) {
      if (nodes.has(path)) throw failure('EEXIST', 'mkdir', path)
      find(parentOf(path), 'mkdir')
      make(path, 'directory', mode)
    },
    async rmdir(path) {
      if (find(path, 'rmdir').kind === 'file') throw failure('ENOTDIR', 'rmdir', path)
      if (namesIn(path).length > 0) throw failure('ENOTEMPTY', 'rmdir', path)
      nodes.delete(path)
    },
    async readdir(path) {
      if (find(path, 'readdir').kind === 'file') throw failure('ENOTDIR', 'readdir', path)
      return namesIn(path).map((each) => ({ name: each.slice(path.length + 1), kind: nodes.get(each)!.kind }))
    },
    stat,
    lstat: stat,
    async realpath(path) {
      find(path, 'realpath')
      return path
    },
    async chmod(path, mode) {
      find(path, 'chmod').mode = mode
    },
    async syncDirectory(path) {
      find(path, 'open')
    },
    async openDirectory(path) {
      find(path, 'open')
      return { sync: async () => undefined, closeSync: () => undefined }
    },
  }
}

function fileOf(node: MemoryNode): File {
  return {
    async read(target, position) {
      const part = node.bytes.subarray(position, Math.min(node.size, position + target.byteLength))
      target.set(part)
      return part.length
    },
    async write(views, position) {
      const total = views.reduce((sum, { byteLength }) => sum + byteLength, 0)
      if (position + total > node.bytes.length) {
        const larger = new Uint8Array(Math.max(position + total, node.bytes.length * 2))
        larger.set(node.bytes.subarray(0, node.size))
        node.bytes = larger
      }
      let at = position
      for (const view of views) {
        node.bytes.set(view, at)
        at += view.byteLength
      }
      node.size = Math.max(node.size, at)
      return total
    },
    sync: async () => undefined,
    dataSync: async () => undefined,
    stat: async () => statOf(node),
    async chmod(mode) {
      node.mode = mode
    },
    // There is no other process.
    tryLock: () => true,
    close: async () => undefined,
    closeSync: () => undefined,
  }
}

function statOf({ kind, size, mode, ino }: MemoryNode): FileStat {
  return { kind, size, mode, dev: 0n, ino, mtimeNs: 0n, ctimeNs: 0n }
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}

function failure(code: string, syscall: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${syscall} '${path}'`), { code, syscall, path })
}
