// Commit records where there are other writers: in a small pack of their own, written anew for each HEAD that is tried,
// because they name packs by what that HEAD calls them.

import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import type { WriteSession } from '../storage/port.ts'
import { appendCommitRecord } from './commit-record.ts'
import { createPackWriter, type WrittenPack } from './pack-writer.ts'

export interface RecordPack {
  pack: WrittenPack
  index: PackIndex
}

/**
 * Writes the records of some snapshots of the HEAD after `base`.
 *
 * @param names of packs, by id
 * @param id of the pack that is written
 */
export async function writeRecords(
  session: WriteSession,
  base: Head,
  snapshots: readonly HeadSnapshot[],
  names: ReadonlyMap<number, string>,
  id: number,
): Promise<RecordPack> {
  const writer = createPackWriter({
    storeId: fromHex(base.storeId, STORE_ID_BYTES),
    revision: base.revision + 1,
    firstPackId: id,
    packBytesMax: Number.POSITIVE_INFINITY,
    createPack: session.createPack,
  })
  try {
    for (const snapshot of snapshots) appendCommitRecord(writer, base.storeId, snapshot, names)
    const { packs, last, seal } = await writer.finish()
    await seal()
    return { pack: packs[0]!, index: last! }
  } catch (error) {
    await writer.discard()
    throw error
  }
}
