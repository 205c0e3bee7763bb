// The file of an engine in a restore: the image, verified by its digest; or else put together from the blobs, by one process at a time.

import { bytesOfFile } from '../encodings/column-file.ts'
import type { EngineFileOptions, SavedEngine } from '../encodings/engine-state.ts'
import { digestsEqual } from '../format/blake3.ts'
import { fileDigest } from '../format/engine-file.ts'
import { toHex } from '../format/hex.ts'
import { HoldfastError, isHoldfastError } from '../index.ts'
import type { Images } from '../local/images.ts'
import { type FileBytes, type Home, privateHome, writeInto } from '../local/saved-file.ts'
import { digestSegments } from '../workers/segments.ts'
import type { EngineRecord, FileRecord } from './engine-record.ts'

/** Gives the file of one restore. */
interface FileRestorer {
  file: SavedEngine['file']
  /** The restore is done: `engine` holds what it maps, and all else is given up. Undefined: it failed. */
  settle(engine: unknown): Promise<void>
}

interface FileRestorerOptions {
  /** Null: none are used. */
  images: Images | null
  /** Whether an image that had to be made is kept, and the one restored last is noted. */
  keep: boolean
  sequence: number
  record: EngineRecord
  saved: Pick<SavedEngine, 'blob'>
  /** Where to put it together, in place of the system's directory for temporary files. */
  room: string | undefined
  signal: AbortSignal | undefined
  /** Called when the file was an image: no blob was read. */
  onImage: () => void
}

interface Held {
  path: string
  mapped: boolean
  release(): Promise<void>
  releaseSync(): void
}

export function createFileRestorer(options: FileRestorerOptions): FileRestorer {
  const { images, keep, record, saved, signal } = options
  const all: Held[] = []

  async function matches(file: FileRecord, read: FileBytes['read']): Promise<boolean> {
    const segments = await digestSegments(file.size, read, signal)
    return segments !== null && digestsEqual(fileDigest(segments), 0, file.digest, 0)
  }

  async function assemble(file: FileRecord, home: Home): Promise<string> {
    const made = await writeInto(home, wholly(bytesOfFile(saved, file.regions ?? null, signal), options))
    try {
      if (made.size === file.size && (await matches(file, made.read))) return made.path
    } finally {
      await made.close()
    }
    throw disagree(options, 'their digest is another')
  }

  async function image(file: FileRecord, mapped: boolean): Promise<Held | null> {
    if (images === null) return null
    const digest = toHex(file.digest)
    let isMade = false
    const held = await images.use(digest, {
      size: file.size,
      verify: (read) => matches(file, read),
      assemble: keep
        ? async (home) => {
            isMade = true
            return await assemble(file, home)
          }
        : null,
      signal,
    })
    if (held === null) return null
    if (keep) await images.noteRestored(digest)
    if (!isMade) options.onImage()
    return { ...held, mapped }
  }

  async function temporary(file: FileRecord, mapped: boolean, directory: string | undefined): Promise<Held> {
    const home = privateHome(directory)
    try {
      const path = await assemble(file, home)
      // What is mapped needs no name, but on Windows.
      const needsName = mapped && process.platform === 'win32'
      return { path, mapped: needsName, release: () => home.remove(), releaseSync: () => home.discard() }
    } catch (error) {
      home.discard()
      throw error
    }
  }

  return {
    async file({ mapped = false, temporaryDirectory }: EngineFileOptions = {}) {
      const { file } = record
      if (file === undefined) throw noFile(options)
      const held =
        (temporaryDirectory === undefined ? await image(file, mapped) : null) ??
        (await temporary(file, mapped, temporaryDirectory ?? options.room))
      all.push(held)
      return held.path
    },
    async settle(engine) {
      for (const held of all) {
        if (held.mapped && typeof engine === 'object' && engine !== null) holdFor(engine, held)
        else await held.release()
      }
    },
  }
}

/** Files that engines have mapped. The lock of a file ends with its descriptor, so that must not be collected before the engine. */
const mapped = new Set<Held>()
const collected = new FinalizationRegistry<Held>((held) => {
  mapped.delete(held)
  held.releaseSync()
})

function holdFor(engine: object, held: Held): void {
  mapped.add(held)
  collected.register(engine, held)
}

/** Blobs that do not fit together were never those of this file. */
async function* wholly(parts: AsyncIterable<Uint8Array>, options: FileRestorerOptions): AsyncGenerator<Uint8Array> {
  try {
    yield* parts
  } catch (error) {
    options.signal?.throwIfAborted()
    if (isHoldfastError(error)) throw error
    throw disagree(options, (error as Error).message, error)
  }
}

function disagree({ sequence, record }: FileRestorerOptions, why: string, cause?: unknown): HoldfastError {
  return new HoldfastError(
    'SNAPSHOT_DAMAGED',
    `snapshot ${sequence} is damaged: the blobs of ${record.name} do not make the file that it recorded: ${why}`,
    { details: { sequence, engine: record.name }, cause },
  )
}

function noFile({ sequence, record }: FileRestorerOptions): HoldfastError {
  return new HoldfastError(
    'ENGINE_MISMATCH',
    `snapshot ${sequence} cannot be restored by this adapter: ${record.name} was saved without a file, and one is asked for`,
    { details: { sequence, what: 'file', saved: null, wanted: record.name } },
  )
}
