// Says what a store takes and why: what each snapshot added and would free, what is garbage, and what lies beside the packs. All from one HEAD.

import type { BlockSource } from '../blocks/block-source.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import type { Head } from '../format/head.ts'
import { imageDigest } from '../local/images.ts'
import type { OptionTable } from '../misuse.ts'
import type { Weight } from '../storage/port.ts'
import { keptRecordBytes, keptRecordKeys } from './kept-records.ts'
import { withAllPacks } from './open-all.ts'
import { PACK_OVERHEAD_BYTES } from './pack-use.ts'
import { measureUsage, type Usage } from './usage.ts'

/** How statistics are made. */
export interface StatsOptions {
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
}

export const STATS_OPTIONS: OptionTable<StatsOptions> = { signal: 'signal' }

/** What one snapshot takes, in stored bytes: of blocks in packs, with their index entries. */
export interface SnapshotStats {
  sequence: number
  /** Sum of the blobs' sizes in bytes, uncompressed. */
  size: number
  /** Of blocks that no older kept snapshot has. The sum over all snapshots is `liveBytes`. */
  addedBytes: number
  /**
   * Of blocks that no other snapshot has. Do not add these up: two that share what nobody else has free more together. `forget` with
   * `dryRun` says it for a set.
   */
  freesBytes: number
  /** It could not be read in full, so that the numbers are too small. */
  damaged: boolean
}

/** What one pack takes. */
export interface PackStats {
  pack: string
  /** Of the file. */
  bytes: number
  /** Of blocks that a snapshot needs, with their index entries. */
  liveBytes: number
  /** Of commit records of kept snapshots, with their index entries. */
  recordBytes: number
  /** Of blocks that nothing needs. */
  garbageBytes: number
}

/** What a store takes, in bytes. */
export interface Stats {
  /** Of HEAD, which all numbers are of. */
  revision: number
  current: number | null
  /** Newest first. */
  snapshots: readonly SnapshotStats[]
  packs: readonly PackStats[]
  /** Of all pack files: `liveBytes`, `recordBytes`, `garbageBytes` and `overheadBytes`. */
  packBytes: number
  liveBytes: number
  /** Of the commit records of kept snapshots, from which a lost HEAD is rebuilt. `gc` writes them anew, so no snapshot adds or frees them. */
  recordBytes: number
  /** Of blocks that nothing needs, and of records of dropped snapshots. `gc({ complete: true })` gives it all back. */
  garbageBytes: number
  /** Headers, fan-outs and footers of packs. */
  overheadBytes: number
  /** Packs that HEAD retired and that are still there. The next writes, or `gc`, delete them. */
  retired: Weight
  /** Blobs laid out as files in the store's directory. */
  files: Weight
  /** Images of engines' files, with their locks. They make starts quick, and can be made again. */
  images: Weight
  quarantine: Weight
  journal: Weight
}

const NOTHING: Weight = { count: 0, bytes: 0 }
/** Of a store in which nothing was ever persisted. */
export const EMPTY_STATS: Omit<Stats, 'files' | 'images' | 'quarantine' | 'journal'> = {
  revision: 0,
  current: null,
  snapshots: [],
  packs: [],
  packBytes: 0,
  liveBytes: 0,
  recordBytes: 0,
  garbageBytes: 0,
  overheadBytes: 0,
  retired: NOTHING,
}

export async function stats(ctx: StoreContext, options: StatsOptions = {}): Promise<Stats> {
  const inPacks = await withAllPacks(ctx, async ({ head }, source) => {
    return await packStats(ctx, head, source, await usageOf(head, source, options.signal))
  })
  return { ...(inPacks ?? EMPTY_STATS), ...(await besideStats(ctx)) }
}

/** From the oldest snapshot on, so that each block is added by the first one that has it. */
export async function usageOf(head: Head, source: BlockSource, signal?: AbortSignal): Promise<Usage> {
  return await measureUsage(source, [...head.snapshots].reverse(), signal)
}

/** What lies beside the packs. */
type BesideStats = Pick<Stats, 'files' | 'images' | 'quarantine' | 'journal'>

/** The numbers that HEAD and its packs give. */
export async function packStats(
  ctx: StoreContext,
  head: Head,
  source: BlockSource,
  usage: Usage,
): Promise<Omit<Stats, keyof BesideStats>> {
  const damaged = new Set(usage.damaged)
  const packs = await packsOf(head, source, usage)
  const there = new Map((await ctx.storage.inspect()).packs.map(({ name, bytes }) => [name, bytes]))
  const retired = head.retired.flatMap(({ name }) => there.get(name) ?? [])
  return {
    revision: head.revision,
    current: head.current,
    snapshots: head.snapshots.map(({ sequence, size }) => ({
      sequence,
      size,
      addedBytes: usage.added.get(sequence)!,
      freesBytes: usage.own.get(sequence)!,
      damaged: damaged.has(sequence),
    })),
    packs,
    packBytes: sum(packs.map(({ bytes }) => bytes)),
    liveBytes: sum(packs.map(({ liveBytes }) => liveBytes)),
    recordBytes: sum(packs.map(({ recordBytes }) => recordBytes)),
    garbageBytes: sum(packs.map(({ garbageBytes }) => garbageBytes)),
    overheadBytes: packs.length * PACK_OVERHEAD_BYTES,
    retired: { count: retired.length, bytes: sum(retired) },
  }
}

async function packsOf(head: Head, source: BlockSource, usage: Usage): Promise<PackStats[]> {
  const kept = keptRecordKeys(head)
  const numbers = new Map(source.packs.map(({ name }, packNumber) => [name, packNumber]))
  const packs: PackStats[] = []
  for (const { name, bytes } of head.packs) {
    const packNumber = numbers.get(name)
    // Of a pack that cannot be read nothing is known.
    if (packNumber === undefined) {
      packs.push({ pack: name, bytes, liveBytes: 0, recordBytes: 0, garbageBytes: 0 })
      continue
    }
    const liveBytes = usage.packs.get(name) ?? 0
    const recordBytes = await keptRecordBytes(source, packNumber, kept)
    const garbageBytes = Math.max(0, bytes - PACK_OVERHEAD_BYTES - liveBytes - recordBytes)
    packs.push({ pack: name, bytes, liveBytes, recordBytes, garbageBytes })
  }
  return packs
}

const isImage = (name: string): boolean => imageDigest(name) !== null

export async function besideStats({ storage: { beside } }: StoreContext): Promise<BesideStats> {
  return {
    files: (await beside?.weigh('files', (name) => !isImage(name))) ?? NOTHING,
    images: (await beside?.weigh('files', isImage)) ?? NOTHING,
    quarantine: (await beside?.weigh('quarantine')) ?? NOTHING,
    journal: (await beside?.weigh('journal')) ?? NOTHING,
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}
