// Takes a blob of the current snapshot over into the next one without reading its chunks: notes which packs have them,
// and that each is there and not known to be bad.

import type { BlockSource } from '../blocks/block-source.ts'
import type { DedupWriter } from '../blocks/dedup-writer.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { isDamage } from '../errors.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { type BlockId, CODEC_RAW } from '../format/cid.ts'
import { decodeNode } from '../format/dag.ts'
import { DAG_DEPTH_MAX, DIGEST_BYTES } from '../format/limits.ts'

interface Target {
  source: BlockSource
  dedup: DedupWriter
}

const WHAT = 'the blob before'

/**
 * False when a block of the blob is missing or bad. Then the blob is to be read from its source, which writes the block
 * again.
 */
export async function takeOver(
  ctx: StoreContext,
  { source, dedup }: Target,
  entry: BlobEntry,
  signal: AbortSignal,
): Promise<boolean> {
  const seen = new Set<string>()

  async function keep(digests: Uint8Array, count: number): Promise<boolean> {
    await source.loadIndexesFor(digests, count)
    for (let i = 0; i < count; i++) if (!dedup.keep(digests, i * DIGEST_BYTES)) return false
    return true
  }

  async function read(digest: Uint8Array): Promise<Uint8Array> {
    const block = await source.read(digest, { code: 'BLOB_DAMAGED', what: WHAT, details: {} })
    ctx.checkedBlocks.note(digest)
    return block
  }

  async function walk({ codec, digest }: BlockId, depth: number): Promise<boolean> {
    signal.throwIfAborted()
    const key = Buffer.from(digest).toString('latin1')
    // Nodes that name each other stand for more chunks than can be visited.
    if (seen.has(key)) return true
    seen.add(key)
    if (!(await keep(digest, 1))) return false
    if (codec === CODEC_RAW) return true
    if (depth > DAG_DEPTH_MAX) return false
    const node = decodeNode(await read(digest), WHAT)
    if (node.codec === CODEC_RAW) return await keep(node.digests, node.count)
    for (let i = 0; i < node.count; i++) {
      const child = node.digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)
      if (!(await walk({ codec: node.codec, digest: child }, depth + 1))) return false
    }
    return true
  }

  try {
    if (entry.segments !== undefined) {
      if (!(await keep(entry.segments, 1))) return false
      if (!ctx.checkedBlocks.has(entry.segments)) await read(entry.segments)
    }
    if (!(await walk(entry.root, 1))) return false
  } catch (error) {
    if (!isDamage(error)) throw error
    return false
  }
  dedup.noteReused(entry.size)
  return true
}
