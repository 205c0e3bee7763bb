// Reads all that is good in a pack, even if its index is damaged: the blocks whose bytes match their digests, and the
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

/** A pack as it was found, and what of it can be used. */
export interface SalvagedPack {
  name: string
  bytes: number
  pack: OpenPack
  /** What its first bytes say; null when that is nothing. */
  header: PackHeader | null
  /** The blocks whose bytes are good, wherever the index came from. */
  intactIndex: PackIndex
  /** Header, index and every block are as they were written. */
  intact: boolean
  /** What is wrong, in words; empty when whole. */
  why: string
  /** Of this store. */
  records: CommitRecord[]
}

export interface SalvageOptions {
  packCache: PackCache
  storeId: Uint8Array
  /** What HEAD says of the pack: where its index lies, when the pack itself no longer tells. */
  recorded: { bytes: number; blocks: number } | undefined
  /** What the disk does not give counts as lost. */
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
    return { ...salvaged, records: await commitRecords(salvaged, options.storeId) }
  } catch (error) {
    await pack.release()
    throw error
  }
}

/** Null when it is not a pack's. It has no checksum of its own. */
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

/** Errors of a disk that will not give these bytes again: EIO, and what file systems with checksums answer. */
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
    return { intactIndex, why: bad === 0 ? '' : `${bad} of its ${index.blocks} blocks are damaged` }
  } catch (error) {
    if (!isLost(error, options)) throw error
    return { intactIndex: await salvage(pack.file, options), why: (error as Error).message }
  }
}

/**
 * The index of those blocks whose bytes are what it says; itself when all are. `indexOffset`: where the data ends, which is not where the
 * index of this file begins when the file was cut short.
 */
async function onlyGood(
  file: PackFile,
  { index, indexOffset }: { index: PackIndex; indexOffset: number },
  options: SalvageOptions,
): Promise<PackIndex> {
  const bad = new Set<number>()
  for await (const step of scanPack(file, index)) {
    for (const [entry, state] of step.bad) {
      if (state === BLOCK.unreadable && !isLost(step.failure, options)) throw unreadable(file, step.failure)
      bad.add(entry)
    }
    options.onBytes?.(step.bytes)
  }
  if (bad.size === 0) return index
  const builder = createPackIndex()
  for (let entry = 0; entry < index.blocks; entry++) if (!bad.has(entry)) addEntry(builder, index, entry)
  return finish(builder, indexOffset)
}

function unreadable(file: PackFile, cause: unknown): unknown {
  if (!isHoldfastError(cause, 'IO_FAILED') || !MEDIA_ERRORS.includes(cause.details.code as string)) return cause
  return new HoldfastError(
    'IO_FAILED',
    `pack ${file.name} cannot be read in full: ${cause.message}. If the disk will not give these bytes again, ` +
      "repair({ unreadable: 'lost' }) goes on without them",
    { details: { ...cause.details, pack: file.name }, cause },
  )
}

function addEntry(builder: PackIndexBuilder, index: PackIndex, entry: number): void {
  const compression = index.compression(entry)
  builder.add(
    index.bytes,
    index.digestAt(entry),
    index.offset(entry),
    index.storedLength(entry),
    index.rawLength(entry),
    index.codec(entry),
    compression,
    index.kind(entry),
    compression === 0 ? null : index.check(entry),
  )
}

function finish(builder: PackIndexBuilder, indexOffset: number): PackIndex {
  return builder.finish(new Uint8Array(HEADER_BYTES), Math.max(HEADER_BYTES, indexOffset)).index
}

/**
 * Blocks of a pack whose index is damaged: every 56 bytes that may be an entry are tried, and count when the bytes they point to have
 * the digest they say. Nothing of a damaged index is believed otherwise.
 */
async function salvage(file: PackFile, options: SalvageOptions): Promise<PackIndex> {
  await prepareDecompression()
  const builder = createPackIndex()
  const place = await indexPlace(file, options)
  if (place === null) return finish(builder, HEADER_BYTES)
  const entries = await possibleEntries(file, place, options)
  // The blocks of a pack do not overlap. An index that says otherwise must not make a day's work of it: the longest are left out.
  let bytes = entries.reduce((sum, entry) => sum + storedLengthOf(entry), 0)
  if (bytes > 2 * file.bytes) entries.sort((a, b) => storedLengthOf(b) - storedLengthOf(a))
  const seen = new Set<string>()
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
    const check = entry[45] === 0 ? null : entry.subarray(48, 56)
    builder.add(
      entry,
      0,
      view.getUint32(32, true),
      length,
      view.getUint32(40, true),
      entry[44]!,
      entry[45]!,
      // What it is for says nothing about its bytes.
      entry[46]! <= KIND.commit ? entry[46]! : KIND.chunk,
      check,
    )
  }
  const { indexOffset } = place
  return await onlyGood(file, { index: finish(builder, indexOffset), indexOffset }, options)
}

async function possibleEntries(file: PackFile, place: IndexPlace, options: SalvageOptions): Promise<Uint8Array[]> {
  const start = place.indexOffset + FANOUT_BYTES
  // A pack that was cut short may have lost the end of it.
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

/** Where the index begins and how many blocks it lists: as the footer says, else as HEAD does; null when nobody knows. */
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

/** The commit records of this store among a pack's good blocks. */
async function commitRecords(
  { intactIndex, pack }: { intactIndex: PackIndex; pack: OpenPack },
  storeId: Uint8Array,
): Promise<CommitRecord[]> {
  const records: CommitRecord[] = []
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
    }
  }
  return records
}
