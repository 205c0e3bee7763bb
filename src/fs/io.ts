// Reads and writes whole files through the file-system port, and turns errors of the system into HoldfastErrors.

import { HoldfastError, isHoldfastError } from '../errors.ts'
import { term } from '../terms.ts'
import type { File, FileStat, FileSystem } from './port.ts'

// These helpers throw Node's errors unwrapped, so that callers can check their code. A caller that cannot handle an
// error wraps it with `ioError`, which says what was being done.

/** Every platform refuses or shortens a read above 2 GiB. */
const READ_BYTES_MAX = 2 ** 30

/**
 * Fills `target` from `position` (bytes), with as many reads as it takes.
 *
 * @returns bytes read; less than `target.length` only at the end of the file
 */
export async function readFully(file: File, target: Uint8Array, position: number): Promise<number> {
  let filled = 0
  while (filled < target.length) {
    const count = await file.read(target.subarray(filled, filled + READ_BYTES_MAX), position + filled)
    if (count === 0) break
    filled += count
  }
  return filled
}

/**
 * Writes all of `views` back to back from `position` (bytes), without copying them.
 *
 * @returns bytes written: the sum of the views' lengths
 * @throws IO_FAILED when the file system writes nothing and reports no error
 */
export async function writeFully(file: File, views: readonly Uint8Array[], position: number): Promise<number> {
  let left = views.filter((view) => view.byteLength > 0)
  let total = 0
  while (left.length > 0) {
    const written = await file.write(left, position + total)
    if (written <= 0) {
      throw new HoldfastError(
        'IO_FAILED',
        `A write of ${left.length} buffers at byte ${position + total} made no progress`,
        {
          details: { position: position + total },
        },
      )
    }
    total += written
    left = without(left, written)
  }
  return total
}

/** The views without their first `bytes` bytes. */
function without(views: Uint8Array[], bytes: number): Uint8Array[] {
  let whole = 0
  let rest = bytes
  while (whole < views.length && rest >= views[whole]!.byteLength) {
    rest -= views[whole]!.byteLength
    whole += 1
  }
  const left = views.slice(whole)
  if (rest > 0) left[0] = left[0]!.subarray(rest)
  return left
}

/**
 * Reads a small file, up to the length that it had when it was opened.
 *
 * @throws LIMIT_EXCEEDED above `maxBytes`, before anything is allocated; else Node's errors
 */
export async function readFile(fs: FileSystem, path: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const file = await fs.open(path, 'read')
  try {
    return await readOpenFile(file, path, maxBytes)
  } finally {
    file.closeSync()
  }
}

/** As `readFile`, of a file that stays open. */
export async function readOpenFile(file: File, path: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const { size, kind } = await file.stat()
  // It has no length, and would be taken for an empty file.
  if (kind === 'other') throw notAFile(path)
  if (size > maxBytes) {
    throw new HoldfastError('LIMIT_EXCEEDED', `${path} is ${size} bytes long; at most ${maxBytes} are expected`, {
      details: { path, bytes: size, maxBytes },
    })
  }
  const bytes = new Uint8Array(size)
  const count = await readFully(file, bytes, 0)
  return count === size ? bytes : bytes.slice(0, count)
}

/** What to throw where something other than a file is in its place, as the system says it of a socket. */
export function notAFile(path: string): Error {
  const error = new Error(`ENXIO: a pipe, a socket or a device, read '${path}'`)
  return Object.assign(error, { code: 'ENXIO', syscall: 'read', path })
}

/** As `readFile`; null when there is no such file. */
export async function readFileOrNull(
  fs: FileSystem,
  path: string,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer> | null> {
  try {
    return await readFile(fs, path, maxBytes)
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

/** `fs.stat`; null when there is nothing there. Anything else throws: an unreadable disk is not an empty one. */
export async function statOrNull(fs: FileSystem, path: string): Promise<FileStat | null> {
  return (await ignoreMissing(fs.stat(path))) ?? null
}

/** `fs.lstat`; null when there is nothing there. Anything else throws. */
export async function lstatOrNull(fs: FileSystem, path: string): Promise<FileStat | null> {
  return (await ignoreMissing(fs.lstat(path))) ?? null
}

/** Resolves to undefined instead of throwing "no such file or directory". Other errors are thrown. */
export async function ignoreMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** Whether the error says that nothing exists at the path. */
export function isMissing(error: unknown): boolean {
  const code = errorCode(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}

const ACCESS_DENIED = 'ERR_ACCESS_DENIED'

/** The code of a system error, such as `ENOSPC`; undefined for other errors. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || isHoldfastError(error)) return undefined
  const { code } = error as { code?: unknown }
  // Codes with underscores, such as `ERR_INVALID_ARG_TYPE`, are Node's own and mean a mistake in a program. The
  // exception is the code of Node's permission model.
  return typeof code === 'string' && (/^E[A-Z0-9]+$/.test(code) || code === ACCESS_DENIED) ? code : undefined
}

/** Whether both are the same file, under whatever name. */
export function isSameFile(a: FileStat | null, b: FileStat | null): boolean {
  return a !== null && b !== null && a.dev === b.dev && a.ino === b.ino
}

/**
 * Turns a system error into NO_SPACE or IO_FAILED, with `details` `{ code, syscall, path }` and advice in the message.
 * Other errors (HoldfastErrors, abort reasons, programming mistakes) are returned as they are.
 *
 * @param doing what failed, as in "writing the new HEAD"
 * @param at the path, for errors that do not name one, such as those of open files
 * @returns what to throw
 */
export function ioError(error: unknown, doing: string, at?: string): unknown {
  const code = errorCode(error)
  if (code === undefined) return error
  const { syscall, resource, message, path = resource ?? at } = error as NodeJS.ErrnoException & { resource?: string }
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  return new HoldfastError(
    full ? 'NO_SPACE' : 'IO_FAILED',
    `Failed while ${doing}${path === undefined || message.includes(path) || doing.includes(path) ? '' : ` (${path})`}: ${message}${advice(code)}`,
    { cause: error, details: { code, syscall, path } },
  )
}

function advice(code: string): string {
  switch (code) {
    case 'ENOSPC':
      return term('freeSpace')
    case 'EDQUOT':
      return term('freeQuota')
    case 'EROFS':
      return `. The file system is mounted read-only: write elsewhere, or ${term('openReadOnly')}`
    case 'EACCES':
    case 'EPERM':
      return `. Check who owns that path, its mode, and the modes of the directories above it${runningAs()}`
    case ACCESS_DENIED:
      return (
        ". Node's permission model (--permission) is on: it disables fsync, without which nothing can be made durable, so writing needs a " +
        `process without it. Reading needs --allow-fs-read for the store and the program: ${term('openReadOnly')}`
      )
    case 'EIO':
      return '. The device failed: look at the kernel log and check the disk before trusting it again'
    case 'EMFILE':
      return '. This process has too many files open: raise its limit (ulimit -n), or dispose of snapshots sooner'
    case 'ENFILE':
      return '. This machine has too many files open: raise fs.file-max'
    case 'EISDIR':
      return `. A directory is in the place of that file: move it away. What it took the place of in a store, ${term('repair')} makes anew`
    case 'ENXIO':
      return `. A pipe, a socket or a device is in the place of that file: move it away. What it took the place of in a store, ${term('repair')} makes anew`
    case 'ENOENT':
      return '. Something in that path does not exist, or was removed meanwhile: create it, or check the path'
    case 'ENOTDIR':
      return '. Something in that path is a file where a directory must be: check the path'
    case 'EXDEV':
      return (
        '. Both paths must be on the same file system. If packs/, tmp/, files/ or quarantine/ of the store is a mount of its own, copy what is ' +
        'in it into a plain directory of that name, or mount the whole store there'
      )
    case 'ELOOP':
      return '. That path is a symbolic link, which holdfast does not follow there'
    case 'EFBIG':
      return ". The file would exceed the file system's or the process's size limit (ulimit -f)"
    case 'ESTALE':
      return '. The network file system lost the file: open the store again'
    default:
      return ''
  }
}

function runningAs(): string {
  const user = process.geteuid?.()
  return user === undefined ? '' : `; this process runs as uid ${user}`
}

/** Awaits `promise`, and turns a system error into a `HoldfastError` that says what was being done. */
export async function attempt<T>(promise: Promise<T>, doing: string, at?: string): Promise<T> {
  try {
    return await promise
  } catch (error) {
    throw ioError(error, doing, at)
  }
}

/**
 * As `Promise.all`, but waits for all promises even if one rejects, because callers then release what the work uses.
 */
export async function allSettledThenThrow<Work extends readonly unknown[]>(
  work: readonly [...Work],
): Promise<{ -readonly [Index in keyof Work]: Awaited<Work[Index]> }> {
  await Promise.allSettled(work)
  return await Promise.all(work)
}

/**
 * Throws `IO_FAILED` if a directory of the store is a link: files moved or written there would lie outside the store.
 * This is not damage: an older snapshot would be served no better.
 */
export async function assertNoLink(fs: FileSystem, path: string): Promise<void> {
  if ((await lstatOrNull(fs, path))?.kind !== 'link') return
  throw new HoldfastError(
    'IO_FAILED',
    `${path} is a symbolic link, and nothing was written through it; it must be a real directory: put one in its place`,
    { details: { code: 'ELOOP', path } },
  )
}
