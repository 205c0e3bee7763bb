// What a report is made of, read from one HEAD: statistics, the history, what changed last, and the ages of chunks.

import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { parseCid } from '../format/cid.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { describe, type SnapshotInfo } from '../load/snapshot.ts'
import type { Problem } from '../recovery/problem.ts'
import { compareSnapshots, type Diff } from '../space/diff.ts'
import { isUnreadable, withReadablePacks } from '../space/open-all.ts'
import { EMPTY_STATS, packStats, type Stats, usageOf, withBeside } from '../space/stats.ts'
import { measureUsage, type Usage } from '../space/usage.ts'
import { type AgeMap, ageOf, mapOf } from './chunk-ages.ts'

/** Maps of so many blobs are made: the largest. */
export const MAPS_MAX = 16

/** A blob of the current snapshot. */
interface BlobFacts {
  name: string
  size: number
  /** Null: not made, or the blob cannot be read. */
  map: AgeMap | null
}

/** What `verify` says, as far as a report shows it. */
export interface Verified {
  ok: boolean
  level: 'quick' | 'full'
  /** Of HEAD; null if it could not be read. */
  revision: number | null
  problems: readonly Problem[]
  snapshots: readonly { sequence: number; intact: boolean; manifestLost: boolean; damagedBlobs: readonly string[] }[]
  checked: { packs: number; blocks: number; bytes: number }
}

/** Everything that a report shows, unbounded. `modelOf` bounds it. */
export interface Facts {
  /** When it was made. */
  time: Date
  stats: Stats
  /** Newest first. */
  snapshots: readonly SnapshotInfo[]
  /** Stored bytes that the current snapshot needs; null if it cannot be read in full, or there is none. */
  currentBytes: number | null
  /** Largest first; null if the manifest of the current snapshot cannot be read. */
  blobs: readonly BlobFacts[] | null
  /** Between the current snapshot and the one before it; null if there is none, or one of them cannot be read. */
  diff: Diff | null
  /** Null: not verified now. */
  verified: Verified | null
}

/** Reads nodes, and no chunk. */
export async function gatherFacts(
  ctx: StoreContext,
  verified: Verified | null,
  signal: AbortSignal | undefined,
): Promise<Facts> {
  const read = await withReadablePacks(ctx, async ({ head }, source, unread) => {
    const usage = await usageOf(head, source, unread, signal)
    const current = head.snapshots.find(({ sequence }) => sequence === head.current)
    return {
      packs: await packStats(ctx, head, source, usage, unread),
      snapshots: head.snapshots.map((entry) => describe(entry, head)),
      currentBytes: current === undefined ? null : await bytesOf(source, current, signal),
      blobs: current === undefined ? [] : await blobsOf(source, head, current, usage, signal),
      diff: current === undefined ? null : await diffOf(source, head, current, signal),
    }
  })
  const { packs = EMPTY_STATS, ...rest } = read ?? { snapshots: [], currentBytes: null, blobs: [], diff: null }
  return { time: clock.now(), stats: await withBeside(ctx, packs), ...rest, verified }
}

async function bytesOf(
  source: BlockSource,
  snapshot: HeadSnapshot,
  signal: AbortSignal | undefined,
): Promise<number | null> {
  const { added, damaged, unread } = await measureUsage(source, [snapshot], { signal })
  return damaged.length + unread.length > 0 ? null : added.get(snapshot.sequence)!
}

async function blobsOf(
  source: BlockSource,
  head: Head,
  current: HeadSnapshot,
  usage: Usage,
  signal: AbortSignal | undefined,
): Promise<BlobFacts[] | null> {
  const what = contextOf(current)
  const manifest = await unlessUnreadable(() => readManifest(source, parseCid(current.manifest).digest, what))
  if (manifest === null) return null
  const largest = [...manifest.blobs].sort(([a, { size: x }], [b, { size: y }]) => y - x || (a < b ? -1 : 1))
  const newest = head.snapshots.length - 1 - head.snapshots.indexOf(current)
  const ageAt = (place: number): number => {
    const owner = usage.ownerOf(place)
    return owner === -1 ? -1 : ageOf(Math.max(newest - owner, 0))
  }
  const blobs: BlobFacts[] = []
  for (const [name, entry] of largest) {
    const isMapped = blobs.length < MAPS_MAX && entry.size > 0
    const map = isMapped ? await unlessUnreadable(() => mapOf(source, entry, what, ageAt, signal)) : null
    blobs.push({ name, size: entry.size, map })
  }
  return blobs
}

async function diffOf(
  source: BlockSource,
  head: Head,
  current: HeadSnapshot,
  signal: AbortSignal | undefined,
): Promise<Diff | null> {
  const before = head.snapshots.find(({ sequence, abandoned }) => sequence < current.sequence && !abandoned)
  if (before === undefined) return null
  return await unlessUnreadable(() => compareSnapshots(source, before, current, { signal }))
}

async function unlessUnreadable<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read()
  } catch (error) {
    if (!isUnreadable(error)) throw error
    return null
  }
}

function contextOf({ sequence }: HeadSnapshot): DamageContext {
  return { code: 'SNAPSHOT_DAMAGED', what: `snapshot ${sequence}`, details: { sequence } }
}
