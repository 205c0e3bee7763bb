// Which commit records in packs are of snapshots that HEAD keeps: a lost HEAD is rebuilt from them, so they are needed
// as blocks are.

import { type BlockSource, placeOf } from '../blocks/block-source.ts'
import { type HoldfastError, isHoldfastError } from '../errors.ts'
import { cidText } from '../format/cid.ts'
import { type CommitRecord, decodeCommit } from '../format/commit.ts'
import type { Head } from '../format/head.ts'
import { toHex } from '../format/hex.ts'
import { ENTRY_BYTES } from '../format/limits.ts'
import { KIND } from '../format/pack.ts'

/** So many records are read at once: each is a request in an object store. */
const READS_AT_ONCE = 16

/** What identifies the records of HEAD's snapshots. */
export function keptRecordKeys({ storeId, snapshots }: Head): ReadonlySet<string> {
  return new Set(snapshots.map((snapshot) => recordKey(storeId, snapshot)))
}

/**
 * Stored bytes of the records in a pack that are of kept snapshots, with their index entries. A second copy of a record
 * counts, too.
 *
 * @param onUnread is told of each record that the system refuses to read
 */
export async function keptRecordBytes(
  source: BlockSource,
  packNumber: number,
  kept: ReadonlySet<string>,
  onUnread?: (error: HoldfastError) => void,
): Promise<number> {
  const index = source.indexes[packNumber]!
  const records: number[] = []
  for (let entry = 0; entry < index.blocks; entry++) if (index.kind(entry) === KIND.commit) records.push(entry)
  let bytes = 0
  for (let at = 0; at < records.length; at += READS_AT_ONCE) {
    const some = records.slice(at, at + READS_AT_ONCE)
    const keys = await Promise.all(some.map((entry) => keyOfRecord(source, placeOf(packNumber, entry), onUnread)))
    for (const [i, entry] of some.entries()) {
      const key = keys[i]!
      if (key !== null && kept.has(key)) bytes += index.storedLength(entry) + ENTRY_BYTES
    }
  }
  return bytes
}

/** Null: what lies there is no record any more, or cannot be read. */
async function keyOfRecord(
  source: BlockSource,
  place: number,
  onUnread?: (error: HoldfastError) => void,
): Promise<string | null> {
  let record: CommitRecord
  try {
    record = decodeCommit(await source.readPlace(place))
  } catch (error) {
    if (isHoldfastError(error, 'IO_FAILED')) onUnread?.(error)
    return null
  }
  const { store, manifest, ...rest } = record
  return recordKey(toHex(store), { ...rest, manifest: cidText(manifest) })
}

/** What a record says that HEAD says too. */
function recordKey(
  storeId: string,
  { sequence, manifest, time, message }: { sequence: number; manifest: string; time: string; message?: string },
): string {
  return JSON.stringify([storeId, sequence, manifest, time, message ?? null])
}
