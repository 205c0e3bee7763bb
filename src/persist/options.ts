// What a persist is asked, and what it answers.

import type { Chunking } from '../format/chunking.ts'
import type { Keep, Policy } from '../history/keep.ts'
import type { Watermark } from '../load/watermark.ts'
import type { OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import type { KeptReasons } from './kept.ts'
import type { BlobInput } from './sources.ts'

/** How a snapshot is committed, wherever its content comes from. */
export interface CommitOptions {
  /**
   * The blobs hold the effect of every entry of the journal up to this one. Required in a store with a journal, which
   * must be open: `COVERS_REQUIRED`.
   */
  covers?: number | undefined
  /** For people reading the history. */
  message?: string | undefined
  /** Replaces the store's for this one persist. */
  keep?: Keep | undefined
  /** Short for `keep: { last: n }`. */
  keepLast?: number | undefined
  /** `HEAD_CONFLICT` unless this is the current sequence (null: no snapshot yet). */
  expectedHead?: number | null | undefined
  /** How long to wait for another writer, in ms; default 30,000. */
  lockWaitMs?: number | undefined
  /** Rejects with `signal.reason`; nothing is committed. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

/** What to persist, and how. */
export interface PersistOptions extends CommitOptions {
  /** Blobs by name. */
  blobs: Readonly<Record<string, BlobInput>> | Iterable<readonly [string, BlobInput]>
  /**
   * The caller's data: plain values, bytes, links. `METADATA_INVALID` names the field that cannot be kept faithfully.
   */
  metadata?: Record<string, unknown> | undefined
  /**
   * The position of the source of truth that this is of. `METADATA_INVALID` for what cannot be compared with a later
   * one.
   */
  watermark?: Watermark | undefined
  /** How blobs are cut that do not say so themselves; default `content()`. */
  chunking?: Chunking | undefined
  /** Called before and after the blobs are read; another answer is `SOURCE_CHANGED` and nothing is committed. */
  sourceVersion?: (() => unknown) | undefined
  /**
   * Called with the current snapshot, once nobody else writes: names of blobs that are known to be the same there. They
   * are taken from it unread, unless they were cut otherwise, or a block of them is missing or known to be bad. What it
   * answers is not checked.
   */
  sameBlobs?: ((current: { metadata: Record<string, unknown> }) => Iterable<string>) | undefined
  /**
   * Answers what would be done, and changes nothing: blobs are read, cut and compared with the store as a reader sees
   * it now. Takes no lock, and does not look at `covers`.
   */
  dryRun?: boolean | undefined
}

export const COMMIT_OPTIONS: OptionTable<CommitOptions> = {
  covers: 'any',
  message: 'any',
  keep: 'any',
  keepLast: 'any',
  expectedHead: 'head',
  lockWaitMs: 'ms',
  signal: 'signal',
  onProgress: 'function',
}

/** Checked before anything is read. */
export const PERSIST_OPTIONS: OptionTable<PersistOptions> = {
  ...COMMIT_OPTIONS,
  blobs: 'any',
  metadata: 'any',
  watermark: 'any',
  chunking: 'any',
  sourceVersion: 'function',
  sameBlobs: 'function',
  dryRun: 'boolean',
}

/** What a persist made, and how much it wrote; of a dry run, what it would make and write. */
export interface PersistResult {
  sequence: number
  /** CID of the manifest: equal content under equal chunking has an equal one. */
  manifest: string
  /** The store already had exactly this as its current snapshot; nothing was written. */
  unchanged: boolean
  /** Sequences of the snapshots that `keep` dropped with this one, newest first. */
  dropped: readonly number[]
  /** Why the others stay, the new one included. Empty when `unchanged`: then nothing is dropped. */
  kept: KeptReasons
  bytes: {
    /** Of all blobs. */
    total: number
    /** Written into packs for this snapshot, indexes included. */
    written: number
    /** Of blob bytes that were in the store already. */
    reused: number
    /** Of older blocks, copied so that their packs can go. */
    compacted: number
  }
  blobs: Record<string, { cid: string; size: number }>
  durationMs: number
}

/** The store's settings that a persist follows. */
export interface PersistDefaults {
  policy: Policy
  lockWaitMs: number
  packBytesMax: number
  compression: 'auto' | 'none' | 'zstd'
}
