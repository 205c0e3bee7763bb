// A file that a native engine saved, to be read; and one made for an engine that loads from a path.
// On POSIX a file that was saved loses its name as soon as it is open.

import { closeSync, fstatSync, openSync, read, readdirSync, readFileSync, write } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { ioError } from '../fs/io.ts'
import { attemptSync, LOCK_FILE, makeDirectory, remove } from './private-directory.ts'

/** Bytes read or written at a time. */
export const STEP_BYTES = 4 * 1024 * 1024

/** A file that an engine saved, to be read. */
export interface SavedFile {
  readonly size: number
  /** Fills `target` from `position`; fewer bytes only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>
  /** Waits for reads in flight, then removes the file. */
  release(): Promise<void>
}

const readAt = promisify(read)
const writeAt = promisify(write)

/** Lets `save` write a file at once, and opens it. */
export function captureFile(directory: string | undefined, save: (path: string) => void): SavedFile {
  const home = makeHome(directory)
  try {
    save(join(home, 'saved'))
    return openSaved(home)
  } catch (error) {
    remove(home)
    throw temporary(directory, saveFailed(error, home))
  }
}

/** The same for what saves by and by. */
export async function captureFileLater(
  directory: string | undefined,
  save: (path: string) => Promise<void>,
): Promise<SavedFile> {
  const home = makeHome(directory)
  try {
    await save(join(home, 'saved'))
    return openSaved(home)
  } catch (error) {
    remove(home)
    // Others are what the adapter says of the engine.
    throw /SQLITE|^E(NOSPC|DQUOT|ROFS|FBIG|IO)$/.test((error as NodeJS.ErrnoException | null)?.code ?? '')
      ? temporary(directory, saveFailed(error, home))
      : error
  }
}

/** The bytes of a small file that `save` writes at once. */
export function captureBytes(directory: string | undefined, save: (path: string) => void): Buffer {
  const home = makeHome(directory)
  try {
    save(join(home, 'saved'))
    assertOneFile(home)
    return attemptSync('reading', join(home, 'saved'), (path) => readFileSync(path))
  } catch (error) {
    throw temporary(directory, saveFailed(error, home))
  } finally {
    remove(home)
  }
}

/** What an engine writes beside its path would be lost, and perhaps is a part of it. */
function assertOneFile(home: string): void {
  const names = attemptSync('reading', home, (path) => readdirSync(path))
  const extra = names.filter((name) => name !== 'saved' && name !== LOCK_FILE)
  if (extra.length === 0) return
  throw new HoldfastError(
    'SOURCE_FAILED',
    `the engine also wrote ${extra.slice(0, 10).join(', ')} beside the path that it was to save into: this adapter keeps one file`,
    { details: { files: extra } },
  )
}

/** What a full or read-only disk of temporary files is answered with. */
const TEMPORARY_ADVICE =
  'Give the adapter a temporaryDirectory with room for the whole index, or set TMPDIR to such a directory'

const temporaryFailures = new WeakSet<object>()

/** Whether there was no room for a file in between where the system has such files, so that it may do elsewhere. */
export function isTemporaryFailure(error: unknown): boolean {
  return typeof error === 'object' && error !== null && temporaryFailures.has(error)
}

/** Notes that the system's temporary directory may be at fault. Not where the caller gave a `directory`: nothing is written anywhere else. */
function temporary(directory: string | undefined, error: unknown): unknown {
  if (directory === undefined && isHoldfastError(error)) temporaryFailures.add(error)
  return error
}

function makeHome(directory: string | undefined): string {
  return advise(directory, () => makeDirectory(directory))
}

/** `work`, with what to do about a full or read-only disk of temporary files. */
export function advise<T>(directory: string | undefined, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw advised(directory, error)
  }
}

/** The error of a file in between, with what to do about it. `directory`: as the caller gave it. */
export function advised(directory: string | undefined, error: unknown): unknown {
  if (!isHoldfastError(error, 'NO_SPACE', 'IO_FAILED')) return error
  const { code, message, details, cause } = error
  return temporary(directory, new HoldfastError(code, `${message}. ${TEMPORARY_ADVICE}`, { details, cause }))
}

/** Engines do not look whether all of it was written. */
export function cutShort(directory: string | undefined, engine: string, size: number, expected: number): unknown {
  const error = new HoldfastError(
    'SOURCE_FAILED',
    `${engine} saved ${size} bytes of the ${expected} or more that its file says it has; is the disk of temporary files full? ${TEMPORARY_ADVICE}`,
    { details: { engine, size, expected } },
  )
  return temporary(directory, error)
}

/** Engines say little of a disk that is full. */
function saveFailed(cause: unknown, home: string): unknown {
  if (isHoldfastError(cause) || !(cause instanceof Error)) return cause
  return new HoldfastError(
    'SOURCE_FAILED',
    `the engine failed to save into a file in ${home}: ${cause.message}. Is that disk full or read-only? ${TEMPORARY_ADVICE}`,
    { details: { path: home }, cause },
  )
}

function openSaved(home: string): SavedFile {
  assertOneFile(home)
  const file = attemptSync('reading', join(home, 'saved'), (path) => openSync(path, 'r'))
  // Windows keeps the name for as long as the file is open, and the directory with it.
  const nameless = process.platform !== 'win32'
  if (nameless) remove(home)
  const reads = new Set<Promise<unknown>>()

  async function readFully(target: Uint8Array, position: number): Promise<number> {
    let filled = 0
    while (filled < target.length) {
      const { bytesRead } = await readAt(file, target, filled, target.length - filled, position + filled)
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return filled
  }

  return {
    size: fstatSync(file).size,
    async read(target, position) {
      const reading = readFully(target, position).catch((error: unknown) => {
        throw ioError(error, `reading ${home}`, home)
      })
      reads.add(reading)
      try {
        return await reading
      } finally {
        reads.delete(reading)
      }
    },
    async release() {
      // A descriptor closed under a read may be somebody else's by the time that the read comes to it.
      await Promise.allSettled(reads)
      closeSync(file)
      if (!nameless) remove(home)
    },
  }
}

/** The buffer is used again: a part is good until the next one is asked for. */
export async function* wholeBytes(file: SavedFile): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.min(STEP_BYTES, file.size))
  for (let position = 0; position < file.size; ) {
    const got = await file.read(buffer, position)
    if (got === 0) throw new Error('bug: the file became shorter')
    yield buffer.subarray(0, got)
    position += got
  }
}

/** Writes a file from `parts`, gives its path to `load`, and removes it. */
export async function withFile<T>(
  directory: string | undefined,
  parts: AsyncIterable<Uint8Array>,
  load: (path: string) => T | Promise<T>,
): Promise<T> {
  const home = makeHome(directory)
  try {
    const path = join(home, 'verified')
    await writeFile(directory, path, parts)
    return await load(path)
  } finally {
    remove(home)
  }
}

async function writeFile(directory: string | undefined, path: string, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const file = advise(directory, () => attemptSync('writing', path, () => openSync(path, 'wx', 0o600)))
  try {
    let position = 0
    for await (const part of parts) {
      for (let at = 0; at < part.length; ) {
        const { bytesWritten } = await writeAt(file, part, at, part.length - at, position).catch((error: unknown) => {
          throw advised(directory, ioError(error, `writing ${path}`, path))
        })
        at += bytesWritten
        position += bytesWritten
      }
    }
  } finally {
    closeSync(file)
  }
}
