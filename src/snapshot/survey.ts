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
import {
  createPackIndex,
  KIND,
  type PackHeader,
  type PackIndex,
  parsePackFooter,
  parsePackHeader,
} from '../format/pack.ts'
import type { PackFile } from '../storage/port.ts'
import { unpack } from './blocks.ts'
import type { Environment } from './environment.ts'
import type { OpenPack } from './packs.ts'
import { scanPack } from './scan-pack.ts'

/** A pack as it was found, and what of it can be used. */
export interface SurveyedPack {
  name: string
  bytes: number
  pack: OpenPack
  header: PackHeader | null
  /** Blocks whose bytes are good, wherever the index came from. */
  good: PackIndex
  /** Header, index and every block are as they were written. */
  whole: boolean
  bad: number
  /** What is wrong, in words; empty when whole. */
  why: string
}

/** Reads every byte of a pack and keeps what is good, also when its index no longer vouches for itself. */
export async function surveyPack(env: Environment, storeId: Uint8Array, name: string): Promise<SurveyedPack | null> {
  let pack: OpenPack
  try {
    pack = await env.shelf.open(name, storeId)
  } catch (error) {
    if (isHoldfastError(error, 'PACK_MISSING')) return null
    throw error
  }
  const { file } = pack
  const header = await readHeader(file)
  try {
    const index = await pack.index()
    const { good, bad } = await goodBlocks(file, index)
    const why = bad === 0 ? '' : `${bad} of its ${index.blocks} blocks are damaged`
    return { name, bytes: file.bytes, pack, header, good, whole: bad === 0, bad, why }
  } catch (error) {
    if (!isDamage(error)) throw error
    const good = await salvage(file)
    return { name, bytes: file.bytes, pack, header, good, whole: false, bad: 0, why: error.message }
  }
}

/** Null when it is not one. */
export async function readHeader(file: PackFile): Promise<PackHeader | null> {
  try {
    const bytes = new Uint8Array(HEADER_BYTES)
    await file.read(bytes, 0)
    return parsePackHeader(bytes, `pack ${file.name}`)
  } catch {
    return null
  }
}

async function goodBlocks(file: PackFile, index: PackIndex): Promise<{ good: PackIndex; bad: number }> {
  const bad = new Set<number>()
  for await (const step of scanPack(file, index)) for (const { entry } of step.bad) bad.add(entry)
  if (bad.size === 0) return { good: index, bad: 0 }
  const builder = createPackIndex()
  for (let entry = 0; entry < index.blocks; entry++) {
    if (bad.has(entry)) continue
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
  return { good: builder.finish(new Uint8Array(HEADER_BYTES), file.bytes).index, bad: bad.size }
}

/**
 * Blocks of a pack whose index is damaged: every 56 bytes that may be an entry are tried, and count when the bytes they point to have
 * the digest they say. Nothing of a damaged index is believed otherwise.
 */
async function salvage(file: PackFile): Promise<PackIndex> {
  await prepareDecompression()
  const builder = createPackIndex()
  const seen = new Set<string>()
  for (const entry of await possibleEntries(file)) {
    const view = new DataView(entry.buffer, entry.byteOffset, entry.byteLength)
    const offset = view.getUint32(32, true)
    const storedLength = view.getUint32(36, true)
    const rawLength = view.getUint32(40, true)
    const compression = entry[45]!
    const digest = Buffer.from(entry.subarray(0, DIGEST_BYTES)).toString('hex')
    const possible =
      offset >= HEADER_BYTES &&
      offset + storedLength <= file.bytes &&
      rawLength <= BLOCK_BYTES_MAX &&
      storedLength <= BLOCK_BYTES_MAX &&
      (compression === 0 ? storedLength === rawLength : compression === 1) &&
      (entry[44] === 0x55 || entry[44] === 0x71) &&
      entry[46]! <= KIND.commit &&
      !seen.has(digest)
    if (!possible) continue
    const one = createPackIndex()
    const check = compression === 0 ? null : entry.subarray(48, 56)
    const args = [offset, storedLength, rawLength, entry[44]!, compression, entry[46]!, check] as const
    one.add(entry, 0, ...args)
    const { index } = one.finish(new Uint8Array(HEADER_BYTES), file.bytes)
    if (!(await isGood(file, index))) continue
    seen.add(digest)
    builder.add(entry, 0, ...args)
  }
  return builder.finish(new Uint8Array(HEADER_BYTES), file.bytes).index
}

async function isGood(file: PackFile, index: PackIndex): Promise<boolean> {
  for await (const step of scanPack(file, index)) if (step.bad.length > 0) return false
  return true
}

/** Where the footer says the index is; without a footer (a pack cut short) nothing says where entries are. */
async function possibleEntries(file: PackFile): Promise<Uint8Array[]> {
  if (file.bytes < HEADER_BYTES + FOOTER_BYTES) return []
  try {
    const footer = new Uint8Array(FOOTER_BYTES)
    await file.read(footer, file.bytes - FOOTER_BYTES)
    const { indexOffset, indexBytes, blocks } = parsePackFooter(footer, file.bytes, file.name)
    const index = new Uint8Array(indexBytes)
    await file.read(index, indexOffset)
    return Array.from({ length: blocks }, (_, i) =>
      index.subarray(FANOUT_BYTES + i * ENTRY_BYTES, FANOUT_BYTES + (i + 1) * ENTRY_BYTES),
    )
  } catch (error) {
    if (!isDamage(error)) throw error
    return []
  }
}

/** The commit records among a pack's good blocks. */
export async function commitRecords(surveyed: SurveyedPack, storeId: Uint8Array): Promise<CommitRecord[]> {
  const { good, pack } = surveyed
  const records: CommitRecord[] = []
  for (let entry = 0; entry < good.blocks; entry++) {
    if (good.kind(entry) !== KIND.commit) continue
    const stored = new Uint8Array(good.storedLength(entry))
    await pack.file.read(stored, good.offset(entry))
    const block = unpack(good, entry, stored)
    if (!digestsEqual(blake3(block), 0, good.bytes, good.digestAt(entry))) continue
    try {
      const record = decodeCommit(block)
      if (Buffer.compare(record.store, storeId) === 0) records.push(record)
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error
    }
  }
  return records
}
