import type { EngineAdapter, EngineState } from '../../src/engine/adapter.ts'
import { type Chunking, content } from '../../src/index.ts'
import type { TextDocument } from './corpus.ts'

/** One engine to be measured. The engine starts with the first documents of the corpus; changes take the rest. */
export interface Subject<Engine = unknown> {
  name: string
  /** The npm package. */
  package: string
  create(documents: readonly TextDocument[]): Engine | Promise<Engine>
  add(engine: Engine, documents: readonly TextDocument[]): void
  /** Documents whose text changed. */
  update(engine: Engine, documents: readonly TextDocument[]): void
  remove(engine: Engine, documents: readonly TextDocument[]): void
  adapter: EngineAdapter<Engine>
  /** The engine's own way, into files of a directory. */
  own: {
    what: string
    save(engine: Engine, directory: string): Promise<void>
    load(directory: string): Promise<Engine>
  }
  /** Other layouts, for comparison. */
  tried: readonly Tried<Engine>[]
}

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
  const entries = Symbol.iterator in state.blobs ? [...state.blobs] : Object.entries(state.blobs)
  const blobs = entries.map(([name, blob]) => {
    const source = typeof blob === 'object' && 'source' in blob ? blob : { source: blob as string }
    return [name, { ...source, chunking }] as const
  })
  return { ...state, blobs }
}

export const KIB = 1024
