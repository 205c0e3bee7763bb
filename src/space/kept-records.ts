// The commit records of kept snapshots. No snapshot needs them to be loaded, but a repair without HEAD makes it of them.

import { type BlockSource, placeOf } from '../blocks/block-source.ts'
import { createYielder, LOOKUP_STEPS } from '../event-loop.ts'
import { cidText } from '../format/cid.ts'
import { type CommitRecord, decodeCommit } from '../format/commit.ts'
import type { Head } from '../format/head.ts'
import { toHex } from '../format/hex.ts'
import { ENTRY_BYTES } from '../format/limits.ts'
import { KIND } from '../format/pack.ts'

/** Answers, for the number of a pack, what the records of kept snapshots take in it, with their index entries. */
export function keptRecords(
  head: Head,
  source: BlockSource,
  signal: AbortSignal | undefined,
): (packNumber: number) => Promise<number> {
  const turn = createYielder(signal)
  const kept = new Set(head.snapshots.map((snapshot) => recordKey(head.storeId, snapshot)))
  return async (packNumber) => {
    const index = source.indexes[packNumber]!
    let bytes = 0
    for (let entry = 0; entry < index.blocks; entry++) {
      if (entry % LOOKUP_STEPS === 0) await turn()
      if (index.kind(entry) !== KIND.commit) continue
      const key = await keyOfRecord(source, placeOf(packNumber, entry))
      if (key !== null && kept.has(key)) bytes += index.storedLength(entry) + ENTRY_BYTES
    }
    return bytes
  }
}

/** Null: what lies there is no record any more. */
async function keyOfRecord(source: BlockSource, place: number): Promise<string | null> {
  let record: CommitRecord
  try {
    record = decodeCommit(await source.readPlace(place))
  } catch {
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
