// A block as one zstd frame, and back, with the checks on both sides. Imports no package, because this is bundled into
// the worker's source.

import { compressFrame, decompressFrame, zstdIsNative, zstdReady } from './codec.ts'
import { checkFrame } from './zstd.ts'

/** Compression is not kept for less than this part of the bytes: to decompress costs more. Float vectors save 7 %. */
const SAVING_MIN = 1 / 8

/**
 * One zstd frame that gives `bytes` again; null when it would save less than an eighth, or when nothing was prepared.
 * Throws when the compressor fails, or made a frame that does not give them: no reader could read the block.
 */
export function compressBlock(bytes: Uint8Array): Uint8Array | null {
  if (!zstdReady().compress) return null
  const made = compressFrame(bytes)
  if (made.length > bytes.length * (1 - SAVING_MIN)) return null
  const frame = new Uint8Array(made)
  assertGives(frame, bytes)
  return frame
}

/**
 * As a reader will decompress it. It shares no memory with the compressor, so that a fault in one cannot hide one in
 * the other.
 */
function assertGives(frame: Uint8Array, bytes: Uint8Array): void {
  if (Buffer.compare(viewBlock(frame, bytes.length), bytes) === 0) return
  throw new Error('the compressed bytes do not decompress to what they were made from')
}

/** The `rawLength` bytes of a frame. Throws an `Error` when it is not one. */
export function decompressBlock(frame: Uint8Array, rawLength: number): Uint8Array {
  const raw = viewBlock(frame, rawLength)
  return zstdIsNative ? new Uint8Array(raw.buffer, raw.byteOffset, raw.length) : raw.slice()
}

/** The same without a copy. It is valid until anything else is compressed or decompressed. */
export function viewBlock(frame: Uint8Array, rawLength: number): Uint8Array {
  checkFrame(frame, rawLength)
  const raw = decompressFrame(frame, rawLength)
  if (raw.length !== rawLength) throw new Error(`the zstd frame gives ${raw.length} bytes, not ${rawLength}`)
  return raw
}
