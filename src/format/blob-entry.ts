// A blob's entry is dag-cbor, a map (keys here in reading order; on disk shorter ones come first):
//
//    root        link: a raw chunk, or a node
//    size        bytes
//    segments?   link
//    chunking    { … }
//    type?       a media type
//
// Entries are in a manifest, or in the leaves of its blob list.

import { HoldfastError } from '../errors.ts'
import { type Chunking, chunkBytesMax, parseChunking } from './chunking.ts'
import { type BlockId, CODEC_DAG_CBOR, CODEC_RAW, cidOf } from './cid.ts'
import { BLOB_BYTES_MAX, DIGEST_BYTES, NAME_BYTES_MAX } from './limits.ts'
import { damagedRecord, expectFields, type Fields, isFields, linkIn } from './record.ts'
import { isWellFormed, type StrictValue, strictCopy } from './value.ts'

export interface BlobEntry {
  /** A raw chunk, or a node. */
  root: BlockId
  /** Bytes. */
  size: number
  /** Digest of the segments block; there is one if and only if the root is a node. */
  segments?: Uint8Array
  chunking: Chunking
  /** Media type. */
  type?: string
}

/** The entries as a dag-cbor map. Throws `BLOB_NAME_INVALID`, `METADATA_INVALID`. */
export function entryFields(entries: Iterable<readonly [string, BlobEntry]>): Map<string, StrictValue> {
  const fields = new Map<string, StrictValue>()
  for (const [name, entry] of entries) {
    assertBlobName(name)
    fields.set(name, blobFields(name, entry))
  }
  return fields
}

/** The entries of a decoded map. Throws `SNAPSHOT_DAMAGED`. */
export function parseEntries(fields: Fields): [string, BlobEntry][] {
  return Object.entries(fields).map(([name, value]) => {
    const wrong = wrongName(name)
    if (wrong !== null) throw damagedRecord('manifest', `a blob's name is ${wrong}`)
    return [name, parseEntry(name, value)]
  })
}

function blobFields(name: string, entry: BlobEntry): StrictValue {
  const wrong = wrongEntry(entry)
  if (wrong !== null) throw new Error(`bug: blob '${name}': ${wrong}`)
  const { chunking } = entry
  const fields = new Map<string, StrictValue>([
    ['root', cidOf(entry.root)],
    ['size', entry.size],
    [
      'chunking',
      new Map<string, StrictValue>(
        chunking.kind === 'fixed'
          ? [
              ['kind', 'fixed'],
              ['size', chunking.size],
            ]
          : [
              ['kind', 'content'],
              ['average', chunking.average],
            ],
      ),
    ],
  ])
  if (entry.segments !== undefined) fields.set('segments', cidOf({ codec: CODEC_DAG_CBOR, digest: entry.segments }))
  if (entry.type !== undefined) fields.set('type', strictCopy(entry.type, `blobs[${JSON.stringify(name)}].type`))
  return fields
}

function parseEntry(name: string, value: unknown): BlobEntry {
  const what = `manifest's entry for blob ${JSON.stringify(name)}`
  if (!isFields(value)) throw damagedRecord(what, 'it is not a map')
  const fields: Fields = value
  expectFields(fields, what, ['root', 'size', 'chunking'], ['segments', 'type'])
  const { size, type } = fields
  if (typeof size !== 'number') throw damagedRecord(what, 'its size is not a number')
  const entry: BlobEntry = { root: linkIn(fields.root, what), size, chunking: parseChunking(fields.chunking) }
  if (Object.hasOwn(fields, 'segments')) {
    const segments = linkIn(fields.segments, what)
    if (segments.codec !== CODEC_DAG_CBOR) throw damagedRecord(what, 'its segments are not dag-cbor')
    entry.segments = segments.digest
  }
  if (Object.hasOwn(fields, 'type')) {
    if (typeof type !== 'string') throw damagedRecord(what, 'its type is not text')
    entry.type = type
  }
  const wrong = wrongEntry(entry)
  if (wrong !== null) throw damagedRecord(what, wrong)
  return entry
}

/** What is wrong about an entry's fields taken together; null when nothing is. Asserted on both ways. */
function wrongEntry(entry: BlobEntry): string | null {
  const { root, size, segments, chunking } = entry
  if (!Number.isInteger(size) || size < 0 || size > BLOB_BYTES_MAX) return `its size is ${size}`
  if ((root.codec === CODEC_RAW) !== (segments === undefined)) return 'it has segments without nodes, or the reverse'
  if (segments !== undefined && segments.length !== DIGEST_BYTES) return 'its segments are no digest'
  // A reader allocates memory for a single chunk by this size alone.
  if (root.codec === CODEC_RAW && size > chunkBytesMax(chunking)) return `a single chunk of ${size} bytes is too long`
  return null
}

/**
 * Blob names are 1 to 1,024 bytes of well-formed UTF-8 without NUL. Throws `BLOB_NAME_INVALID`, or a `TypeError` when
 * the name is not a string.
 */
export function assertBlobName(name: unknown): asserts name is string {
  if (typeof name !== 'string') throw new TypeError(`a blob's name must be a string, not ${typeof name}`)
  const reason = wrongName(name)
  if (reason === null) return
  throw new HoldfastError('BLOB_NAME_INVALID', `the blob name ${JSON.stringify(name.slice(0, 80))} is ${reason}`, {
    details: { name, reason },
  })
}

function wrongName(name: string): string | null {
  if (name === '') return 'empty'
  if (name.includes('\0')) return 'a name with a NUL'
  if (!isWellFormed(name)) return 'a name with a lone surrogate'
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) return `longer than ${NAME_BYTES_MAX} bytes of UTF-8`
  return null
}
