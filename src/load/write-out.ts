// Writes blobs out into files of the caller's, by the rule that `writeFileDurable` has: links are followed, and pipes,
// sockets and devices refused. What a killed process left of the same file goes first.

import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path'
import { clock } from '../clock.ts'
import { writeClone } from '../fs/clone.ts'
import { commitUnknown, writeDurable } from '../fs/durable.ts'
import { readFully } from '../fs/io.ts'
import { reapSiblings } from '../fs/orphans.ts'
import type { File, FileSystem } from '../fs/port.ts'
import { siblingAffixes } from '../fs/sibling-temps.ts'
import { sparseWriter } from '../fs/sparse.ts'
import { UNLOCKED_TEMP_AGE_MS } from '../fs/temps.ts'
import { resolveTarget } from '../fs/write-file.ts'

const NEW_FILE_MODE = 0o600

/** A file that may hold the blob already. */
export interface LaidOut {
  path: string
  /** Bytes that the blob has. */
  size: number
  /** Whether `read` gives exactly the blob. Asks for each byte once. */
  isBlob(read: (target: Uint8Array, position: number) => Promise<number>): Promise<boolean>
}

/**
 * Replaces the file at `path`, or behind it if it is a link.
 *
 * @param laidOut is cloned, or else copied, and `parts` are not asked for; but it must turn out to be the blob
 */
export async function writeBlob(
  fs: FileSystem,
  path: string,
  parts: AsyncIterable<Uint8Array>,
  store: string,
  laidOut: LaidOut | null = null,
): Promise<void> {
  const target = await resolveTarget(fs, path, 'follow')
  await assertNotOfStore(fs, target, store)
  await reapDead(fs, target)
  try {
    if (laidOut !== null && ((await cloned(fs, laidOut, target)) ?? (await copied(fs, laidOut, target)))) return
    await replace(fs, target, (file) => writeParts(file, parts))
  } catch (error) {
    throw commitUnknown(error, target, 'was written', 'it may be gone. Write it again')
  }
}

function replace(fs: FileSystem, target: string, write: (file: File) => Promise<void>): Promise<void> {
  return writeDurable(fs, {
    write,
    tempDirectory: dirname(target),
    target,
    mode: NEW_FILE_MODE,
    keepMode: true,
    lock: 'if-possible',
    ...siblingAffixes(basename(target)),
  })
}

/** Null where the file system cannot clone. */
function cloned(fs: FileSystem, { path, size, isBlob }: LaidOut, target: string): Promise<boolean | null> {
  return writeClone(fs, path, target, {
    mode: NEW_FILE_MODE,
    // Of a file that has grown since it was found, all that is asked for is as it should be.
    accepts: async (file) =>
      (await file.stat()).size === size && (await isBlob((into, position) => readOrNone(file, into, position))),
  })
}

/** Copies the file while it is verified. */
async function copied(fs: FileSystem, { path, isBlob }: LaidOut, target: string): Promise<boolean> {
  const from = await fs.open(path, 'read').catch(() => null)
  if (from === null) return false
  try {
    await replace(fs, target, async (file) => {
      const writer = sparseWriter(file)
      const isCopy = await isBlob(async (into, position) => {
        const count = await readOrNone(from, into, position)
        await writer.write([into.subarray(0, count)], position)
        return count
      })
      if (!isCopy) throw new NotTheBlob()
      await writer.end()
    })
    return true
  } catch (error) {
    if (error instanceof NotTheBlob) return false
    throw error
  } finally {
    await from.close().catch(() => undefined)
  }
}

class NotTheBlob extends Error {}

/** What cannot be read of a copy is no reason to fail: the packs have it. */
async function readOrNone(file: File, target: Uint8Array, position: number): Promise<number> {
  return await readFully(file, target, position).catch(() => 0)
}

/** Refuses to replace a file of the store itself. Its `tmp/` has room for what an engine is restored from. */
async function assertNotOfStore(fs: FileSystem, target: string, store: string): Promise<void> {
  if (!isAbsolute(store)) return
  const real = (directory: string): Promise<string> => fs.realpath(directory).catch(() => directory)
  const [root, parent] = await Promise.all([real(store), real(dirname(target))])
  const inside = relative(root, join(parent, basename(target)))
  const [first] = inside.split(sep)
  if (isAbsolute(inside) || first === '' || first === '..' || first === 'tmp') return
  throw new TypeError(
    `writeTo: ${target} lies in the store ${store}, whose files are its own; give a path outside of it`,
  )
}

/** Writes a new file into a directory that nobody else knows of yet. */
export async function writeInside(
  fs: FileSystem,
  target: string,
  parts: AsyncIterable<Uint8Array>,
  mode = NEW_FILE_MODE,
): Promise<void> {
  await writeDurable(fs, {
    write: (file) => writeParts(file, parts),
    tempDirectory: dirname(target),
    target,
    mode,
    lock: false,
  })
}

async function writeParts(file: File, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const writer = sparseWriter(file)
  let position = 0
  for await (const part of parts) {
    await writer.write([part], position)
    position += part.length
  }
  await writer.end()
}

/** Removes temps of `target` whose writers died. What cannot be removed keeps nobody from writing. */
export async function reapDead(fs: FileSystem, target: string): Promise<void> {
  const options = { nowMs: clock.nowMs(), olderThanMs: UNLOCKED_TEMP_AGE_MS, lockedAtAnyAge: true, patterns: [] }
  await reapSiblings(fs, target, options).catch(() => undefined)
}
