// One Zstandard frame (RFC 8878, 3.1.1) that declares its content size and has no dictionary:
//
//    0   magic 28 b5 2f fd
//    4   descriptor: size flag (2 bits), single segment, unused, reserved (0), checksum, dictionary (2 bits: 0)
//    5   window descriptor (1), absent with single segment
//    …   content size (1, 2, 4 or 8)
//    …   blocks: 3-byte head: last (1 bit), type (2), size (21); then the block
//    …   checksum (4), if the descriptor says so; not looked at: a block's digest covers more
//
// Checked here before a decoder allocates memory for it: decoders trust what a frame declares.

import { BLOCK_BYTES_MAX } from './limits.ts'

/** Bytes that one block of a frame may have, and may give. RFC 8878, 3.1.1.2.4. */
const FRAME_BLOCK_BYTES_MAX = 131_072

/**
 * Walks the frame's heads. Throws an `Error` unless there is exactly one frame and nothing after it, `rawLength` bytes
 * are declared, and the window is no larger than a block.
 */
export function checkFrame(stored: Uint8Array, rawLength: number): void {
  if (rawLength > BLOCK_BYTES_MAX) throw new Error(`a block of ${rawLength} bytes`)
  if (stored[0] !== 0x28 || stored[1] !== 0xb5 || stored[2] !== 0x2f || stored[3] !== 0xfd) {
    throw new Error('no zstd frame')
  }
  const descriptor = byteAt(stored, 4)
  const sizeFlag = descriptor >>> 6
  const singleSegment = (descriptor & 0x20) !== 0
  if ((descriptor & 0x08) !== 0) throw new Error('a zstd frame with a reserved bit')
  if ((descriptor & 0x03) !== 0) throw new Error('a zstd frame with a dictionary')
  if (sizeFlag === 0 && !singleSegment) throw new Error('a zstd frame without its content size')
  let at = 5
  if (!singleSegment) {
    const window = byteAt(stored, at++)
    const windowBytes = 2 ** (10 + (window >>> 3)) * (1 + (window & 7) / 8)
    if (windowBytes > BLOCK_BYTES_MAX) throw new Error(`a zstd frame with a window of ${windowBytes} bytes`)
  }
  const sizeBytes = 1 << sizeFlag
  let size = sizeFlag === 1 ? 256 : 0
  for (let i = 0; i < sizeBytes; i++) size += byteAt(stored, at + i) * 256 ** i
  if (size !== rawLength) throw new Error(`a zstd frame of ${size} bytes, not ${rawLength}`)
  at += sizeBytes
  let isLast = false
  while (!isLast) {
    const head = blockHead(stored, at)
    isLast = (head & 1) !== 0
    at += 3 + blockBytes(head)
  }
  if ((descriptor & 0x04) !== 0) at += 4
  if (at !== stored.length) throw new Error('a zstd frame that is not as long as its block')
}

function blockHead(stored: Uint8Array, at: number): number {
  return byteAt(stored, at) | (byteAt(stored, at + 1) << 8) | (byteAt(stored, at + 2) << 16)
}

/** Bytes that the block with this head takes in the frame. */
function blockBytes(head: number): number {
  const type = (head >>> 1) & 3
  if (type === 3) throw new Error('a zstd block of a reserved type')
  if (head >>> 3 > FRAME_BLOCK_BYTES_MAX) throw new Error('a zstd block that is too large')
  // A run of one byte (type 1) is stored as that byte.
  return type === 1 ? 1 : head >>> 3
}

function byteAt(bytes: Uint8Array, at: number): number {
  const byte = bytes[at]
  if (byte === undefined) throw new Error('a zstd block that ends too early')
  return byte
}
