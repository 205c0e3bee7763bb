// Reads a blob whose chunks repeat: each chunk once, and not once for each of its places. A few nodes can name the same
// chunk a billion times, and what checks such a blob must cost no more than the bytes that are there.

import { checkBlob } from '../blocks/blob-dag.ts'
import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import { createDigestMap } from '../blocks/digest-map.ts'
import { clock } from '../clock.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import { readChunk } from './execute-read.ts'

/** A blob counts as one that repeats when it is longer than its chunks together by this factor, and by these bytes. */
const REPEATS_FACTOR = 16
const REPEATS_BYTES = 64 * 1024 * 1024

/** Whether a blob is far longer than the chunks that it is made of. Reads its nodes, each once. */
export async function isMostlyRepeats(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
): Promise<boolean> {
  if (entry.size <= REPEATS_BYTES) return false
  const seen = createDigestMap()
  let bytes = 0
  await checkBlob(source, entry, damageContext, ({ count, lengths, digests }) => {
    for (let i = 0; i < count; i++) if (seen.add(digests, i * DIGEST_BYTES, 0)) bytes += lengths[i]!
  })
  return entry.size > REPEATS_FACTOR * bytes + REPEATS_BYTES
}

/** Reads and verifies each chunk of a blob once. */
export async function readDistinctChunks(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
  signal: AbortSignal | undefined,
): Promise<void> {
  const seen = createDigestMap()
  const chunks: { lengths: Float64Array; digests: Uint8Array }[] = []
  await checkBlob(source, entry, damageContext, ({ count, lengths, digests }) => {
    for (let i = 0; i < count; i++) {
      const at = i * DIGEST_BYTES
      if (!seen.add(digests, at, 0)) continue
      chunks.push({ lengths: lengths.slice(i, i + 1), digests: digests.slice(at, at + DIGEST_BYTES) })
    }
  })
  for (const chunk of chunks) {
    signal?.throwIfAborted()
    await readChunk(source, { offset: 0, count: 1, ...chunk }, 0, null, damageContext)
    await clock.nextTurn()
  }
}
