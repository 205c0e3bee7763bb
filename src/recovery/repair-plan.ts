// What a repair would do, as plain data: `plan-repair.ts` makes it, `repair.ts` obeys it, a dry run answers it.

import type { BlockSource } from '../blocks/block-source.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import type { OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import type { StoreFileName } from '../storage/port.ts'
import type { BaseHead } from './base-head.ts'
import type { RebuiltSegments } from './rebuild-segments.ts'
import type { SalvagedPack } from './salvage.ts'

/** One step of a repair. Nothing is ever deleted. */
export type RepairAction =
  /** Good blocks of a pack that goes are copied into a new one. */
  | { action: 'rescue-blocks'; pack: string; blocks: number }
  /** Segments blocks that are lost are made anew from the chunks of their blobs. */
  | { action: 'rebuild-segments'; blocks: number }
  /** Commit records, from which a lost HEAD is rebuilt, are written anew. */
  | { action: 'renew-records'; snapshots: number }
  /** Moves a file aside; with reason `before-repair`, a copy of it. */
  | { action: 'quarantine-file'; file: StoreFileName; reason: string; why: string }
  | { action: 'quarantine-pack'; pack: string; reason: string; why: string }
  /** HEAD is made from something else than the HEAD before. */
  | { action: 'restore-head'; from: BaseHead['from']; why: string; loses: string }
  | { action: 'restore-store-file'; why: string }
  /** HEAD names a pack that it did not name. */
  | { action: 'adopt-pack'; pack: string; blocks: number }
  /** HEAD no longer names a pack that is not there. */
  | { action: 'forget-pack'; pack: string }
  /** HEAD says something that is not so. */
  | { action: 'correct-head'; why: string }
  /** A snapshot that cannot be completed leaves the history. */
  | { action: 'drop-snapshot'; sequence: number; manifest: string; why: string }
  /** Another snapshot becomes the current one. */
  | { action: 'set-current'; from: number | null; to: number | null; why: string }

/** What a repair would do. It is made from what was read and changes nothing. */
export interface RepairPlan {
  location: string
  /** Nothing to do. */
  ok: boolean
  /** In the order in which they are carried out. */
  actions: RepairAction[]
  /** Sequences that will be there and whole, newest first. */
  snapshots: number[]
  /** An old HEAD was put back: nothing is planned until `rolledBack` says which way to go on. */
  choice: 'newer-or-older' | null
}

/** Which way a repair goes on where it must not decide by itself. */
export interface RepairOptions {
  /** When an old HEAD was put back: `newer` adopts the snapshots made after it, `older` goes on without them. */
  rolledBack?: 'newer' | 'older' | undefined
  /** `lost`: go on without what the disk fails to give (EIO). By default a repair stops there: the disk may give it tomorrow. */
  unreadable?: 'lost' | undefined
  /** False: `SNAPSHOT_DAMAGED`, and nothing is changed, when the repair would drop a snapshot. Default true. */
  mayDrop?: boolean | undefined
  onProgress?: OnProgress | undefined
  signal?: AbortSignal | undefined
}

export const REPAIR_OPTIONS: OptionTable<RepairOptions> = {
  rolledBack: 'any',
  unreadable: 'any',
  mayDrop: 'boolean',
  onProgress: 'function',
  signal: 'signal',
}

/** A plan with what it takes to carry it out. */
export interface PreparedRepair {
  plan: RepairPlan
  start: BaseHead
  direction: Direction
  /** Packs of this store, in step with `source` and `marks`. */
  packs: readonly SalvagedPack[]
  source: BlockSource
  /** Blocks that kept snapshots need. */
  marks: readonly Uint8Array[]
  kept: readonly KeptSnapshot[]
  /** Segments blocks made anew, which kept snapshots need. */
  rebuilt: readonly RebuiltSegments[]
  current: number | null
  packPlan: PackPlan
  renewRecords: boolean
  release(): Promise<void>
}

export interface KeptSnapshot {
  snapshot: HeadSnapshot
  /** Slots of packs that hold its blocks, or its commit record. */
  slots: ReadonlySet<number>
  /** It needs a segments block that is made anew. */
  needsRebuilt: boolean
}

/** Which HEAD the new one goes on from, and what of the rest comes into it. */
export interface Direction {
  base: Head
  /** HEAD went back in time. */
  rolledBack: boolean
  choice: RepairPlan['choice']
  /** Snapshots that only commit records tell of come into the history. */
  adopting: boolean
  /** Revision and sequence go far ahead: numbers were given out that nobody remembers. */
  jump: boolean
}

/** What becomes of each pack of the store, by slot. */
export interface PackPlan {
  /** HEAD will name them. */
  named: Set<number>
  /** Of those, the ones that it did not name before. */
  adopted: number[]
  /** HEAD will not name them, and they have blocks that are needed: these are copied. */
  rescued: Set<number>
  toQuarantine: { slot: number; reason: string; why: string }[]
  /** Names of packs that HEAD names and that are not there. */
  missing: string[]
  /** Ids of packs that HEAD names and that it cannot name any more. */
  lost: Set<number>
  /** What HEAD says of packs that is not so, in words. */
  wrong: string[]
}
