// Merges small packs and rewrites those that are mostly garbage, so that their old files can go.

import { type BlockSource, entryOf, packNumberOf } from '../blocks/block-source.ts'
import { assertCopyIsWhole, copyBlocks } from '../blocks/copy-blocks.ts'
import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { createDigestMap } from '../blocks/digest-map.ts'
import type { LinkCache } from '../blocks/link-cache.ts'
import type { PackWriter } from '../blocks/pack-writer.ts'
import { parseCid } from '../format/cid.ts'
import type { HeadPack, HeadSnapshot } from '../format/head.ts'
import { ENTRY_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import type { OnProgress } from '../progress.ts'
import { markSnapshots } from './mark.ts'
import { type CompactionPlan, chooseCompacted } from './plan-compaction.ts'

/** The result of a compaction, for the next HEAD. */
export interface Compaction {
  /** The given snapshots, with the packs that they need now. */
  snapshots: HeadSnapshot[]
  /** Newly measured live bytes, by pack id. */
  live: Map<number, number>
  /** Sequences of snapshots whose packs changed. Their commit records are written again. */
  changed: Set<number>
  movedBytes: number
}

interface CompactOptions {
  plan: CompactionPlan
  /** HEAD's entries for the packs of `source`, in the same order. */
  packs: readonly HeadPack[]
  source: BlockSource
  /** Names of packs with known bad blocks. They are evidence and are not changed. */
  damaged: ReadonlySet<string>
  /** The kept snapshots, without the one being written. */
  snapshots: readonly HeadSnapshot[]
  blocks: DedupWriter
  writer: PackWriter
  signal: AbortSignal
  onProgress: OnProgress | undefined
  /** Called for a bad block. From the next persist on, its pack is not compacted. */
  onBadBlock: (pack: string, digest: Uint8Array) => void
  links: LinkCache
}

/**
 * Measures which blocks are live, and copies those of small packs and of packs with much garbage into the pack being
 * written. The same HEAD swap can then retire the old packs. A snapshot that cannot be read completely keeps all its
 * packs, because its live blocks are unknown. The other packs are still compacted, so that their number stays bounded.
 * Damage met while copying is thrown, and nothing is compacted this time.
 */
export async function compactPacks(options: CompactOptions): Promise<Compaction> {
  const { plan, packs, source, damaged, snapshots, blocks: dedup, writer, signal } = options
  const readable = new Set(packs.map(({ id }) => id))
  const broken = new Set(snapshots.filter((snapshot) => !snapshot.packs.every((id) => readable.has(id))))
  const { marks, packNumbers } = await markSnapshots(
    source,
    snapshots.filter((snapshot) => !broken.has(snapshot)),
    packs.map((_, packNumber) => dedup.marks(packNumber)),
    { onDamage: (snapshot) => void broken.add(snapshot), links: options.links },
  )
  const unmeasured = new Set([...broken].flatMap((snapshot) => snapshot.packs))
  const live = new Map(
    packs.flatMap(({ id, bytes }, packNumber) =>
      unmeasured.has(id) ? [] : [[id, liveBytes(source.indexes[packNumber]!, bytes, marks[packNumber]!)]],
    ),
  )
  const small = plan.small.filter((id) => live.has(id))
  const chosen = new Set(chooseCompacted({ ...plan, small }, packs, live, damaged))
  const totalBytes = [...chosen].reduce((total, id) => total + live.get(id)!, 0)
  let from = writer.packId
  let movedBytes = 0
  const moved = createDigestMap()

  /**
   * A block that this persist wrote before it had searched all packs is not written again: a pack must not have a
   * digest twice.
   */
  function writtenIn(digest: Uint8Array): number {
    const id = dedup.ownPack(digest)
    if (id !== -1) from = Math.min(from, id)
    return id
  }

  /** A block that is dropped here because another pack has it: that copy may have rotted, and nobody has read it. */
  async function assertOtherCopies(packNumber: number): Promise<void> {
    const index = source.indexes[packNumber]!
    for (let entry = 0; entry < index.blocks; entry++) {
      if (marks[packNumber]![entry] === 1) continue
      const place = source.find(index.digest(entry), 0)
      if (place === -1 || packNumberOf(place) === packNumber) continue
      const other = packNumberOf(place)
      // A copy in a pack that is compacted too is read when it is moved.
      if (marks[other]![entryOf(place)] === 0 || chosen.has(packs[other]!.id)) continue
      signal.throwIfAborted()
      const copy = { file: source.packs[other]!, index: source.indexes[other]! }
      await assertCopyIsWhole(copy, entryOf(place), options.onBadBlock)
    }
  }

  for (const [packNumber, { id }] of packs.entries()) {
    if (!chosen.has(id)) continue
    await assertOtherCopies(packNumber)
    const pack = { file: source.packs[packNumber]!, index: source.indexes[packNumber]!, marks: marks[packNumber]! }
    movedBytes += await copyBlocks(pack, writer, moved, dedup.flush, signal, {
      writtenIn,
      onBadBlock: options.onBadBlock,
    })
    options.onProgress?.({ phase: 'compacting', bytes: movedBytes, totalBytes })
  }
  await dedup.drain()
  // Snapshots change only when all blocks are copied, so a failure leaves every snapshot as it was.
  const into = chosen.size === 0 ? [] : range(from, writer.packId)
  dedup.moved(chosen, moved)
  for (const id of into) dedup.needed().add(id)
  for (const id of chosen) live.delete(id)

  /** Finds the pack of the marked copy: another copy may be in a pack that the snapshot does not need. */
  function packOf(manifest: string): number {
    const { digest } = parseCid(manifest)
    const { id } = packs[packNumberOf(source.find(digest, 0))]!
    return chosen.has(id) ? moved.get(digest, 0) : id
  }

  const changed = new Set<number>()
  const relocated = snapshots.map((snapshot) => {
    if (broken.has(snapshot)) return snapshot
    const ids = [...packNumbers.get(snapshot.sequence)!].map((packNumber) => packs[packNumber]!.id)
    const needsMoved = ids.some((id) => chosen.has(id))
    const needed = [...ids.filter((id) => !chosen.has(id)), ...(needsMoved ? into : [])].sort((a, b) => a - b)
    if (needed.join() === snapshot.packs.join()) return snapshot
    changed.add(snapshot.sequence)
    return { ...snapshot, packs: needed, pack: packOf(snapshot.manifest) }
  })
  return { snapshots: relocated, live, changed, movedBytes }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}

/** Live bytes of a pack: its size without its unmarked blocks and their index entries. */
function liveBytes(index: PackIndex, fileBytes: number, marks: Uint8Array): number {
  let dead = 0
  for (let entry = 0; entry < index.blocks; entry++) {
    if (marks[entry] === 0) dead += index.storedLength(entry) + ENTRY_BYTES
  }
  return fileBytes - dead
}
