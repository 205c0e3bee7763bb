// What a garbage collection can be told, and what it answers: the same for a store in a directory and for one in an
// object store.

import type { PackAction } from '../gc/plan-gc.ts'
import type { OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'

/** How much a garbage collection does. */
export interface GcOptions {
  /** Answers what the same call would do from this HEAD, and changes nothing. `budgetMs` does not count. */
  dryRun?: boolean | undefined
  /** No pack is begun after so many ms. One pack at least is done. */
  budgetMs?: number | undefined
  /** No pack is begun that would move more than so many bytes in all. One pack at least is done. */
  budgetBytes?: number | undefined
  /**
   * Erases: rewrites every pack with a block that nothing needs, and answers `untouched`. Default: until little is left
   * to gain.
   */
  complete?: boolean | undefined
  /**
   * In an object store: retired packs stay readable for so long, by the server's clock; default 24 hours, longer than
   * any load should take. What one call rewrites, a later one deletes.
   */
  graceMs?: number | undefined
  /** Rejects with `signal.reason`. What was done stays done. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export const GC_OPTIONS: OptionTable<GcOptions> = {
  dryRun: 'boolean',
  budgetMs: 'ms',
  budgetBytes: 'any',
  complete: 'boolean',
  graceMs: 'ms',
  signal: 'signal',
  onProgress: 'function',
}

/** What a garbage collection did, in bytes. */
export interface GcResult {
  /** Nothing is left to do. False: the budget ended, and the next call goes on. */
  done: boolean
  /** Given back: of deleted packs, without what moved out of them. */
  freedBytes: number
  /** Copied into new packs. */
  movedBytes: number
  /** Garbage that a further call would give back. */
  remainingBytes: number
  /** All garbage in packs that is left. Some is left where giving it back would cost more than it is worth. */
  deadBytes: number
  /** What was done, in this order. */
  packs: readonly PackAction[]
  /** What may still hold bytes of dropped snapshots. */
  untouched: readonly Untouched[]
}

/**
 * `evidence`: a pack with bad blocks, or one of a snapshot that cannot be read. `files`: blobs laid out as files and in
 * use.
 */
export type Untouched = { what: 'evidence'; pack: string } | { what: 'files' | 'journal' }

/** What is answered where there is nothing to do. */
export const NOTHING: GcResult = {
  done: true,
  freedBytes: 0,
  movedBytes: 0,
  remainingBytes: 0,
  deadBytes: 0,
  packs: [],
  untouched: [],
}
