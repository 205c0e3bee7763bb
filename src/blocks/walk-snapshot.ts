// Walks all blocks of a snapshot, depth-first in the order of their links, and visits each once. Whoever writes a
// snapshot as a stream of blocks, or reads one, goes by this walk, so that the stream depends on nothing but the
// content.

import { blake3 } from '../format/blake3.ts'
import { type BlockId, CODEC_DAG_CBOR, CODEC_RAW } from '../format/cid.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import type { Manifest } from '../format/manifest.ts'
import { KIND, type Kind } from '../format/pack.ts'
import { decodeSegments } from '../format/segments.ts'
import { type ChunkRun, checkBlob, createWalkedNodes, disagrees, type NodeSource } from './blob-dag.ts'
import type { DamageContext } from './block-source.ts'
import { createDigestMap } from './digest-map.ts'
import { readManifest } from './read-manifest.ts'

/** Chunks that were not visited before, in order, each with a digest of its own. */
export type NewChunks = Pick<ChunkRun, 'count' | 'lengths' | 'digests'>

/** Gets each block once. Each call is waited for before the next. */
interface SnapshotVisitor {
  /** Answers the bytes of a block that links to others, or of a segments block. They have this digest. */
  block(id: BlockId, kind: Kind): Promise<Uint8Array>
  chunks(run: NewChunks): Promise<void>
}

/**
 * Visits the blocks below a manifest, the manifest first, and checks everything that docs/format.md demands of them but
 * for the lengths of chunks, which the visitor sees. Takes some 45 bytes of memory for each block.
 *
 * @throws SNAPSHOT_DAMAGED, VERSION_UNSUPPORTED, and what the visitor throws
 */
export async function walkSnapshot(
  root: Uint8Array,
  visitor: SnapshotVisitor,
  damageContext: DamageContext,
): Promise<Manifest> {
  /** Lengths of chunks that were visited. */
  const chunks = createDigestMap()
  const linked = createDigestMap()
  /** The size of the blob that a segments block was read for. */
  const segments = new Map<string, number>()
  const nodes = createWalkedNodes()

  /** A block is a manifest, a part of a list, a node or segments, and never two of these. So none is read twice. */
  async function visit(digest: Uint8Array, kind: Kind): Promise<Uint8Array> {
    if (!linked.add(digest, 0, 0)) throw disagrees(damageContext, 'a block of it is linked to as two different things')
    return await visitor.block({ codec: CODEC_DAG_CBOR, digest }, kind)
  }

  async function visitChunks({ count, lengths, digests }: NewChunks): Promise<void> {
    const fresh = { count: 0, lengths: new Float64Array(count), digests: new Uint8Array(count * DIGEST_BYTES) }
    for (let i = 0; i < count; i++) {
      const at = i * DIGEST_BYTES
      const length = lengths[i]!
      if (chunks.add(digests, at, length)) {
        fresh.lengths[fresh.count] = length
        fresh.digests.set(digests.subarray(at, at + DIGEST_BYTES), fresh.count * DIGEST_BYTES)
        fresh.count += 1
      } else if (chunks.get(digests, at) !== length) {
        throw disagrees(damageContext, `a chunk of ${chunks.get(digests, at)} bytes is listed as ${length}`)
      }
    }
    if (fresh.count > 0) await visitor.chunks(fresh)
  }

  async function visitSegments(digest: Uint8Array, size: number): Promise<void> {
    const key = Buffer.from(digest).toString('latin1')
    const known = segments.get(key)
    if (known === undefined) decodeSegments(await visit(digest, KIND.segments), size, damageContext.what)
    else if (known !== size) throw disagrees(damageContext, `the segments of ${known} bytes are those of ${size}, too`)
    segments.set(key, size)
  }

  const nodeSource: NodeSource = { nodes: new Map(), read: (digest) => visit(digest, KIND.node) }
  const manifestSource = { read: (digest: Uint8Array) => visit(digest, KIND.manifest) }
  return await readManifest(manifestSource, root, damageContext, undefined, async (entries) => {
    for (const [, entry] of entries) {
      await checkBlob(nodeSource, entry, damageContext, visitChunks, nodes)
      if (entry.segments !== undefined) await visitSegments(entry.segments, entry.size)
    }
  })
}

/** The id of the `i`th chunk of a run. */
export function chunkId({ digests }: NewChunks, i: number): BlockId {
  return { codec: CODEC_RAW, digest: digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES) }
}

/** Whether a block has the bytes of its id. */
export function isBlock(bytes: Uint8Array, { digest }: BlockId): boolean {
  return Buffer.compare(blake3(bytes), digest) === 0
}
