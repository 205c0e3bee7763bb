// A manifest is dag-cbor, a map (keys here in reading order; on disk shorter ones come first):
//
//    format      "holdfast-manifest"
//    version     1, or 2
//    blobs       { name: entry }, or [count, link] of a blob list
//    metadata    { … }
//    watermark?  …
//
// `blob-entry.ts` has the entries, `blob-list.ts` the list.

import { HoldfastError } from '../errors.ts'
import { blake3 } from './blake3.ts'
import { type BlobEntry, entryFields, parseEntries } from './blob-entry.ts'
import { encodeBlobList, type ListBlock, type ListLink, parseListLink } from './blob-list.ts'
import { CODEC_DAG_CBOR, cidOf } from './cid.ts'
import {
  BLOB_BYTES_MAX,
  BLOBS_IN_MANIFEST,
  BLOBS_MAX,
  BLOCK_BYTES_MAX,
  DIGEST_BYTES,
  FORMAT_VERSION,
  LIST_TEXT_BYTES_MAX,
  MANIFEST_VERSION,
  VALUE_DEPTH_MAX,
} from './limits.ts'
import { damagedRecord, decodeRecord, expectFields, isFields } from './record.ts'
import { encodeStrict, type StrictValue, strictCopy } from './value.ts'

/** Everything that a snapshot consists of. No time and no parent: equal content has an equal manifest. */
export interface Manifest {
  blobs: Map<string, BlobEntry>
  metadata: Record<string, unknown>
  watermark?: unknown
}

/** A manifest's own block, decoded: few blobs are in it, many are in the list that it links to. */
type ManifestBlock = Omit<Manifest, 'blobs'> & ({ blobs: Map<string, BlobEntry> } | { list: ListLink })

/** A manifest's block, and those of its blob list, which it needs. */
export interface EncodedManifest extends ListBlock {
  list: ListBlock[]
}

const FORMAT = 'holdfast-manifest'

/** The manifest map around `metadata` is one more level. */
const DEPTH_MAX = VALUE_DEPTH_MAX + 1

/**
 * The manifest's blocks. Throws `METADATA_INVALID` (paths begin with `metadata` or `watermark`), `BLOB_NAME_INVALID`,
 * `LIMIT_EXCEEDED`.
 */
export function encodeManifest(manifest: Manifest): EncodedManifest {
  const { blobs } = manifest
  const size = [...blobs.values()].reduce((sum, entry) => sum + entry.size, 0)
  if (size > Number.MAX_SAFE_INTEGER) throw beyond('snapshotBytes', Number.MAX_SAFE_INTEGER, size)
  if (blobs.size <= BLOBS_IN_MANIFEST) {
    const block = encodeFields(manifest, FORMAT_VERSION, entryFields(blobs))
    return { block, digest: blake3(block), list: [] }
  }
  assertListCanFit(blobs)
  const { root, blocks: list } = encodeBlobList(blobs)
  const block = encodeFields(manifest, MANIFEST_VERSION, linkFields(root))
  return { block, digest: blake3(block), list }
}

function encodeFields(rest: Omit<Manifest, 'blobs'>, version: number, blobs: StrictValue): Uint8Array {
  const metadata = strictCopy(rest.metadata, 'metadata')
  if (!(metadata instanceof Map)) {
    const reason = 'not a plain object'
    throw new HoldfastError('METADATA_INVALID', `metadata cannot be kept: it is ${reason}`, {
      details: { path: 'metadata', reason },
    })
  }
  const fields = new Map<string, StrictValue>([
    ['format', FORMAT],
    ['version', version],
    ['blobs', blobs],
    ['metadata', metadata],
  ])
  if (rest.watermark !== undefined) fields.set('watermark', strictCopy(rest.watermark, 'watermark'))
  const block = encodeStrict(fields)
  if (block.length > BLOCK_BYTES_MAX) throw beyond('manifestBytes', BLOCK_BYTES_MAX, block.length)
  return block
}

function linkFields({ count, digest }: ListLink): StrictValue {
  return [count, cidOf({ codec: CODEC_DAG_CBOR, digest })]
}

/** No entry takes more bytes, but for its name and type. */
const LARGEST_ENTRY: BlobEntry = {
  root: { codec: CODEC_DAG_CBOR, digest: new Uint8Array(DIGEST_BYTES) },
  size: BLOB_BYTES_MAX,
  segments: new Uint8Array(DIGEST_BYTES),
  chunking: { kind: 'content', average: 1_048_576 },
}

/**
 * Refuses what no manifest can hold, before any blob is read: whatever the blobs turn out to be, what is taken here
 * fits.
 *
 * @throws LIMIT_EXCEEDED, METADATA_INVALID
 */
export function assertManifestCanFit(
  sources: readonly { name: string; type?: string | undefined }[],
  rest: Omit<Manifest, 'blobs'>,
): void {
  const types = new Map(sources.map(({ name, type }) => [name, type === undefined ? {} : { type }]))
  if (types.size > BLOBS_IN_MANIFEST) {
    assertListCanFit(types)
    encodeFields(rest, MANIFEST_VERSION, linkFields({ count: types.size, digest: LARGEST_ENTRY.root.digest }))
  } else {
    const blobs = [...types].map(([name, type]) => [name, { ...LARGEST_ENTRY, ...type }] as const)
    encodeFields(rest, FORMAT_VERSION, entryFields(blobs))
  }
}

function assertListCanFit(blobs: ReadonlyMap<string, { type?: string }>): void {
  if (blobs.size > BLOBS_MAX) throw beyond('blobs', BLOBS_MAX, blobs.size)
  let bytes = 0
  for (const [name, { type }] of blobs) bytes += listTextBytes(name, type)
  if (bytes > LIST_TEXT_BYTES_MAX) throw beyond('nameBytes', LIST_TEXT_BYTES_MAX, bytes)
}

/** What a blob counts towards `LIST_TEXT_BYTES_MAX`. */
export function listTextBytes(name: string, type: string | undefined): number {
  return Buffer.byteLength(name) + (type === undefined ? 0 : Buffer.byteLength(type))
}

/** The manifest's block, whose digest has been checked. Throws `SNAPSHOT_DAMAGED` or `VERSION_UNSUPPORTED`. */
export function decodeManifest(block: Uint8Array): ManifestBlock {
  if (block.length > BLOCK_BYTES_MAX) throw damagedRecord('manifest', `it has ${block.length} bytes`)
  const fields = decodeRecord(block, 'manifest', FORMAT, DEPTH_MAX, MANIFEST_VERSION)
  expectFields(fields, 'manifest', ['format', 'version', 'blobs', 'metadata'], ['watermark'])
  const { metadata, watermark } = fields
  if (!isFields(metadata)) throw damagedRecord('manifest', 'its metadata is not a map')
  const rest = Object.hasOwn(fields, 'watermark') ? { metadata, watermark } : { metadata }
  if (fields.version === MANIFEST_VERSION) return { list: parseListLink(fields.blobs, 'manifest'), ...rest }
  if (!isFields(fields.blobs)) throw damagedRecord('manifest', 'its blobs are not a map')
  const count = Object.keys(fields.blobs).length
  if (count > BLOBS_MAX) throw damagedRecord('manifest', `it has ${count} blobs`)
  const blobs = new Map(parseEntries(fields.blobs))
  assertBlobsAddUp(blobs)
  return { blobs, ...rest }
}

/** Refuses sizes whose sum is not exact. Throws `SNAPSHOT_DAMAGED`. */
export function assertBlobsAddUp(blobs: ReadonlyMap<string, BlobEntry>): void {
  let size = 0
  for (const entry of blobs.values()) size += entry.size
  if (size > Number.MAX_SAFE_INTEGER) throw damagedRecord('manifest', `its blobs have ${size} bytes`)
}

function beyond(limit: string, max: number, actual: number): HoldfastError {
  return new HoldfastError('LIMIT_EXCEEDED', `a snapshot may have ${limit} up to ${max}, not ${actual}`, {
    details: { limit, max, actual },
  })
}
