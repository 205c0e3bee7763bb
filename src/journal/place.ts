// What the journal asks of its store: where it lies, what HEAD says of it, and how HEAD comes to name a segment.

import type { FileSystem } from '../fs/port.ts'
import type { Durable, Mark } from './appender.ts'
import type { JournalHead } from './find-chain.ts'
import type { Covered } from './plan-start.ts'
import type { Range, SegmentName } from './segment.ts'

/** What the store says of its journal. */
export interface JournalState {
  /** Store id, 32 hex digits. */
  store: string
  /** Null: HEAD names no journal yet. */
  head: JournalHead | null
  /** Where to begin reading; null: at the first segment that is needed. */
  from: Mark | null
  /** The highest sequence that a snapshot in HEAD.json or HEAD.prev.json covers. */
  covered: Covered | null
  /** What the current snapshot covers; 0 without one. */
  current: number
  /** Entries that are not replayed on the current snapshot, ascending. */
  skips: Range[]
}

/** Where a journal lies, and what it asks of its store. */
export interface JournalPlace {
  fs: FileSystem
  directory: string
  mode: { file: number; directory: number }
  /** Null: no lock. The caller makes sure that there is one owner. */
  lockPath: string | null
  /** Called once the lock is held, before anything is read. */
  prepare?: () => Promise<void>
  /** Called once the lock is held. */
  readState: () => Promise<JournalState>
  /** Makes HEAD name a segment, durably. */
  nameSegment: (named: NamedSegment) => Promise<void>
}

/** What HEAD is to say. */
export interface NamedSegment {
  /** Journal id, 32 hex digits. */
  journal: string
  segment: SegmentName
  /** Up to where the journal is durable; null: as HEAD says. */
  durable: Durable | null
}
