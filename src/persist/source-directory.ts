// A directory as a source: lists what is in it, and sees whether it was one state while its files were read.

import { join } from 'node:path'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { attempt, lstatOrNull } from '../fs/io.ts'
import type { DirectoryEntry, FileStat, FileSystem } from '../fs/port.ts'

/** A directory whose files are blobs. */
export interface SourceDirectory {
  root: string
  /** Of the blobs, before the first `/`. */
  name: string
  /**
   * Paths below `root` with `/`, sorted; directories with nothing in them end in `/`, and `root` itself is empty text
   * then.
   */
  entries: readonly string[]
}

/**
 * Regular files and empty directories below `root`, as in `SourceDirectory`. Links and devices are refused: a snapshot
 * could not restore them.
 *
 * @throws SOURCE_FAILED, BLOB_NAME_INVALID, IO_FAILED
 */
export async function listDirectory(fs: FileSystem, root: string, blob: string): Promise<string[]> {
  const found: string[] = []
  async function visit(below: string): Promise<void> {
    const doing = `reading directory ${join(root, below)} for blob ${JSON.stringify(blob)}`
    const entries = await attempt(fs.readdir(join(root, below)), doing)
    if (entries.length === 0) found.push(below)
    for (const { name, kind } of entries) {
      const path = below + name
      await assertTold(fs, join(root, path), name)
      if (kind === 'file') found.push(path)
      else if (kind === 'directory') await visit(`${path}/`)
      else throw notAFile(join(root, path), kind, blob)
    }
  }
  await visit('')
  return found.sort()
}

/** Node gives U+FFFD for bytes that are not UTF-8. Nothing is found under such a name. */
async function assertTold(fs: FileSystem, path: string, name: string): Promise<void> {
  if (!name.includes('\ufffd') || (await attempt(lstatOrNull(fs, path), `looking at ${path}`)) !== null) return
  throw new HoldfastError(
    'BLOB_NAME_INVALID',
    `the name of ${path} is not UTF-8 on the disk, and cannot be the name of a blob: rename it (convmv does so), or leave it out`,
    { details: { name, path, reason: 'not UTF-8' } },
  )
}

function notAFile(path: string, kind: DirectoryEntry['kind'], blob: string): HoldfastError {
  const is = kind === 'link' ? 'a symbolic link' : 'a pipe, a socket or a device'
  return new HoldfastError(
    'SOURCE_FAILED',
    `blob ${JSON.stringify(blob)}: ${path} is ${is}, not a regular file; move it out of the directory`,
    { details: { blob, path } },
  )
}

/**
 * Files that were read one after the other are one state of their directory if none of them changed until the last was
 * read, and none came or went.
 *
 * @param read each file as it was when it was opened, by its path
 * @throws SOURCE_CHANGED
 */
export async function assertUnchanged(
  fs: FileSystem,
  { root, name, entries }: SourceDirectory,
  read: ReadonlyMap<string, FileStat>,
): Promise<void> {
  const now = await listDirectory(fs, root, name)
  const there = new Set(now)
  const before = new Set(entries)
  const changed = [...now.filter((path) => !before.has(path)), ...entries.filter((path) => !there.has(path))]
  for (const path of entries) {
    const opened = read.get(join(root, path))
    if (opened === undefined || !there.has(path)) continue
    const stat = await attempt(lstatOrNull(fs, join(root, path)), `looking at ${join(root, path)}`)
    if (stat === null || !sameFile(opened, stat)) changed.push(path)
  }
  if (changed.length === 0) return
  throw new HoldfastError(
    'SOURCE_CHANGED',
    `blob ${JSON.stringify(name)}: ${changed.slice(0, 10).join(', ')} in ${root} changed while the directory was being read; ` +
      'persist when nothing writes to it',
    { details: { blob: name, path: root, files: changed.slice(0, 100) } },
  )
}

/**
 * The error for a file that could not be opened: one that went since its directory was listed is no failure of the
 * disk.
 */
export function goneSinceListed(error: unknown, { root, name }: SourceDirectory, blob: string): unknown {
  if (!isHoldfastError(error, 'IO_FAILED') || error.details.code !== 'ENOENT') return error
  const file = blob.slice(name.length + 1)
  return new HoldfastError(
    'SOURCE_CHANGED',
    `blob ${JSON.stringify(name)}: ${file} in ${root} is gone since the directory was listed; persist when nothing writes to it`,
    { details: { blob: name, path: root, files: [file] }, cause: error },
  )
}

/** Whether a file is the same and was not written to. */
export function sameFile(a: FileStat, b: FileStat): boolean {
  return a.dev === b.dev && a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs
}
