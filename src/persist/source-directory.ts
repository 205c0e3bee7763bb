// A directory as a source: lists what is in it, and sees whether it was one state while its files were read.

import { join } from 'node:path'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { attempt, isSameFile, lstatOrNull, statOrNull } from '../fs/io.ts'
import type { DirectoryEntry, FileStat, FileSystem } from '../fs/port.ts'
import { term } from '../terms.ts'
import type { Excluded } from './directory-options.ts'

/** Which directory, and what of it. */
interface DirectoryRequest {
  root: string
  /** Of the blobs, before the first `/`. */
  name: string
  excluded: Excluded
  followLinks: boolean
  keepModes: boolean
}

/** What is in a directory. */
interface Listing {
  /**
   * Paths below `root` with `/`, sorted; directories with nothing in them end in `/`, and `root` itself is empty text
   * then.
   */
  entries: readonly string[]
  /** Permission bits of files and directories, by path; empty unless they are kept. */
  modes: ReadonlyMap<string, number>
}

/** A directory whose files are blobs. */
export interface SourceDirectory extends DirectoryRequest, Listing {}

/**
 * Regular files and empty directories below `root`. Links and devices are refused, unless links are followed: a
 * snapshot could not restore them.
 *
 * @throws SOURCE_FAILED, BLOB_NAME_INVALID, IO_FAILED
 */
export async function listDirectory(fs: FileSystem, request: DirectoryRequest): Promise<Listing> {
  const { root, name: blob, excluded, followLinks, keepModes } = request
  const found: string[] = []
  const modes = new Map<string, number>()

  /** `around`: the directories that it is in, to notice a link back to one of them. */
  async function visit(below: string, around: readonly FileStat[]): Promise<void> {
    const doing = `reading directory ${join(root, below)} for blob ${JSON.stringify(blob)}`
    const entries = await attempt(fs.readdir(join(root, below)), doing)
    let kept = 0
    for (const { name, kind } of entries) {
      const path = below + name
      const stat = await statIfNeeded(path, kind)
      const is = stat?.kind ?? kind
      if (excluded(is === 'directory' ? `${path}/` : path)) continue
      kept += 1
      await assertTold(fs, join(root, path), name)
      if (is === 'file') found.push(path)
      else if (is === 'directory') await visit(`${path}/`, inside(around, path, stat))
      else throw notAFile(join(root, path), kind, blob)
      if (keepModes && stat !== null) modes.set(is === 'directory' ? `${path}/` : path, stat.mode & 0o777)
    }
    if (kept === 0) found.push(below)
  }

  /** Null where its kind tells enough. What a link leads to, if links are followed. */
  async function statIfNeeded(path: string, kind: DirectoryEntry['kind']): Promise<FileStat | null> {
    if (!keepModes && !followLinks) return null
    const at = join(root, path)
    if (followLinks) return await attempt(statOrNull(fs, at), `looking at ${at}`)
    return kind === 'link' ? null : await attempt(lstatOrNull(fs, at), `looking at ${at}`)
  }

  function inside(around: readonly FileStat[], path: string, stat: FileStat | null): readonly FileStat[] {
    if (!followLinks || stat === null) return around
    if (around.some((directory) => isSameFile(directory, stat))) throw leadsBack(join(root, path), blob)
    return [...around, stat]
  }

  const top = followLinks ? await attempt(statOrNull(fs, root), `looking at ${root}`) : null
  await visit('', top === null ? [] : [top])
  return { entries: found.sort(), modes }
}

function leadsBack(path: string, blob: string): HoldfastError {
  return new HoldfastError(
    'SOURCE_FAILED',
    `blob ${JSON.stringify(blob)}: ${path} leads back to a directory that it is in, so there is no end of it; leave it out with exclude`,
    { details: { blob, path } },
  )
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
  const links = kind === 'link' ? `, ${term('followLinks')} (if it leads anywhere)` : ''
  return new HoldfastError(
    'SOURCE_FAILED',
    `blob ${JSON.stringify(blob)}: ${path} is ${is}, not a regular file; move it out of the directory${links}, or ${term('exclude')}`,
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
  directory: SourceDirectory,
  read: ReadonlyMap<string, FileStat>,
): Promise<void> {
  const { root, name, entries, modes, followLinks } = directory
  const now = await listDirectory(fs, directory)
  const there = new Set(now.entries)
  const before = new Set(entries)
  const changed = [...now.entries.filter((path) => !before.has(path)), ...entries.filter((path) => !there.has(path))]
  for (const [path, mode] of now.modes) if ((modes.get(path) ?? mode) !== mode) changed.push(path)
  for (const path of entries) {
    const opened = read.get(join(root, path))
    if (opened === undefined || !there.has(path)) continue
    const looking = followLinks ? statOrNull(fs, join(root, path)) : lstatOrNull(fs, join(root, path))
    const stat = await attempt(looking, `looking at ${join(root, path)}`)
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
