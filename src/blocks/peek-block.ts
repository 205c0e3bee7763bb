// Reads one block of a large pack without its index, by the fan-out and the entries beside the block. For the manifest:
// whoever needs nothing else of the pack must not check ten thousand entries first.

import { blake3, digestsEqual } from '../format/blake3.ts'
import { COMPRESSION } from '../format/compression.ts'
import { BLOCK_BYTES_MAX, ENTRY_BYTES, FANOUT_BYTES, FOOTER_BYTES, HEADER_BYTES } from '../format/limits.ts'
import { parsePackFooter } from '../format/pack.ts'
import { COMPRESSION_AT, OFFSET_AT, STORED_AT, viewOf } from '../format/pack-entries.ts'
import type { OpenPack } from './pack-cache.ts'

/** More entries than begin with the same byte in any honest pack. */
const ENTRIES_MAX = 65_536

/**
 * The block, checked against its digest. Null where it is not found so, for whatever reason: the index then says what
 * is wrong, if anything is.
 */
export async function peekBlock({ file, name }: OpenPack, digest: Uint8Array): Promise<Uint8Array | null> {
  async function read(position: number, bytes: number): Promise<Uint8Array> {
    const target = new Uint8Array(bytes)
    await file.read(target, position)
    return target
  }
  try {
    const footer = await read(file.bytes - FOOTER_BYTES, FOOTER_BYTES)
    const { indexOffset, blocks } = parsePackFooter(footer, file.bytes, `pack ${name}`)
    const fanOut = viewOf(await read(indexOffset, FANOUT_BYTES))
    const byte = digest[0]!
    const first = byte === 0 ? 0 : fanOut.getUint32((byte - 1) * 4, true)
    const end = fanOut.getUint32(byte * 4, true)
    if (first > end || end > blocks || end - first > ENTRIES_MAX) return null
    const entries = await read(indexOffset + FANOUT_BYTES + first * ENTRY_BYTES, (end - first) * ENTRY_BYTES)
    for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
      if (!digestsEqual(entries, at, digest, 0)) continue
      const offset = viewOf(entries).getUint32(at + OFFSET_AT, true)
      const stored = viewOf(entries).getUint32(at + STORED_AT, true)
      const isPlain = entries[at + COMPRESSION_AT] === COMPRESSION.none
      if (!isPlain || offset < HEADER_BYTES || offset + stored > indexOffset || stored > BLOCK_BYTES_MAX) return null
      const block = await read(offset, stored)
      return digestsEqual(blake3(block), 0, digest, 0) ? block : null
    }
    return null
  } catch {
    return null
  }
}
