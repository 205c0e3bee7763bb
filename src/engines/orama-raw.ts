// What is known of Orama's databases, and of what its `save` gives.

import type { Sort } from '../encodings/orama-sort.ts'
import type { TextProperty } from '../encodings/orama-text.ts'
import type { VectorEntry } from '../encodings/orama-vectors.ts'
import { HoldfastError } from '../index.ts'

/** The components of a database that save and load state of their own. */
export const COMPONENTS = ['index', 'sorter', 'documentsStore', 'pinning'] as const

export type Component = { save?: unknown; load?: unknown } | undefined

/** What is read of a database. */
export interface OramaDb extends Record<(typeof COMPONENTS)[number], Component> {
  data: { index: RawIndex & { indexes: Record<string, { node: unknown }> } }
  getDocumentProperties(document: object, paths: readonly string[]): Record<string, unknown>
}

/** What Orama's `save` gives and `load` takes. */
export interface Raw {
  internalDocumentIDStore: { internalIdToId: string[] }
  index: RawIndex
  docs: { docs: Record<string, object>; count: number }
  sorting: { sorts?: Record<string, Sort> }
  pinning?: unknown
  language: unknown
}

export interface RawIndex {
  indexes: Record<string, { type: string; node: unknown; isArray: boolean }>
  vectorIndexes: Record<string, { size: number; vectors: Iterable<VectorEntry> }>
  frequencies: Record<string, TextProperty['frequencies']>
  tokenOccurrences: Record<string, TextProperty['tokenOccurrences']>
  fieldLengths: Record<string, TextProperty['fieldLengths']>
  avgFieldLength: Record<string, number | undefined>
}

/** The head: everything small. `raw` is what `save` gave, less what is elsewhere. */
export interface Head {
  raw: Record<string, unknown> & { sorting: object }
  count: number
  /** By text property; as text, for after removals from a list property it can be NaN, and then scores are. */
  averages: [property: string, average: string][]
  texts: [property: string, isArray: boolean][]
  trees: [property: string, type: string, isArray: boolean][]
  vectors: [property: string, size: number][]
  sorts: [property: string, type: string][]
}

export function notKnown(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `this Orama is not known: ${why}; the adapter knows versions 3`, {
    details: { what: 'version', saved: why, wanted: '3.x' },
  })
}
