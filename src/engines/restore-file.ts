// The file of an engine in a restore: the image, verified by its digest; or else put together from the blobs, by one
// process at a time.

import type { EngineFileOptions, SavedEngine } from '../encodings/engine-state.ts'
import { toHex } from '../format/hex.ts'
import { HoldfastError } from '../index.ts'
import { assembleFile, type FileRecord, type FileSource, isFile } from '../load/engine-file.ts'
import type { Images } from '../local/images.ts'
import { privateHome } from '../local/saved-file.ts'
import type { EngineRecord } from './engine-record.ts'

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

  function sourceOf(file: FileRecord): FileSource {
    return { file, engine: record.name, sequence: options.sequence, blob: saved.blob, signal }
  }

  async function image(file: FileRecord, mapped: boolean): Promise<Held | null> {
    if (images === null) return null
    const digest = toHex(file.digest)
    let isMade = false
    const held = await images.use(digest, {
      size: file.size,
      verify: (read) => isFile(file, read, signal),
      assemble: keep
        ? async (home) => {
            isMade = true
            return await assembleFile(sourceOf(file), home)
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
      const path = await assembleFile(sourceOf(file), home)
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

/**
 * Files that engines have mapped. The lock of a file ends with its descriptor, so that must not be collected before the
 * engine.
 */
const mapped = new Set<Held>()
const collected = new FinalizationRegistry<Held>((held) => {
  mapped.delete(held)
  held.releaseSync()
})

function holdFor(engine: object, held: Held): void {
  mapped.add(held)
  collected.register(engine, held)
}

function noFile({ sequence, record }: FileRestorerOptions): HoldfastError {
  return new HoldfastError(
    'ENGINE_MISMATCH',
    `snapshot ${sequence} cannot be restored by this adapter: ${record.name} was saved without a file, and one is asked for`,
    { details: { sequence, what: 'file', saved: null, wanted: record.name } },
  )
}
