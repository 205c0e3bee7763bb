// What a report is asked for with, and what it answers.

import type { OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import type { Uncounted } from '../space/stats.ts'

/** What a report has. */
export interface ReportOptions {
  /**
   * Verifies the store first, as `verify` does at this level; default `none`: the page says that it was not verified.
   */
  verify?: 'none' | 'quick' | 'full' | undefined
  /** Numbers blobs, tags and packs instead of naming them, and leaves messages out; default false. */
  redact?: boolean | undefined
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export const REPORT_OPTIONS: OptionTable<ReportOptions> = {
  verify: 'any',
  redact: 'boolean',
  signal: 'signal',
  onProgress: 'function',
}

/** A page about a store. */
export interface Report {
  /** One HTML document below a megabyte, which loads nothing. */
  html: string
  /** Of HEAD, which it is of. */
  revision: number
  current: number | null
  /** Whether `verify` found the store to be well; null when it was not asked. */
  ok: boolean | null
  /** What could not be read, as `stats` says it: the numbers on the page are without it. */
  uncounted: readonly Uncounted[]
  /**
   * Snapshots whose numbers are too small, by sequence: `damaged`, or `unread` because the system did not give what may
   * be whole.
   */
  damaged: readonly number[]
  unread: readonly number[]
}
