// Which snapshots of one store another one lacks. Pure.

import type { Head, HeadSnapshot } from '../format/head.ts'

/** What a replica gets, oldest first. `diverged`: its current snapshot was never one of the source. */
interface ReplicaPlan {
  add: HeadSnapshot[]
  diverged: boolean
}

/**
 * A replica that is behind gets what follows on its current snapshot; an empty one, and one that diverged, gets all.
 * What a rollback of the source stepped over is left out.
 */
export function planReplica(source: Head, target: Head | null): ReplicaPlan {
  const there = target?.snapshots.find(({ sequence }) => sequence === target.current) ?? null
  const kept = source.snapshots.filter(({ abandoned }) => !abandoned).reverse()
  if (there === null) return { add: kept, diverged: false }
  // The newest of that content: the same bytes may have been current more than once.
  const common = source.snapshots.find(({ manifest }) => manifest === there.manifest)
  if (common === undefined) return { add: kept, diverged: true }
  return { add: kept.filter(({ sequence }) => sequence > common.sequence), diverged: false }
}
