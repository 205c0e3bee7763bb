// Reads the commit records, from which a lost HEAD is rebuilt, and compares them with HEAD.

import type { BlockSource } from '../blocks/block-source.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { isDamage, isHoldfastError } from '../errors.ts'
import { cidText } from '../format/cid.ts'
import { type CommitRecord, decodeCommit } from '../format/commit.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { toHex } from '../format/hex.ts'
import { KIND } from '../format/pack.ts'
import type { Problem } from './problem.ts'

/**
 * Whether a snapshot is in no commit record, though there is one of its sequence, or one that cannot be read and may
 * have been its own.
 */
export function lacksRecord(
  { sequence, manifest }: Pick<HeadSnapshot, 'sequence' | 'manifest'>,
  records: readonly CommitRecord[],
  hasOddRecords: boolean,
): boolean {
  const own = records.filter((record) => record.sequence === sequence)
  if (own.some((record) => cidText(record.manifest) === manifest)) return false
  return own.length > 0 || hasOddRecords
}

/**
 * Records that cannot be read, and snapshots that no record of their sequence agrees with. A writer that died before
 * its HEAD may have left another record of the sequence, so one that agrees is enough. Blocks that `isGood` denies are
 * reported as blocks.
 */
export async function checkRecords(
  ctx: StoreContext,
  head: Head,
  source: BlockSource,
  { isGood, signal }: { isGood: (slot: number, entry: number) => boolean; signal: AbortSignal | undefined },
): Promise<Problem[]> {
  const problems: Problem[] = []
  const bySequence = new Map<number, CommitRecord[]>()
  for (const [slot, { name }] of source.packs.entries()) {
    const index = source.indexes[slot]!
    for (let entry = 0; entry < index.blocks; entry++) {
      if (index.kind(entry) !== KIND.commit || !isGood(slot, entry)) continue
      signal?.throwIfAborted()
      const what = `a commit record of pack ${name}`
      try {
        const details = { location: ctx.storage.location, pack: name }
        const record = decodeCommit(await source.read(index.digest(entry), { code: 'SNAPSHOT_DAMAGED', what, details }))
        if (toHex(record.store) !== head.storeId) continue
        bySequence.set(record.sequence, [...(bySequence.get(record.sequence) ?? []), record])
      } catch (error) {
        // A block with wrong bytes is noted by the source, and reported with the others of its pack.
        const isKnown = !isGood(slot, entry) || isHoldfastError(error, 'IO_FAILED', 'VERSION_UNSUPPORTED')
        if (!isKnown && !isDamage(error)) throw error
        if (!isKnown) problems.push({ code: 'PACK_DAMAGED', what, message: (error as Error).message, pack: name })
      }
    }
  }
  const all = [...bySequence.values()].flat()
  // One that cannot be read is no loss as long as each snapshot has another.
  if (!head.snapshots.some((snapshot) => lacksRecord(snapshot, all, problems.length > 0))) return []
  for (const { sequence, manifest } of head.snapshots) {
    const records = bySequence.get(sequence)
    if (records === undefined || records.some((record) => cidText(record.manifest) === manifest)) continue
    const message = `HEAD says that its manifest is ${manifest}, and its commit record says ${cidText(records[0]!.manifest)}`
    problems.push({ code: 'HEAD_DAMAGED', what: `snapshot ${sequence}`, message })
  }
  return problems
}
