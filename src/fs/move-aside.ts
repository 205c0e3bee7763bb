// Moves what is doubtful into the quarantine directory, durably and with a note that says why. Nothing is deleted.

import { randomBytes } from 'node:crypto'
import { basename, dirname, join, resolve } from 'node:path'
import { syncAfterRename, withDirectory } from './durable.ts'
import { ioError, writeFully } from './io.ts'
import { makeDirectory } from './make-directory.ts'
import type { Directory, FileSystem } from './port.ts'
import { removeTree } from './temps.ts'

/**
 * Moves a doubtful file or directory into quarantine, as `<name>.<reason>.<UTC time>.<random>`, with a `.json` beside
 * it that says why. A missing quarantine directory is made with its parent's mode. Nothing is overwritten, and both
 * names are durable when this resolves. The `.json` is written first: a crash may leave a `.json` without its file, but
 * never a file without an explanation.
 *
 * @param options.reason a few words; characters that file names cannot have become `-`
 * @param options.details facts for the `.json`
 * @param options.original what it is a copy of; default `from` itself
 * @returns the new path
 * @throws NO_SPACE, IO_FAILED: the file is then still where it was; DirectorySyncFailed: it is moved, perhaps not
 * durably
 */
export async function moveAside(
  fs: FileSystem,
  options: {
    from: string
    quarantineDirectory: string
    reason: string
    now: Date
    details: Readonly<Record<string, unknown>>
    original?: string
  },
): Promise<string> {
  const { from, quarantineDirectory, original = from } = options
  const target = join(quarantineDirectory, asideName(basename(original), options.reason, options.now))
  const note = `${target}.json`

  async function move(into: Directory, outOf: Directory): Promise<void> {
    const { mode } = await fs.stat(quarantineDirectory)
    await writeNote(fs, note, mode & 0o666, { ...options, original })
    try {
      // The note's name becomes durable first. Otherwise a crash could keep the rename and lose the note.
      await into.sync()
      await fs.rename(from, target)
    } catch (error) {
      await fs.unlink(note).catch(() => undefined)
      throw error
    }
    // The new name becomes durable before the loss of the old one. The reverse order could lose both.
    await syncAfterRename(into, quarantineDirectory)
    await syncAfterRename(outOf, dirname(from))
  }

  try {
    const parent = await fs.stat(dirname(resolve(quarantineDirectory)))
    await makeDirectory(fs, quarantineDirectory, parent.mode & 0o777)
    await withDirectory(fs, quarantineDirectory, (into) =>
      withDirectory(fs, dirname(from), (outOf) => move(into, outOf)),
    )
    return target
  } catch (error) {
    throw ioError(error, `moving ${from} into quarantine`)
  }
}

/**
 * As `moveAside`, for some of the files in a directory that cannot itself be renamed.
 *
 * @param options.names paths below `from`, in the order in which they are moved
 * @returns the new directory, with the names below it
 */
export async function moveIntoAside(
  fs: FileSystem,
  options: {
    from: string
    names: readonly string[]
    quarantineDirectory: string
    reason: string
    now: Date
    details: Readonly<Record<string, unknown>>
  },
): Promise<string> {
  const { from, names, quarantineDirectory } = options
  const target = join(quarantineDirectory, asideName(basename(from), options.reason, options.now))
  const note = `${target}.json`
  const moved: string[] = []
  try {
    const mode = (await fs.stat(from)).mode & 0o777
    await makeDirectory(fs, quarantineDirectory, mode)
    await writeNote(fs, note, mode & 0o666, { ...options, original: from })
    for (const folder of new Set(names.map(dirname))) await makeDirectory(fs, join(target, folder), mode)
    await fs.syncDirectory(quarantineDirectory)
    for (const name of names) {
      await fs.rename(join(from, name), join(target, name))
      moved.push(name)
    }
  } catch (error) {
    if (moved.length === 0) {
      await removeTree(fs, target).catch(() => undefined)
      await fs.unlink(note).catch(() => undefined)
    }
    throw ioError(
      error,
      `moving what is in ${from} into quarantine (${moved.length} of ${names.length} files were moved)`,
    )
  }
  // The new names become durable before the loss of the old ones.
  for (const place of [target, from]) {
    for (const folder of new Set(names.map(dirname))) {
      const path = join(place, folder)
      await withDirectory(fs, path, (directory) => syncAfterRename(directory, path))
    }
  }
  return target
}

/** Leaves room for `.json` within the 255 bytes that file systems allow a name. */
const NAME_BYTES_MAX = 120
const REASON_LENGTH_MAX = 40

function asideName(original: string, reason: string, now: Date): string {
  const name = Buffer.from(original).subarray(0, NAME_BYTES_MAX).toString()
  const word = reason.replaceAll(/[^A-Za-z0-9_-]+/g, '-').slice(0, REASON_LENGTH_MAX)
  const time = now.toISOString().replaceAll(':', '')
  return `${name}.${word}.${time}.${randomBytes(8).toString('hex')}`
}

/** Whether a name is that of a file in quarantine, or of its `.json`. */
export function isAsideName(name: string): boolean {
  return /^.+\.[A-Za-z0-9_-]*\.\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z\.[0-9a-f]{16}(\.json)?$/s.test(name)
}

async function writeNote(
  fs: FileSystem,
  path: string,
  mode: number,
  options: { original: string; reason: string; now: Date; details: Readonly<Record<string, unknown>> },
): Promise<void> {
  const { original, reason, now, details } = options
  const plain = (_key: string, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)
  const text = JSON.stringify({ original, reason, time: now.toISOString(), details }, plain, 2)
  const file = await fs.open(path, 'create', mode)
  try {
    if (((await file.stat()).mode & 0o777) !== mode) await file.chmod(mode).catch(() => undefined)
    await writeFully(file, [Buffer.from(`${text}\n`)], 0)
    await file.sync()
  } catch (error) {
    await fs.unlink(path).catch(() => undefined)
    throw error
  } finally {
    await file.close().catch(() => undefined)
  }
}
