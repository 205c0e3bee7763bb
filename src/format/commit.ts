// A commit record is dag-cbor, a map (keys here in reading order; on disk shorter ones come first):
//
//    format      "holdfast-commit"
//    version     1
//    store       store id (16 bytes)
//    sequence    of the snapshot
//    manifest    link
//    time        ISO 8601, UTC, milliseconds
//    message?    text
//    packs       [ digest (32 bytes), … ]  the other packs that the snapshot needs, ascending
//    covers?     [ journal id (16 bytes), sequence ]  the entries of a journal that the snapshot holds the effect of

import { type BlockId, CODEC_DAG_CBOR, cidOf } from './cid.ts'
import {
  BLOCK_BYTES_MAX,
  COUNTER_MAX,
  DIGEST_BYTES,
  FORMAT_VERSION,
  JOURNAL_ID_BYTES,
  STORE_ID_BYTES,
} from './limits.ts'
import { damagedRecord, decodeRecord, expectFields, linkIn } from './record.ts'
import { isTime } from './time.ts'
import { encodeStrict, type StrictValue, strictCopy } from './value.ts'

/** What is needed to put a snapshot back into a lost HEAD. */
export interface CommitRecord {
  /** Store id, 16 bytes. */
  store: Uint8Array
  sequence: number
  manifest: BlockId
  time: string
  message?: string
  /** Digests of the *other* packs that the snapshot needs, ascending. The pack that holds the record is needed too. */
  packs: Uint8Array[]
  /** The entries of a journal, by its id of 16 bytes, up to this sequence. */
  covers?: { journal: Uint8Array; sequence: number }
}

const FORMAT = 'holdfast-commit'

/** The record's block. Throws `METADATA_INVALID` when the message is not well-formed. */
export function encodeCommit(commit: CommitRecord): Uint8Array {
  const wrong = wrongCommit(commit)
  if (wrong !== null) throw new Error(`bug: commit record: ${wrong}`)
  const fields = new Map<string, StrictValue>([
    ['format', FORMAT],
    ['version', FORMAT_VERSION],
    ['store', commit.store],
    ['sequence', commit.sequence],
    ['manifest', cidOf(commit.manifest)],
    ['time', commit.time],
    ['packs', commit.packs],
  ])
  if (commit.message !== undefined) fields.set('message', strictCopy(commit.message, 'message'))
  if (commit.covers !== undefined) fields.set('covers', [commit.covers.journal, commit.covers.sequence])
  const block = encodeStrict(fields)
  if (block.length > BLOCK_BYTES_MAX) throw new Error(`bug: commit record of ${block.length} bytes`)
  return block
}

/** The record in a block whose digest has been checked. Throws `SNAPSHOT_DAMAGED` or `VERSION_UNSUPPORTED`. */
export function decodeCommit(block: Uint8Array): CommitRecord {
  const what = 'commit record'
  const fields = decodeRecord(block, what, FORMAT, 2)
  expectFields(
    fields,
    what,
    ['format', 'version', 'store', 'sequence', 'manifest', 'time', 'packs'],
    ['message', 'covers'],
  )
  const { store, sequence, time, message, packs } = fields
  if (!(store instanceof Uint8Array)) throw damagedRecord(what, 'its store is not bytes')
  if (typeof sequence !== 'number') throw damagedRecord(what, 'its sequence is not a number')
  if (typeof time !== 'string') throw damagedRecord(what, 'its time is not text')
  if (!Array.isArray(packs) || !packs.every((pack) => pack instanceof Uint8Array)) {
    throw damagedRecord(what, 'its packs are not a list of bytes')
  }
  const commit: CommitRecord = { store, sequence, manifest: linkIn(fields.manifest, what), time, packs }
  if (Object.hasOwn(fields, 'message')) {
    if (typeof message !== 'string') throw damagedRecord(what, 'its message is not text')
    commit.message = message
  }
  if (Object.hasOwn(fields, 'covers')) {
    const { covers } = fields
    if (!Array.isArray(covers) || covers.length !== 2 || !(covers[0] instanceof Uint8Array)) {
      throw damagedRecord(what, 'its covers are not a journal and a sequence')
    }
    commit.covers = { journal: covers[0], sequence: covers[1] as number }
  }
  const wrong = wrongCommit(commit)
  if (wrong !== null) throw damagedRecord(what, wrong)
  return commit
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Asserted on both ways. */
function wrongCommit(commit: CommitRecord): string | null {
  const { store, sequence, manifest, time, packs, covers } = commit
  if (covers !== undefined && (covers.journal.length !== JOURNAL_ID_BYTES || !isCount(covers.sequence))) {
    return 'its covers are not a journal id and a sequence'
  }
  if (store.length !== STORE_ID_BYTES) return `its store id has ${store.length} bytes`
  if (!Number.isInteger(sequence) || sequence < 1 || sequence > COUNTER_MAX) return `its sequence is ${sequence}`
  if (manifest.codec !== CODEC_DAG_CBOR) return 'its manifest is not dag-cbor'
  if (!isTime(time)) return `its time is '${time}'`
  for (let i = 0; i < packs.length; i++) {
    if (packs[i]!.length !== DIGEST_BYTES) return `a pack digest has ${packs[i]!.length} bytes`
    if (i > 0 && Buffer.compare(packs[i - 1]!, packs[i]!) >= 0) return 'its packs are not ascending'
  }
  return null
}
