// zstd, one block at a time: in worker threads, and on the main thread for writing. Imports no package, because this is
// bundled into the worker's source. What a main thread reads goes through `compression.ts`, which needs nothing that
// might not load.

import * as zlib from 'node:zlib'
import { instantiateZstd, type Zstd } from './libzstd.ts'
import type { WasmModule } from './wasm-api.ts'
import { checkFrame } from './zstd.ts'

/** What Node's zlib has from 22.15 and 23.8 on; `@types/node` of the oldest supported version has not. */
interface ZlibWithZstd {
  zstdCompressSync?(bytes: Uint8Array, options: { params: Record<number, number>; pledgedSrcSize: number }): Buffer
  zstdDecompressSync?(bytes: Uint8Array, options: { maxOutputLength: number }): Buffer
  constants: { ZSTD_c_compressionLevel?: number }
}

/** Level 1: the others cost more time than their bytes are worth to a disk. */
const LEVEL = 1

/** Compression is not kept for less than this part of the bytes: to decompress costs more. Float vectors save 7 %. */
const SAVING_MIN = 1 / 8

const native = nativeZstd(zlib as unknown as ZlibWithZstd)
let zstd = native
let prepared = false

/** Whether Node itself can compress, and nothing else needs to be loaded. */
export const zstdIsNative = native !== null

/**
 * Makes the functions below work, and answers whether they do. `load` gives libzstd's module. It is called once, and
 * only where Node has no zstd of its own; what it throws means that there is none here.
 */
export function prepareZstd(load: () => WasmModule): boolean {
  if (!prepared && zstd === null) {
    try {
      zstd = instantiateZstd(load(), LEVEL)
    } catch {
      // Not installed, WebAssembly forbidden, no memory: then nothing is compressed here.
    }
  }
  prepared = true
  return zstd !== null
}

function nativeZstd({ zstdCompressSync, zstdDecompressSync, constants }: ZlibWithZstd): Zstd | null {
  const { ZSTD_c_compressionLevel: parameter } = constants
  if (zstdCompressSync === undefined || zstdDecompressSync === undefined || parameter === undefined) return null
  const params = { [parameter]: LEVEL }
  return {
    compress: (bytes) => plainView(zstdCompressSync(bytes, { params, pledgedSrcSize: bytes.length })),
    decompress: (frame, rawLength) => plainView(zstdDecompressSync(frame, { maxOutputLength: Math.max(rawLength, 1) })),
  }
}

/** A `Buffer` as what it is a view of. */
function plainView({ buffer, byteOffset, length }: Buffer): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length)
}

/**
 * One zstd frame; null when it would save less than an eighth, or there is no zstd. It is decompressed again, by another
 * context than the one that made it, and compared: what is written is what was meant, whatever the compressor did.
 * `onFailed` hears of a compressor that threw or lied; then the answer is null.
 */
export function compressBlock(bytes: Uint8Array, onFailed?: () => void): Uint8Array | null {
  if (zstd === null) return null
  try {
    const frame = zstd.compress(bytes)
    if (frame.length > bytes.length * (1 - SAVING_MIN)) return null
    if (Buffer.compare(decompressFrame(frame, bytes.length), bytes) === 0) return frame
  } catch {
    // As if it had lied.
  }
  onFailed?.()
  return null
}

/** The `rawLength` bytes of a frame. Throws an `Error` when it is not one, or nothing was prepared. */
export function decompressFrame(frame: Uint8Array, rawLength: number): Uint8Array {
  if (zstd === null) throw new Error('there is no zstd here')
  checkFrame(frame, rawLength)
  const raw = zstd.decompress(frame, rawLength)
  if (raw.length !== rawLength) throw new Error(`the zstd frame gives ${raw.length} bytes, not ${rawLength}`)
  return raw
}
