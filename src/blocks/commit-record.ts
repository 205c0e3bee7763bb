// Appends commit records to a pack. HEAD can be rebuilt from them.

import { blake3 } from '../format/blake3.ts'
import { CODEC_DAG_CBOR, parseCid } from '../format/cid.ts'
import { encodeCommit } from '../format/commit.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { DIGEST_BYTES, JOURNAL_ID_BYTES, STORE_ID_BYTES } from '../format/limits.ts'
import { KIND } from '../format/pack.ts'
import type { PackWriter } from './pack-writer.ts'

/**
 * Appends the commit record of a snapshot. `names` are the packs that already have a name. The pack being written has
 * none yet; a snapshot with a record in it needs it, too.
 */
export function appendCommitRecord(
  writer: PackWriter,
  storeId: string,
  snapshot: HeadSnapshot,
  names: ReadonlyMap<number, string>,
): void {
  const { covers } = snapshot
  const block = encodeCommit({
    store: fromHex(storeId, STORE_ID_BYTES),
    sequence: snapshot.sequence,
    manifest: parseCid(snapshot.manifest),
    time: snapshot.time,
    ...(snapshot.message === undefined ? {} : { message: snapshot.message }),
    packs: snapshot.packs
      .map((id) => names.get(id))
      .filter((name) => name !== undefined)
      .sort()
      .map((name) => fromHex(name, DIGEST_BYTES)),
    ...(covers === undefined
      ? {}
      : { covers: { journal: fromHex(covers.journal, JOURNAL_ID_BYTES), sequence: covers.sequence } }),
  })
  writer.append(block, blake3(block), CODEC_DAG_CBOR, KIND.commit, null)
}
