// Checks whether a snapshot is intact: its manifest, its blobs, and every block they need. Verify and repair share it.

import { checkBlob } from '../blocks/blob-dag.ts'
import { type BlockSource, type DamageContext, entryOf, packNumberOf, placeOf } from '../blocks/block-source.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { cidText, parseCid } from '../format/cid.ts'
import type { HeadPack, HeadSnapshot } from '../format/head.ts'
import { toHex } from '../format/hex.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import { readSegmentsOrNull } from '../load/read-blob.ts'

/** Whether one snapshot can be loaded. */
export interface SnapshotHealth {
  sequence: number
  manifest: string
  /** Every byte of it can be read. */
  intact: boolean
  /** Names of the blobs that cannot be read in full. */
  damagedBlobs: string[]
  /** The manifest cannot be read, so nothing of the snapshot can be. */
  manifestLost: boolean
}

interface Examination {
  health: SnapshotHealth
  /** One for each damaged blob, or one for the manifest. */
  errors: HoldfastError[]
  /** Sum of the blobs' sizes, as the manifest says. */
  size: number
  /** Intact blobs whose segments block is lost. It can be rebuilt from their chunks. */
  lostSegments: BlobEntry[]
}

interface ExamineOptions {
  /** For messages. */
  location: string
  /** Whether the copy of a chunk at `place` is good. */
  isGood(place: number): boolean
  /** Called for each block that the snapshot needs. */
  onBlock?: (snapshot: HeadSnapshot, digests: Uint8Array, at: number) => void
  signal?: AbortSignal | undefined
}

/**
 * Returns a function that follows every link of a snapshot. Each block must exist, be good, and have the length that
 * its parent records. Manifests, nodes and segments are read; chunks are only looked up in the index. A blob that
 * several snapshots share is followed once.
 */
export function createSnapshotCheck(
  source: BlockSource,
  options: ExamineOptions,
): (snapshot: HeadSnapshot) => Promise<Examination> {
  const { location, isGood, onBlock, signal } = options
  /** Blobs that are intact, and whether their segments are. */
  const seen = new Map<string, boolean>()

  return async function examine(snapshot) {
    const { sequence, manifest } = snapshot
    const watched = watch(source, (digest) => onBlock?.(snapshot, digest, 0))
    const health: SnapshotHealth = { sequence, manifest, intact: true, damagedBlobs: [], manifestLost: false }
    const errors: HoldfastError[] = []
    const lostSegments: BlobEntry[] = []
    const details = { location, sequence }
    let size = 0
    let blobs: Map<string, BlobEntry>
    try {
      const damageContext: DamageContext = { code: 'SNAPSHOT_DAMAGED', what: `snapshot ${sequence}`, details }
      blobs = (await readManifest(watched, parseCid(manifest).digest, damageContext)).blobs
    } catch (error) {
      if (!isHoldfastError(error)) throw error
      return { health: { ...health, intact: false, manifestLost: true }, errors: [error], size, lostSegments }
    }
    for (const [name, entry] of blobs) {
      size += entry.size
      // The packs that must hold a blob depend on the snapshot, too.
      const { root, segments } = entry
      const key = [cidText(root), entry.size, segments === undefined ? '' : toHex(segments), snapshot.packs].join()
      const before = seen.get(key)
      if (before === false) lostSegments.push(entry)
      if (before !== undefined) continue
      const what = `blob ${JSON.stringify(name)} of snapshot ${sequence}`
      try {
        const damageContext = { code: 'BLOB_DAMAGED' as const, what, details: { ...details, blob: name } }
        const hasSegments = await examineBlob(snapshot, watched, entry, damageContext)
        seen.set(key, hasSegments)
        if (!hasSegments) lostSegments.push(entry)
      } catch (error) {
        if (!isHoldfastError(error)) throw error
        health.intact = false
        health.damagedBlobs.push(name)
        errors.push(error)
      }
    }
    return { health, errors, size, lostSegments }
  }

  async function examineBlob(
    snapshot: HeadSnapshot,
    watched: BlockSource,
    entry: BlobEntry,
    damageContext: DamageContext,
  ): Promise<boolean> {
    const segments = await readSegmentsOrNull(watched, entry, damageContext)
    await checkBlob(watched, entry, damageContext, ({ digests, lengths, count }) => {
      signal?.throwIfAborted()
      for (let i = 0; i < count; i++) {
        const at = i * DIGEST_BYTES
        onBlock?.(snapshot, digests, at)
        const wrong = wrongChunk(digests, at, lengths[i]!)
        if (wrong === null) continue
        const block = toHex(digests.subarray(at, at + DIGEST_BYTES))
        throw new HoldfastError(
          damageContext.code,
          `${damageContext.what} is damaged: block ${block.slice(0, 16)}… ${wrong}`,
          {
            details: { ...damageContext.details, block },
          },
        )
      }
    })
    return segments !== null
  }

  function wrongChunk(digests: Uint8Array, at: number, length: number): string | null {
    const place = source.find(digests, at)
    let wrong = 'is in no pack that can be read'
    if (place === -1) return wrong
    if (source.indexes[packNumberOf(place)]!.rawLength(entryOf(place)) === length && isGood(place)) return null
    for (const [packNumber, index] of source.indexes.entries()) {
      const entry = index.find(digests, at)
      if (entry === -1) continue
      if (index.rawLength(entry) !== length) wrong = `has ${index.rawLength(entry)} bytes, and ${length} in its list`
      else if (isGood(placeOf(packNumber, entry))) return null
      else wrong = 'is not what was written, or cannot be read'
    }
    return wrong
  }
}

function watch(source: BlockSource, onRead: (digest: Uint8Array) => void): BlockSource {
  return {
    ...source,
    read(digest, damageContext) {
      onRead(digest)
      return source.read(digest, damageContext)
    },
  }
}

/**
 * Checks that HEAD lists, for each snapshot, a pack for each of its blocks. A pack that is not listed could be deleted
 * although the snapshot needs it.
 */
export function listingCheck(packs: readonly HeadPack[], source: BlockSource) {
  const idOf = new Map(packs.map(({ name, id }) => [name, id]))
  const ids = source.packs.map(({ name }) => idOf.get(name))
  const unlisted = new Map<number, Set<string>>()
  let last: HeadSnapshot | null = null
  let isListed: boolean[] = []

  return {
    onBlock(snapshot: HeadSnapshot, digests: Uint8Array, at: number): void {
      // No HEAD has the snapshot yet.
      if (snapshot.packs.length === 0) return
      if (snapshot !== last) {
        last = snapshot
        isListed = ids.map((id) => id !== undefined && snapshot.packs.includes(id))
      }
      const place = source.find(digests, at)
      if (place === -1 || isListed[packNumberOf(place)]) return
      if (source.indexes.some((index, packNumber) => isListed[packNumber] && index.find(digests, at) !== -1)) return
      const names = unlisted.get(snapshot.sequence) ?? new Set()
      unlisted.set(snapshot.sequence, names.add(source.packs[packNumberOf(place)]!.name))
    },
    /** The snapshots whose list is wrong: sequence, and what is wrong in words. */
    wrong: (): [number, string][] =>
      [...unlisted].map(([sequence, names]) => [
        sequence,
        `HEAD does not say that snapshot ${sequence} needs pack ${[...names].join(', ')}: a collection could delete it`,
      ]),
  }
}
