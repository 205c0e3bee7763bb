// Counts which stored bytes belong to which snapshots: what each added, and what only one of them needs. Reads nodes,
// not chunks, and changes nothing.

import { BadBlock, type BlockSource, type DamageContext, entryOf, packNumberOf } from '../blocks/block-source.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import { isDamage, isHoldfastError } from '../errors.ts'
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
  /**
   * Sequences of snapshots that could not be read in full. Their numbers, and those of blocks they share, are too
   * small.
   */
  damaged: readonly number[]
  /** The same, where that may be for want of what the system did not give, and which may be whole. */
  unread: readonly number[]
  /** Which snapshot of the walk has a block first: its position in the order of the walk, or -1. */
  ownerOf(place: number): number
}

/** Why a snapshot could not be read in full: damage, or what the system did not give. */
type Lack = 'damaged' | 'unread'

/** `owners` of a block: 0 for none, else the number of the first snapshot that has it, from 1. */
interface PackMarks {
  owners: Uint32Array
  shared: Uint8Array
}

interface UsageOptions {
  signal?: AbortSignal | undefined
  /** Whether a pack that the snapshot needs could not be read, and may be whole. */
  unread?: ((snapshot: HeadSnapshot) => boolean) | undefined
}

/**
 * Walks the snapshots in the order given. A subtree is visited when the first snapshot reaches it, once more when a
 * second one does, and never again: then all below it is known to be shared. So a thousand snapshots cost little more
 * than the nodes that differ.
 *
 * @param source has read all its indexes
 */
export async function measureUsage(
  source: BlockSource,
  snapshots: readonly HeadSnapshot[],
  { signal, unread: isUnread = () => false }: UsageOptions = {},
): Promise<Usage> {
  await source.expectLookups(Number.POSITIVE_INFINITY)
  const marks = source.indexes.map(({ blocks }): PackMarks => {
    return { owners: new Uint32Array(blocks), shared: new Uint8Array(blocks) }
  })
  const turn = createYielder(signal)
  const damaged: number[] = []
  const unread: number[] = []
  /** Places of nodes of which something below could not be read: a snapshot that shares one lacks the same. */
  const broken = new Map<number, Lack>()
  for (const [i, snapshot] of snapshots.entries()) {
    signal?.throwIfAborted()
    const lack = await walkSnapshot(snapshot, i + 1)
    if (lack !== null) (lack === 'damaged' ? damaged : unread).push(snapshot.sequence)
  }
  return {
    ...(await sums()),
    damaged,
    unread,
    ownerOf: (place) => marks[packNumberOf(place)]!.owners[entryOf(place)]! - 1,
  }

  /** Answers what it lacks. All that can be reached is marked. */
  async function walkSnapshot(snapshot: HeadSnapshot, walker: number): Promise<Lack | null> {
    const { manifest, sequence } = snapshot
    const what: DamageContext = { code: 'SNAPSHOT_DAMAGED', what: `snapshot ${sequence}`, details: { sequence } }
    // A block that is in no pack may be in one that was refused.
    const absent: Lack = isUnread(snapshot) ? 'unread' : 'damaged'
    const { digest } = parseCid(manifest)
    return await visit(digest, async (note) => {
      const list = (block: Uint8Array): void => note(mark(block, 0))
      const { blobs } = await readManifest(source, digest, what, list)
      for (const { root, segments } of blobs.values()) {
        if (segments !== undefined && source.find(segments, 0) !== -1) mark(segments, 0)
        note(await walk(root, 1))
        await turn()
      }
    })

    /** Marks a block. If that tells anything new of what is below it, `below` looks, and notes what is lacking. */
    async function visit(
      digest: Uint8Array,
      below: (note: (lack: Lack | null) => void) => Promise<void>,
    ): Promise<Lack | null> {
      const place = source.find(digest, 0)
      if (place === -1) return absent
      if (!isToVisit(place, walker)) return broken.get(place) ?? null
      let lacks: Lack | null = null
      const note = (lack: Lack | null): void => {
        if (lacks !== 'damaged') lacks = lack ?? lacks
      }
      try {
        await below(note)
      } catch (error) {
        if (isHoldfastError(error, 'IO_FAILED')) note('unread')
        else if (isDamage(error) || error instanceof BadBlock) note('damaged')
        else throw error
      }
      if (lacks !== null) broken.set(place, lacks)
      return lacks
    }

    function mark(digests: Uint8Array, at: number): Lack | null {
      const place = source.find(digests, at)
      if (place === -1) return absent
      isToVisit(place, walker)
      return null
    }

    async function walk(block: BlockId, depth: number): Promise<Lack | null> {
      if (block.codec === CODEC_RAW) return mark(block.digest, 0)
      return await visit(block.digest, async (note) => {
        if (depth > DAG_DEPTH_MAX) throw new BadBlock(`${what.what} has a tree that is too deep`)
        const node = decodeNode(await source.read(block.digest, what), what.what)
        for (let i = 0; i < node.count; i++) {
          const at = i * DIGEST_BYTES
          if (node.codec === CODEC_RAW) note(mark(node.digests, at))
          else note(await walk({ codec: node.codec, digest: node.digests.subarray(at, at + DIGEST_BYTES) }, depth + 1))
        }
        await turn()
      })
    }
  }

  /** Marks a block. Answers whether this tells anything new of the blocks below it. */
  function isToVisit(place: number, walker: number): boolean {
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
