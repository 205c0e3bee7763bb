// Tells a store's own files from everybody else's, by name and by header: only its own may be moved or deleted, and a
// new store is made only where there is nothing else.

import { basename, dirname, join } from 'node:path'
import { isHoldfastError } from '../../errors.ts'
import { parseCid } from '../../format/cid.ts'
import { isHex } from '../../format/hex.ts'
import { DIGEST_BYTES, HEADER_BYTES, JSON_BYTES_MAX } from '../../format/limits.ts'
import { parsePackHeader } from '../../format/pack.ts'
import { isAsideName } from '../../fs/durable.ts'
import { errorCode, isMissing, readFileOrNull, readFully } from '../../fs/io.ts'
import type { DirectoryEntry, FileSystem } from '../../fs/port.ts'
import { isOwnTempName } from '../../fs/temps.ts'
import { JOURNAL_LOCK } from '../../journal/lock.ts'
import { parseSegmentFileName } from '../../journal/segment.ts'

/** Paths below the store's directory. A path that ends with a folder stands for all that is in it. */
interface SortedFiles {
  /** Files of the store. */
  own: string[]
  /** The store's folders that are real directories. */
  folders: string[]
  /** What the store did not make. */
  foreign: string[]
}

const FOLDERS = ['packs', 'tmp', 'files', 'quarantine', 'journal'] as const
const JSON_FILES = ['STORE.json', 'HEAD.json', 'HEAD.prev.json']
const LOCK = 'writer.lock'
/** How a writer's line in the lock file begins. */
const LOCK_LINE = 'pid '
/** The length that a writer's line in the lock file is padded to. */
const LOCK_BYTES = 256

/** What file systems and their tools make by themselves, and what keeps an empty directory in version control. */
const HARMLESS =
  /^(lost\+found|\.(DS_Store|Trash.*|Trashes|fseventsd|Spotlight-V100|TemporaryItems|snapshots?|zfs|nfs.*|fuse_hidden.*|gitkeep|keep|gitignore|stfolder)|System Volume Information|\$RECYCLE\.BIN)$/

/**
 * Sorts what lies in `root`.
 *
 * @param isStore it is known to be one: HEAD.json and its like are the store's even when their bytes are damaged
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

/** Whether a new store may be made beside it: nobody's file, or one that was set aside. */
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
    // What HEAD names is the store's, even when its bytes are damaged.
    return named.includes(name.slice(0, -'.pack'.length)) || (await isPack(fs, path, name))
  },
  async tmp(_fs, _path, { name, kind }) {
    return isOwnTempName(name, kind)
  },
  async files(fs, path, { name, kind }, beside) {
    if (kind === 'directory') {
      return name === '.tmp' && (await fs.readdir(path)).every((temp) => isOwnTempName(temp.name, temp.kind))
    }
    // Whatever is laid out has its lock beside it.
    if (kind !== 'file') return false
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

/** What went to quarantine because it is not the store's, with its note. */
const OTHERS = /\.(not-a-pack|other-store|not-the-blob)\.[^.]+\.[^.]+\.[0-9a-f]{16}(\.json)?$/

async function isOwnAtRoot(fs: FileSystem, path: string, name: string, isStore: boolean): Promise<boolean> {
  if (name === LOCK || name === JOURNAL_LOCK) {
    const { size } = await fs.lstat(path)
    // The line is never fsynced: after a power loss its bytes may be anything. A killed writer may have written a part.
    return isStore || size === LOCK_BYTES || (size < LOCK_BYTES && (await beginsWith(fs, path, LOCK_LINE)))
  }
  return JSON_FILES.includes(name) && (isStore || (await hasHeader(fs, path)))
}

/** Whether a file begins with `text`, is a part of it, or begins with zeros. */
async function beginsWith(fs: FileSystem, path: string, text: string): Promise<boolean> {
  const bytes = await readFileOrNull(fs, path, LOCK_BYTES)
  if (bytes === null) return false
  return bytes[0] === 0 || text.startsWith(Buffer.from(bytes.subarray(0, text.length)).toString('latin1'))
}

/** In which the store's packs are named. */
async function textOfHeads(fs: FileSystem, root: string): Promise<string> {
  let text = ''
  for (const name of ['HEAD.json', 'HEAD.prev.json']) {
    const bytes = await readFileOrNull(fs, join(root, name), JSON_BYTES_MAX).catch(() => null)
    if (bytes !== null) text += Buffer.from(bytes).toString('latin1')
  }
  return text
}

/** Whether a JSON file says that it is a store's. One that is far too long is somebody else's. */
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

/** Whether the file begins as packs do. */
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
    // A newer version's is a pack all the same.
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
