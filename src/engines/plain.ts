// The adapter for engines that have none of their own. The caller turns the engine into bytes, or saves it to a path.

import { type BlobInput, HoldfastError, type SnapshotBlob } from '../index.ts'
import { assertOptions, type OptionTable, refusePromise } from '../misuse.ts'
import type { EngineAdapter, EngineFile, EngineState, RestoreContext, SaveContext, SavedEngine } from './adapter.ts'

/** An engine of your own: how its state becomes bytes, and how it is made from them again. */
export interface PlainOptions<Engine> {
  /** Names the engine; a snapshot of another name is refused. */
  name: string
  /** Raise it when your bytes change so that older code could not read them. Default 1. */
  layout?: number | undefined
  /** What must be equal on save and restore: dimensions, metric, tokenizer id. */
  options?: Record<string, unknown> | undefined
  version?: string | undefined
  /**
   * One blob, or several by name. Bytes, text, streams, `{ file }`, or `(path) => …` that saves into a path. Bytes are
   * taken as they are now; what is read later (streams, functions, files) needs `revision` if the engine can change
   * meanwhile. So does a `save` that awaits anything: its parts could be of two states, and it is refused
   * (`SOURCE_FAILED`) unless there is a `revision`, the caller gives `sourceVersion`, or it answers `{ blobs, captured:
   * true }`.
   *
   * An engine that saves into a path and loads from one is saved by `context.saveFile((path) => engine.save(path))`,
   * and restored from `blobs.file()`: the file is kept as an image then. Call it before anything is awaited.
   */
  save(engine: Engine, context: SaveContext): PlainBlobs | Promise<PlainBlobs>
  /**
   * One blob comes as `blobs.blob('index')`: its `bytes()`, `text()`, `stream()` or, for engines that open paths,
   * `file()`.
   */
  restore(blobs: SavedEngine, context: RestoreContext): Engine | Promise<Engine>
  /** See `EngineAdapter.revision`. */
  revision?(engine: Engine): unknown
  /** See `EngineAdapter.close`. */
  close?(engine: Engine): void | Promise<void>
}

const PLAIN_OPTIONS: OptionTable<PlainOptions<unknown>> = {
  name: 'any',
  layout: 'any',
  options: 'any',
  version: 'any',
  save: 'function',
  restore: 'function',
  revision: 'function',
  close: 'function',
}

/** One blob, named `index`, or `{ blobs }` by name; or a file of `context.saveFile`, which may have blobs beside it. */
export type PlainBlobs = BlobInput | EngineFile | NamedBlobs

interface NamedBlobs extends Pick<EngineState, 'file' | 'regions' | 'chunking'> {
  blobs: Readonly<Record<string, BlobInput>> | Iterable<readonly [string, BlobInput]>
  /**
   * True: the blobs are copies of one state of the engine, whatever `save` awaited. You see to it that nothing changes
   * the engine meanwhile.
   */
  captured?: boolean | undefined
  /** Called when the blobs have been read, or will not be: removes temporary files. */
  release?(): void | Promise<void>
}

export type { SavedEngine, SnapshotBlob }

/** An adapter made of two functions. */
export function plain<Engine>(description: PlainOptions<Engine>): EngineAdapter<Engine> {
  refusePromise(description, 'plain: the description')
  // An instance of a class may have fields of its own as well.
  if (description?.constructor === Object) assertOptions('plain', description, PLAIN_OPTIONS)
  for (const method of ['save', 'restore'] as const) {
    if (typeof description?.[method] !== 'function') throw new TypeError(`plain: ${method} must be a function`)
  }
  const { name, layout = 1, options = {}, version, revision, close } = description
  if (typeof name !== 'string' || name === '') throw new TypeError('plain: give the engine a name')
  return {
    name,
    layout,
    options,
    version,
    async save(engine, context) {
      // An async function runs up to its first await at once: `save` is called in the instant of the capture.
      let isInTurn = true
      let isFileAtOnce = false
      const saving = description.save(engine, {
        ...context,
        saveFile(save, options) {
          isFileAtOnce = isInTurn
          return context.saveFile(save, options)
        },
      })
      isInTurn = false
      const awaits = !(await isSettled(saving))
      const saved = await saving
      const named = namedBlobs(saved)
      const { captured, release, ...state } = named
      // Its parts are of one state, as those of any save of the engine itself.
      const isOneFile = isFileAtOnce && state.file !== undefined && isEmpty(state.blobs)
      const isTold = captured === true || context.watched === true || revision?.call(description, engine) !== undefined
      if (awaits && !isOneFile && !isTold) {
        await release?.call(named)
        throw perhapsTorn(name)
      }
      return {
        ...state,
        ...(captured === true ? { captured } : {}),
        ...(release === undefined ? {} : { release: () => release.call(named) }),
      }
    },
    restore: (saved, context) => description.restore(saved, context),
    ...(revision === undefined ? {} : { revision: (engine: Engine) => revision.call(description, engine) }),
    ...(close === undefined ? {} : { close: (engine: Engine) => close.call(description, engine) }),
  }
}

function namedBlobs(saved: PlainBlobs): NamedBlobs {
  if (isNamed(saved)) return saved
  return isEngineFile(saved) ? { blobs: {}, file: saved } : { blobs: { index: saved } }
}

/** A stream can be read as well, and has no size. */
function isEngineFile(saved: PlainBlobs): saved is EngineFile {
  const { size, read } = (saved ?? {}) as Partial<EngineFile>
  return typeof size === 'number' && typeof read === 'function' && !(Symbol.asyncIterator in (saved as object))
}

function isEmpty(blobs: NamedBlobs['blobs']): boolean {
  return !(Symbol.iterator in blobs) && Object.keys(blobs).length === 0
}

const PENDING = Symbol('pending')

/** Whether a save was done when it returned. An async function that awaits nothing was; nothing else ran meanwhile. */
async function isSettled(saving: PlainBlobs | Promise<PlainBlobs>): Promise<boolean> {
  return (await Promise.race([saving, PENDING])) !== PENDING
}

function perhapsTorn(name: string): HoldfastError {
  return new HoldfastError(
    'SOURCE_FAILED',
    `the save of ${name} awaits, and nothing tells whether the engine changed meanwhile: its blobs may be of two states, and were not saved. Give ` +
      'plain a revision(engine) that differs after every change, or persistEngine a sourceVersion; or, if nothing can change the engine during ' +
      'its save, answer { blobs, captured: true }',
    { details: { engine: name } },
  )
}

function isNamed(saved: PlainBlobs): saved is NamedBlobs {
  return typeof saved === 'object' && saved !== null && Object.hasOwn(saved, 'blobs')
}
