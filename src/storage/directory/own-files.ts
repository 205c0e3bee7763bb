// Distinguishes a store's own files from foreign files, by name and header. Only own files may be moved or deleted, and
// a new store is made only in a directory without foreign files.

import { basename, dirname, join } from 'node:path'
import { isHoldfastError } from '../../errors.ts'
import { parseCid } from '../../format/cid.ts'
import { isHex } from '../../format/hex.ts'
import { DIGEST_BYTES, HEADER_BYTES, JSON_BYTES_MAX } from '../../format/limits.ts'
import { parsePackHeader } from '../../format/pack.ts'
import { errorCode, isMissing, readFileOrNull, readFully } from '../../fs/io.ts'
import { isAsideName } from '../../fs/move-aside.ts'
import type { DirectoryEntry, FileSystem } from '../../fs/port.ts'
import { isOwnTempName } from '../../fs/temps.ts'
import { JOURNAL_LOCK } from '../../journal/lock.ts'
import { parseSegmentFileName } from '../../journal/segment.ts'

/** Paths below the store's directory. The path of a folder stands for everything in it. */
interface SortedFiles {
  /** Files of the store. */
  own: string[]
  /** The store's folders that are real directories. */
  folders: string[]
  /** Files that the store did not make. */
  foreign: string[]
}

const FOLDERS = ['packs', 'tmp', 'files', 'quarantine', 'journal'] as const
const JSON_FILES = ['STORE.json', 'HEAD.json', 'HEAD.prev.json']
const LOCK = 'writer.lock'
/** The file of an engine, or its lock. */
const IMAGE = /^[0-9a-f]{64}\.image(\.lock)?$/
/** The start of a writer's line in the lock file. */
const LOCK_LINE = 'pid '
/** The padded length of a writer's line in the lock file. */
const LOCK_BYTES = 256

/** Files that file systems and their tools create, and files that keep an empty directory in version control. */
const HARMLESS =
  /^(lost\+found|\.(DS_Store|Trash.*|Trashes|fseventsd|Spotlight-V100|TemporaryItems|snapshots?|zfs|nfs.*|fuse_hidden.*|gitkeep|keep|gitignore|stfolder)|System Volume Information|\$RECYCLE\.BIN)$/

/**
 * Sorts the files in `root` into own and foreign ones.
 *
 * @param isStore `root` is known to be a store: HEAD.json and similar names are the store's even if their content is
 *   damaged
 * @throws Node's errors
 */
export async function sortFiles(fs: FileSystem, root: string, isStore: boolean): Promise<SortedFiles> {
  const sorted: SortedFiles = { own: [], folders: [], foreign: [] }
  const named = isStore ? await textOfHeads(fs, root) : ''
  for (const entry of await fs.readdir(root)) {
    const { name, kind } = entry
    if ((FOLDERS as readonly string[]).includes(name)) {
      if (kind === 'directory') await sortFolder(fs, root, name as (typeof FOLDERS)[number], sorted, named)
      else sorted.foreign.push(name)
    } else if (kind === 'file' && (await isOwnAtRoot(fs, join(root, name), name, isStore))) sorted.own.push(name)
    else sorted.foreign.push(name)
  }
  return sorted
}

/** Whether a new store may be made beside the file: a file of no value, or one that was set aside. */
export function isHarmless(path: string): boolean {
  const name = basename(path)
  return HARMLESS.test(name) || (dirname(path) === 'quarantine' && isAsideName(name))
}

async function sortFolder(
  fs: FileSystem,
  root: string,
  folder: (typeof FOLDERS)[number],
  sorted: SortedFiles,
  named: string,
): Promise<void> {
  sorted.folders.push(folder)
  const entries = await fs.readdir(join(root, folder))
  const names = new Set(entries.map(({ name }) => name))
  for (const entry of entries) {
    const own = await isOwnInside[folder](fs, join(root, folder, entry.name), entry, names, named)
    sorted[own ? 'own' : 'foreign'].push(`${folder}/${entry.name}`)
  }
}

type Judge = (
  fs: FileSystem,
  path: string,
  entry: DirectoryEntry,
  beside: ReadonlySet<string>,
  named: string,
) => Promise<boolean>

const isOwnInside: Record<(typeof FOLDERS)[number], Judge> = {
  async packs(fs, path, { name, kind }, _beside, named) {
    if (kind !== 'file' || !isPackName(name)) return false
    // A pack that HEAD names is the store's, even if its content is damaged.
    return named.includes(name.slice(0, -'.pack'.length)) || (await isPack(fs, path, name))
  },
  async tmp(_fs, _path, { name, kind }) {
    return isOwnTempName(name, kind)
  },
  async files(fs, path, { name, kind }, beside) {
    if (kind === 'directory') {
      return name === '.tmp' && (await fs.readdir(path)).every((temp) => isOwnTempName(temp.name, temp.kind))
    }
    // A laid-out file has its lock file beside it.
    if (kind !== 'file') return false
    // Neither an image nor its lock is ever fsynced, so either may be there without the other.
    if (IMAGE.test(name)) return true
    return name.endsWith('.lock') ? isCid(name.slice(0, -'.lock'.length)) : isCid(name) && beside.has(`${name}.lock`)
  },
  async quarantine(_fs, _path, { name, kind }) {
    // A journal that was started over is the one directory that a store sets aside in there.
    const isOne = kind === 'file' || (kind === 'directory' && name.startsWith('journal.start-over.'))
    return isOne && isAsideName(name) && !OTHERS.test(name)
  },
  async journal(_fs, _path, { name, kind }) {
    return kind === 'file' && parseSegmentFileName(name) !== null
  },
}

/** Names of foreign files in quarantine, and of their notes. */
const OTHERS = /\.(not-a-pack|other-store|not-the-blob)\.[^.]+\.[^.]+\.[0-9a-f]{16}(\.json)?$/

async function isOwnAtRoot(fs: FileSystem, path: string, name: string, isStore: boolean): Promise<boolean> {
  if (name === LOCK || name === JOURNAL_LOCK) {
    const { size } = await fs.lstat(path)
    // The line is never fsynced, so after a power loss it may have any content. A killed writer may have written a part
    // of it.
    return isStore || size === LOCK_BYTES || (size < LOCK_BYTES && (await beginsWith(fs, path, LOCK_LINE)))
  }
  return JSON_FILES.includes(name) && (isStore || (await hasHeader(fs, path)))
}

/** Whether a file begins with `text`, is a prefix of it, or begins with zeros. */
async function beginsWith(fs: FileSystem, path: string, text: string): Promise<boolean> {
  const bytes = await readFileOrNull(fs, path, LOCK_BYTES)
  if (bytes === null) return false
  return bytes[0] === 0 || text.startsWith(Buffer.from(bytes.subarray(0, text.length)).toString('latin1'))
}

/** The text of both HEADs, which name the store's packs. */
async function textOfHeads(fs: FileSystem, root: string): Promise<string> {
  let text = ''
  for (const name of ['HEAD.json', 'HEAD.prev.json']) {
    const bytes = await readFileOrNull(fs, join(root, name), JSON_BYTES_MAX).catch(() => null)
    if (bytes !== null) text += Buffer.from(bytes).toString('latin1')
  }
  return text
}

/** Whether a JSON file has the header of a store's file. A file that is far too long is foreign. */
export async function hasHeader(fs: FileSystem, path: string): Promise<boolean> {
  try {
    const bytes = await readFileOrNull(fs, path, JSON_BYTES_MAX)
    return bytes !== null && Buffer.from(bytes).includes('"holdfast-')
  } catch (error) {
    if (errorCode(error) === 'EISDIR' || isHoldfastError(error, 'LIMIT_EXCEEDED')) return false
    throw error
  }
}

/** Whether a file of that name in `packs/` may be a pack. */
export function isPackName(name: string): boolean {
  return name.endsWith('.pack') && isHex(name.slice(0, -'.pack'.length), DIGEST_BYTES)
}

/** Whether the file begins as a pack does. */
export async function isPack(fs: FileSystem, path: string, name: string): Promise<boolean> {
  const bytes = new Uint8Array(HEADER_BYTES)
  try {
    const file = await fs.open(path, 'read')
    try {
      if ((await readFully(file, bytes, 0)) < HEADER_BYTES) return false
    } finally {
      file.closeSync()
    }
  } catch (error) {
    if (isMissing(error) || errorCode(error) === 'EISDIR') return false
    throw error
  }
  try {
    parsePackHeader(bytes, name)
    return true
  } catch (error) {
    // A pack of a newer version is a pack, too.
    return isHoldfastError(error, 'VERSION_UNSUPPORTED')
  }
}

function isCid(name: string): boolean {
  try {
    parseCid(name)
    return true
  } catch {
    return false
  }
}
