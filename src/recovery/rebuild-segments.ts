// Rebuilds lost segments blocks from the chunks of their blobs. It only reads; `repair.ts` writes the blocks.

import type { BlockSource } from '../blocks/block-source.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import { encodeSegments } from '../format/segments.ts'
import { isMostlyRepeats } from '../load/distinct-chunks.ts'
import { readRange } from '../load/read-blob.ts'

/** A segments block, and the digest under which manifests name it. */
export interface RebuiltSegments {
  digest: Uint8Array
  block: Uint8Array
}

/**
 * Rebuilds the segments blocks of `entries`. Reads every byte of those blobs. A rebuilt block that differs from its
 * manifest's digest is left out: the manifest is wrong, and the blob can be loaded without it. So is that of a blob
 * which is far longer than its chunks: it would cost more than the bytes that are there.
 */
export async function rebuildSegments(source: BlockSource, entries: readonly BlobEntry[]): Promise<RebuiltSegments[]> {
  const rebuilt: RebuiltSegments[] = []
  for (const entry of entries) {
    const { segments: digest } = entry
    if (digest === undefined || rebuilt.some((known) => digestsEqual(known.digest, 0, digest, 0))) continue
    if (await isMostlyRepeats(source, entry, DAMAGE)) continue
    const block = encodeSegments(await segmentDigests(source, entry))
    if (digestsEqual(blake3(block), 0, digest, 0)) rebuilt.push({ digest, block })
  }
  return rebuilt
}

const DAMAGE = { code: 'BLOB_DAMAGED' as const, what: 'a blob', details: {} }

async function segmentDigests(source: BlockSource, entry: BlobEntry): Promise<Uint8Array> {
  const digests = new Uint8Array(DIGEST_BYTES * Math.ceil(entry.size / SEGMENT_BYTES))
  for (let at = 0, start = 0; start < entry.size; at += DIGEST_BYTES, start += SEGMENT_BYTES) {
    const end = Math.min(start + SEGMENT_BYTES, entry.size)
    const segment = new Uint8Array(end - start)
    let filled = 0
    for await (const part of readRange(source, entry, DAMAGE, start, end, { byChunks: true })) {
      segment.set(part, filled)
      filled += part.length
    }
    digests.set(blake3(segment), at)
  }
  return digests
}
