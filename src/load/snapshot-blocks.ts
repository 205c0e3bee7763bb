// The blocks of an open snapshot, for other entries of the package that carry it away.

import type { DamageContext } from '../blocks/block-source.ts'

/** What an open snapshot gives of its blocks. */
export interface SnapshotBlocks {
  /** Digest of the manifest. */
  root: Uint8Array
  /** Reads a block, checked against its digest. `SNAPSHOT_DISPOSED` once the snapshot was disposed. */
  read(digest: Uint8Array): Promise<Uint8Array>
  damageContext: DamageContext
}

const known = new WeakMap<object, SnapshotBlocks>()

export function noteBlocks(snapshot: object, blocks: SnapshotBlocks): void {
  known.set(snapshot, blocks)
}

/** Null for an object that is no snapshot of this package. */
export function blocksOf(snapshot: unknown): SnapshotBlocks | null {
  return typeof snapshot === 'object' && snapshot !== null ? (known.get(snapshot) ?? null) : null
}
