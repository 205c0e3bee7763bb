import { join, sep } from 'node:path'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { assertChunking, type Chunking } from '../format/chunking.ts'
import { assertBlobName } from '../format/manifest.ts'
import { isWellFormed } from '../format/value.ts'
import { ioError, statOrNull } from '../fs/io.ts'
import type { FileStat, FileSystem } from '../fs/port.ts'
import type { WorkDirectory } from '../fs/temps.ts'
import { pathOf } from '../location.ts'
import { assertOptions, type OptionTable, refusePromise } from '../misuse.ts'

/** Saves an engine's state into `path`. Answering (or resolving to) false means that it failed. */
export type SaveToPath = (path: string, context: { signal: AbortSignal }) => unknown

/** Where a blob's bytes come from. They are copied once, as they are read. */
export type BlobSource =
  | Uint8Array
  | ArrayBuffer
  | string
  | Blob
  | AsyncIterable<Uint8Array>
  | Iterable<Uint8Array>
  | ReadableStream<Uint8Array>
  | { file: string | URL }
  | SaveToPath

/** How a blob is kept. */
export interface BlobOptions {
  /** Default `content()`. Use `fixed(pageSize)` for page files and fixed-stride records. */
  chunking?: Chunking | undefined
  /** A media type, kept in the manifest. */
  type?: string | undefined
}

/** A source, or a source with options. `{ directory }` becomes one blob for each file in it, named `<name>/<path>`. */
export type BlobInput =
  | BlobSource
  | ({ source: BlobSource } & BlobOptions)
  | ({ file: string | URL } & BlobOptions)
  | ({ directory: string | URL } & BlobOptions)

const BLOB_OPTIONS: OptionTable<BlobOptions> = { chunking: 'any', type: 'any' }

/** One blob to persist. */
export interface NamedSource extends BlobOptions {
  name: string
  source: BlobSource
}

/** A blob's bytes, in order. */
export interface ByteReader {
  /** Bytes in all, null when not known before the end. */
  readonly size: number | null
  /** Fills `target` as far as there are bytes; fewer than asked only at the end. */
  read(target: Uint8Array): Promise<number>
  /**
   * The next bytes where they lie, without taking them; null when the source cannot show them, or when another thread might change them
   * while they are looked at.
   */
  peek(bytes: number): Uint8Array | null
  /** Passes over bytes that were peeked at. */
  skip(bytes: number): void
  /** After the last byte: `SOURCE_CHANGED` when the source moved while it was read. */
  settle(): Promise<void>
  close(): Promise<void>
}

/** Names and checks the blobs of a persist; directories become their files. */
export async function nameSources(
  fs: FileSystem,
  blobs: Readonly<Record<string, BlobInput>> | Iterable<readonly [string, BlobInput]>,
): Promise<NamedSource[]> {
  if (typeof blobs !== 'object' || blobs === null)
    throw new TypeError('persist: blobs must be an object of blobs by name')
  const entries = Symbol.iterator in blobs ? [...blobs] : Object.entries(blobs)
  for (const [, input] of entries) expectErrors(input)
  const named: NamedSource[] = []
  for (const [name, input] of entries) {
    assertBlobName(name)
    if (hasKey(input, 'directory')) {
      const { directory, ...given } = input as { directory: string | URL } & BlobOptions
      const options = blobOptions(name, given)
      const root = pathOf(directory, `blob ${JSON.stringify(name)}`)
      for (const path of await listFiles(fs, root, name)) {
        const inner = `${name}/${path.split(sep).join('/')}`
        assertBlobName(inner)
        named.push({ name: inner, source: { file: join(root, path) }, ...options })
      }
    } else if (hasKey(input, 'source') && !isBytesLike(input)) {
      const { source, ...given } = input as { source: BlobSource } & BlobOptions
      named.push({ name, source, ...blobOptions(name, given) })
    } else if (hasKey(input, 'file')) {
      const { file, ...given } = input as { file: string | URL } & BlobOptions
      named.push({ name, source: { file }, ...blobOptions(name, given) })
    } else {
      named.push({ name, source: input as BlobSource })
    }
  }
  const seen = new Set<string>()
  for (const { name, source } of named) {
    if (seen.has(name)) throw new TypeError(`persist: two blobs are named ${JSON.stringify(name)}`)
    seen.add(name)
    assertSource(name, source)
  }
  return named
}

/** What could be written but not be read again is refused here, before anything is written. */
function blobOptions(name: string, options: BlobOptions): BlobOptions {
  assertOptions(`persist: blob ${JSON.stringify(name)}`, options, BLOB_OPTIONS)
  const { chunking, type } = options
  if (chunking !== undefined) assertChunking(chunking)
  if (type !== undefined && (typeof type !== 'string' || !isWellFormed(type))) {
    throw new TypeError(`persist: the type of blob ${JSON.stringify(name)} must be text, got ${JSON.stringify(type)}`)
  }
  return { ...(chunking === undefined ? {} : { chunking }), ...(type === undefined ? {} : { type }) }
}

function assertSource(name: string, source: BlobSource): void {
  refusePromise(source, `persist: blob ${JSON.stringify(name)}`)
  const ok =
    typeof source === 'string' ||
    typeof source === 'function' ||
    (typeof source === 'object' && source !== null && (isBytesLike(source) || hasKey(source, 'file')))
  if (!ok) {
    const kind = source === null ? 'null' : typeof source
    throw new TypeError(
      `persist: blob ${JSON.stringify(name)} is of type ${kind}; give a Uint8Array, ArrayBuffer, string, Blob, stream, (async) iterable of ` +
        'Uint8Array, { file }, { directory } or a function that saves into a path',
    )
  }
  if (hasKey(source, 'file') && !isBytesLike(source)) {
    pathOf((source as { file: string | URL }).file, `blob ${JSON.stringify(name)}`)
  }
  const given: unknown = source
  if (ArrayBuffer.isView(given) && !(given instanceof Uint8Array)) {
    throw new TypeError(
      `persist: blob ${JSON.stringify(name)} is a ${given.constructor.name}; give new Uint8Array(a.buffer, a.byteOffset, a.byteLength)`,
    )
  }
  if (typeof source === 'string' && !isWellFormed(source)) {
    throw new TypeError(`persist: blob ${JSON.stringify(name)} is text with a lone surrogate, which UTF-8 cannot hold`)
  }
}

/**
 * A Node stream that fails before it is read (while another blob is, or while we wait for the lock) would end the process for want of a
 * listener. Reading it gives the error again.
 */
function expectErrors(input: unknown): void {
  const source = hasKey(input, 'source') ? (input as { source: unknown }).source : input
  const { on, pipe } = (source ?? {}) as { on?: unknown; pipe?: unknown }
  if (typeof on === 'function' && typeof pipe === 'function') on.call(source, 'error', () => {})
}

function isBytesLike(source: unknown): boolean {
  return (
    ArrayBuffer.isView(source) ||
    source instanceof ArrayBuffer ||
    source instanceof Blob ||
    (typeof source === 'object' && source !== null && (Symbol.asyncIterator in source || Symbol.iterator in source))
  )
}

function hasKey(value: unknown, key: string): boolean {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
}

/** Regular files below `root`, as sorted relative paths. Links and devices are refused: a snapshot could not restore them. */
async function listFiles(fs: FileSystem, root: string, blob: string): Promise<string[]> {
  const files: string[] = []
  async function visit(relative: string): Promise<void> {
    const entries = await fs.readdir(join(root, relative)).catch((error: unknown) => {
      throw ioError(error, `reading directory ${join(root, relative)} for blob ${JSON.stringify(blob)}`)
    })
    for (const { name, kind } of entries) {
      const path = relative === '' ? name : join(relative, name)
      if (kind === 'file') files.push(path)
      else if (kind === 'directory') await visit(path)
      else {
        throw new HoldfastError(
          'SOURCE_FAILED',
          `blob ${JSON.stringify(blob)}: ${join(root, path)} is not a regular file`,
          {
            details: { blob, path: join(root, path) },
          },
        )
      }
    }
  }
  await visit('')
  return files.sort()
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
  if ('file' in source) return await fileReader(fs, name, pathOf(source.file, `blob ${JSON.stringify(name)}`))
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
  const iterator = Symbol.asyncIterator in parts ? parts[Symbol.asyncIterator]() : parts[Symbol.iterator]()
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

async function fileReader(fs: FileSystem, name: string, path: string): Promise<ByteReader> {
  const reading = `reading ${path} for blob ${JSON.stringify(name)}`
  const failed = (error: unknown): never => {
    throw ioError(error, reading)
  }
  const file = await fs.open(path, 'read').catch(failed)
  // Nothing is written through it: its close has nothing to report.
  const close = (): Promise<void> => file.close().catch(() => undefined)
  const before = await file.stat().catch(async (error: unknown) => {
    await close()
    return failed(error)
  })
  if (before.kind !== 'file') {
    await close()
    throw sourceFailed(name, `${path} is not a regular file`, undefined)
  }
  let position = 0
  return {
    ...streaming,
    size: before.size,
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

function sameFile(a: FileStat, b: FileStat): boolean {
  return a.dev === b.dev && a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs
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
    const path = join(work.path, 'blob')
    let answer: unknown
    // One that is aborted before it begins never hears of it.
    signal.throwIfAborted()
    try {
      answer = await save(path, { signal })
    } catch (cause) {
      signal.throwIfAborted()
      throw sourceFailed(name, 'saving into a path failed', cause)
    }
    signal.throwIfAborted()
    if (answer === false) throw sourceFailed(name, 'saving into a path answered false', undefined)
    let reader: ByteReader
    try {
      reader = await fileReader(fs, name, path)
    } catch (cause) {
      if (isHoldfastError(cause, 'IO_FAILED') && cause.details.code !== 'ENOENT') throw cause
      throw sourceFailed(name, 'it was to be saved into the path given, and there is no file', cause)
    }
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
