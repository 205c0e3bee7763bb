// A compressed block is one Zstandard frame (RFC 8878, 3.1.1) that declares its content size and nothing exotic:
//
//    0   magic 28 b5 2f fd
//    4   descriptor: size flag (2 bits), single segment, unused, reserved (0), checksum, dictionary (2 bits: 0)
//    5   window descriptor (1), absent with single segment
//    …   content size (1, 2, 4 or 8)
//    …   blocks: 3-byte head: last (1 bit), type (2), size (21); then the block
//    …   checksum (4), if the descriptor says so

import * as zlib from 'node:zlib'
import { decompress as decompressPortable } from 'fzstd'
import { BLOCK_BYTES_MAX } from './limits.ts'

export const COMPRESSION = { none: 0, zstd: 1 } as const

/** What Node's zlib has from 22.15 and 23.8 on; `@types/node` of the oldest supported version has not. */
interface ZlibWithZstd {
  zstdCompressSync?(bytes: Uint8Array, options: { params: Record<number, number>; pledgedSrcSize: number }): Buffer
  zstdDecompressSync?(bytes: Uint8Array, options: { maxOutputLength: number }): Buffer
  constants: { ZSTD_c_compressionLevel?: number }
}

const { zstdCompressSync, zstdDecompressSync, constants } = zlib as unknown as ZlibWithZstd

/** Level 1: the others cost more time than their bytes are worth to a disk. */
const LEVEL = 1

/** Compression is not kept for less than this part of the bytes. */
const SAVING_MIN = 1 / 16

/** Whether this Node can compress. Reading compressed blocks works everywhere. */
export function zstdAvailable(): boolean {
  return zstdCompressSync !== undefined && constants.ZSTD_c_compressionLevel !== undefined
}

/** One zstd frame; null when it would save less than a sixteenth, or when zstd is not available. */
export function compressBlock(bytes: Uint8Array): Uint8Array | null {
  if (zstdCompressSync === undefined || constants.ZSTD_c_compressionLevel === undefined) return null
  const stored = zstdCompressSync(bytes, {
    params: { [constants.ZSTD_c_compressionLevel]: LEVEL },
    pledgedSrcSize: bytes.length,
  })
  if (stored.length > bytes.length * (1 - SAVING_MIN)) return null
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.length)
}

/**
 * The `rawLength` bytes of a compressed block. The frame's own account of itself is checked before anything is
 * allocated for it. Throws an `Error` with the reason, for the caller to wrap. It may still give wrong bytes for a
 * wrong frame: only the block's digest tells.
 */
export function decompressBlock(stored: Uint8Array, rawLength: number): Uint8Array {
  checkFrame(stored, rawLength)
  const raw =
    zstdDecompressSync === undefined
      ? decompressPortable(stored, new Uint8Array(rawLength))
      : zstdDecompressSync(stored, { maxOutputLength: Math.max(rawLength, 1) })
  if (raw.length !== rawLength) throw new Error(`the zstd frame gives ${raw.length} bytes, not ${rawLength}`)
  return new Uint8Array(raw.buffer, raw.byteOffset, raw.length)
}

/** Walks the frame's heads: one frame, nothing after it, `rawLength` bytes declared, a window no larger than a block. */
function checkFrame(stored: Uint8Array, rawLength: number): void {
  if (rawLength > BLOCK_BYTES_MAX) throw new Error(`a block of ${rawLength} bytes`)
  if (stored[0] !== 0x28 || stored[1] !== 0xb5 || stored[2] !== 0x2f || stored[3] !== 0xfd) {
    throw new Error('no zstd frame')
  }
  const descriptor = stored[4] ?? 0
  const sizeFlag = descriptor >>> 6
  const singleSegment = (descriptor & 0x20) !== 0
  if ((descriptor & 0x08) !== 0) throw new Error('a zstd frame with a reserved bit')
  if ((descriptor & 0x03) !== 0) throw new Error('a zstd frame with a dictionary')
  if (sizeFlag === 0 && !singleSegment) throw new Error('a zstd frame without its content size')
  let at = 5
  if (!singleSegment) {
    const window = stored[at++] ?? 0
    const windowBytes = 2 ** (10 + (window >>> 3)) * (1 + (window & 7) / 8)
    if (windowBytes > BLOCK_BYTES_MAX) throw new Error(`a zstd frame with a window of ${windowBytes} bytes`)
  }
  const sizeBytes = 1 << sizeFlag
  let size = sizeFlag === 1 ? 256 : 0
  for (let i = 0; i < sizeBytes; i++) size += (stored[at + i] ?? 0) * 256 ** i
  at += sizeBytes
  if (size !== rawLength) throw new Error(`a zstd frame of ${size} bytes, not ${rawLength}`)
  let isLast = false
  while (!isLast) {
    if (at + 3 > stored.length) throw new Error('a zstd frame that ends too early')
    const head = stored[at]! | (stored[at + 1]! << 8) | (stored[at + 2]! << 16)
    isLast = (head & 1) !== 0
    const type = (head >>> 1) & 3
    if (type === 3) throw new Error('a zstd frame with a reserved block type')
    // A run of one byte (type 1) is stored as that byte.
    at += 3 + (type === 1 ? 1 : head >>> 3)
  }
  if ((descriptor & 0x04) !== 0) at += 4
  if (at !== stored.length) throw new Error('a zstd frame that is not as long as its block')
}
