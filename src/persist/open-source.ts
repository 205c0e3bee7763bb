// Opens the source of a blob for one pass, and reads it: bytes, text, streams, files, and files that an engine saves.
// What was read is one state of the source; a source that moved meanwhile is SOURCE_CHANGED.

import { join } from 'node:path'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { orAborted } from '../foreign.ts'
import { attempt, ioError, statOrNull } from '../fs/io.ts'
import type { File, FileStat, FileSystem } from '../fs/port.ts'
import type { WorkDirectory } from '../fs/temps.ts'
import { pathOf } from '../location.ts'
import { openParts } from '../one-pass.ts'
import { sameFile } from './source-directory.ts'
import { isSnapshotBlob, type NamedSource, type SaveToPath, usedUpError } from './sources.ts'

/** A blob's bytes, in order. */
export interface ByteReader {
  /** Bytes in all, null when not known before the end. */
  readonly size: number | null
  /** The file that is read, as it was when it was opened. */
  readonly opened?: FileStat
  /** Fills `target` as far as there are bytes; fewer than asked only at the end. */
  read(target: Uint8Array): Promise<number>
  /**
   * The next bytes where they lie, without taking them; null when the source cannot show them, or when another thread
   * might change them while they are looked at.
   */
  peek(bytes: number): Uint8Array | null
  /** Passes over bytes that were peeked at. */
  skip(bytes: number): void
  /** After the last byte: `SOURCE_CHANGED` when the source moved while it was read. */
  settle(): Promise<void>
  close(): Promise<void>
}

/** Opens a source for one pass. */
export async function openSource(
  fs: FileSystem,
  { name, source }: NamedSource,
  signal: AbortSignal,
  workDirectory: () => Promise<WorkDirectory>,
): Promise<ByteReader> {
  if (typeof source === 'string') return partsReader(name, utf8Parts(source), Buffer.byteLength(source), signal)
  if (source instanceof Uint8Array) return bytesReader(source)
  if (source instanceof ArrayBuffer) return bytesReader(new Uint8Array(source))
  if (source instanceof Blob)
    return partsReader(name, source.stream() as AsyncIterable<Uint8Array>, source.size, signal)
  if (typeof source === 'function') return await savedReader(fs, name, source, signal, workDirectory)
  if (isSnapshotBlob(source)) return partsReader(name, source.stream({ signal }), source.size, signal)
  if ('file' in source) return await fileReader(fs, name, pathOf(source.file, `blob ${JSON.stringify(name)}`), signal)
  return partsReader(name, source as AsyncIterable<Uint8Array> | Iterable<Uint8Array>, null, signal)
}

function bytesReader(bytes: Uint8Array): ByteReader {
  let at = 0
  return {
    size: bytes.length,
    async read(target) {
      const part = bytes.subarray(at, at + target.length)
      target.set(part)
      at += part.length
      return part.length
    },
    peek: (count) => (isShared(bytes) ? null : bytes.subarray(at, at + count)),
    skip(count) {
      at += count
    },
    async settle() {},
    async close() {},
  }
}

function isShared({ buffer }: Uint8Array): boolean {
  return typeof SharedArrayBuffer === 'function' && buffer instanceof SharedArrayBuffer
}

/** For readers that only stream. */
const streaming = {
  peek: () => null,
  skip() {
    throw new Error('bug: nothing was peeked at')
  },
}

const TEXT_PART = 256 * 1024

/** A long string never becomes one buffer as well. */
function* utf8Parts(text: string): Generator<Uint8Array> {
  for (let at = 0; at < text.length; ) {
    let end = Math.min(at + TEXT_PART, text.length)
    const last = text.charCodeAt(end - 1)
    if (end < text.length && last >= 0xd800 && last <= 0xdbff) end -= 1
    yield Buffer.from(text.slice(at, end), 'utf8')
    at = end
  }
}

function partsReader(
  name: string,
  parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  size: number | null,
  signal: AbortSignal,
): ByteReader {
  const iterator = openParts(parts, (why) => usedUpError(name, why))
  let part: Uint8Array = new Uint8Array(0)
  let done = false
  return {
    ...streaming,
    size,
    async read(target) {
      let filled = 0
      while (filled < target.length) {
        if (part.length === 0) {
          if (done) break
          const step = await nextPart()
          if (step === null) break
          part = step
          continue
        }
        const taken = part.subarray(0, target.length - filled)
        target.set(taken, filled)
        filled += taken.length
        part = part.subarray(taken.length)
      }
      return filled
    },
    async settle() {},
    async close() {
      if (done) return
      const ended = Promise.resolve(iterator.return?.())
      // A stalled stream may never answer this either.
      if (signal.aborted) ended.catch(() => {})
      else await ended
    },
  }

  async function nextPart(): Promise<Uint8Array | null> {
    let step: IteratorResult<Uint8Array>
    try {
      step = await unlessAborted(signal, iterator.next())
    } catch (cause) {
      if (signal.aborted) throw signal.reason
      done = true
      throw sourceFailed(name, 'its stream failed', cause)
    }
    if (step.done) {
      done = true
      return null
    }
    if (!(step.value instanceof Uint8Array)) {
      throw new TypeError(
        `persist: the stream of blob ${JSON.stringify(name)} gave ${typeof step.value}, expected Uint8Array parts`,
      )
    }
    return step.value
  }
}

/** A source that stalls must not keep an abort from being heard. */
async function unlessAborted<T>(signal: AbortSignal, work: T | PromiseLike<T>): Promise<T> {
  if (!isThenable(work)) return work
  let onAbort = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    // A signal that is aborted already calls no listener.
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as { then?: unknown } | null)?.then === 'function'
}

function sourceFailed(name: string, why: string, cause: unknown): HoldfastError {
  const because = cause instanceof Error ? `: ${cause.message}` : ''
  return new HoldfastError('SOURCE_FAILED', `blob ${JSON.stringify(name)}: ${why}${because}`, {
    // What an adapter knows of it, such as the document.
    details: { ...(isHoldfastError(cause, 'SOURCE_FAILED') ? cause.details : {}), blob: name },
    cause,
  })
}

function notAFile(name: string, path: string, kind: FileStat['kind']): HoldfastError {
  const is =
    kind === 'directory'
      ? 'is a directory: give { directory }'
      : 'is not a regular file but a pipe, a socket or a device'
  return new HoldfastError('SOURCE_FAILED', `blob ${JSON.stringify(name)}: ${path} ${is}`, {
    details: { blob: name, path },
  })
}

/** A file system that does not answer must not keep an abort from being heard. What is opened too late is closed. */
async function openUnlessAborted(fs: FileSystem, path: string, signal: AbortSignal): Promise<File> {
  signal.throwIfAborted()
  const opening = fs.open(path, 'read')
  try {
    return await unlessAborted(signal, opening)
  } catch (error) {
    opening.then((file) => file.close()).catch(() => undefined)
    throw error
  }
}

async function fileReader(fs: FileSystem, name: string, path: string, signal: AbortSignal): Promise<ByteReader> {
  const reading = `reading ${path} for blob ${JSON.stringify(name)}`
  const failed = (error: unknown): never => {
    throw ioError(error, reading)
  }
  // Before it is opened: whoever waits at the other end of a pipe to write would begin.
  const there = await fs.stat(path).catch(failed)
  if (there.kind !== 'file') throw notAFile(name, path, there.kind)
  const file = await openUnlessAborted(fs, path, signal).catch(failed)
  // Nothing is written through it: its close has nothing to report.
  const close = (): Promise<void> => file.close().catch(() => undefined)
  const before = await file.stat().catch(async (error: unknown) => {
    await close()
    return failed(error)
  })
  if (before.kind !== 'file') {
    await close()
    throw notAFile(name, path, before.kind)
  }
  let position = 0
  return {
    ...streaming,
    size: before.size,
    opened: before,
    async read(target) {
      let filled = 0
      while (filled < target.length) {
        const got = await file.read(target.subarray(filled), position).catch(failed)
        if (got === 0) break
        filled += got
        position += got
      }
      return filled
    },
    async settle() {
      // By its name: which tells of the open file too, if it still is that one.
      const now = await statOrNull(fs, path).catch(failed)
      if (now !== null && isMadeWhenRead(before, now, position)) throw madeWhenRead(name, path)
      if (now === null || !sameFile(before, now) || position !== before.size) {
        throw new HoldfastError(
          'SOURCE_CHANGED',
          `blob ${JSON.stringify(name)}: ${path} changed while it was being read; persist when nothing writes to it`,
          { details: { blob: name, path } },
        )
      }
    },
    close,
  }
}

/** In /proc, /sys and some FUSE file systems, a file's length is 0, or a page, whatever there is to read. */
function isMadeWhenRead(before: FileStat, now: FileStat, read: number): boolean {
  const isSame = before.dev === now.dev && before.ino === now.ino && before.size === now.size
  return isSame && read !== now.size && (now.size === 0 || before.mtimeNs === now.mtimeNs)
}

function madeWhenRead(name: string, path: string): HoldfastError {
  return new HoldfastError(
    'SOURCE_FAILED',
    `blob ${JSON.stringify(name)}: ${path} is made while it is read, as files of /proc and /sys are, and has no length that could tell whether all ` +
      'of it was read: read it yourself and give the bytes',
    { details: { blob: name, path } },
  )
}

/** Lets the engine save into a path of ours, then reads that file. */
async function savedReader(
  fs: FileSystem,
  name: string,
  save: SaveToPath,
  signal: AbortSignal,
  workDirectory: () => Promise<WorkDirectory>,
): Promise<ByteReader> {
  const work = await workDirectory()
  try {
    const path = join(work.path, SAVED)
    let answer: unknown
    // One that is aborted before it begins never hears of it.
    signal.throwIfAborted()
    try {
      // One that does not hear the signal may write on for a while, into a directory that is gone by then.
      answer = await orAborted(save(path, { signal }), signal)
    } catch (cause) {
      signal.throwIfAborted()
      throw sourceFailed(name, 'saving into a path failed', cause)
    }
    signal.throwIfAborted()
    if (answer === false) throw sourceFailed(name, 'saving into a path answered false', undefined)
    await assertOneFile(fs, name, work.path)
    const reader = await fileReader(fs, name, path, signal)
    return {
      ...reader,
      async close() {
        await reader.close()
        await work.discard()
      },
    }
  } catch (error) {
    await work.discard()
    throw error
  }
}

/** The name that a save function is given, in a directory of its own. */
const SAVED = 'blob'

/** A save function may write what only its engine knows of. Nothing of it is lost in silence. */
async function assertOneFile(fs: FileSystem, name: string, directory: string): Promise<void> {
  const entries = await attempt(fs.readdir(directory), `looking at what was saved for blob ${JSON.stringify(name)}`)
  const saved = entries.find((entry) => entry.name === SAVED)
  const extra = entries.map((entry) => entry.name).filter((entry) => entry !== SAVED)
  if (saved?.kind === 'file' && extra.length === 0) return
  const among = extra.length === 0 ? '' : ` ${extra.slice(0, 10).join(', ')}`
  const why =
    saved?.kind === 'file'
      ? `saving also wrote${among} beside the path that it was given. ${SAVE_MANY}`
      : saved?.kind === 'directory'
        ? `saving made a directory at the path that it was given. ${SAVE_MANY}`
        : saved === undefined
          ? `it was to be saved into the path given, and there is no file${among === '' ? '' : `, only${among}`}`
          : 'saving made a link, a pipe or a device at the path that it was given: save a regular file'
  throw new HoldfastError('SOURCE_FAILED', `blob ${JSON.stringify(name)}: ${why}`, {
    details: { blob: name, files: entries.map((entry) => entry.name).slice(0, 100) },
  })
}

const SAVE_MANY = 'Save into a directory of your own and give { directory }, or give each file as a blob'
