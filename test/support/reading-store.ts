// Stores of given files, which can only be read.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { FileSystem } from '../../src/fs/port.ts'
import type { Warning } from '../../src/progress.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import type { DirectoryImage, FileImage } from '../faulty-disk/image.ts'
import type { TestStore } from './store-directory.ts'
import { storeOver } from './store-over.ts'

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

/**
 * A store over these files, which can only be read: loads of thousands of damaged stores take a second, not minutes.
 */
export function readingStore(files: Files): TestStore {
  const warnings: Warning[] = []
  const fs = readOnlyDisk(files)
  const storage = directoryStorage({ fs, path: root, readOnly: true, lock: 'none' })
  return Object.assign(
    storeOver(storage, fs, { onWarning: (warning) => void warnings.push(warning) }, { readOnly: true, lock: false }),
    { warnings },
  )
}

/** The store's files on the simulated disk, which refuses every change. */
function readOnlyDisk(files: Files): FileSystem {
  const disk = createDisk(imageOf(files))
  disk.onChange = ({ name, path }) => {
    throw new Error(`a read-only disk, asked to ${name} ${path}`)
  }
  return disk.start().fs
}

function imageOf(files: Files): DirectoryImage {
  const directory = (): DirectoryImage & { entries: Map<string, DirectoryImage | FileImage> } => ({
    kind: 'directory',
    mode: 0o700,
    entries: new Map(),
  })
  const image = directory()
  const inside = directory()
  image.entries.set(root.slice(1), inside)
  for (const [path, content] of files) {
    let at = inside
    const names = path.split('/')
    for (const name of names.slice(0, -1)) {
      const below = at.entries.get(name) ?? directory()
      at.entries.set(name, below)
      at = below as typeof inside
    }
    at.entries.set(names.at(-1)!, { kind: 'file', mode: 0o600, content, mtimeMs: 0 })
  }
  return image
}
