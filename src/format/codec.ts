// zstd of this thread: Node's own, or else an instance of libzstd as WebAssembly. Imports no package, because this is
// bundled into the worker's source. What it gives may be wrong: `compress.ts` checks it.

import * as zlib from 'node:zlib'
import { HoldfastError } from '../errors.ts'
import {
  type Compress,
  type Decompress,
  LEVEL,
  openCompressor,
  openDecompressor,
  ZstdError,
  type ZstdModule,
  ZstdOutOfMemory,
} from './libzstd.ts'

/** What Node's zlib has from 22.15 and 23.8 on; `@types/node` of the oldest supported version has not. */
interface ZlibWithZstd {
  zstdCompressSync?(bytes: Uint8Array, options: { params: Record<number, number>; pledgedSrcSize: number }): Buffer
  zstdDecompressSync?(bytes: Uint8Array, options: { maxOutputLength: number }): Buffer
  constants: { ZSTD_c_compressionLevel?: number }
}

const native = nativeCodec(zlib as unknown as ZlibWithZstd)
let compress: Compress | null = native?.compress ?? null
let decompress: Decompress | null = native?.decompress ?? null
/** Why there is no compressor. Remembered, because each attempt to make one takes 100 ms. */
let noCompressor: unknown = null

/**
 * Why nothing can be decompressed. Only an operation that needs to decompress reports it, and each such operation tries
 * again.
 */
let refusal: unknown = null

/** Whether Node itself has zstd, and nothing else needs to be loaded. */
export const zstdIsNative = native !== null

/** Whether this thread can compress; and whether it can decompress, or is known not to. */
export function zstdReady(): { compress: boolean; decompress: boolean } {
  return { compress: compress !== null, decompress: decompress !== null || refusal !== null }
}

/** Makes `decompressFrame` work where Node has no zstd. Throws where WebAssembly has no memory, or is not allowed. */
export function useDecompressor(module: ZstdModule): void {
  decompress ??= reopened(openDecompressor, module)
}

/** Prepares both. After it has failed once, it throws the same error each time. */
export function useCompressor(module: ZstdModule): void {
  if (compress !== null) return
  if (noCompressor !== null) throw noCompressor
  try {
    useDecompressor(module)
    compress = reopened(openCompressor, module)
  } catch (error) {
    noCompressor = error
    throw error
  }
}

/** Decompresses with a decoder that others in this process use as well. */
export function useSharedDecoder(decode: Decompress): void {
  decompress ??= decode
}

export function refuseDecompression(reason: unknown): void {
  refusal = reason
}

/** One frame, which is overwritten by the next call. */
export function compressFrame(bytes: Uint8Array): Uint8Array {
  if (compress === null) throw new Error('bug: compression was not prepared')
  return compress(bytes)
}

/** The bytes of a frame that `checkFrame` has passed. They are overwritten by the next call. */
export function decompressFrame(frame: Uint8Array, rawLength: number): Uint8Array {
  if (decompress === null) {
    const reason = refusal ?? new Error('bug: decompression was not prepared')
    refusal = null
    throw noDecompression(reason)
  }
  try {
    return decompress(frame, rawLength)
  } catch (error) {
    if (isOutOfMemory(error)) throw noDecompression(error)
    throw error
  }
}

/** A store that this process cannot decompress is not damaged. */
function noDecompression(cause: unknown): HoldfastError {
  return new HoldfastError(
    'DECOMPRESSION_UNAVAILABLE',
    `zstd cannot be decompressed in this process, the store may be intact: ${(cause as Error).message}`,
    { details: { node: process.version }, cause },
  )
}

/** Out of memory, as libzstd, Node's zlib or an ArrayBuffer report it. */
function isOutOfMemory(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return (
    error instanceof ZstdOutOfMemory ||
    // With this code it says that a frame holds more than it declares.
    (error instanceof RangeError && code === undefined) ||
    code === 'ZSTD_error_memory_allocation' ||
    code === 'ERR_MEMORY_ALLOCATION_FAILED'
  )
}

/** An instance that trapped is not used again: its memory may be anything. */
function reopened<Args extends unknown[]>(
  open: (module: ZstdModule) => (...args: Args) => Uint8Array,
  module: ZstdModule,
): (...args: Args) => Uint8Array {
  let opened: ((...args: Args) => Uint8Array) | null = open(module)
  return (...args) => {
    opened ??= open(module)
    try {
      return opened(...args)
    } catch (error) {
      if (!(error instanceof ZstdError)) opened = null
      throw error
    }
  }
}

function nativeCodec({ zstdCompressSync, zstdDecompressSync, constants }: ZlibWithZstd) {
  const { ZSTD_c_compressionLevel: parameter } = constants
  if (zstdCompressSync === undefined || zstdDecompressSync === undefined || parameter === undefined) return null
  const params = { [parameter]: LEVEL }
  return {
    compress: (bytes: Uint8Array) => zstdCompressSync(bytes, { params, pledgedSrcSize: bytes.length }),
    decompress: (frame: Uint8Array, rawLength: number) =>
      zstdDecompressSync(frame, { maxOutputLength: Math.max(rawLength, 1) }),
  }
}
