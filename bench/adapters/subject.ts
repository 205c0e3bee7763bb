import type { EngineAdapter, EngineState } from '../../src/engines/adapter.ts'
import { type Chunking, content } from '../../src/index.ts'
import type { Change } from './result.ts'

/** One engine to be measured. */
export interface Subject<Engine = unknown> {
  name: string
  /** What is in it: `24,796 paragraphs (10.8 MB) of …`. */
  content: string
  /** With the first documents or vectors. */
  create(): Engine | Promise<Engine>
  /** Changes a hundredth of it, or adds as much. */
  change(engine: Engine, change: Exclude<Change, 'nothing'>): void
  adapter: EngineAdapter<Engine>
  /** Restores where the engine's own load is as durable: SQLite, to a path. Default `adapter`. */
  restoring?: EngineAdapter<Engine>
  /** The engine's own save is made durable, to compare with: it takes so little time that the disk is most of it. */
  isDurable?: boolean
  /** A restore that maps the file, and the engine's own. */
  view?: { adapter: EngineAdapter<Engine>; own(directory: string): Promise<Engine> }
  /** The adapter, where its calls of the engine go through `engine`: of an engine that works for long in one call. */
  watched?(engine: <T>(call: () => T) => T): EngineAdapter<Engine>
  /** The adapter's layout, in a few words. */
  layout: string
  /** The engine's own way, into files of a directory. */
  own: {
    what: string
    save(engine: Engine, directory: string): Promise<void>
    load(directory: string): Promise<Engine>
    /** The first half of `save`: what is in memory before it is written. */
    export?(engine: Engine): unknown
    /** The same of a copy that survives a power loss. */
    loadDurably?(directory: string): Promise<Engine>
  }
  /** Other layouts, for comparison. */
  tried: readonly Tried<Engine>[]
}

/** An engine that is not here, and why. */
export interface Absent {
  name: string
  missing: string
}

/** How much to measure with. */
export interface Scale {
  /** Of the repository. */
  root: string
  /** A tenth. */
  quick: boolean
}

/** The engines of one file. */
export type Subjects = (scale: Scale) => readonly (Subject<never> | Absent)[]

export interface Tried<Engine> {
  layout: string
  adapter: EngineAdapter<Engine>
}

/** The adapter with other chunks. */
export function withChunks<Engine>(adapter: EngineAdapter<Engine>, averageBytes: number): EngineAdapter<Engine> {
  const chunking = content({ averageBytes })
  return {
    ...adapter,
    async save(engine, context) {
      return rechunked(await adapter.save(engine, context), chunking)
    },
  }
}

function rechunked(state: EngineState, chunking: Chunking): EngineState {
  if (state.file !== undefined) return { ...state, chunking }
  const entries = Symbol.iterator in state.blobs ? [...state.blobs] : Object.entries(state.blobs)
  const blobs = entries.map(([name, blob]) => {
    const source = typeof blob === 'object' && 'source' in blob ? blob : { source: blob as string }
    return [name, { ...source, chunking }] as const
  })
  return { ...state, blobs }
}

export const KIB = 1024
