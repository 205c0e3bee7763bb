// Plans which snapshots a repair keeps: those that HEAD or commit records name and whose blocks are all good.

import type { BlockSource } from '../blocks/block-source.ts'
import { isDamage } from '../errors.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { cidText } from '../format/cid.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { toHex } from '../format/hex.ts'
import { SNAPSHOTS_MAX } from '../format/limits.ts'
import { createSnapshotCheck, listingCheck } from './examine.ts'
import type { SalvagedPack } from './salvage.ts'

/** The snapshots that a repaired HEAD may have: the intact ones, and those that are dropped. */
export interface SnapshotPlan {
  /** Newest first. `record`: the number of the pack with its commit record, when HEAD does not name the snapshot. */
  kept: KeptCandidate[]
  dropped: { sequence: number; manifest: string; why: string }[]
  /** What HEAD records wrongly of kept snapshots, in words. */
  wrong: string[]
}

interface Candidate {
  snapshot: HeadSnapshot
  record: number | null
}

interface KeptCandidate extends Candidate {
  /** Its blobs with a lost segments block. */
  lostSegments: BlobEntry[]
}

/**
 * Trusts a snapshot only if HEAD or, with `adopting`, a commit record names it. Keeps it only if every block is good.
 */
export async function planSnapshots(
  location: string,
  source: BlockSource,
  packs: readonly SalvagedPack[],
  base: Head,
  adopting: boolean,
): Promise<SnapshotPlan> {
  const listing = listingCheck(base.packs, source)
  // The source has good blocks only.
  const examine = createSnapshotCheck(source, { location, isGood: () => true, onBlock: listing.onBlock })
  const result: SnapshotPlan = { kept: [], dropped: [], wrong: [] }
  const ofBase = base.snapshots.map((snapshot) => ({ snapshot, record: null }))
  const candidates = [...(adopting ? recorded(packs, base) : []), ...ofBase]
  candidates.sort((a, b) => b.snapshot.sequence - a.snapshot.sequence)
  for (const { snapshot, record } of candidates) {
    const { sequence, manifest } = snapshot
    if (result.kept.at(-1)?.snapshot.sequence === sequence) continue
    const { health, errors, size, lostSegments } = await examine(snapshot)
    // A transient read error, or a newer version's manifest, must not drop a snapshot.
    const undecided = errors.find((error) => !isDamage(error))
    if (undecided !== undefined) throw undecided
    if (!health.intact) {
      const before = record === null ? '' : ' (retention may have dropped it long ago)'
      result.dropped.push({ sequence, manifest, why: `${errors[0]!.message}${before}` })
      continue
    }
    if (record === null && size !== snapshot.size) {
      result.wrong.push(`the blobs of snapshot ${sequence} have ${size} bytes, HEAD says ${snapshot.size}`)
    }
    result.kept.push({ snapshot: { ...snapshot, size }, record, lostSegments })
  }
  const kept = new Set(result.kept.map(({ snapshot }) => snapshot.sequence))
  result.dropped = result.dropped.filter(({ sequence }) => !kept.has(sequence))
  if (packs.every(({ intact: whole }) => whole)) {
    for (const [sequence, why] of listing.wrong()) if (kept.has(sequence)) result.wrong.push(why)
  }
  dropBeyondLimit(result)
  return result
}

/**
 * Snapshots that commit records name and that are newer than HEAD. A writer that died before its HEAD swap and the
 * writer after it may have given the same sequence to different snapshots: the later one comes first.
 */
function recorded(packs: readonly SalvagedPack[], base: Head): Candidate[] {
  const known = base.sequence
  // They were made on this line, as far as anybody knows.
  const skips = base.snapshots.find(({ sequence }) => sequence === base.current)?.covers?.skips ?? []
  const found = new Map<string, Candidate & { revision: number }>()
  for (const [packNumber, { header, records }] of packs.entries()) {
    for (const { sequence, manifest, time, message, covers } of records) {
      const key = `${sequence} ${cidText(manifest)}`
      if (sequence <= known || found.has(key)) continue
      const snapshot: HeadSnapshot = {
        sequence,
        manifest: cidText(manifest),
        time,
        ...(message === undefined ? {} : { message }),
        tags: [],
        abandoned: false,
        pack: 0,
        packs: [],
        size: 0,
        // Without it, entries of the journal would be applied twice.
        ...(covers === undefined
          ? {}
          : { covers: { journal: toHex(covers.journal), sequence: covers.sequence, mark: null, skips } }),
      }
      found.set(key, { snapshot, record: packNumber, revision: header?.revision ?? 0 })
    }
  }
  return [...found.values()].sort(
    (a, b) => b.revision - a.revision || Date.parse(b.snapshot.time) - Date.parse(a.snapshot.time),
  )
}

/** Commit records may name more snapshots than a HEAD can hold. Then the oldest untagged ones are dropped. */
function dropBeyondLimit({ kept, dropped }: SnapshotPlan): void {
  for (let i = kept.length - 1; i >= 0 && kept.length > SNAPSHOTS_MAX; i--) {
    const { sequence, manifest, tags } = kept[i]!.snapshot
    if (tags.length > 0) continue
    kept.splice(i, 1)
    dropped.push({ sequence, manifest, why: `a store keeps at most ${SNAPSHOTS_MAX} snapshots` })
  }
}
