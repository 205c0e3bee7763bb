// The adapter for MiniSearch. MiniSearch keeps an inverted index: for each term, the documents that contain it. Saved
// in that form, one new document changes the postings of each of its terms, all over the file. So the adapter inverts
// the index: it saves a row for each document, with everything that belongs to the document. A new document adds a row
// at the end. A changed document removes its row and adds one at the end. (Separate columns for ids, lengths, stored
// fields and terms were tried: removing a document then changes a chunk in each column.)
//
//    head        { json, fields }    json: what `toJSON` gives beside the rest; fields: their ids
//    documents   rows as `posting-rows.ts` has them, by short id, which is the id of the row: the document is
//                [id, lengths, stored?], none for one discarded but not yet vacuumed, of which there are only terms; a
//                cell for each field, a slot being how often the term occurs
//    termOrder   the order of each term tree node's children (`term-order.ts`)
//
// The term order must be kept: scores of prefix and fuzzy matches are floating-point sums, which depend on the order.

import { type Chunking, content } from '../index.ts'
import { assertOptions } from '../misuse.ts'
import type { EngineAdapter } from './adapter.ts'
import { restoring } from './engine-failed.ts'
import {
  changed,
  copyAtOnce,
  copyByAndBy,
  type Json,
  type MiniSearchLike,
  revisionOf,
  SERIALIZATION,
  take,
} from './minisearch-capture.ts'
import { type Head, type MiniSearchClass, restoreMiniSearch } from './minisearch-restore.ts'
import { documentRows, termOrder } from './minisearch-rows.ts'
import { packageVersion } from './version.ts'

export type { MiniSearchClass, MiniSearchLike }

interface Fields {
  fields: readonly string[]
  idField?: string | undefined
  storeFields?: readonly string[] | undefined
  tokenize?: unknown
  processTerm?: unknown
}

/** What the MiniSearch adapter cannot find out from the options of the engine. */
export interface MiniSearchAdapterOptions {
  /**
   * A name for your `tokenize` and `processTerm`; change it when they change, for an index made with one tokenizer
   * gives wrong answers to another. Functions themselves cannot be compared: without a name, all that are not
   * MiniSearch's own count as equal.
   */
  tokenizer?: string | undefined
  /** Of the minisearch package, where it cannot be found. */
  version?: string | undefined
}

/** Posting lists and the like change a little in many places: smaller chunks than the default. */
const CHUNKING: Chunking = content({ averageBytes: 4096 })

/**
 * Saves and restores a MiniSearch: `minisearch(MiniSearch, { fields: ['title', 'text'] })`, the options being those of
 * the engine.
 */
export function minisearch<Engine extends MiniSearchLike, Options extends Fields>(
  MiniSearch: MiniSearchClass<Engine, Options>,
  engineOptions: Options,
  options: MiniSearchAdapterOptions = {},
): EngineAdapter<Engine> {
  assertOptions('minisearch', options, { tokenizer: 'any', version: 'any' })
  if (typeof MiniSearch !== 'function') throw new TypeError('minisearch: give the MiniSearch class, then its options')
  const { fields, idField = 'id', storeFields = [], tokenize, processTerm } = engineOptions
  const given = Object.entries({ tokenize, processTerm }).filter(([, value]) => value !== undefined)
  const plain = given.every(([option, value]) => isDefault(MiniSearch, option, value))
  return {
    name: 'minisearch',
    layout: 2,
    version: options.version ?? packageVersion('minisearch'),
    options: {
      fields: [...fields].sort(),
      idField,
      storeFields: [...storeFields].sort(),
      tokenizer: options.tokenizer ?? (plain ? 'default' : 'custom'),
    },
    recorded(saved) {
      // An earlier version took MiniSearch's own functions for others when they were among the options.
      const renamed = plain && given.length > 0 && options.tokenizer === undefined && saved.tokenizer === 'custom'
      return renamed ? { ...saved, tokenizer: 'default' } : saved
    },
    async save(engine, { attempt, turn }) {
      const revision = revisionOf(engine)
      const { json, documents, fields, lists } = take(engine)
      const head: Head = { json, fields }
      // At first postings are copied a few at a time. In an engine that changes meanwhile, they are copied at one go
      // the next time.
      const atOnce = attempt > 1 || revision === undefined
      const postings = atOnce ? copyAtOnce(lists, turn) : await copyByAndBy(lists, turn)
      if (revisionOf(engine) !== revision) throw changed()
      return {
        captured: true,
        blobs: {
          head: { source: `${JSON.stringify(head)}\n`, type: 'application/json' },
          documents: {
            source: documentRows(documents, postings, fields, turn),
            chunking: CHUNKING,
            type: 'application/octet-stream',
          },
          termOrder: { source: termOrder(postings, turn), chunking: CHUNKING },
        },
        metadata: { serialization: SERIALIZATION },
      }
    },
    revision: revisionOf,
    restore(saved, { signal }) {
      const option = 'the options of MiniSearch'
      return restoring(saved, { engine: 'minisearch', option, signal }, (watched) =>
        restoreMiniSearch(MiniSearch, engineOptions, watched, signal),
      )
    },
    refuses({ state }) {
      const saved = state?.serialization
      const reads = (new MiniSearch(engineOptions).toJSON() as Partial<Json>).serializationVersion
      if (typeof saved !== 'number' || typeof reads !== 'number' || saved <= reads) return undefined
      return `it is in MiniSearch's serialization version ${saved}, and this MiniSearch reads up to ${reads}`
    },
  }
}

/** Whether it is what MiniSearch would have done by itself. */
function isDefault(MiniSearch: { getDefault?(option: string): unknown }, option: string, value: unknown): boolean {
  return typeof MiniSearch.getDefault === 'function' && MiniSearch.getDefault(option) === value
}
