// Says what differs between two snapshots, blob by blob. Compares nodes and chunks by their digests, and reads no
// chunk.

import { type ChunkRun, chunkRuns } from '../blocks/blob-dag.ts'
import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import { createDigestMap } from '../blocks/digest-map.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { createYielder } from '../event-loop.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { cidText, parseCid } from '../format/cid.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import { find, nothingThere } from '../load/load.ts'
import type { OptionTable } from '../misuse.ts'
import { withAllPacks } from './open-all.ts'

/** How snapshots are compared. */
export interface DiffOptions {
  /** Answers which byte ranges of each changed blob are new; default false. */
  ranges?: boolean | undefined
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
}

export const DIFF_OPTIONS: OptionTable<DiffOptions> = { ranges: 'boolean', signal: 'signal' }

/** A blob that one of two snapshots has, or both with other bytes. */
export interface BlobDiff {
  name: string
  change: 'added' | 'removed' | 'changed'
  /** In bytes; 0 where there is none. */
  sizeBefore: number
  size: number
  /**
   * Bytes of the blob in chunks that the older snapshot has somewhere, whatever its place there. Of a removed blob 0.
   */
  sharedBytes: number
  /** The other bytes of the blob. */
  newBytes: number
  /** The new bytes, as ranges from `start` up to `end`, ascending. Only with `ranges`. */
  ranges?: readonly { start: number; end: number }[]
}

/** What differs between two snapshots. */
export interface Diff {
  /** Sequences. */
  from: number
  to: number
  /** By name. Blobs with equal bytes under equal chunking are not listed. */
  blobs: readonly BlobDiff[]
  unchanged: number
  sharedBytes: number
  newBytes: number
}

/** @throws SNAPSHOT_NOT_FOUND, SNAPSHOT_DAMAGED */
export async function diff(
  ctx: StoreContext,
  from: number | string,
  to: number | string,
  options: DiffOptions = {},
): Promise<Diff> {
  const found = await withAllPacks(ctx, async ({ head }, source) => {
    const before = find(ctx.storage.location, head, from)
    const after = find(ctx.storage.location, head, to)
    return await compareSnapshots(source, before, after, options)
  })
  if (found === null) throw nothingThere(ctx.storage.location)
  return found
}

/** As `diff`, of snapshots of a HEAD whose packs are open. */
export async function compareSnapshots(
  source: BlockSource,
  before: HeadSnapshot,
  after: HeadSnapshot,
  { ranges = false, signal }: DiffOptions,
): Promise<Diff> {
  const turn = createYielder(signal)
  const old = await blobsOf(source, before)
  const now = await blobsOf(source, after)
  const chunks = createDigestMap()
  for (const entry of old.values()) {
    for await (const { digests, count } of chunkRuns(source, entry, contextOf(before))) {
      for (let i = 0; i < count; i++) chunks.add(digests, i * DIGEST_BYTES, 0)
      await turn()
    }
  }
  const blobs: BlobDiff[] = []
  const total = { unchanged: 0, sharedBytes: 0, newBytes: 0 }
  for (const [name, entry] of now) {
    const previous = old.get(name)
    if (previous !== undefined && cidText(previous.root) === cidText(entry.root)) {
      total.unchanged += 1
      total.sharedBytes += entry.size
      continue
    }
    const fresh = await newRanges(entry)
    const newBytes = fresh.reduce((sum, { start, end }) => sum + end - start, 0)
    const sharedBytes = entry.size - newBytes
    total.sharedBytes += sharedBytes
    total.newBytes += newBytes
    blobs.push({
      name,
      change: previous === undefined ? 'added' : 'changed',
      sizeBefore: previous?.size ?? 0,
      size: entry.size,
      sharedBytes,
      newBytes,
      ...(ranges ? { ranges: fresh } : {}),
    })
  }
  for (const [name, { size }] of old) {
    if (now.has(name)) continue
    const removed = { name, change: 'removed', sizeBefore: size, size: 0, sharedBytes: 0, newBytes: 0 } as const
    blobs.push({ ...removed, ...(ranges ? { ranges: [] } : {}) })
  }
  blobs.sort((a, b) => (a.name < b.name ? -1 : 1))
  return { from: before.sequence, to: after.sequence, blobs, ...total }

  async function newRanges(entry: BlobEntry): Promise<{ start: number; end: number }[]> {
    const fresh: { start: number; end: number }[] = []
    for await (const run of chunkRuns(source, entry, contextOf(after))) {
      addNew(run, fresh)
      await turn()
    }
    return fresh
  }

  function addNew({ offset, count, lengths, digests }: ChunkRun, fresh: { start: number; end: number }[]): void {
    let start = offset
    for (let i = 0; i < count; i++) {
      const end = start + lengths[i]!
      const last = fresh.at(-1)
      const isNew = chunks.get(digests, i * DIGEST_BYTES) === -1
      if (isNew && last?.end === start) last.end = end
      else if (isNew && end > start) fresh.push({ start, end })
      start = end
    }
  }
}

async function blobsOf(source: BlockSource, snapshot: HeadSnapshot): Promise<ReadonlyMap<string, BlobEntry>> {
  return (await readManifest(source, parseCid(snapshot.manifest).digest, contextOf(snapshot))).blobs
}

function contextOf({ sequence }: HeadSnapshot): DamageContext {
  return { code: 'SNAPSHOT_DAMAGED', what: `snapshot ${sequence}`, details: { sequence } }
}
