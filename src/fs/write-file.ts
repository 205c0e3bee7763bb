// Replaces one file durably, for `holdfast/durable`: from data, from a stream, or from a callback that saves into a
// path. After a crash the file holds the old content or the new content, never a part of it.

import { basename, dirname, join } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { openParts, usedUp } from '../one-pass.ts'
import { commitUnknown, publishSaved, writeDurable } from './durable.ts'
import { ioError, lstatOrNull, statOrNull, writeFully } from './io.ts'
import { makeDirectory } from './make-directory.ts'
import type { File, FileSystem } from './port.ts'
import { siblingAffixes } from './sibling-temps.ts'
import { createWorkDirectory } from './temps.ts'

/** Text encodings that can represent a character or refuse it. */
export type TextEncoding = 'utf8' | 'utf16le' | 'latin1'

/** What a file is to hold. */
export type DurableData =
  | string
  | ArrayBufferView
  | ArrayBuffer
  | Blob
  | Iterable<string | Uint8Array>
  | AsyncIterable<string | Uint8Array>
  | ReadableStream<string | Uint8Array>

/** Saves into `tempPath`, where no file exists yet. Returning (or resolving to) false means that it failed. */
export type SaveToTemp = (tempPath: string, context: { signal: AbortSignal }) => unknown

export interface WriteFileOptions {
  mode: number
  keepMode: boolean
  symlinks: 'follow' | 'refuse'
  encoding: TextEncoding
  extraFiles: 'refuse' | 'remove'
  makeDirectories: boolean
  signal: AbortSignal
}

/** See `writeFileDurable` in `src/durable.ts`. */
export async function writeFile(
  fs: FileSystem,
  path: string,
  data: DurableData | SaveToTemp,
  options: WriteFileOptions,
): Promise<{ path: string; bytes: number }> {
  options.signal.throwIfAborted()
  const why = usedUp(data)
  if (why !== null) throw usedUpError(path, why)
  if (options.makeDirectories) await makeDirectory(fs, dirname(path), 0o700)
  const target = await resolveTarget(fs, path, options.symlinks)
  try {
    const bytes =
      typeof data === 'function'
        ? await writeBySaving(fs, target, data, options)
        : await writeParts(fs, target, data, options)
    return { path: target, bytes }
  } catch (error) {
    throw commitUnknown(error, target, 'was replaced', 'it may hold the old content or the new. Write it again')
  }
}

/** Empty content must not take the place of a full file. */
function usedUpError(path: string, why: string): HoldfastError {
  return new HoldfastError('SOURCE_FAILED', `Nothing was written to ${path}: the stream or iterator given ${why}`, {
    details: { path },
  })
}

/**
 * The file to replace, with all links followed. Only regular files are replaced: a rename over a device or a pipe would
 * remove it.
 */
export async function resolveTarget(fs: FileSystem, path: string, symlinks: 'follow' | 'refuse'): Promise<string> {
  try {
    const there = await lstatOrNull(fs, path)
    if (there === null || there.kind === 'file') return path
    if (there.kind === 'directory') throw notWritable(path, 'EISDIR', 'a directory')
    if (there.kind === 'other') throw notWritable(path, 'EINVAL', 'a pipe, a socket or a device')
    if (symlinks === 'refuse') {
      throw notWritable(path, 'ELOOP', "a symbolic link; remove it, or write with symlinks: 'follow'")
    }
    const behind = await statOrNull(fs, path)
    if (behind === null) throw notWritable(path, 'ENOENT', 'a symbolic link that leads nowhere')
    if (behind.kind !== 'file') throw notWritable(path, 'EINVAL', 'a symbolic link to something other than a file')
    return await fs.realpath(path)
  } catch (error) {
    throw ioError(error, `looking at ${path}, which is to be replaced`)
  }
}

function notWritable(path: string, code: string, is: string): HoldfastError {
  return new HoldfastError('IO_FAILED', `Nothing was written: ${path} is ${is}`, { details: { code, path } })
}

async function writeParts(
  fs: FileSystem,
  target: string,
  data: DurableData,
  options: WriteFileOptions,
): Promise<number> {
  let bytes = 0
  let failed: { by: unknown } | undefined
  try {
    await writeDurable(fs, {
      async write(file) {
        const sink = partSink(file)
        const parts = partsOf(data, options.encoding, target)
        try {
          for await (const part of fromSource(parts, options.signal)) {
            options.signal.throwIfAborted()
            await sink.write(part)
          }
          options.signal.throwIfAborted()
        } catch (error) {
          if (error instanceof SourceError) failed = { by: error.thrown }
          throw error
        }
        bytes = await sink.end()
      },
      tempDirectory: dirname(target),
      target,
      mode: options.mode,
      keepMode: options.keepMode,
      lock: 'if-possible',
      ...siblingAffixes(basename(target)),
    })
    return bytes
  } catch (error) {
    // The caller's own error is thrown as it is: a system error of the caller's stream is not an error of the target.
    throw failed === undefined ? error : failed.by
  }
}

/** Marks an error that the caller's iterable threw, to tell it from an error of the target's disk. */
class SourceError extends Error {
  readonly thrown: unknown
  constructor(thrown: unknown) {
    super('the data could not be read')
    this.thrown = thrown
  }
}

async function* fromSource<T>(parts: Iterable<T> | AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = Symbol.asyncIterator in parts ? parts[Symbol.asyncIterator]() : parts[Symbol.iterator]()
  let done = false
  try {
    for (;;) {
      const step = await nextPart(iterator, signal)
      done = step.done === true
      if (step.done === true) return
      yield step.value
    }
  } catch (error) {
    done = error instanceof SourceError
    throw error
  } finally {
    // The iterator is told to stop but not awaited: after an abort it may hang, and the first error is the one to
    // report.
    if (!done) Promise.resolve(iterator.return?.()).catch(() => undefined)
  }
}

/** Waits for the next part. An abort ends the wait. */
async function nextPart<T>(iterator: Iterator<T> | AsyncIterator<T>, signal: AbortSignal): Promise<IteratorResult<T>> {
  let onAbort: (() => void) | undefined
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason)
    // A signal that is aborted already calls no listener.
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    const next = Promise.resolve(iterator.next()).catch((error: unknown) => {
      throw new SourceError(error)
    })
    return await Promise.race([next, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort!)
  }
}

function partsOf(
  data: DurableData,
  encoding: TextEncoding,
  target: string,
): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof data === 'string') return textParts(data, encoding)
  if (ArrayBuffer.isView(data)) return [new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]
  if (data instanceof ArrayBuffer) return [new Uint8Array(data)]
  if (data instanceof Blob) return data.stream() as unknown as AsyncIterable<Uint8Array>
  const parts = data as Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>
  const iterator = openParts(parts, (why) => usedUpError(target, why)) as AsyncIterator<string | Uint8Array>
  return mixedParts({ [Symbol.asyncIterator]: () => iterator }, encoding)
}

async function* mixedParts(
  parts: Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>,
  encoding: TextEncoding,
): AsyncGenerator<Uint8Array> {
  for await (const part of parts) {
    if (typeof part === 'string') yield* textParts(part, encoding)
    else if (part instanceof Uint8Array) yield part
    else throw new TypeError(`writeFileDurable: the data gave a ${typeof part}; give strings or Uint8Arrays`)
  }
}

/** In code units. */
const TEXT_PART = 256 * 1024

/** Encodes a text in parts, so that a long text is never in memory twice. */
function* textParts(text: string, encoding: TextEncoding): Generator<Uint8Array> {
  for (let at = 0; at < text.length; ) {
    let end = Math.min(at + TEXT_PART, text.length)
    const last = text.charCodeAt(end - 1)
    if (end < text.length && last >= 0xd800 && last <= 0xdbff) end -= 1
    const part = text.slice(at, end)
    const bytes = Buffer.from(part, encoding)
    // Node would write U+FFFD for a lone surrogate, and the low byte of a character that latin1 lacks.
    if (encoding !== 'utf16le' && bytes.toString(encoding) !== part) {
      throw new TypeError(`writeFileDurable: the text has a character that ${encoding} cannot hold`)
    }
    yield bytes
    at = end
  }
}

const BUFFER_BYTES = 256 * 1024

/** Buffers small parts. Each part is copied at once, because its owner may reuse the memory for the next. */
function partSink(file: File): { write(part: Uint8Array): Promise<void>; end(): Promise<number> } {
  let buffer: Uint8Array | undefined
  let filled = 0
  let position = 0
  async function flush(): Promise<void> {
    if (buffer !== undefined && filled > 0) position += await writeFully(file, [buffer.subarray(0, filled)], position)
    filled = 0
  }
  return {
    async write(part) {
      if (filled + part.byteLength > BUFFER_BYTES) await flush()
      if (part.byteLength > BUFFER_BYTES / 4) {
        await flush()
        position += await writeFully(file, [part], position)
        return
      }
      buffer ??= new Uint8Array(BUFFER_BYTES)
      buffer.set(part, filled)
      filled += part.byteLength
    },
    async end() {
      await flush()
      return position
    },
  }
}

/**
 * Lets the caller save into a work directory, then makes that file durable under its name. Other files that an engine
 * writes beside it stay in the work directory.
 */
async function writeBySaving(
  fs: FileSystem,
  target: string,
  save: SaveToTemp,
  options: WriteFileOptions,
): Promise<number> {
  const { signal } = options
  const name = basename(target)
  const work = await createWorkDirectory(fs, dirname(target), { lock: 'if-possible', ...siblingAffixes(name) })
  try {
    const saved = join(work.path, name)
    const answer = await save(saved, { signal })
    signal.throwIfAborted()
    if (answer === false) throw saveFailed(target, 'saving answered false', {})
    try {
      await assertSaved(fs, work.path, name, target, options.extraFiles)
      let size = 0
      const accepts = async (file: File): Promise<boolean> => {
        size = (await file.stat()).size
        signal.throwIfAborted()
        return true
      }
      await publishSaved(fs, saved, target, { mode: options.mode, keepMode: options.keepMode, accepts })
      return size
    } catch (error) {
      throw ioError(error, `writing ${target}`)
    }
  } finally {
    await work.discard()
  }
}

async function assertSaved(
  fs: FileSystem,
  directory: string,
  name: string,
  target: string,
  extraFiles: 'refuse' | 'remove',
): Promise<void> {
  const saved = await lstatOrNull(fs, join(directory, name))
  const extra = (await fs.readdir(directory)).map((entry) => entry.name).filter((entry) => entry !== name)
  if (saved?.kind !== 'file') {
    const found =
      saved === null
        ? 'there is no file at the path given'
        : `what is at the path given is no regular file (${saved.kind})`
    throw saveFailed(target, extra.length === 0 ? found : `${found}, only ${extra.slice(0, 10).join(', ')}`, { extra })
  }
  if (extra.length === 0 || extraFiles === 'remove') return
  throw saveFailed(
    target,
    `saving also wrote ${extra.slice(0, 10).join(', ')} beside it, which cannot be replaced together with it. Keep all of ` +
      "them in one snapshot (persistSnapshot), or pass extraFiles: 'remove' if they are not needed",
    { extra },
  )
}

function saveFailed(target: string, why: string, details: Record<string, unknown>): HoldfastError {
  return new HoldfastError('SOURCE_FAILED', `${target}: ${why}; nothing was replaced`, {
    details: { path: target, ...details },
  })
}
