// What users see of a store's journal: how it is opened, and what an open one offers.

import type { RollbackOptions } from '../history/history.ts'
import type { SnapshotInfo } from '../load/snapshot.ts'
import type { OptionTable } from '../misuse.ts'

/** How a journal is opened. */
export interface JournalOptions {
  /** How long to wait for another owner, in ms; default 0. Then `JOURNAL_LOCKED`. */
  lockWaitMs?: number | undefined
  /** Version of the entries, kept in the journal's segments; default 1. */
  changes?: number | undefined
  /** Entries that wait for the disk may take this much memory, in bytes; default 64 MiB. Then `JOURNAL_BUSY`. */
  maxPendingBytes?: number | undefined
  /**
   * Entries that no snapshot covers may take this much of the disk, in bytes; default 4 GiB, at least 1 MiB. Then
   * `JOURNAL_FULL`, and at half of it the warning `JOURNAL_GROWS`.
   */
  maxJournalBytes?: number | undefined
  /**
   * Begins a new journal, whatever became of the old one: its entries are never replayed again. Its files go into
   * `quarantine/`. For a journal that is damaged, when what it holds comes from somewhere else.
   */
  startOver?: boolean | undefined
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
}

export const JOURNAL_OPTIONS: OptionTable<JournalOptions> = {
  lockWaitMs: 'ms',
  changes: 'any',
  maxPendingBytes: 'any',
  maxJournalBytes: 'any',
  startOver: 'boolean',
  signal: 'signal',
}

export const APPEND_OPTIONS: OptionTable<NonNullable<Parameters<Journal['append']>[1]>> = { applied: 'boolean' }

/** Which entries are read. */
export interface ReadJournalOptions {
  /** The one before the first. */
  after?: number | undefined
  /**
   * Reads what there is where entries are missing that no journal holds any more, instead of `JOURNAL_GAP`. Those
   * behind have `afterLoss`.
   */
  acceptLoss?: boolean | undefined
}

export const READ_JOURNAL_OPTIONS: OptionTable<ReadJournalOptions> = { after: 'any', acceptLoss: 'boolean' }

/** One entry of a journal. */
export interface JournalEntry {
  /** Growing by one from entry to entry, never given twice. */
  sequence: number
  data: Uint8Array
  /**
   * Earlier entries are missing that were to be read: they were lost, as `repair({ journal: 'skip' })` recorded, or the
   * reading has `acceptLoss`.
   */
  afterLoss: boolean
}

/** An open journal: a log of entries between snapshots. It has one owner at a time. */
export interface Journal {
  /** The store was opened read-only: entries are read, those that were there at the opening, and none is appended. */
  readonly readOnly: boolean
  /** The last entry that was given a sequence. */
  readonly last: number
  /** The last entry that is known to be durable, counted from the opening: before the first append it may be behind. */
  readonly durableUpTo: number
  /** Bytes of entries that are not durable yet. */
  readonly pendingBytes: number
  /** Bytes on the disk of entries that no snapshot covers, about. */
  readonly uncoveredBytes: number
  /** Why it takes no entries since a write failed; null when it does. */
  readonly error: unknown
  /**
   * Adds an entry, which is copied. Its sequence is known at once. `durable` resolves when the entry survives power
   * loss, and rejects with `CHANGE_UNKNOWN` when writing failed.
   *
   * @throws JOURNAL_BUSY, JOURNAL_FULL, JOURNAL_FAILED, LIMIT_EXCEEDED above 16 MiB, STORE_CLOSED: the entry was not
   * taken
   */
  append(
    data: Uint8Array,
    options?: {
      /**
       * The effect of the entry is there already: `assertTakes` was called before. It is taken whatever the limits are
       * now, and when the journal has failed meanwhile it gets a sequence all the same, and `durable` rejects.
       */
      applied?: boolean | undefined
    },
  ): { sequence: number; durable: Promise<void> }
  /** Throws what `append` would for an entry of this size, and takes nothing. */
  assertTakes(dataBytes: number): void
  /** Resolves when everything that was appended is durable. */
  flush(): Promise<void>
  /** Resolves when this entry is durable. */
  durable(sequence: number): Promise<void>
  /**
   * Durable entries in order, from the one after `after` on; default: those that the current snapshot does not cover.
   * Entries that a rollback stepped over, and those that were given to `skip`, are left out.
   *
   * @throws JOURNAL_GAP, JOURNAL_DAMAGED, IO_FAILED
   */
  read(options?: ReadJournalOptions): AsyncIterable<JournalEntry>
  /** As `read`, some thousand entries at a time: several times as fast when they are small. */
  readBatches(options?: ReadJournalOptions): AsyncIterable<JournalEntry[]>
  /**
   * Says that the effect of this entry is in no snapshot from now on, because it could not be applied. The next
   * snapshot that covers it records that: no later reading gives the entry.
   */
  skip(sequence: number): void
  /**
   * Makes an older snapshot, by sequence or tag, the current one again, as `store.rollback` does where no journal is
   * open. Append nothing meanwhile. What you hold in memory is to be loaded anew from the snapshot: it covers all
   * entries up to now.
   *
   * @throws ENTRIES_UNSAVED, JOURNAL_FAILED, and what `store.rollback` throws
   */
  rollback(to: number | string, options?: RollbackOptions): Promise<SnapshotInfo>
  /** Waits until everything that was appended is durable, and lets others open the journal. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
