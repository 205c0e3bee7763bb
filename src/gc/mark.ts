// Marks the blocks that snapshots need. Blocks without a mark are garbage.

import { BadBlock, type BlockSource, type DamageContext, entryOf, packNumberOf } from '../blocks/block-source.ts'
import type { LinkCache } from '../blocks/link-cache.ts'
import { isDamage } from '../errors.ts'
import { createYielder } from '../event-loop.ts'
import { parseCid } from '../format/cid.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { DAG_DEPTH_MAX } from '../format/limits.ts'
import { digestKey, LINK, LINK_BYTES, manifestLinks, nodeLinks } from './links.ts'

/** The blocks that the kept snapshots need: `marks[packNumber][entry]` is 1 for those. */
interface Marks {
  marks: Uint8Array[]
  /** The packs that each snapshot needs, by its sequence. */
  packNumbers: Map<number, Set<number>>
}

/**
 * Walks `snapshots` and marks the blocks that they need. Snapshots with the same manifest are walked once. Damage is thrown, unless
 * `onDamage` is given: then the damaged snapshot has no `packNumbers`.
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
  /**
   * The packs below each node that was walked, by its digest as latin1. Snapshots share most of their nodes, and a few nodes that name each other
   * many times may stand for terabytes: each is walked once.
   */
  const below = new Map<string, Uint32Array>()
  const remembered = links?.walk()
  // Nothing yields to the event loop where everything is remembered.
  const turn = createYielder()
  await source.expectLookups(Number.POSITIVE_INFINITY)

  for (const snapshot of snapshots) {
    let mine = walked.get(snapshot.manifest)
    if (mine === undefined) {
      mine = new Set()
      try {
        await markSnapshot(snapshot, mine)
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

  async function markSnapshot(snapshot: HeadSnapshot, mine: Set<number>): Promise<void> {
    const damageContext: DamageContext = {
      code: 'SNAPSHOT_DAMAGED',
      what: `snapshot ${snapshot.sequence}`,
      details: { sequence: snapshot.sequence },
    }
    const { digest } = parseCid(snapshot.manifest)
    mine.add(mark(digest, 0))
    const links = await manifestLinks(source, digest, damageContext, remembered, turn)
    await follow(links, mine, 1)

    /** Marks what `links` name, and all below it, and adds the packs that it is in. */
    async function follow(links: Uint8Array, packs: Set<number>, depth: number): Promise<void> {
      for (let at = 0; at < links.length; at += LINK_BYTES) {
        const kind = links[at]
        if (kind === LINK.node) for (const packNumber of await walk(links, at + 1, depth)) packs.add(packNumber)
        // A blob can be loaded without its segments block, so it need not exist.
        else if (kind !== LINK.segments || source.find(links, at + 1) !== -1) packs.add(mark(links, at + 1))
      }
    }

    /** Answers the packs that the node and all below it are in. */
    async function walk(digests: Uint8Array, at: number, depth: number): Promise<Iterable<number>> {
      const key = digestKey(digests, at)
      const known = below.get(key)
      if (known !== undefined) return known
      if (depth > DAG_DEPTH_MAX) throw new BadBlock(`${damageContext.what} has a tree that is too deep`)
      const found = new Set([mark(digests, at)])
      await turn()
      const node = digests.subarray(at, at + LINK_BYTES - 1)
      await follow(await nodeLinks(source, node, damageContext, remembered), found, depth + 1)
      below.set(key, Uint32Array.from(found))
      return found
    }

    /** Answers the pack of the block. */
    function mark(digests: Uint8Array, at: number): number {
      const place = source.find(digests, at)
      // A snapshot that lacks a block is damaged, but its other blocks are not garbage.
      if (place === -1) throw new BadBlock(`${damageContext.what} needs a block that no pack has`)
      const packNumber = packNumberOf(place)
      marks[packNumber]![entryOf(place)] = 1
      return packNumber
    }
  }
}
