// A manifest is dag-cbor, a map (keys here in reading order; on disk shorter ones come first):
//
//    format      "holdfast-manifest"
//    version     1
//    blobs       { name: { root, size, segments?, chunking, type? } }
//    metadata    { … }
//    watermark?  …

import { HoldfastError } from '../errors.ts'
import { type Chunking, chunkBytesMax, parseChunking } from './chunking.ts'
import { type BlockId, CODEC_DAG_CBOR, CODEC_RAW, cidOf } from './cid.ts'
import {
  BLOB_BYTES_MAX,
  BLOBS_MAX,
  BLOCK_BYTES_MAX,
  DIGEST_BYTES,
  FORMAT_VERSION,
  NAME_BYTES_MAX,
  VALUE_DEPTH_MAX,
} from './limits.ts'
import { damagedRecord, decodeRecord, expectFields, type Fields, isFields, linkIn } from './record.ts'
import { encodeStrict, isWellFormed, type StrictValue, strictCopy } from './value.ts'

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

/** Everything that a snapshot consists of. No time and no parent: equal content has an equal manifest. */
export interface Manifest {
  blobs: Map<string, BlobEntry>
  metadata: Record<string, unknown>
  watermark?: unknown
}

const FORMAT = 'holdfast-manifest'

/** The manifest map around `metadata` is one more level. */
const DEPTH_MAX = VALUE_DEPTH_MAX + 1

/**
 * The manifest's block. Throws `METADATA_INVALID` (paths begin with `metadata` or `watermark`), `BLOB_NAME_INVALID`,
 * `LIMIT_EXCEEDED`.
 */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const metadata = strictCopy(manifest.metadata, 'metadata')
  if (!(metadata instanceof Map)) {
    const reason = 'not a plain object'
    throw new HoldfastError('METADATA_INVALID', `metadata cannot be kept: it is ${reason}`, {
      details: { path: 'metadata', reason },
    })
  }
  if (manifest.blobs.size > BLOBS_MAX) throw beyond('blobs', BLOBS_MAX, manifest.blobs.size)
  const blobs = new Map<string, StrictValue>()
  let size = 0
  for (const [name, entry] of manifest.blobs) {
    assertBlobName(name)
    blobs.set(name, blobFields(name, entry))
    size += entry.size
  }
  if (size > Number.MAX_SAFE_INTEGER) throw beyond('snapshotBytes', Number.MAX_SAFE_INTEGER, size)
  const fields = new Map<string, StrictValue>([
    ['format', FORMAT],
    ['version', FORMAT_VERSION],
    ['blobs', blobs],
    ['metadata', metadata],
  ])
  if (manifest.watermark !== undefined) fields.set('watermark', strictCopy(manifest.watermark, 'watermark'))
  const block = encodeStrict(fields)
  if (block.length > BLOCK_BYTES_MAX) throw beyond('manifestBytes', BLOCK_BYTES_MAX, block.length)
  return block
}

/** Its encoding is the shortest that an entry can have. */
const SMALLEST_ENTRY: BlobEntry = {
  root: { codec: CODEC_RAW, digest: new Uint8Array(DIGEST_BYTES) },
  size: 0,
  chunking: { kind: 'fixed', size: 512 },
}

/**
 * Refuses what no manifest can hold, before any blob is read. What is taken here may still be too long: an entry of a large blob takes more
 * room than that of a small one.
 *
 * @throws LIMIT_EXCEEDED, METADATA_INVALID
 */
export function assertManifestCanFit(names: readonly string[], rest: Omit<Manifest, 'blobs'>): void {
  if (names.length > BLOBS_MAX) throw beyond('blobs', BLOBS_MAX, names.length)
  const empty = encodeManifest({ ...rest, blobs: new Map() }).length
  const entryBytes = encodeManifest({ ...rest, blobs: new Map([['x', SMALLEST_ENTRY]]) }).length - empty - 1
  let bytes = empty
  for (const name of names) bytes += entryBytes + Buffer.byteLength(name)
  if (bytes > BLOCK_BYTES_MAX) throw beyond('manifestBytes', BLOCK_BYTES_MAX, bytes)
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

/** The manifest in a block whose digest has been checked. Throws `SNAPSHOT_DAMAGED` or `VERSION_UNSUPPORTED`. */
export function decodeManifest(block: Uint8Array): Manifest {
  if (block.length > BLOCK_BYTES_MAX) throw damagedRecord('manifest', `it has ${block.length} bytes`)
  const fields = decodeRecord(block, 'manifest', FORMAT, DEPTH_MAX)
  expectFields(fields, 'manifest', ['format', 'version', 'blobs', 'metadata'], ['watermark'])
  const { metadata, watermark } = fields
  if (!isFields(fields.blobs)) throw damagedRecord('manifest', 'its blobs are not a map')
  if (!isFields(metadata)) throw damagedRecord('manifest', 'its metadata is not a map')
  const entries = Object.entries(fields.blobs)
  if (entries.length > BLOBS_MAX) throw damagedRecord('manifest', `it has ${entries.length} blobs`)
  const blobs = new Map<string, BlobEntry>()
  let size = 0
  for (const [name, value] of entries) {
    const wrong = wrongName(name)
    if (wrong !== null) throw damagedRecord('manifest', `a blob's name is ${wrong}`)
    const entry = parseEntry(name, value)
    blobs.set(name, entry)
    size += entry.size
  }
  if (size > Number.MAX_SAFE_INTEGER) throw damagedRecord('manifest', `its blobs have ${size} bytes`)
  return Object.hasOwn(fields, 'watermark') ? { blobs, metadata, watermark } : { blobs, metadata }
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

function beyond(limit: string, max: number, actual: number): HoldfastError {
  return new HoldfastError('LIMIT_EXCEEDED', `a snapshot may have ${limit} up to ${max}, not ${actual}`, {
    details: { limit, max, actual },
  })
}
