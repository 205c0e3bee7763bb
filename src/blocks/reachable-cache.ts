// Remembers which blocks small snapshots need, so that compaction does not walk them again.

import { DIGEST_BYTES } from '../format/limits.ts'

/**
 * The blocks that a manifest needs, including itself. They never change, so a small snapshot is walked once and not in
 * every compaction. With a thousand kept snapshots, walking them took a quarter of a second in every tenth persist
 * (measured, busy machine).
 */
export interface ReachableCache {
  /** 32 bytes a block. */
  get(manifest: string): Uint8Array | undefined
  add(manifest: string, digests: Uint8Array): void
}

/** Larger snapshots are not remembered. With chunks of 16 KiB this is a few MiB of blobs. */
export const REACHABLE_BLOCKS_MAX = 512
const REACHABLE_BYTES_MAX = 8 * 1024 * 1024

export function createReachableCache(): ReachableCache {
  const known = new Map<string, Uint8Array>()
  let bytes = 0

  return {
    get: (manifest) => known.get(manifest),
    add(manifest, digests) {
      if (known.has(manifest) || digests.length > REACHABLE_BLOCKS_MAX * DIGEST_BYTES) return
      known.set(manifest, digests)
      bytes += digests.length
      for (const [oldest, { length }] of known) {
        if (bytes <= REACHABLE_BYTES_MAX) break
        known.delete(oldest)
        bytes -= length
      }
    },
  }
}
