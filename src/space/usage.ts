// Counts which stored bytes belong to which snapshots: what each added, and what only one of them needs. Reads nodes, not chunks, and changes
// nothing.

import { BadBlock, type BlockSource, type DamageContext, entryOf, packNumberOf } from '../blocks/block-source.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import { isDamage } from '../errors.ts'
import { createYielder } from '../event-loop.ts'
import { type BlockId, CODEC_RAW, parseCid } from '../format/cid.ts'
import { decodeNode } from '../format/dag.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { DAG_DEPTH_MAX, DIGEST_BYTES, ENTRY_BYTES } from '../format/limits.ts'

/** Stored bytes: a block's bytes in its pack, with its index entry. A block that is in two packs counts once. */
export interface Usage {
  /** By sequence: of blocks that no snapshot before it in the walk has. The sum over all is what all of them need. */
  added: ReadonlyMap<number, number>
  /** By sequence: of blocks that no other snapshot has. */
  own: ReadonlyMap<number, number>
  /** By pack name: of all blocks that a snapshot has. */
  packs: ReadonlyMap<string, number>
  /** Sequences of snapshots that could not be read in full. Their numbers, and those of blocks they share, are too small. */
  damaged: readonly number[]
  /** Which snapshot of the walk has a block first: its position in the order of the walk, or -1. */
  ownerOf(place: number): number
}

/** `owners` of a block: 0 for none, else the number of the first snapshot that has it, from 1. */
interface PackMarks {
  owners: Uint32Array
  shared: Uint8Array
}

/**
 * Walks the snapshots in the order given. A subtree is visited when the first snapshot reaches it, once more when a second one does, and
 * never again: then all below it is known to be shared. So a thousand snapshots cost little more than the nodes that differ.
 *
 * @param source has read all its indexes
 */
export async function measureUsage(
  source: BlockSource,
  snapshots: readonly HeadSnapshot[],
  signal?: AbortSignal,
): Promise<Usage> {
  await source.expectLookups(Number.POSITIVE_INFINITY)
  const marks = source.indexes.map(({ blocks }): PackMarks => {
    return { owners: new Uint32Array(blocks), shared: new Uint8Array(blocks) }
  })
  const turn = createYielder(signal)
  const damaged: number[] = []
  for (const [i, snapshot] of snapshots.entries()) {
    signal?.throwIfAborted()
    try {
      await walkSnapshot(snapshot, i + 1)
    } catch (error) {
      if (!isDamage(error) && !(error instanceof BadBlock)) throw error
      damaged.push(snapshot.sequence)
    }
  }
  return { ...(await sums()), damaged, ownerOf: (place) => marks[packNumberOf(place)]!.owners[entryOf(place)]! - 1 }

  async function walkSnapshot({ manifest, sequence }: HeadSnapshot, walker: number): Promise<void> {
    const what: DamageContext = { code: 'SNAPSHOT_DAMAGED', what: `snapshot ${sequence}`, details: { sequence } }
    const { digest } = parseCid(manifest)
    // Equal content is one manifest: all below it is shared with the snapshot that was walked before.
    if (!isToVisit(digest, 0, walker, what)) return
    const { blobs } = await readManifest(source, digest, what, (list) => void isToVisit(list, 0, walker, what))
    for (const { root, segments } of blobs.values()) {
      if (segments !== undefined && source.find(segments, 0) !== -1) isToVisit(segments, 0, walker, what)
      await walk(root, walker, what, 1)
      await turn()
    }
  }

  async function walk(block: BlockId, walker: number, what: DamageContext, depth: number): Promise<void> {
    if (!isToVisit(block.digest, 0, walker, what) || block.codec === CODEC_RAW) return
    if (depth > DAG_DEPTH_MAX) throw new BadBlock(`${what.what} has a tree that is too deep`)
    const node = decodeNode(await source.read(block.digest, what), what.what)
    for (let i = 0; i < node.count; i++) {
      if (node.codec === CODEC_RAW) isToVisit(node.digests, i * DIGEST_BYTES, walker, what)
      else {
        const digest = node.digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)
        await walk({ codec: node.codec, digest }, walker, what, depth + 1)
      }
    }
    await turn()
  }

  /** Marks a block. Answers whether this tells anything new of the blocks below it. */
  function isToVisit(digests: Uint8Array, at: number, walker: number, what: DamageContext): boolean {
    const place = source.find(digests, at)
    if (place === -1) throw new BadBlock(`${what.what} needs a block that no pack has`)
    const { owners, shared } = marks[packNumberOf(place)]!
    const entry = entryOf(place)
    if (owners[entry] === 0) {
      owners[entry] = walker
      return true
    }
    if (owners[entry] === walker || shared[entry] === 1) return false
    shared[entry] = 1
    return true
  }

  async function sums(): Promise<Pick<Usage, 'added' | 'own' | 'packs'>> {
    const added = new Map(snapshots.map(({ sequence }) => [sequence, 0]))
    const own = new Map(added)
    const packs = new Map<string, number>()
    for (const [packNumber, { owners, shared }] of marks.entries()) {
      const index = source.indexes[packNumber]!
      let live = 0
      for (let entry = 0; entry < owners.length; entry++) {
        if (entry % 4096 === 0) await turn()
        if (owners[entry] === 0) continue
        const bytes = index.storedLength(entry) + ENTRY_BYTES
        const { sequence } = snapshots[owners[entry]! - 1]!
        live += bytes
        added.set(sequence, added.get(sequence)! + bytes)
        if (shared[entry] === 0) own.set(sequence, own.get(sequence)! + bytes)
      }
      packs.set(source.packs[packNumber]!.name, live)
    }
    return { added, own, packs }
  }
}
