// Finds everything good in a pack, even if its index is damaged: the blocks whose bytes match their digests, and the
// commit records among them.

import { decompressStored } from '../blocks/block-source.ts'
import type { OpenPack, PackCache } from '../blocks/pack-cache.ts'
import { BLOCK, scanPack } from '../blocks/scan-pack.ts'
import { HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { type CommitRecord, decodeCommit } from '../format/commit.ts'
import { prepareDecompression } from '../format/compression.ts'
import {
  BLOCK_BYTES_MAX,
  DIGEST_BYTES,
  ENTRY_BYTES,
  FANOUT_BYTES,
  FOOTER_BYTES,
  HEADER_BYTES,
} from '../format/limits.ts'
import { KIND, type PackHeader, type PackIndex, parsePackFooter, parsePackHeader } from '../format/pack.ts'
import { createPackIndex, type PackIndexBuilder } from '../format/pack-builder.ts'
import type { PackFile } from '../storage/port.ts'
import { term } from '../terms.ts'

/** A pack as found, and the part of it that can be used. */
export interface SalvagedPack {
  name: string
  bytes: number
  pack: OpenPack
  /** Its header; null if it has none. */
  header: PackHeader | null
  /** The good blocks, whatever index they were found by. */
  intactIndex: PackIndex
  /** Header, index and every block are intact. */
  intact: boolean
  /** What is wrong, in words; empty if the pack is intact. */
  why: string
  /** The commit records of this store. */
  records: CommitRecord[]
  /** It has blocks that are good, should be commit records, and are none. */
  hasOddRecords: boolean
}

export interface SalvageOptions {
  packCache: PackCache
  storeId: Uint8Array
  /** HEAD's record of the pack. It gives the place of the index if the pack's footer is damaged. */
  recorded: { bytes: number; blocks: number } | undefined
  /** Whether unreadable bytes count as lost. */
  unreadableIsLost: boolean
  onBytes?: ((bytes: number) => void) | undefined
}

/**
 * Reads every byte of a pack and indexes the blocks that are good, even if the pack's own index is damaged.
 *
 * @returns null when it is not there
 * @throws IO_FAILED when some of it cannot be read, and that is not to count as lost
 */
export async function salvagePack(name: string, options: SalvageOptions): Promise<SalvagedPack | null> {
  let pack: OpenPack
  try {
    pack = await options.packCache.open(name, options.storeId)
  } catch (error) {
    if (isHoldfastError(error, 'PACK_MISSING')) return null
    throw error
  }
  try {
    const found = await goodBlocks(pack, options)
    const header = await readHeader(pack.file, options)
    const salvaged = { name, bytes: pack.file.bytes, pack, header, intact: found.why === '', ...found }
    return { ...salvaged, ...(await commitRecords(salvaged, options.storeId)) }
  } catch (error) {
    await pack.release()
    throw error
  }
}

/** Null if the file does not begin as a pack. The header has no checksum of its own. */
export async function readHeader(file: PackFile, options: { unreadableIsLost: boolean }): Promise<PackHeader | null> {
  const bytes = new Uint8Array(HEADER_BYTES)
  try {
    await file.read(bytes, 0)
    return parsePackHeader(bytes, `pack ${file.name}`)
  } catch (error) {
    if (isLost(error, options) || isHoldfastError(error, 'VERSION_UNSUPPORTED')) return null
    throw error
  }
}

/** Errors of a disk that has lost the bytes: EIO, and the errors of file systems with checksums. */
const MEDIA_ERRORS = ['EIO', 'EUCLEAN', 'EBADMSG', 'ENODATA']

function isLost(error: unknown, { unreadableIsLost }: { unreadableIsLost: boolean }): boolean {
  if (isDamage(error)) return true
  return unreadableIsLost && isHoldfastError(error, 'IO_FAILED') && MEDIA_ERRORS.includes(error.details.code as string)
}

async function goodBlocks(pack: OpenPack, options: SalvageOptions): Promise<{ intactIndex: PackIndex; why: string }> {
  try {
    const index = await pack.index()
    const indexOffset = pack.file.bytes - FOOTER_BYTES - FANOUT_BYTES - index.blocks * ENTRY_BYTES
    const intactIndex = await onlyGood(pack.file, { index, indexOffset }, options)
    const bad = index.blocks - intactIndex.blocks
    return {
      intactIndex,
      why: bad === 0 ? '' : `${bad} of its ${index.blocks} blocks ${bad === 1 ? 'is' : 'are'} damaged`,
    }
  } catch (error) {
    if (!isLost(error, options)) throw error
    return { intactIndex: await salvage(pack.file, options), why: (error as Error).message }
  }
}

/**
 * Reduces an index to its good blocks; returns the same index if all are good. `indexOffset` is the end of the data; in
 * a truncated file it is not the start of the index.
 */
async function onlyGood(
  file: PackFile,
  { index, indexOffset }: { index: PackIndex; indexOffset: number },
  options: SalvageOptions,
): Promise<PackIndex> {
  const isBad = new Uint8Array(index.blocks)
  let badBlocks = 0
  for await (const step of scanPack(file, index)) {
    for (const [entry, state] of step.bad) {
      if (state === BLOCK.unreadable && !isLost(step.failure, options)) throw unreadable(file, step.failure)
      isBad[entry] = 1
    }
    badBlocks += step.bad.size
    options.onBytes?.(step.bytes)
  }
  if (badBlocks === 0) return index
  const builder = createPackIndex()
  for (let entry = 0; entry < index.blocks; entry++) if (isBad[entry] === 0) addEntry(builder, index, entry)
  return finish(builder, indexOffset)
}

function unreadable(file: PackFile, cause: unknown): unknown {
  if (!isHoldfastError(cause, 'IO_FAILED') || !MEDIA_ERRORS.includes(cause.details.code as string)) return cause
  return new HoldfastError(
    'IO_FAILED',
    `pack ${file.name} cannot be read in full: ${cause.message}. If the disk will not give these bytes again, ` +
      `${term('repairUnreadable')} goes on without them`,
    { details: { ...cause.details, pack: file.name }, cause },
  )
}

function addEntry(builder: PackIndexBuilder, index: PackIndex, entry: number): void {
  const compression = index.compression(entry)
  builder.add({
    digest: index.bytes,
    digestAt: index.digestAt(entry),
    offset: index.offset(entry),
    storedLength: index.storedLength(entry),
    rawLength: index.rawLength(entry),
    codec: index.codec(entry),
    compression,
    kind: index.kind(entry),
    check: compression === 0 ? null : index.check(entry),
  })
}

function finish(builder: PackIndexBuilder, indexOffset: number): PackIndex {
  return builder.finish(new Uint8Array(HEADER_BYTES), Math.max(HEADER_BYTES, indexOffset)).index
}

/**
 * Finds the blocks of a pack with a damaged index. Each 56 bytes that may be an entry are tried. An entry counts only
 * if the bytes that it points to match its digest.
 */
async function salvage(file: PackFile, options: SalvageOptions): Promise<PackIndex> {
  await prepareDecompression()
  const builder = createPackIndex()
  const place = await indexPlace(file, options)
  if (place === null) return finish(builder, HEADER_BYTES)
  const entries = await possibleEntries(file, place, options)
  // The blocks of a pack do not overlap. A damaged index with overlapping entries must not cause unbounded work, so the
  // longest entries are left out.
  let bytes = entries.reduce((sum, entry) => sum + storedLengthOf(entry), 0)
  if (bytes > 2 * file.bytes) entries.sort((a, b) => storedLengthOf(b) - storedLengthOf(a))
  const seen = new Set<string>()
  const atPlace = new Map<string, number>()
  for (const entry of entries) {
    const length = storedLengthOf(entry)
    if (bytes > 2 * file.bytes) {
      bytes -= length
      continue
    }
    const digest = Buffer.from(entry.subarray(0, DIGEST_BYTES)).toString('hex')
    if (seen.has(digest)) continue
    seen.add(digest)
    const view = viewOf(entry)
    // The same bytes have one digest, and a few stored bytes may decompress to 16 MiB.
    const place = `${view.getUint32(32, true)} ${length} ${view.getUint32(40, true)} ${entry[45]}`
    const tried = atPlace.get(place) ?? 0
    if (length > 0 && tried >= TRIES_AT_PLACE) continue
    atPlace.set(place, tried + 1)
    const check = entry[45] === 0 ? null : entry.subarray(48, 56)
    builder.add({
      digest: entry,
      offset: view.getUint32(32, true),
      storedLength: length,
      rawLength: view.getUint32(40, true),
      codec: entry[44]!,
      compression: entry[45]!,
      // A wrong kind does not make the bytes wrong.
      kind: entry[46]! <= KIND.commit ? entry[46]! : KIND.chunk,
      check,
    })
  }
  const { indexOffset } = place
  return await onlyGood(file, { index: finish(builder, indexOffset), indexOffset }, options)
}

/** So many entries that point to the same bytes are tried. Of an honest index there is one. */
const TRIES_AT_PLACE = 4

async function possibleEntries(file: PackFile, place: IndexPlace, options: SalvageOptions): Promise<Uint8Array[]> {
  const start = place.indexOffset + FANOUT_BYTES
  // A truncated pack may have lost the end of its index.
  const count = Math.min(place.blocks, Math.floor((file.bytes - start) / ENTRY_BYTES))
  if (count <= 0) return []
  const bytes = new Uint8Array(count * ENTRY_BYTES)
  try {
    await file.read(bytes, start)
  } catch (error) {
    if (!isLost(error, options)) throw unreadable(file, error)
    return []
  }
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * ENTRY_BYTES, (i + 1) * ENTRY_BYTES)).filter(
    (entry) => isPossible(entry, place),
  )
}

interface IndexPlace {
  indexOffset: number
  blocks: number
}

/** Where the index begins and how many blocks it lists: from the footer, else from HEAD; null if neither tells. */
async function indexPlace(file: PackFile, options: SalvageOptions): Promise<IndexPlace | null> {
  try {
    const footer = new Uint8Array(FOOTER_BYTES)
    await file.read(footer, Math.max(0, file.bytes - FOOTER_BYTES))
    return parsePackFooter(footer, file.bytes, file.name)
  } catch (error) {
    if (!isLost(error, options)) throw error
  }
  if (options.recorded === undefined) return null
  const { bytes, blocks } = options.recorded
  const indexOffset = bytes - FOOTER_BYTES - blocks * ENTRY_BYTES - FANOUT_BYTES
  return indexOffset < HEADER_BYTES ? null : { indexOffset, blocks }
}

function isPossible(entry: Uint8Array, { indexOffset }: IndexPlace): boolean {
  const view = viewOf(entry)
  const offset = view.getUint32(32, true)
  const storedLength = storedLengthOf(entry)
  const rawLength = view.getUint32(40, true)
  return (
    offset >= HEADER_BYTES &&
    offset + storedLength <= indexOffset &&
    rawLength <= BLOCK_BYTES_MAX &&
    storedLength <= BLOCK_BYTES_MAX &&
    (entry[45] === 0 ? storedLength === rawLength : entry[45] === 1) &&
    (entry[44] === 0x55 || entry[44] === 0x71)
  )
}

function storedLengthOf(entry: Uint8Array): number {
  return viewOf(entry).getUint32(36, true)
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Reads the commit records of this store among a pack's good blocks. */
async function commitRecords(
  { intactIndex, pack }: { intactIndex: PackIndex; pack: OpenPack },
  storeId: Uint8Array,
): Promise<Pick<SalvagedPack, 'records' | 'hasOddRecords'>> {
  const records: CommitRecord[] = []
  let hasOddRecords = false
  for (let entry = 0; entry < intactIndex.blocks; entry++) {
    if (intactIndex.kind(entry) !== KIND.commit) continue
    const stored = new Uint8Array(intactIndex.storedLength(entry))
    await pack.file.read(stored, intactIndex.offset(entry))
    const block = decompressStored(intactIndex, entry, stored)
    if (!digestsEqual(blake3(block), 0, intactIndex.bytes, intactIndex.digestAt(entry))) continue
    try {
      const record = decodeCommit(block)
      if (Buffer.compare(record.store, storeId) === 0) records.push(record)
    } catch (error) {
      if (!isHoldfastError(error)) throw error
      hasOddRecords ||= isDamage(error)
    }
  }
  return { records, hasOddRecords }
}
