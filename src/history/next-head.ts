// Makes the next HEAD from the one before and what a write changes. Pure, and the only place that does so.

import { randomBytes } from 'node:crypto'
import { joinBad } from '../blocks/bad-blocks.ts'
import { HoldfastError } from '../errors.ts'
import type { DamagedBlocks, Head, HeadJournal, HeadPack, HeadSnapshot } from '../format/head.ts'
import { SNAPSHOTS_MAX, WRITES_KEPT } from '../format/limits.ts'

/** What one write changes in HEAD. */
export interface HeadChange {
  /** Current after the write; default: as before. */
  current?: number
  /** Newest first. Default: as before. */
  snapshots?: HeadSnapshot[]
  /** Packs written now. */
  written?: readonly HeadPack[]
  /** New measurements of `live`, by pack id. */
  live?: ReadonlyMap<number, number>
  /** Blocks found bad since; an empty set: all of that pack. */
  damaged?: ReadonlyMap<string, ReadonlySet<string>>
  /** Retired packs whose files are gone. */
  gone?: ReadonlySet<string>
  /** Default: as before. Null: none any more. */
  journal?: HeadJournal | null | undefined
  /** Default: as before. It never falls. */
  floor?: number
}

/**
 * HEAD after a change. Packs that no snapshot needs any more are retired in the same step. A pack that none needed
 * before stays: no write of ours leaves one, so HEAD is wrong about what needs it, and a snapshot may still load from
 * it. `repair` sets that right.
 */
export function nextHead(head: Head, change: HeadChange): Head {
  const revision = head.revision + 1
  const snapshots = change.snapshots ?? head.snapshots
  if (snapshots.length > SNAPSHOTS_MAX) {
    throw new HoldfastError(
      'LIMIT_EXCEEDED',
      `a store keeps at most ${SNAPSHOTS_MAX} snapshots; untag some, or keep fewer`,
      { details: { snapshots: snapshots.length, limit: SNAPSHOTS_MAX } },
    )
  }
  const needed = new Set(snapshots.flatMap(({ packs }) => packs))
  const neededBefore = new Set(head.snapshots.flatMap(({ packs }) => packs))
  for (const { id } of head.packs) if (!neededBefore.has(id)) needed.add(id)
  const all = [...head.packs, ...(change.written ?? [])]
  const packs = all
    .filter(({ id }) => needed.has(id))
    .map((pack) => {
      const live = change.live?.get(pack.id) ?? pack.live
      return live === pack.live ? pack : { ...pack, live }
    })
  const journal = change.journal === null ? undefined : (change.journal ?? head.journal)
  const dropped = all.filter(({ id }) => !needed.has(id))
  const names = new Set(packs.map(({ name }) => name))
  const floor = Math.max(head.floor ?? 0, change.floor ?? 0)
  return {
    storeId: head.storeId,
    revision,
    sequence: Math.max(head.sequence, ...snapshots.map(({ sequence }) => sequence)),
    current: change.current ?? head.current,
    snapshots,
    packs,
    retired: [
      ...head.retired.filter(({ name }) => !change.gone?.has(name)),
      ...dropped.map(({ name, bytes, key }) => ({ name, bytes, revision, ...(key === undefined ? {} : { key }) })),
    ],
    damaged: [...mergeDamaged(head.damaged, change.damaged ?? new Map())]
      .filter(([pack]) => names.has(pack))
      .map(([pack, digests]) => ({ pack, digests: [...digests].sort() })),
    writes: [randomBytes(8).toString('hex'), ...head.writes].slice(0, WRITES_KEPT),
    ...(journal === undefined ? {} : { journal }),
    ...(floor === 0 ? {} : { floor }),
  }
}

/** What HEAD records as bad and what was found since. */
export function mergeDamaged(
  recorded: readonly DamagedBlocks[],
  found: ReadonlyMap<string, ReadonlySet<string>>,
): Map<string, ReadonlySet<string>> {
  const merged = new Map<string, ReadonlySet<string>>(recorded.map(({ pack, digests }) => [pack, new Set(digests)]))
  for (const [pack, digests] of found) merged.set(pack, joinBad(merged.get(pack), digests))
  return merged
}
