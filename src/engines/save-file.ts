// The file that an engine saves in `context.saveFile`: hashes it, makes blobs of it, and keeps it as an image. The
// engine never saves into a path that was given out before, for somebody may have it mapped.

import { blobsOfFile, splitFile } from '../encodings/column-file.ts'
import type { EngineFile, EngineState } from '../encodings/engine-state.ts'
import { fileDigest } from '../format/engine-file.ts'
import { toHex } from '../format/hex.ts'
import type { Region } from '../format/regions.ts'
import { HoldfastError } from '../index.ts'
import type { FileRecord } from '../load/engine-file.ts'
import type { HeldImage, Images } from '../local/images.ts'
import { cutShort, type Home, type NamedFile, privateHome, saveInto } from '../local/saved-file.ts'
import { isFull } from '../local/work-home.ts'
import { digestSegments, openVerified, type VerifiedFile } from '../workers/segments.ts'
import type { SaveContext } from './engine-adapter.ts'

/** The file of one save. */
export interface FileSaver {
  saveFile: SaveContext['saveFile']
  /** The blobs of the file, and what the record says of it. */
  describe(engine: string, state: EngineState): Promise<{ blobs: EngineState['blobs']; record: FileRecord }>
  /**
   * Keeps the file as an image, if that was asked for, and holds it until the release. Called again when the store is
   * made.
   */
  keep(): Promise<void>
  /** The file was saved in the turn of the call, so the engine may change while it is read. */
  readonly isAtOnce: boolean
  /** Bytes that were kept. */
  readonly keptBytes: number
  /** The file lies in the store's directory, which may have no room for it. */
  readonly isInStore: boolean
  release(): Promise<void>
}

interface FileSaverOptions {
  /** Null: no image is kept, and the engine saves into the directory for temporary files. */
  images: Images | null
  /** Whether to keep the image. */
  keep: boolean
  /** Where to save if the store is no place, in place of the system's directory for temporary files. */
  room: string | undefined
  signal: AbortSignal | undefined
}

export function createFileSaver({ images, keep, room, signal }: FileSaverOptions): FileSaver {
  let isAsked = false
  let directory: string | undefined
  let isAtOnce = false
  let isInStore = false
  let canKeep = keep && images !== null
  let file: NamedFile | null = null
  let verified: VerifiedFile | null = null
  let digest: string | null = null
  let held: HeldImage | null = null
  let keptBytes = 0

  function saveHere(home: Home, save: (path: string) => unknown): NamedFile | Promise<NamedFile> {
    const saved = saveInto(home, save)
    // An engine may take what it could write for all of it.
    if (saved instanceof Promise || !isFull(home.path)) return saved
    void saved.release()
    throw new HoldfastError('NO_SPACE', `there is no room in ${home.path}`, { details: { path: home.path } })
  }

  /** Everything up to the call of `save` is done at once. */
  function saveSomewhere(
    save: (path: string) => unknown,
    temporary: string | undefined,
  ): NamedFile | Promise<NamedFile> {
    const home = temporary === undefined ? (images?.home() ?? null) : null
    function elsewhere(): NamedFile | Promise<NamedFile> {
      isInStore = false
      directory = temporary ?? room
      return saveInto(privateHome(directory), save)
    }
    if (temporary !== undefined) canKeep = false
    if (home === null) return elsewhere()
    isInStore = true
    try {
      const saved = saveHere(home, save)
      return saved instanceof Promise ? saved.catch(withoutImage) : saved
    } catch {
      return withoutImage()
    }
    function withoutImage(): NamedFile | Promise<NamedFile> {
      canKeep = false
      return elsewhere()
    }
  }

  return {
    async saveFile(save, options = {}) {
      if (isAsked) throw new TypeError('saveFile: an engine saves one file; give more of them as blobs')
      isAsked = true
      const saving = saveSomewhere(save, options.temporaryDirectory)
      isAtOnce = !(saving instanceof Promise)
      file = await saving
      // Nothing is left of it then when the process is killed.
      if (!canKeep) file.hide()
      return file
    },
    async describe(engine, { file: given, regions, chunking }) {
      if (file === null || given !== file) {
        throw new TypeError(`the adapter of ${engine}: file must be what context.saveFile gave in this save`)
      }
      const { size } = file
      const segments = await digestSegments(size, file.read, signal)
      if (segments === null) throw cutShort(directory, engine, size, size + 1)
      const whole = fileDigest(segments)
      digest = toHex(whole)
      verified = openVerified(file, segments, () => fileChanged(engine))
      const split = await splitFile(engine, verified, regions ?? null, directory)
      return {
        blobs: blobsOfFile(verified, split, chunking),
        record: recordOfFile(whole, size, split.measured?.regions),
      }
    },
    async keep() {
      if (!canKeep || held !== null || file === null || digest === null) return
      const put = await images!.put(file.path, digest)
      if (put === null) return
      held = put
      if (put.isNew) keptBytes = file.size
    },
    get isAtOnce() {
      return isAtOnce
    },
    get keptBytes() {
      return keptBytes
    },
    get isInStore() {
      return isInStore
    },
    async release() {
      await verified?.close()
      await file?.release()
      await held?.release()
    },
  }
}

function recordOfFile(digest: Uint8Array, size: number, regions: readonly Region[] | undefined): FileRecord {
  return { digest, size, ...(regions === undefined ? {} : { regions: regions.map(plainRegion) }) }
}

/** Strict values: no field is undefined, and none is a class's. */
function plainRegion({ count, fields, tail }: Region): Region {
  return {
    count,
    fields: fields.map(({ column, size }) => ({ column, size })),
    ...(tail === undefined ? {} : { tail: { ...tail } }),
  }
}

function fileChanged(engine: string): HoldfastError {
  return new HoldfastError(
    'SOURCE_CHANGED',
    `the file that ${engine} saved changed while it was read; nothing was committed: does the engine still write into it?`,
    { details: { engine } },
  )
}

export type { EngineFile }
