// Walks the DAG of a blob: its nodes and its chunks, in order.

import { HoldfastError } from '../errors.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { type BlockId, CODEC_RAW } from '../format/cid.ts'
import { decodeNode, type NodeChildren } from '../format/dag.ts'
import { DAG_DEPTH_MAX, DIGEST_BYTES } from '../format/limits.ts'
import type { BlockSource, DamageContext } from './block-source.ts'
import { createDigestMap, type DigestMap } from './digest-map.ts'

/** Consecutive chunks of a blob: the children of one node. */
export interface ChunkRun {
  /** Where the first chunk starts in the blob, in bytes. */
  offset: number
  count: number
  lengths: Float64Array
  /** 32 bytes a chunk. */
  digests: Uint8Array
}

/** Walks a blob's DAG from left to right, visiting only what overlaps bytes [start, end). */
export async function* chunkRuns(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  start = 0,
  end = entry.size,
): AsyncGenerator<ChunkRun> {
  if (entry.root.codec === CODEC_RAW) {
    yield { offset: 0, count: 1, lengths: Float64Array.of(entry.size), digests: entry.root.digest }
    return
  }
  yield* walk(readNode(source, entry.root.digest, damageContext), entry.size, 0, 1)

  async function* walk(
    reading: Promise<NodeChildren>,
    size: number,
    offset: number,
    depth: number,
  ): AsyncGenerator<ChunkRun> {
    const node = await reading
    if (node.total !== size)
      throw disagrees(damageContext, `a node holds ${node.total} bytes where its parent says ${size}`)
    if (depth === 1 && node.count < 2) throw disagrees(damageContext, 'its root has a single child')
    if (depth > DAG_DEPTH_MAX) throw tooDeep(damageContext)
    if (node.codec === CODEC_RAW) {
      yield { offset, count: node.count, lengths: node.lengths, digests: node.digests }
      return
    }
    const wanted = overlapping(node, offset, start, end)
    const begun: Promise<NodeChildren>[] = []
    try {
      for (const [i, child] of wanted.entries()) {
        for (let next = i + begun.length; next < wanted.length && begun.length <= source.reads.nodesAhead; next++) {
          const mine = readNode(source, wanted[next]!.digest, damageContext)
          mine.catch(() => undefined)
          begun.push(mine)
        }
        yield* walk(begun.shift()!, child.length, child.position, depth + 1)
      }
    } finally {
      await Promise.allSettled(begun)
    }
  }
}

/** The children of a node that have some of bytes [start, end). */
function overlapping(
  { count, lengths, digests }: NodeChildren,
  offset: number,
  start: number,
  end: number,
): { digest: Uint8Array; length: number; position: number }[] {
  const children: { digest: Uint8Array; length: number; position: number }[] = []
  let position = offset
  for (let i = 0; i < count; i++) {
    const length = lengths[i]!
    if (position < end && position + length > start) {
      children.push({ digest: digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES), length, position })
    }
    position += length
  }
  return children
}

/** Range reads need the same nodes again: the root always, a leaf often. A node takes at most 40 KB. */
const NODES_CACHED = 32

/** As much of a source as a walk needs. */
export type NodeSource = Pick<BlockSource, 'read' | 'nodes'>

/** Reads, verifies and decodes a node, or takes it from the cache. */
async function readNode(source: NodeSource, digest: Uint8Array, damageContext: DamageContext): Promise<NodeChildren> {
  const { nodes } = source
  const key = Buffer.from(digest.buffer, digest.byteOffset, DIGEST_BYTES).toString('latin1')
  const known = nodes.get(key)
  nodes.delete(key)
  const node = known ?? decodeNode(await source.read(digest, damageContext), damageContext.what)
  nodes.set(key, node)
  if (nodes.size > NODES_CACHED) nodes.delete(nodes.keys().next().value!)
  return node
}

/** The facts about a node that was walked. */
interface WalkedNode {
  total: number
  /** Levels of nodes, including its own. */
  height: number
  children: number
}

/** Nodes that were walked. Blobs that are walked with the same ones read each node once for all of them. */
interface WalkedNodes {
  /** Position in `facts`. */
  numbers: DigestMap
  facts: WalkedNode[]
}

export function createWalkedNodes(): WalkedNodes {
  return { numbers: createDigestMap(), facts: [] }
}

/**
 * Checks everything that `docs/format.md` ("Blob DAG") demands of the nodes of a blob, and reports its chunks. Nodes
 * are read depth-first, in the order of their links, and chunks are reported with the node that lists them. Each node
 * is read once, however often it is named: a few nodes that name each other a thousand times stand for more chunks than
 * can be visited. So a chunk is reported once for each node that lists it, and not once for each of its places in the
 * blob.
 */
export async function checkBlob(
  source: NodeSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  onChunks: (run: Pick<ChunkRun, 'count' | 'lengths' | 'digests'>) => void | Promise<void>,
  { numbers, facts }: WalkedNodes = createWalkedNodes(),
): Promise<void> {
  if (entry.root.codec === CODEC_RAW) {
    await onChunks({ count: 1, lengths: Float64Array.of(entry.size), digests: entry.root.digest })
    return
  }
  const root = await walk(entry.root.digest, entry.size, 1)
  if (root.children < 2) throw disagrees(damageContext, 'its root has a single child')

  async function walk(digest: Uint8Array, size: number, depth: number): Promise<WalkedNode> {
    const number = numbers.get(digest, 0)
    const node = number === -1 ? await walkNew(digest, depth) : facts[number]!
    if (node.total !== size) {
      throw disagrees(damageContext, `a node holds ${node.total} bytes where its parent says ${size}`)
    }
    if (depth + node.height - 1 > DAG_DEPTH_MAX) throw tooDeep(damageContext)
    return node
  }

  async function walkNew(digest: Uint8Array, depth: number): Promise<WalkedNode> {
    if (depth > DAG_DEPTH_MAX) throw tooDeep(damageContext)
    const node = await readNode(source, digest, damageContext)
    let height = 1
    if (node.codec === CODEC_RAW) await onChunks(node)
    else {
      for (let i = 0; i < node.count; i++) {
        const child = node.digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)
        height = Math.max(height, 1 + (await walk(child, node.lengths[i]!, depth + 1)).height)
      }
    }
    const done = { total: node.total, height, children: node.count }
    numbers.add(digest, 0, facts.length)
    facts.push(done)
    return done
  }
}

function tooDeep(damageContext: DamageContext): HoldfastError {
  return disagrees(damageContext, `its tree is deeper than ${DAG_DEPTH_MAX}`)
}

/**
 * Visits each node of a blob, roots first. `visit` returns whether to visit its children. Used to mark reachable
 * blocks.
 */
export async function visitBlob(
  source: BlockSource,
  root: BlockId,
  damageContext: DamageContext,
  visit: { node(digest: Uint8Array): boolean; chunks(digests: Uint8Array, count: number): void },
  depth = 1,
): Promise<void> {
  if (root.codec === CODEC_RAW) {
    visit.chunks(root.digest, 1)
    return
  }
  if (!visit.node(root.digest)) return
  if (depth > DAG_DEPTH_MAX) throw tooDeep(damageContext)
  const node = decodeNode(await source.read(root.digest, damageContext), damageContext.what)
  if (node.codec === CODEC_RAW) {
    visit.chunks(node.digests, node.count)
    return
  }
  for (let i = 0; i < node.count; i++) {
    const digest = node.digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)
    await visitBlob(source, { codec: node.codec, digest }, damageContext, visit, depth + 1)
  }
}

export function disagrees(damageContext: DamageContext, why: string): HoldfastError {
  return new HoldfastError(damageContext.code, `${damageContext.what} is damaged: ${why}`, {
    details: { ...damageContext.details, why },
  })
}
