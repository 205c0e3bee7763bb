// Marks the blocks that snapshots need. Blocks without a mark are garbage.

import { BadBlock, type BlockSource, type DamageContext, entryOf, packNumberOf } from '../blocks/block-source.ts'
import { REACHABLE_BLOCKS_MAX, type ReachableCache } from '../blocks/reachable-cache.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import { clock } from '../clock.ts'
import { isDamage } from '../errors.ts'
import { type BlockId, CODEC_RAW, parseCid } from '../format/cid.ts'
import { decodeNode } from '../format/dag.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { DAG_DEPTH_MAX, DIGEST_BYTES } from '../format/limits.ts'

/** Marking this many blocks takes a millisecond or two. */
const MARKED_AT_ONCE = 4096

/** The blocks that the kept snapshots need: `marks[packNumber][entry]` is 1 for those. */
interface Marks {
  marks: Uint8Array[]
  /** The packs that each snapshot needs, by its sequence. */
  packNumbers: Map<number, Set<number>>
}

/**
 * Walks `snapshots` and marks the blocks that they need. Snapshots with the same manifest are walked once. Damage is thrown, unless
 * `onDamage` is given: then the damaged snapshot has no `packNumbers`.
 */
export async function markSnapshots(
  source: BlockSource,
  snapshots: readonly HeadSnapshot[],
  marks: Uint8Array[],
  { onDamage, reachable }: { onDamage?: (snapshot: HeadSnapshot) => void; reachable?: ReachableCache } = {},
): Promise<Marks> {
  const packNumbers = new Map<number, Set<number>>()
  const walked = new Map<string, Set<number>>()
  /**
   * The packs below each node that was walked, by its digest as latin1. Snapshots share most of their nodes, and a few nodes that name each other
   * many times may stand for terabytes: each is walked once.
   */
  const below = new Map<string, Uint32Array>()
  let sinceYield = 0
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
  return { marks, packNumbers }

  async function markSnapshot(snapshot: HeadSnapshot, mine: Set<number>): Promise<void> {
    const damageContext: DamageContext = {
      code: 'SNAPSHOT_DAMAGED',
      what: `snapshot ${snapshot.sequence}`,
      details: { sequence: snapshot.sequence },
    }
    const noted = reachable?.get(snapshot.manifest)
    if (noted !== undefined) {
      for (let at = 0; at < noted.length; at += DIGEST_BYTES) mark(noted, at)
      // No read yields to the event loop here.
      sinceYield += noted.length / DIGEST_BYTES
      if (sinceYield > MARKED_AT_ONCE) {
        sinceYield = 0
        await clock.nextTurn()
      }
      return
    }
    const { digest } = parseCid(snapshot.manifest)
    const notes = new Uint8Array(REACHABLE_BLOCKS_MAX * DIGEST_BYTES)
    let marked = 0
    const { blobs } = await readManifest(source, digest, damageContext, (block) => mark(block, 0))
    for (const entry of blobs.values()) {
      // A blob can be loaded without its segments block, so it need not exist.
      if (entry.segments !== undefined && source.find(entry.segments, 0) !== -1) mark(entry.segments, 0)
      for (const packNumber of await walk(entry.root, 1)) mine.add(packNumber)
    }
    if (marked <= REACHABLE_BLOCKS_MAX) reachable?.add(snapshot.manifest, notes.slice(0, marked * DIGEST_BYTES))

    /** Answers the packs that the block and all below it are in. */
    async function walk({ codec, digest }: BlockId, depth: number): Promise<Iterable<number>> {
      if (codec === CODEC_RAW) return [mark(digest, 0)]
      const key = Buffer.from(digest.buffer, digest.byteOffset, DIGEST_BYTES).toString('latin1')
      const known = below.get(key)
      if (known !== undefined) {
        // What is below it is not noted again, so this snapshot cannot be remembered by its blocks.
        marked = Number.POSITIVE_INFINITY
        return known
      }
      if (depth > DAG_DEPTH_MAX) throw new BadBlock(`${damageContext.what} has a tree that is too deep`)
      const found = new Set([mark(digest, 0)])
      const node = decodeNode(await source.read(digest, damageContext), damageContext.what)
      for (let i = 0; i < node.count; i++) {
        const at = i * DIGEST_BYTES
        if (node.codec === CODEC_RAW) found.add(mark(node.digests, at))
        else {
          const child = { codec: node.codec, digest: node.digests.subarray(at, at + DIGEST_BYTES) }
          for (const packNumber of await walk(child, depth + 1)) found.add(packNumber)
        }
      }
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
      mine.add(packNumber)
      if (noted === undefined) note(digests, at)
      return packNumber
    }

    function note(digests: Uint8Array, at: number): void {
      if (marked < REACHABLE_BLOCKS_MAX) notes.set(digests.subarray(at, at + DIGEST_BYTES), marked * DIGEST_BYTES)
      marked += 1
    }
  }
}
