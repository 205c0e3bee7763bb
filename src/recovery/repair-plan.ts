// The plan of a repair, as plain data: `plan-repair.ts` makes it, `repair.ts` applies it, and a dry run returns it.

import type { BlockSource } from '../blocks/block-source.ts'
import type { Head, HeadJournal, HeadSnapshot } from '../format/head.ts'
import type { OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import type { StoreFileName } from '../storage/port.ts'
import type { BaseHead } from './base-head.ts'
import type { RebuiltSegments } from './rebuild-segments.ts'
import type { SalvagedPack } from './salvage.ts'

/** One step of a repair. Nothing is ever deleted. */
export type RepairAction =
  /** Copies the good blocks of a pack that HEAD will not name into a new pack. */
  | { action: 'rescue-blocks'; pack: string; blocks: number }
  /** Rebuilds lost segments blocks from the chunks of their blobs. */
  | { action: 'rebuild-segments'; blocks: number }
  /** Writes commit records again. A lost HEAD is rebuilt from them. */
  | { action: 'renew-records'; snapshots: number }
  /** Moves a file to quarantine, or, with reason `before-repair`, a copy of it. */
  | { action: 'quarantine-file'; file: StoreFileName; reason: string; why: string }
  | { action: 'quarantine-pack'; pack: string; reason: string; why: string }
  /** Moves a segment of the journal to quarantine: a later HEAD named it, and that one is given up. */
  | { action: 'quarantine-segment'; segment: string; reason: string; why: string }
  /** Replaces HEAD by one that is not made from HEAD.json. */
  | { action: 'restore-head'; from: BaseHead['from']; why: string; loses: string }
  | { action: 'restore-store-file'; why: string }
  /** Adds a pack to HEAD. */
  | { action: 'adopt-pack'; pack: string; blocks: number }
  /** Removes a missing pack from HEAD. */
  | { action: 'forget-pack'; pack: string }
  /** Corrects something that HEAD records wrongly. */
  | { action: 'correct-head'; why: string }
  /** Removes an incomplete snapshot from the history. */
  | { action: 'drop-snapshot'; sequence: number; manifest: string; why: string }
  /** Makes another snapshot the current one. */
  | { action: 'set-current'; from: number | null; to: number | null; why: string }
  /** Makes HEAD name the journal again. `segment` is the newest that it names. */
  | { action: 'restore-journal'; journal: string; segment: string }
  /**
   * Records entries of the journal as lost: ranges, first and last. The journal is read in spite of the damage. No
   * range: no entry is lost.
   */
  | { action: 'skip-entries'; entries: [number, number][]; why: string }

/** What a repair would do. Making a plan changes nothing. */
export interface RepairPlan {
  location: string
  /** There is nothing to do. */
  ok: boolean
  /** In the order in which they are applied. */
  actions: RepairAction[]
  /** Sequences of the snapshots that will be kept, newest first. */
  snapshots: number[]
  /** An old HEAD was put back. Nothing is planned until `rolledBack` says how to continue. */
  choice: 'newer-or-older' | null
  /** With a `choice`: the snapshots that each way keeps, newest first. Otherwise null. */
  offers: { newer: number[]; older: number[] } | null
}

/** Decisions that a repair must not make by itself. */
export interface RepairOptions {
  /** When an old HEAD was put back: `newer` adopts the snapshots made after it, `older` goes on without them. */
  rolledBack?: 'newer' | 'older' | undefined
  /**
   * `lost`: treat what the disk cannot read (EIO) as lost. By default the repair fails, because the disk may be
   * readable later.
   */
  unreadable?: 'lost' | undefined
  /**
   * `skip`: records what the journal has lost, so that the entries after it are read again. By default a damaged
   * journal is left as it is.
   */
  journal?: 'skip' | undefined
  /** False: if the repair would drop a snapshot, throw `SNAPSHOT_DAMAGED` and change nothing. Default true. */
  mayDrop?: boolean | undefined
  onProgress?: OnProgress | undefined
  signal?: AbortSignal | undefined
}

export const REPAIR_OPTIONS: OptionTable<RepairOptions> = {
  rolledBack: 'any',
  unreadable: 'any',
  journal: 'any',
  mayDrop: 'boolean',
  onProgress: 'function',
  signal: 'signal',
}

/** What a repair asks about the journal. */
export interface JournalQuestion {
  /** The HEAD that the new one is made from. */
  base: Head
  /** Those that the new HEAD will have, newest first. */
  snapshots: readonly HeadSnapshot[]
  /** HEAD was lost or is too old: what the journal's own files say counts. */
  rebuild: boolean
  /** What a later HEAD named is given up. */
  older: boolean
  /** Damage is to be recorded. */
  skip: boolean
  unreadableIsLost: boolean
}

/** What the new HEAD says of the journal. */
export interface RepairedJournal {
  journal: HeadJournal | undefined
  /** Entries that rollbacks stepped over, as the newest segment has it; null: HEAD knows better. */
  skips: [number, number][] | null
  actions: Extract<RepairAction, { action: 'restore-journal' | 'skip-entries' | 'quarantine-segment' }>[]
  /** Moves a segment to quarantine. Answers its new path. */
  setAside: (segment: string, reason: string, why: string) => Promise<string>
}

export type PlanJournal = (question: JournalQuestion) => Promise<RepairedJournal>

/** A plan, with everything needed to apply it. */
export interface PreparedRepair {
  plan: RepairPlan
  start: BaseHead
  direction: Direction
  /** Packs of this store, in the order of `source` and `marks`. */
  packs: readonly SalvagedPack[]
  source: BlockSource
  /** The blocks that kept snapshots need. */
  marks: readonly Uint8Array[]
  kept: readonly KeptSnapshot[]
  /** Rebuilt segments blocks that kept snapshots need. */
  rebuilt: readonly RebuiltSegments[]
  current: number | null
  packPlan: PackPlan
  journal: RepairedJournal
  renewRecords: boolean
  /** A kept snapshot has no commit record that agrees with HEAD. */
  wrongRecords: boolean
  release(): Promise<void>
}

export interface KeptSnapshot {
  snapshot: HeadSnapshot
  /** Numbers of packs that hold its blocks, or its commit record. */
  packNumbers: ReadonlySet<number>
  /** It needs a rebuilt segments block. */
  needsRebuilt: boolean
}

/** Which HEAD the new one is made from, and what else goes into it. */
export interface Direction {
  base: Head
  /** HEAD went back in time. */
  rolledBack: boolean
  choice: RepairPlan['choice']
  /** Snapshots that only commit records name are added to the history. */
  adopting: boolean
  /** Revision and sequence skip far ahead, because unrecorded numbers may have been used. */
  jump: boolean
}

/** What a repair does with each pack, by pack number. */
export interface PackPlan {
  /** Packs that HEAD will name. */
  named: Set<number>
  /** Those of them that HEAD did not name before. */
  adopted: number[]
  /** Packs that HEAD will not name and whose needed blocks are copied. */
  rescued: Set<number>
  toQuarantine: { packNumber: number; reason: string; why: string }[]
  /** Names of missing packs that HEAD names. */
  missing: string[]
  /** Ids of packs that HEAD names now and will not name. */
  lost: Set<number>
  /** What HEAD records wrongly of packs, in words. */
  wrong: string[]
}
