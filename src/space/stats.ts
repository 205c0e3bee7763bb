// Says what a store takes and why: what each snapshot added and would free, what is garbage, and what lies beside the
// packs. All from one HEAD.

import type { BlockSource } from '../blocks/block-source.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { type ErrorCode, type HoldfastError, isHoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'
import { imageDigest } from '../local/images.ts'
import type { OptionTable } from '../misuse.ts'
import type { Weight } from '../storage/port.ts'
import { keptRecordBytes, keptRecordKeys } from './kept-records.ts'
import { isUnreadable, type UnreadPacks, withReadablePacks } from './open-all.ts'
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
   * Of blocks that no other snapshot has. Do not add these up: two that share what nobody else has free more together.
   * `forget` with `dryRun` says it for a set.
   */
  freesBytes: number
  /** It could not be read in full, so that the numbers are too small. */
  damaged: boolean
  /** The same, because the system did not give what may be whole: `uncounted` says why. */
  unread: boolean
}

/** Something that takes space, and of which no number but `bytes` is known. */
export interface Uncounted {
  what: 'pack' | 'retired' | 'files' | 'images' | 'quarantine' | 'journal'
  /** Of a pack, its name. */
  pack?: string | undefined
  /** Of a pack, what HEAD says that it takes; else null. */
  bytes: number | null
  /** Why: `IO_FAILED` when the system refused to read it, and else what is damaged. */
  code: ErrorCode
  message: string
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
  /** Of what may be either: the pack, or a snapshot that needs it, could not be read in full. */
  uncountedBytes: number
}

/** What a store takes, in bytes. */
export interface Stats {
  /** Of HEAD, which all numbers are of. */
  revision: number
  current: number | null
  /** Newest first. */
  snapshots: readonly SnapshotStats[]
  packs: readonly PackStats[]
  /** Of all pack files: `liveBytes`, `recordBytes`, `garbageBytes`, `overheadBytes` and `uncountedBytes`. */
  packBytes: number
  liveBytes: number
  /**
   * Of the commit records of kept snapshots, from which a lost HEAD is rebuilt. `gc` writes them anew, so no snapshot
   * adds or frees them.
   */
  recordBytes: number
  /** Of blocks that nothing needs, and of records of dropped snapshots. `gc({ complete: true })` gives it all back. */
  garbageBytes: number
  /** Headers, fan-outs and footers of packs. */
  overheadBytes: number
  /** Of packs that could not be read, and of blocks that a snapshot may need which could not. */
  uncountedBytes: number
  /** What could not be read, and is in none of the other numbers. Empty where all is well. */
  uncounted: readonly Uncounted[]
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
  uncountedBytes: 0,
  uncounted: [],
  retired: NOTHING,
}

export async function stats(ctx: StoreContext, options: StatsOptions = {}): Promise<Stats> {
  const inPacks = await withReadablePacks(ctx, async ({ head }, source, unread) => {
    return await packStats(ctx, head, source, await usageOf(head, source, unread, options.signal), unread)
  })
  return await withBeside(ctx, inPacks ?? EMPTY_STATS)
}

/** From the oldest snapshot on, so that each block is added by the first one that has it. */
export async function usageOf(
  head: Head,
  source: BlockSource,
  unread: UnreadPacks,
  signal?: AbortSignal,
): Promise<Usage> {
  // What is not there, or not what was written, is not to be had later either.
  const refused = new Set(
    head.packs.flatMap(({ id, name }) => (isHoldfastError(unread.get(name), 'IO_FAILED') ? id : [])),
  )
  return await measureUsage(source, [...head.snapshots].reverse(), {
    signal,
    unread: ({ packs }) => packs.some((id) => refused.has(id)),
  })
}

/** What lies beside the packs. */
type BesideStats = Pick<Stats, 'files' | 'images' | 'quarantine' | 'journal'>

/** The numbers that HEAD and its packs give. */
export async function packStats(
  ctx: StoreContext,
  head: Head,
  source: BlockSource,
  usage: Usage,
  unread: UnreadPacks,
): Promise<Omit<Stats, keyof BesideStats>> {
  const damaged = new Set(usage.damaged)
  const unreadSnapshots = new Set(usage.unread)
  const uncounted = head.packs.flatMap(({ name, bytes }): Uncounted[] => {
    const error = unread.get(name)
    return error === undefined ? [] : [uncountedOf('pack', error, { pack: name, bytes })]
  })
  const packs = await packsOf(head, source, usage, uncounted)
  const retired = await counted('retired', uncounted, () => weighRetired(ctx, head))
  return {
    revision: head.revision,
    current: head.current,
    snapshots: head.snapshots.map(({ sequence, size }) => ({
      sequence,
      size,
      addedBytes: usage.added.get(sequence)!,
      freesBytes: usage.own.get(sequence)!,
      damaged: damaged.has(sequence),
      unread: unreadSnapshots.has(sequence),
    })),
    packs,
    packBytes: sum(packs.map(({ bytes }) => bytes)),
    liveBytes: sum(packs.map(({ liveBytes }) => liveBytes)),
    recordBytes: sum(packs.map(({ recordBytes }) => recordBytes)),
    garbageBytes: sum(packs.map(({ garbageBytes }) => garbageBytes)),
    overheadBytes: source.packs.length * PACK_OVERHEAD_BYTES,
    uncountedBytes: sum(packs.map(({ uncountedBytes }) => uncountedBytes)),
    uncounted,
    retired,
  }
}

async function packsOf(head: Head, source: BlockSource, usage: Usage, uncounted: Uncounted[]): Promise<PackStats[]> {
  const kept = keptRecordKeys(head)
  const numbers = new Map(source.packs.map(({ name }, packNumber) => [name, packNumber]))
  const inPart = new Set([...usage.damaged, ...usage.unread])
  const unsure = new Set(head.snapshots.flatMap(({ sequence, packs }) => (inPart.has(sequence) ? packs : [])))
  const packs: PackStats[] = []
  for (const { id, name, bytes } of head.packs) {
    const packNumber = numbers.get(name)
    // Of a pack that cannot be read nothing is known.
    if (packNumber === undefined) {
      packs.push({ pack: name, bytes, liveBytes: 0, recordBytes: 0, garbageBytes: 0, uncountedBytes: bytes })
      continue
    }
    const liveBytes = usage.packs.get(name) ?? 0
    const recordBytes = await keptRecordBytes(source, packNumber, kept, (error) => {
      uncounted.push(uncountedOf('pack', error, { pack: name, bytes: null }))
    })
    const rest = Math.max(0, bytes - PACK_OVERHEAD_BYTES - liveBytes - recordBytes)
    // Whether it is garbage cannot be said while what needs it cannot be read.
    const [garbageBytes, uncountedBytes] = unsure.has(id) ? [0, rest] : [rest, 0]
    packs.push({ pack: name, bytes, liveBytes, recordBytes, garbageBytes, uncountedBytes })
  }
  return packs
}

async function weighRetired(ctx: StoreContext, head: Head): Promise<Weight> {
  const there = new Map((await ctx.storage.inspect()).packs.map(({ name, bytes }) => [name, bytes]))
  const retired = head.retired.flatMap(({ name }) => there.get(name) ?? [])
  return { count: retired.length, bytes: sum(retired) }
}

const isImage = (name: string): boolean => imageDigest(name) !== null

/** Adds what lies beside the packs. */
export async function withBeside(
  { storage: { beside } }: StoreContext,
  inPacks: Omit<Stats, keyof BesideStats>,
): Promise<Stats> {
  const uncounted = [...inPacks.uncounted]
  const weigh = (
    what: keyof BesideStats,
    folder: 'files' | 'journal' | 'quarantine',
    counts?: (name: string) => boolean,
  ): Promise<Weight> => counted(what, uncounted, async () => (await beside?.weigh(folder, counts)) ?? NOTHING)
  const files = await weigh('files', 'files', (name) => !isImage(name))
  const images = await weigh('images', 'files', isImage)
  const quarantine = await weigh('quarantine', 'quarantine')
  const journal = await weigh('journal', 'journal')
  return { ...inPacks, files, images, quarantine, journal, uncounted }
}

/** What `weigh` answers; nothing, and a line in `uncounted`, where the system refuses to tell. */
async function counted(what: Uncounted['what'], uncounted: Uncounted[], weigh: () => Promise<Weight>): Promise<Weight> {
  try {
    return await weigh()
  } catch (error) {
    if (!isUnreadable(error)) throw error
    uncounted.push(uncountedOf(what, error))
    return NOTHING
  }
}

function uncountedOf(
  what: Uncounted['what'],
  { code, message }: HoldfastError,
  pack: { pack?: string; bytes: number | null } = { bytes: null },
): Uncounted {
  return { what, ...pack, code, message }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}
