// What of each pack is needed and what is garbage, for the planner of a garbage collection.

import type { BlockSource } from '../blocks/block-source.ts'
import type { Head } from '../format/head.ts'
import { FANOUT_BYTES, FOOTER_BYTES, HEADER_BYTES } from '../format/limits.ts'
import type { PackUse } from '../gc/plan-gc.ts'
import type { Reach } from '../gc/reach.ts'
import { keptRecordBytes, keptRecordKeys } from './kept-records.ts'

/** What every pack has beside its blocks and their index entries. */
export const PACK_OVERHEAD_BYTES = HEADER_BYTES + FANOUT_BYTES + FOOTER_BYTES

/**
 * The packs of HEAD. Those with bad blocks are pinned, and those of a snapshot that cannot be read in full: what it
 * needs of them is not known. So are packs that HEAD lists and that no snapshot does: no write of ours leaves one, and
 * `repair` sets that right.
 *
 * Commit records are neither needed nor garbage: a pack that is rewritten gets them anew. With `complete` those of
 * dropped snapshots are garbage.
 */
export async function packUses(
  head: Head,
  source: BlockSource,
  reach: Reach,
  bad: readonly ReadonlyMap<string, unknown>[],
  complete: boolean,
): Promise<PackUse[]> {
  const unknown = head.snapshots.filter(({ manifest }) => reach.packsOf(manifest) === undefined)
  const pinned = new Set(unknown.flatMap(({ packs }) => packs))
  const listed = new Set(head.snapshots.flatMap(({ packs }) => packs))
  const kept = keptRecordKeys(head)
  const uses: PackUse[] = []
  for (const { id, name, bytes } of head.packs) {
    const marks = reach.pack(name)
    const packNumber = source.packs.findIndex((pack) => pack.name === name)
    const { liveBytes, recordBytes } = marks ?? { liveBytes: 0, recordBytes: 0 }
    const records = complete && packNumber !== -1 ? await keptRecordBytes(source, packNumber, kept) : recordBytes
    const isPinned = marks === undefined || packNumber === -1 || pinned.has(id) || !listed.has(id)
    uses.push({
      id,
      name,
      bytes,
      liveBytes,
      deadBytes: Math.max(0, bytes - PACK_OVERHEAD_BYTES - liveBytes - records),
      isPinned: isPinned || bad.some((packs) => packs.has(name)),
    })
  }
  return uses
}
