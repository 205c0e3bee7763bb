// What a blob may come from: names the sources of a persist, and refuses what cannot be one before anything is locked
// or read.

import { isAbsolute, join } from 'node:path'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import { assertBlobName } from '../format/blob-entry.ts'
import { assertChunking, type Chunking } from '../format/chunking.ts'
import { encodeModes, MODES_NAME } from '../format/directory-modes.ts'
import { isWellFormed } from '../format/value.ts'
import { pathInside } from '../fs/elsewhere.ts'
import type { FileSystem } from '../fs/port.ts'
import type { SnapshotBlob } from '../load/blob.ts'
import { pathOf } from '../location.ts'
import { assertOptions, type OptionTable, refusePromise } from '../misuse.ts'
import { isOnePass, namedEntries, usedUp } from '../one-pass.ts'
import { term } from '../terms.ts'
import { DIRECTORY_OPTIONS, type DirectoryOptions, excludedBy } from './directory-options.ts'
import { listDirectory, type SourceDirectory } from './source-directory.ts'

/** Saves an engine's state into `path`. Answering (or resolving to) false means that it failed. */
export type SaveToPath = (path: string, context: { signal: AbortSignal }) => unknown

/**
 * Where a blob's bytes come from. They are copied once, as they are read. A stream, generator or iterator gives them
 * only once: make a new one for each persist. A blob of a snapshot is streamed, and cut as it was unless you say
 * otherwise.
 */
export type BlobSource =
  | Uint8Array
  | ArrayBuffer
  | string
  | Blob
  | AsyncIterable<Uint8Array>
  | Iterable<Uint8Array>
  | ReadableStream<Uint8Array>
  | { file: string | URL }
  | SnapshotBlob
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
  | ({ directory: string | URL } & BlobOptions & DirectoryOptions)

const BLOB_OPTIONS: OptionTable<BlobOptions> = { chunking: 'any', type: 'any' }

/** One blob to persist. */
export interface NamedSource extends BlobOptions {
  name: string
  source: BlobSource
  /** The directory that it is a file of. */
  directory?: SourceDirectory
}

/** Names and checks the blobs of a persist; directories become their files. */
export async function nameSources(
  { fs, storage }: Pick<StoreContext, 'fs' | 'storage'>,
  blobs: Readonly<Record<string, BlobInput>> | Iterable<readonly [string, BlobInput]>,
): Promise<NamedSource[]> {
  const entries = namedEntries<BlobInput>(blobs, 'persist: blobs')
  for (const [, input] of entries) expectErrors(input)
  const named: NamedSource[] = []
  for (const [name, input] of entries) {
    assertBlobName(name)
    if (hasKey(input, 'directory')) {
      const { directory: path, ...all } = input as { directory: string | URL } & BlobOptions & DirectoryOptions
      const where = `persist: blob ${JSON.stringify(name)}`
      assertOptions(where, all, { ...BLOB_OPTIONS, ...DIRECTORY_OPTIONS })
      const { exclude, followLinks = false, keepModes = false, ...given } = all
      const options = blobOptions(name, given)
      const root = pathOf(path, `blob ${JSON.stringify(name)}`)
      const request = { root, name, excluded: excludedBy(exclude, where), followLinks, keepModes }
      const directory: SourceDirectory = { ...request, ...(await listDirectory(fs, request)) }
      await refuseOwnFiles(fs, storage.location, directory)
      if (keepModes) named.push({ name: `${name}/${MODES_NAME}`, source: encodeModes(directory.modes) })
      for (const entry of directory.entries) {
        const inner = `${name}/${entry}`
        assertBlobName(inner)
        // As in docs/format.md: an empty blob whose name ends in `/` stands for a directory with nothing in it.
        const source: BlobSource = inner.endsWith('/') ? new Uint8Array(0) : { file: join(root, entry) }
        named.push({ name: inner, source, directory, ...options })
      }
    } else if (isSnapshotBlob(input)) {
      named.push({ name, source: input, ...keptOptions(input) })
    } else if (hasKey(input, 'source') && !isBytesLike(input)) {
      const { source, ...given } = input as { source: BlobSource } & BlobOptions
      named.push({ name, source, ...keptOptions(source), ...blobOptions(name, given) })
    } else if (hasKey(input, 'file')) {
      const { file, ...given } = input as { file: string | URL } & BlobOptions
      named.push({ name, source: { file }, ...blobOptions(name, given) })
    } else {
      named.push({ name, source: input as BlobSource })
    }
  }
  const seen = new Set<string>()
  const onePass = new Set<unknown>()
  for (const { name, source } of named) {
    if (seen.has(name)) throw new TypeError(`persist: two blobs are named ${JSON.stringify(name)}`)
    seen.add(name)
    assertSource(name, source)
    const why = onePass.has(source) ? 'is given for two blobs, and gives its content only once' : usedUp(source)
    if (why !== null) throw usedUpError(name, why)
    if (isOnePass(source)) onePass.add(source)
  }
  return named
}

/** Each persist changes the store's own files, so that a directory with them in it would never be read as one state. */
async function refuseOwnFiles(fs: FileSystem, store: string, { root, name, excluded }: SourceDirectory): Promise<void> {
  if (!isAbsolute(store)) return
  if ((await pathInside(fs, store, root)) !== null) {
    throw new HoldfastError(
      'SOURCE_FAILED',
      `blob ${JSON.stringify(name)}: ${root} is the store's own, and changes with each persist; a store is saved with ${term('copy')}`,
      { details: { blob: name, path: root, store } },
    )
  }
  const inside = await pathInside(fs, root, store)
  if (inside === null) return
  const parts = inside.split('/')
  if (parts.some((_, i) => excluded(`${parts.slice(0, i + 1).join('/')}/`))) return
  throw new HoldfastError(
    'SOURCE_FAILED',
    `blob ${JSON.stringify(name)}: the store itself lies in ${root}, and changes with each persist; leave it out with exclude: ['${inside}'], or ` +
      'put it elsewhere',
    { details: { blob: name, path: root, store } },
  )
}

/** A source that would give nothing, or a rest: an empty blob must not take the place of a full one. */
export function usedUpError(name: string, why: string): HoldfastError {
  return new HoldfastError('SOURCE_FAILED', `blob ${JSON.stringify(name)}: its stream or iterator ${why}`, {
    details: { blob: name },
  })
}

/** A blob of an open snapshot: it gives its bytes as often as it is asked. */
export function isSnapshotBlob(input: unknown): input is SnapshotBlob {
  const { cid, size, stream, writeTo } = (input ?? {}) as Partial<SnapshotBlob>
  return (
    typeof cid === 'string' && typeof size === 'number' && typeof stream === 'function' && typeof writeTo === 'function'
  )
}

function keptOptions(source: unknown): BlobOptions {
  if (!isSnapshotBlob(source)) return {}
  const { chunking, type } = source
  return { chunking, ...(type === undefined ? {} : { type }) }
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
  if (isSnapshotBlob(source)) return
  const ok =
    typeof source === 'string' ||
    typeof source === 'function' ||
    (typeof source === 'object' && source !== null && (isBytesLike(source) || hasKey(source, 'file')))
  if (!ok) {
    const kind = source === null ? 'null' : typeof source
    throw new TypeError(
      `persist: blob ${JSON.stringify(name)} is of type ${kind}; give a Uint8Array, ArrayBuffer, string, Blob, stream, (async) iterable of ` +
        'Uint8Array, { file }, { directory }, a blob of a snapshot, or a function that saves into a path',
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
  const buffer = ArrayBuffer.isView(given) ? given.buffer : given
  if (buffer instanceof ArrayBuffer && isDetached(buffer)) {
    throw new TypeError(
      `persist: blob ${JSON.stringify(name)} is a detached buffer: it was transferred, to another thread perhaps; give a copy of its bytes`,
    )
  }
  if (typeof source === 'string' && !isWellFormed(source)) {
    throw new TypeError(`persist: blob ${JSON.stringify(name)} is text with a lone surrogate, which UTF-8 cannot hold`)
  }
}

/**
 * A Node stream that fails before it is read (while another blob is, or while we wait for the lock) would end the
 * process for want of a listener. Reading it gives the error again.
 */
function expectErrors(input: unknown): void {
  const source = hasKey(input, 'source') ? (input as { source: unknown }).source : input
  const { on, pipe } = (source ?? {}) as { on?: unknown; pipe?: unknown }
  if (typeof on === 'function' && typeof pipe === 'function') on.call(source, 'error', () => {})
}

function isDetached(buffer: ArrayBuffer): boolean {
  try {
    // Node 20 has no `detached`.
    new Uint8Array(buffer)
    return false
  } catch {
    return true
  }
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
