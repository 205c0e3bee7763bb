import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { DirectoryEntry, File, FileStat, FileSystem } from '../../src/fs/port.ts'
import type { Warning } from '../../src/progress.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { storeOver } from '../support/store-over.ts'
import type { TestStore } from './store-directory.ts'

/** Files by path below the root of the store. */
export type Files = ReadonlyMap<string, Uint8Array>

const root = '/store'

/** The files of a store that lies on a real disk. */
export function filesOf(path: string): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>()
  for (const name of readdirSync(path, { recursive: true }) as string[]) {
    if (statSync(join(path, name)).isFile()) files.set(name, new Uint8Array(readFileSync(join(path, name))))
  }
  return files
}

/** A store over these files, which can only be read: loads of thousands of damaged stores take a second, not minutes. */
export function readingStore(files: Files): TestStore {
  const warnings: Warning[] = []
  const fs = readOnlyDisk(files)
  const storage = directoryStorage({ fs, path: root, readOnly: true, lock: 'none' })
  return Object.assign(
    storeOver(storage, fs, { onWarning: (warning) => void warnings.push(warning) }, { readOnly: true, lock: false }),
    { warnings },
  )
}

function readOnlyDisk(files: Files): FileSystem {
  const paths = new Map([...files].map(([name, bytes], i) => [join(root, name), { bytes, ino: BigInt(i + 2) }]))
  const directories = new Set([root, ...[...paths.keys()].map((path) => dirname(path))])

  function missing(path: string): NodeJS.ErrnoException {
    return Object.assign(new Error(`ENOENT: no such file, '${path}'`), { code: 'ENOENT', path })
  }
  function statOf(path: string): FileStat {
    const file = paths.get(path)
    if (file === undefined && !directories.has(path)) throw missing(path)
    const kind = file === undefined ? 'directory' : 'file'
    const [size, ino] = [file?.bytes.length ?? 0, file?.ino ?? 1n]
    return { kind, size, mode: 0o700, dev: 1n, ino, mtimeNs: 0n, ctimeNs: 0n }
  }
  async function open(path: string, how: string): Promise<File> {
    if (how !== 'read') throw new Error(`a read-only disk, asked to open ${path} for ${how}`)
    const file = paths.get(path)
    if (file === undefined) throw missing(path)
    return {
      async read(target, position) {
        const part = file.bytes.subarray(position, position + target.length)
        target.set(part)
        return part.length
      },
      stat: async () => statOf(path),
      async close() {},
      closeSync() {},
      write: refuse,
      sync: refuse,
      chmod: refuse,
      tryLock: () => refuse(),
    }
  }
  function refuse(): never {
    throw new Error('a read-only disk')
  }
  return {
    open,
    async readdir(path): Promise<DirectoryEntry[]> {
      if (!directories.has(path)) throw missing(path)
      const inside = [...paths.keys()].filter((name) => dirname(name) === path)
      return inside.map((name) => ({ name: name.slice(path.length + 1), kind: 'file' }))
    },
    stat: async (path) => statOf(path),
    lstat: async (path) => statOf(path),
    realpath: async (path) => path,
    rename: refuse,
    link: refuse,
    unlink: refuse,
    mkdir: refuse,
    rmdir: refuse,
    chmod: refuse,
    syncDirectory: refuse,
    openDirectory: refuse,
  }
}
