import type { StoreContext } from '../blocks/store-context.ts'
import { DIGEST_BYTES } from '../format/limits.ts'

/**
 * Which blocks a manifest needs, itself included: the same for ever, so a small snapshot is followed once, not each time that packs are
 * merged. With a thousand of them kept that took a quarter of a second in every tenth persist (measured, on a busy machine).
 */
export interface ReachableCache {
  /** 32 bytes a block. */
  get(manifest: string): Uint8Array | undefined
  add(manifest: string, digests: Uint8Array): void
}

/** Of 16 KiB chunks: blobs of some MiB. */
export const REACHABLE_BLOCKS_MAX = 512
const REACHABLE_BYTES_MAX = 8 * 1024 * 1024

const walksOfStores = new WeakMap<StoreContext, ReachableCache>()

/** Of an open store. */
export function reachableCacheOf(ctx: StoreContext): ReachableCache {
  const reachable = walksOfStores.get(ctx) ?? createReachableCache()
  walksOfStores.set(ctx, reachable)
  return reachable
}

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
