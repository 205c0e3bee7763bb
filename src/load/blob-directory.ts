// The blobs that came from one directory, written out as a directory again.

import { dirname, join, resolve } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { MODES_NAME, parseModes } from '../format/directory-modes.ts'
import { commitUnknown, withDirectory } from '../fs/durable.ts'
import { lstatOrNull } from '../fs/io.ts'
import { makeDirectory } from '../fs/make-directory.ts'
import type { FileSystem } from '../fs/port.ts'
import { resolveTree, writeTree } from '../fs/write-tree.ts'
import { pathOf } from '../location.ts'
import { assertOptions } from '../misuse.ts'
import { type BlobReadOptions, READ_OPTIONS, type SnapshotBlob } from './blob.ts'
import { fileAndDirectory, wrongPart } from './path-names.ts'
import { reapDead, writeInside } from './write-out.ts'

/** The blobs of a `{ directory }` source. */
export interface BlobDirectory {
  readonly name: string
  /** Relative paths with `/`, and the blobs they name. */
  readonly files: ReadonlyMap<string, SnapshotBlob>
  /** Relative paths of the directories in it that are empty. */
  readonly emptyDirectories: readonly string[]
  /**
   * Lays all of it out as the directory `path`: all or nothing, durable. There may be an empty directory, which keeps
   * its mode; anything else is `TARGET_EXISTS`. `BLOB_NAME_INVALID` for names that this system, or the file system
   * there, cannot have or tell apart.
   */
  writeTo(path: string | URL, options?: BlobReadOptions): Promise<void>
}

export function createBlobDirectory(
  fs: FileSystem,
  name: string,
  blobs: ReadonlyMap<string, SnapshotBlob>,
): BlobDirectory {
  const prefix = `${name}/`
  const files = new Map<string, SnapshotBlob>()
  const empty: string[] = []
  for (const [blobName, blob] of blobs) {
    if (!blobName.startsWith(prefix)) continue
    // As in docs/format.md: an empty blob whose name ends in `/` stands for a directory with nothing in it.
    if (blobName.endsWith('/') && blob.size === 0) empty.push(blobName.slice(prefix.length, -1))
    else files.set(blobName.slice(prefix.length), blob)
  }
  if (files.size === 0 && empty.length === 0) {
    throw new HoldfastError('BLOB_NOT_FOUND', `there are no blobs below ${JSON.stringify(prefix)}`, {
      details: { blob: prefix, blobs: [...blobs.keys()].slice(0, 20) },
    })
  }
  // The directory itself, with nothing in it, has no path below it.
  const emptyDirectories = empty.filter((path) => path !== '')
  const modesBlob = files.get(MODES_NAME)
  files.delete(MODES_NAME)
  return {
    name,
    files,
    emptyDirectories,
    async writeTo(path, options = {}) {
      assertOptions(`directory ${JSON.stringify(name)}`, options, READ_OPTIONS)
      const given = resolve(pathOf(path, 'writeTo'))
      assertNames(new Set(files.keys()), emptyDirectories)
      const modes = modesBlob === undefined ? null : await readModes(name, modesBlob, options)
      await makeDirectory(fs, dirname(given), 0o700)
      const tree = await resolveTree(fs, given)
      await reapDead(fs, tree.path)
      try {
        await writeTree(fs, tree, (temp) => fill(fs, temp, { files, directories: emptyDirectories, modes }, options))
      } catch (error) {
        throw commitUnknown(error, tree.path, 'was written', 'it may be gone. Remove it and write it again')
      }
    },
  }
}

/**
 * A blob name is any text; as a path it must not lead out of the directory, and must be one that this system can have.
 */
function assertNames(files: ReadonlySet<string>, directories: readonly string[]): void {
  for (const path of [...files, ...directories]) {
    const part = wrongPart(path, process.platform)
    if (part !== null) throw invalid(path, part, `cannot be a path below a directory on ${process.platform}`)
  }
  const both = fileAndDirectory(files, directories)
  if (both !== null) throw invalid(both, both, 'is a file and a directory in one; read the blobs one by one')
}

interface Content {
  files: ReadonlyMap<string, SnapshotBlob>
  directories: readonly string[]
  /** Null: none were kept. */
  modes: ReadonlyMap<string, number> | null
}

async function readModes(name: string, blob: SnapshotBlob, options: BlobReadOptions): Promise<Map<string, number>> {
  const modes = parseModes(await blob.text(options))
  if (modes !== null) return modes
  throw new HoldfastError(
    'BLOB_NAME_INVALID',
    `nothing was written: the blob ${JSON.stringify(blob.name)} is no list of modes, and no file of the directory ${JSON.stringify(name)} can have that name; read the blobs one by one`,
    { details: { blob: blob.name } },
  )
}

/** Below a new directory: what is there already has another name that this file system does not tell from ours. */
async function fill(fs: FileSystem, root: string, { files, directories, modes }: Content, options: BlobReadOptions) {
  const made = new Set<string>([''])
  async function make(directory: string): Promise<void> {
    if (made.has(directory)) return
    await make(directory.slice(0, Math.max(directory.lastIndexOf('/'), 0)))
    if (!(await makeDirectory(fs, join(root, directory), 0o700))) throw indistinct(directory)
    made.add(directory)
  }
  for (const directory of directories) await make(directory)
  for (const [file, blob] of files) {
    await make(file.slice(0, Math.max(file.lastIndexOf('/'), 0)))
    const path = join(root, file)
    if ((await lstatOrNull(fs, path)) !== null) throw indistinct(file)
    await writeInside(fs, path, blob.stream(options), modes?.get(file))
  }
  // When all is in them: a directory that may not be written to takes nothing more. Those inside come first.
  for (const directory of [...made].sort().reverse()) {
    const mode = modes?.get(`${directory}/`)
    if (directory !== '' && mode !== undefined) await setMode(fs, join(root, directory), mode)
  }
}

async function setMode(fs: FileSystem, path: string, mode: number): Promise<void> {
  await withDirectory(fs, path, async (directory) => {
    await fs.chmod(path, mode)
    await directory.sync()
  })
}

function indistinct(path: string): HoldfastError {
  return invalid(
    path,
    path,
    'is the same name as another one to the file system there, which ignores case or the form of characters; write to another file system',
  )
}

function invalid(path: string, part: string, why: string): HoldfastError {
  return new HoldfastError('BLOB_NAME_INVALID', `nothing was written: ${JSON.stringify(path)} ${why}`, {
    details: { blob: path, part },
  })
}
