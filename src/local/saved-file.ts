// A file that a native engine saved, to be read; and one made for an engine that loads from a path.
// On POSIX a file that was saved loses its name as soon as it is open.

import { close, closeSync, fstatSync, openSync, read, readdirSync, readFileSync, write } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { ioError } from '../fs/io.ts'
import { attemptSync, LOCK_FILE, makeDirectory, remove } from './private-directory.ts'

/** Bytes read or written at a time. */
const STEP_BYTES = 4 * 1024 * 1024

/** The bytes of a file. */
export interface FileBytes {
  readonly size: number
  /** Fills `target` from `position`; fewer bytes only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>
}

/** A file that an engine saved, to be read. */
export interface SavedFile extends FileBytes {
  /** Waits for reads in flight, then removes the file. */
  release(): Promise<void>
}

/** A file that an engine saved, under a name until it is released or moved. */
export interface NamedFile extends SavedFile {
  readonly path: string
  /**
   * Gives up the name, so that nothing is left of it when the process is killed. Not on Windows, where an open file has
   * one.
   */
  hide(): void
  /** As `release`, and leaves the file where it is. */
  close(): Promise<void>
}

/** A directory of this process's own, for one file. */
export interface Home {
  path: string
  /** It is where the system has its temporary files, and nobody said so. */
  isSystems: boolean
  /** Removes it with everything in it. Best effort. */
  discard(): void
  /** The same off the main thread: to give back the pages of a large file takes 10 ms for each 20 MB. */
  remove(): Promise<void>
}

const SAVED = 'saved'

const readAt = promisify(read)
const writeAt = promisify(write)
const closed = promisify(close)

/** In the directory for temporary files. */
export function privateHome(directory: string | undefined): Home {
  const path = advise(directory, () => makeDirectory(directory))
  return {
    path,
    isSystems: directory === undefined,
    discard: () => remove(path),
    async remove() {
      await rm(join(path, SAVED), { force: true }).catch(() => undefined)
      remove(path)
    },
  }
}

/**
 * Lets `save` write a file, and opens it. Calls `save` at once.
 *
 * @throws SOURCE_FAILED when it fails, answers false, or writes anything but one file; then there is nothing left
 */
export function saveInto(home: Home, save: (path: string) => unknown): NamedFile | Promise<NamedFile> {
  function failed(error: unknown): never {
    home.discard()
    throw temporary(home, saveFailed(error, home.path))
  }
  function opened(answer: unknown): NamedFile {
    if (answer === false) throw new Error('it answered false')
    return openSaved(home)
  }
  try {
    const answer = save(join(home.path, SAVED))
    if (!isThenable(answer)) return opened(answer)
    return Promise.resolve(answer).then(opened).catch(failed)
  } catch (error) {
    return failed(error)
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

/** Lets `save` write a file at once, and opens it; it has no name as soon as it is open. */
export function captureFile(directory: string | undefined, save: (path: string) => void): SavedFile {
  const file = saveInto(privateHome(directory), (path) => {
    save(path)
  }) as NamedFile
  file.hide()
  return file
}

/** The same for what saves by and by. */
export async function captureFileLater(
  directory: string | undefined,
  save: (path: string) => Promise<void>,
): Promise<SavedFile> {
  const home = privateHome(directory)
  try {
    await save(join(home.path, SAVED))
    const file = openSaved(home)
    file.hide()
    return file
  } catch (error) {
    home.discard()
    // Others are what the adapter says of the engine.
    throw /SQLITE|^E(NOSPC|DQUOT|ROFS|FBIG|IO)$/.test((error as NodeJS.ErrnoException | null)?.code ?? '')
      ? temporary(home, saveFailed(error, home.path))
      : error
  }
}

/** The bytes of a small file that `save` writes at once. */
export function captureBytes(directory: string | undefined, save: (path: string) => void): Buffer {
  const home = privateHome(directory)
  try {
    save(join(home.path, SAVED))
    assertOneFile(home.path)
    return attemptSync('reading', join(home.path, SAVED), (path) => readFileSync(path))
  } catch (error) {
    throw temporary(home, saveFailed(error, home.path))
  } finally {
    home.discard()
  }
}

/** What an engine writes beside its path would be lost, and perhaps is a part of it. */
function assertOneFile(home: string): void {
  const names = attemptSync('reading', home, (path) => readdirSync(path))
  const extra = names.filter((name) => name !== SAVED && name !== LOCK_FILE)
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

/**
 * Notes that the system's temporary directory may be at fault. Not where the caller gave one: nothing is written
 * anywhere else.
 */
function temporary({ isSystems }: Pick<Home, 'isSystems'>, error: unknown): unknown {
  if (isSystems && isHoldfastError(error)) temporaryFailures.add(error)
  return error
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
  return advisedIn({ isSystems: directory === undefined }, error)
}

function advisedIn(home: Pick<Home, 'isSystems'>, error: unknown): unknown {
  if (!isHoldfastError(error, 'NO_SPACE', 'IO_FAILED')) return error
  const { code, message, details, cause } = error
  return temporary(home, new HoldfastError(code, `${message}. ${TEMPORARY_ADVICE}`, { details, cause }))
}

/** Engines do not look whether all of it was written. */
export function cutShort(directory: string | undefined, engine: string, size: number, expected: number): unknown {
  const error = new HoldfastError(
    'SOURCE_FAILED',
    `${engine} saved ${size} bytes of the ${expected} or more that its file says it has; is the disk of temporary files full? ${TEMPORARY_ADVICE}`,
    { details: { engine, size, expected } },
  )
  return temporary({ isSystems: directory === undefined }, error)
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

function openSaved(home: Home): NamedFile {
  assertOneFile(home.path)
  const path = join(home.path, SAVED)
  const file = attemptSync('reading', path, () => openSync(path, 'r'))
  const reads = new Set<Promise<unknown>>()
  let isOpen = true

  async function finish(): Promise<void> {
    if (!isOpen) return
    isOpen = false
    // A descriptor closed under a read may be somebody else's by the time that the read comes to it.
    await Promise.allSettled(reads)
    // A file without a name gives its pages back here.
    await closed(file).catch(() => undefined)
  }

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
    path,
    size: fstatSync(file).size,
    async read(target, position) {
      const reading = readFully(target, position).catch((error: unknown) => {
        throw ioError(error, `reading ${path}`, path)
      })
      reads.add(reading)
      try {
        return await reading
      } finally {
        reads.delete(reading)
      }
    },
    hide() {
      if (process.platform !== 'win32') home.discard()
    },
    close: finish,
    async release() {
      await finish()
      await home.remove()
    },
  }
}

/** The buffer is used again: a part is good until the next one is asked for. */
export async function* wholeBytes(file: FileBytes): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.min(STEP_BYTES, file.size))
  for (let position = 0; position < file.size; ) {
    const got = await file.read(buffer, position)
    if (got === 0) throw new Error('bug: the file became shorter')
    yield buffer.subarray(0, got)
    position += got
  }
}

/** Writes a file from `parts` into `home`, and opens it. */
export async function writeInto(home: Home, parts: AsyncIterable<Uint8Array>): Promise<NamedFile> {
  await writeFile(home, join(home.path, SAVED), parts)
  return openSaved(home)
}

async function writeFile(home: Home, path: string, parts: AsyncIterable<Uint8Array>): Promise<void> {
  function failed(error: unknown): never {
    throw advisedIn(home, ioError(error, `writing ${path}`, path))
  }
  const file = openNew(path, failed)
  try {
    let position = 0
    for await (const part of parts) {
      for (let at = 0; at < part.length; ) {
        const { bytesWritten } = await writeAt(file, part, at, part.length - at, position).catch(failed)
        at += bytesWritten
        position += bytesWritten
      }
    }
  } finally {
    closeSync(file)
  }
}

function openNew(path: string, failed: (error: unknown) => never): number {
  try {
    return openSync(path, 'wx', 0o600)
  } catch (error) {
    return failed(error)
  }
}
