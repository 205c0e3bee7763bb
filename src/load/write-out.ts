// Writes blobs out into files of the caller's, by the rule that `writeFileDurable` has: links are followed, and pipes,
// sockets and devices refused. What a killed process left of the same file goes first.

import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path'
import { clock } from '../clock.ts'
import { commitUnknown, writeDurable } from '../fs/durable.ts'
import { reapSiblings } from '../fs/orphans.ts'
import type { File, FileSystem } from '../fs/port.ts'
import { siblingAffixes } from '../fs/sibling-temps.ts'
import { sparseWriter } from '../fs/sparse.ts'
import { UNLOCKED_TEMP_AGE_MS } from '../fs/temps.ts'
import { resolveTarget } from '../fs/write-file.ts'

const NEW_FILE_MODE = 0o600

/** Replaces the file at `path`, or behind it if it is a link. */
export async function writeBlob(
  fs: FileSystem,
  path: string,
  parts: AsyncIterable<Uint8Array>,
  store: string,
): Promise<void> {
  const target = await resolveTarget(fs, path, 'follow')
  await assertNotOfStore(fs, target, store)
  await reapDead(fs, target)
  try {
    await writeDurable(fs, {
      write: (file) => writeParts(file, parts),
      tempDirectory: dirname(target),
      target,
      mode: NEW_FILE_MODE,
      keepMode: true,
      lock: 'if-possible',
      ...siblingAffixes(basename(target)),
    })
  } catch (error) {
    throw commitUnknown(error, target, 'was written', 'it may be gone. Write it again')
  }
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
