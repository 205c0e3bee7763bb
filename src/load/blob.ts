// One blob of an open snapshot: bytes, text, JSON, a stream, a range, or a laid-out file. Every byte is verified.

import { constants } from 'node:buffer'
import { inspect } from 'node:util'
import { chunkRuns } from '../blocks/blob-dag.ts'
import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import { HoldfastError, isDamage } from '../errors.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { type Chunking, chunkBytesMax } from '../format/chunking.ts'
import { cidText } from '../format/cid.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import type { LocalFiles } from '../local/files.ts'
import { assertOptions, type OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import { digestSegments } from '../workers/segments.ts'
import { lookOn } from './look-on.ts'
import { type RangeArguments, readRange, readSegmentsOrNull, readShared, readWhole } from './read-blob.ts'
import type { BlobRead } from './read-groups.ts'
import type { LaidOut } from './write-out.ts'

/** How a blob is read. */
export interface BlobReadOptions {
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export const READ_OPTIONS: OptionTable<BlobReadOptions> = { signal: 'signal', onProgress: 'function' }

type StreamOptions = BlobReadOptions & { start?: number | undefined; end?: number | undefined }

const STREAM_OPTIONS: OptionTable<StreamOptions> = {
  ...READ_OPTIONS,
  start: 'any',
  end: 'any',
}

/** One blob of a snapshot. Every byte it hands out has been verified; damage is `BLOB_DAMAGED`. */
export interface SnapshotBlob {
  readonly name: string
  /** CID of the blob's root: the identity of its bytes under its chunking. */
  readonly cid: string
  /** Bytes. */
  readonly size: number
  /** The media type given when it was persisted. */
  readonly type?: string
  readonly chunking: Chunking
  /** The whole blob in one new buffer of `size` bytes. */
  bytes(options?: BlobReadOptions): Promise<Uint8Array<ArrayBuffer>>
  /** The whole blob as UTF-8 text; ill-formed UTF-8 is a `TypeError`. */
  text(options?: BlobReadOptions): Promise<string>
  /** The whole blob parsed as JSON. A `SyntaxError` names the blob if it is not. */
  json<T = unknown>(options?: BlobReadOptions): Promise<T>
  /** Bytes [start, end) in order, a few MiB at a time; memory stays bounded. Defaults: the whole blob. */
  stream(
    options?: BlobReadOptions & { start?: number | undefined; end?: number | undefined },
  ): AsyncIterableIterator<Uint8Array<ArrayBuffer>>
  /**
   * The path of a read-only file with the blob's bytes, named by content, made once and reused. It stays until the
   * snapshot is disposed. Never write to it.
   */
  file(options?: BlobReadOptions): Promise<string>
  /**
   * Writes the blob to `path`: all or nothing, durable; an existing file is replaced and keeps its mode. If the blob is
   * laid out on this machine (`file()`, `materialize`), that file is cloned where the file system can, and else copied;
   * it is verified, and if it is not the blob, the packs are read.
   */
  writeTo(path: string | URL, options?: BlobReadOptions): Promise<void>
}

/**
 * Of a blob of ours: its verified bytes in memory that threads share. A part is good until the one after the next is
 * asked for.
 */
export const SHARED_PARTS = Symbol('shared parts')

/** A blob that may be ours. */
export interface MaybeShared {
  [SHARED_PARTS]?: (options?: BlobReadOptions) => AsyncGenerator<Uint8Array>
}

/** What a blob needs of the snapshot it belongs to. */
export interface BlobContext {
  /** Throws `SNAPSHOT_DISPOSED`; notes that a read is under way. */
  use<T>(read: (source: BlockSource) => Promise<T>): Promise<T>
  source(): BlockSource
  files: LocalFiles | null
  location: string
  /** Notes that a blob's segments and chunks were seen to stand for the same bytes. */
  noteChecked(entry: BlobEntry): void
  /** Keeps a laid-out file from deletion until the snapshot is disposed. */
  hold(file: { release(): Promise<void>; releaseSync(): void }): void
  writeFile(path: string | URL, bytes: AsyncIterable<Uint8Array>, laidOut: LaidOut | null): Promise<void>
}

export function createBlob(
  name: string,
  entry: BlobEntry,
  damageContext: DamageContext,
  context: BlobContext,
): SnapshotBlob & MaybeShared {
  const cid = cidText(entry.root)
  let laidOut: Promise<string> | null = null
  let hasLookedOn = false

  /** A use of the snapshot. Once, when it meets damage, the rest of the blob is looked at too. */
  async function use<T>(read: (source: BlockSource) => Promise<T>): Promise<T> {
    return await context.use(async (source) => {
      try {
        return await read(source)
      } catch (error) {
        if (isDamage(error) && !hasLookedOn) {
          hasLookedOn = true
          await lookOn(source, entry, damageContext)
        }
        throw error
      }
    })
  }

  const where = `blob ${JSON.stringify(name)}`

  function reading(options: BlobReadOptions): { signal?: AbortSignal | undefined; onBytes(bytes: number): void } {
    assertOptions(where, options, STREAM_OPTIONS)
    options.signal?.throwIfAborted()
    return {
      signal: options.signal,
      onBytes: (bytes) => options.onProgress?.({ phase: 'loading', blob: name, bytes, totalBytes: entry.size }),
    }
  }

  async function bytes(options: BlobReadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return await use((source) =>
      readWhole(source, entry, damageContext, { ...reading(options), onAgree: () => context.noteChecked(entry) }),
    )
  }

  async function text(options: BlobReadOptions = {}): Promise<string> {
    if (entry.size > constants.MAX_STRING_LENGTH) {
      throw new HoldfastError(
        'LIMIT_EXCEEDED',
        `${damageContext.what} has ${entry.size} bytes, more than a JavaScript string can hold; use stream() or bytes()`,
        { details: { ...damageContext.details, bytes: entry.size, limit: constants.MAX_STRING_LENGTH } },
      )
    }
    const all = await bytes(options)
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(all)
    } catch (cause) {
      throw new TypeError(`${damageContext.what} is intact, and is not UTF-8: read it with bytes()`, { cause })
    }
  }

  function stream(options: StreamOptions = {}): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    return parts(options, readRange)
  }

  async function* parts<Part extends Uint8Array>(
    options: StreamOptions,
    read: (...range: RangeArguments) => AsyncGenerator<Part, void>,
  ): AsyncGenerator<Part> {
    const { signal, onBytes } = reading(options)
    const start = options.start ?? 0
    const end = Math.min(options.end ?? entry.size, entry.size)
    const isEnd = options.end === undefined || typeof options.end === 'number'
    if (!Number.isSafeInteger(start) || start < 0 || !isEnd || end < 0 || !Number.isInteger(end)) {
      throw new RangeError(
        `stream: start and end are byte positions, got ${inspect(options.start)} and ${inspect(options.end)}`,
      )
    }
    let bytes = 0
    const steps = read(context.source(), entry, damageContext, start, end, {
      signal,
      onAgree: () => context.noteChecked(entry),
      onBytes(read) {
        bytes += read
        onBytes(bytes)
      },
    })
    try {
      for (;;) {
        // Each step alone is a use of the snapshot: a stream left half-read must not keep it from being disposed.
        const step = await use(() => steps.next())
        if (step.done) return
        yield step.value
      }
    } finally {
      await steps.return()
    }
  }

  async function layOut(options: BlobReadOptions): Promise<string> {
    if (context.files === null) {
      throw new HoldfastError(
        'FILES_UNSUPPORTED',
        `file(): ${context.location} is opened read-only and may not lay out files; open it with a filesDir that can be written, ` +
          'or use bytes(), stream() or writeTo()',
        { details: { location: context.location, blob: name } },
      )
    }
    const local = context.files
    const { signal, onBytes } = reading(options)
    return await use(async (source) => {
      const held = await local.use(cid, entry.size, {
        verify: (read) => matchesBlob({ source, entry, damageContext }, read, signal),
        fill: async (write) => {
          let position = 0
          for await (const part of readShared(source, entry, damageContext, 0, entry.size, { signal })) {
            await write([part], position)
            position += part.length
            onBytes(position)
          }
        },
      })
      context.hold(held)
      return held.path
    })
  }

  function startLayOut(options: BlobReadOptions): Promise<string> {
    const path = layOut(options)
    laidOut = path
    path.catch(() => {
      laidOut = null
    })
    return path
  }

  /** The file that the blob was laid out as before, if there is one. */
  async function findLaidOut(options: BlobReadOptions): Promise<LaidOut | null> {
    const { signal, onBytes } = reading(options)
    const path = (await context.files?.find(cid, entry.size)) ?? null
    if (path === null) return null
    return {
      path,
      size: entry.size,
      isBlob(read) {
        let bytes = 0
        const counted: ReadFile = async (target, position) => {
          const count = await read(target, position)
          bytes += count
          onBytes(bytes)
          return count
        }
        return use((source) => matchesOnce({ source, entry, damageContext }, counted, signal))
      },
    }
  }

  return {
    name,
    cid,
    size: entry.size,
    ...(entry.type === undefined ? {} : { type: entry.type }),
    chunking: entry.chunking,
    bytes,
    text,
    async json<T>(options: BlobReadOptions = {}): Promise<T> {
      const all = await text(options)
      try {
        return JSON.parse(all) as T
      } catch (cause) {
        throw new SyntaxError(`${damageContext.what} is intact, and is not JSON: ${(cause as Error).message}`, {
          cause,
        })
      }
    },
    stream,
    [SHARED_PARTS]: (options = {}) => parts(options, readShared),
    async file(options = {}) {
      assertOptions(where, options, READ_OPTIONS)
      for (;;) {
        options.signal?.throwIfAborted()
        // A path that is held no more may be gone any moment.
        context.source()
        const joined = laidOut
        if (joined === null) return await startLayOut(options)
        // Whoever began it may have been aborted; that is not our failure.
        const path = await joined.catch(() => null)
        if (path !== null) return path
      }
    },
    async writeTo(path, options = {}) {
      assertOptions(where, options, READ_OPTIONS)
      const noted = { ...options, onProgress: onlyGrowing(options.onProgress) }
      await context.writeFile(path, parts(noted, readShared), await findLaidOut(noted))
    },
  }
}

/** Leaves out what was said before: what is read from a file first may have to be read from packs. */
function onlyGrowing(onProgress: OnProgress | undefined): OnProgress | undefined {
  if (onProgress === undefined) return undefined
  let most = -1
  return (progress) => {
    if (progress.phase === 'loading') {
      if (progress.bytes <= most) return
      most = progress.bytes
    }
    onProgress(progress)
  }
}

/**
 * Whether a file holds exactly this blob. Reads all of it: a segment at a time, or where that is not conclusive a
 * chunk.
 */
async function matchesBlob(blob: BlobRead, read: ReadFile, signal: AbortSignal | undefined): Promise<boolean> {
  if (await matchesOnce(blob, read, signal)) return true
  return blob.entry.segments !== undefined && (await matchesChunks(blob, read))
}

/** As `matchesBlob`, and reads each byte once: false also where the segments cannot be read. */
async function matchesOnce(blob: BlobRead, read: ReadFile, signal: AbortSignal | undefined): Promise<boolean> {
  const { source, entry, damageContext } = blob
  if (entry.segments === undefined) return await matchesChunks(blob, read)
  const segments = await readSegmentsOrNull(source, entry, damageContext)
  const found = segments === null ? null : await digestSegments(entry.size, read, signal)
  return found !== null && Buffer.compare(found, segments!) === 0
}

type ReadFile = (target: Uint8Array, position: number) => Promise<number>

async function matchesChunks({ source, entry, damageContext }: BlobRead, read: ReadFile): Promise<boolean> {
  const buffer = Buffer.allocUnsafeSlow(chunkBytesMax(entry.chunking))
  for await (const { offset, count, lengths, digests } of chunkRuns(source, entry, damageContext)) {
    let position = offset
    for (let i = 0; i < count; i++) {
      if (lengths[i]! > buffer.length) return false
      const bytes = buffer.subarray(0, lengths[i]!)
      if ((await read(bytes, position)) !== bytes.length) return false
      if (!digestsEqual(blake3(bytes), 0, digests, i * DIGEST_BYTES)) return false
      position += bytes.length
    }
  }
  return true
}
