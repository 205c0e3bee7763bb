// Marks the blocks that snapshots need. Blocks without a mark are garbage.

import { BadBlock, type BlockSource, type DamageContext, entryOf, packNumberOf } from '../blocks/block-source.ts'
import type { LinkCache } from '../blocks/link-cache.ts'
import { isDamage } from '../errors.ts'
import { createYielder } from '../event-loop.ts'
import { parseCid } from '../format/cid.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { markReachable } from './links.ts'

/** The blocks that the kept snapshots need: `marks[packNumber][entry]` is 1 for those. */
interface Marks {
  marks: Uint8Array[]
  /** The packs that each snapshot needs, by its sequence. */
  packNumbers: Map<number, Set<number>>
}

/**
 * Walks `snapshots` and marks the blocks that they need. Snapshots with the same manifest are walked once. Damage is
 * thrown, unless `onDamage` is given: then the damaged snapshot has no `packNumbers`.
 *
 * @param options.links what earlier walks through all kept snapshots of this store have read
 */
export async function markSnapshots(
  source: BlockSource,
  snapshots: readonly HeadSnapshot[],
  marks: Uint8Array[],
  { onDamage, links }: { onDamage?: (snapshot: HeadSnapshot) => void; links?: LinkCache } = {},
): Promise<Marks> {
  const packNumbers = new Map<number, Set<number>>()
  const walked = new Map<string, Set<number>>()
  const packsBelow = new Map<string, Uint32Array>()
  const below = {
    get: (key: string) => packsBelow.get(key),
    set: (key: string, packs: ReadonlySet<number>) => void packsBelow.set(key, Uint32Array.from(packs)),
  }
  const remembered = links?.walk()
  // Nothing yields to the event loop where everything is remembered.
  const turn = createYielder()
  await source.expectLookups(Number.POSITIVE_INFINITY)

  for (const snapshot of snapshots) {
    let mine = walked.get(snapshot.manifest)
    if (mine === undefined) {
      try {
        mine = await markSnapshot(snapshot)
      } catch (error) {
        if (onDamage === undefined || (!isDamage(error) && !(error instanceof BadBlock))) throw error
        onDamage(snapshot)
        continue
      }
      walked.set(snapshot.manifest, mine)
    }
    packNumbers.set(snapshot.sequence, mine)
  }
  remembered?.metAll()
  return { marks, packNumbers }

  async function markSnapshot(snapshot: HeadSnapshot): Promise<Set<number>> {
    const what: DamageContext = {
      code: 'SNAPSHOT_DAMAGED',
      what: `snapshot ${snapshot.sequence}`,
      details: { sequence: snapshot.sequence },
    }
    return await markReachable(source, parseCid(snapshot.manifest).digest, { what, remembered, turn, mark, below })

    /** Answers the pack of the block. */
    function mark(digests: Uint8Array, at: number): number {
      const place = source.find(digests, at)
      // A snapshot that lacks a block is damaged, but its other blocks are not garbage.
      if (place === -1) throw new BadBlock(`${what.what} needs a block that no pack has`)
      const packNumber = packNumberOf(place)
      marks[packNumber]![entryOf(place)] = 1
      return packNumber
    }
  }
}
