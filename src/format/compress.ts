import * as zlib from 'node:zlib'
import { checkFrame } from './zstd.ts'

// zstd in worker threads, and writing it on the main thread. Imports no package, because this is bundled into the worker's source. What a
// main thread reads goes through `compression.ts`, which needs nothing that might not load.

/** What Node's zlib has from 22.15 and 23.8 on; `@types/node` of the oldest supported version has not. */
interface ZlibWithZstd {
  zstdCompressSync?(bytes: Uint8Array, options: { params: Record<number, number>; pledgedSrcSize: number }): Buffer
  zstdDecompressSync?(bytes: Uint8Array, options: { maxOutputLength: number }): Buffer
  constants: { ZSTD_c_compressionLevel?: number }
}

/** Zstd where Node has none. Resolved at run time, as addons are: where it is not, nothing is compressed. */
export const ZSTD_PACKAGE = '@bokuweb/zstd-wasm'

/** libzstd as WebAssembly, in as far as it is used here: `@bokuweb/zstd-wasm`. */
interface PortableZstd {
  init(): Promise<void>
  createCCtx(): number
  compressUsingDict(context: number, bytes: Uint8Array, dictionary: Uint8Array, level: number): Uint8Array
  createDCtx(): number
  decompressUsingDict(context: number, frame: Uint8Array, dictionary: Uint8Array): Uint8Array
}

interface Zstd {
  compress(bytes: Uint8Array): Uint8Array
  decompress(frame: Uint8Array, rawLength: number): Uint8Array
}

/** Level 1: the others cost more time than their bytes are worth to a disk. */
const LEVEL = 1

/** Compression is not kept for less than this part of the bytes: to decompress costs more. Float vectors save 7 %. */
const SAVING_MIN = 1 / 8

const native = nativeZstd(zlib as unknown as ZlibWithZstd)
let zstd = native
let prepared: Promise<boolean> | undefined

/** Whether Node itself can compress, and nothing else needs to be loaded. */
export const zstdIsNative = native !== null

/**
 * Makes the functions below work. `load` gives `@bokuweb/zstd-wasm`, and is called, once, where Node itself has no zstd. Answers whether
 * it worked.
 */
export async function prepareZstd(load: () => unknown): Promise<boolean> {
  if (native !== null) return true
  prepared ??= preparePortable(load)
  return await prepared
}

async function preparePortable(load: () => unknown): Promise<boolean> {
  try {
    const portable = load() as PortableZstd
    await portable.init()
    // With one context for all blocks it is a third faster than without; an empty dictionary is none.
    const none = new Uint8Array(0)
    const compressing = portable.createCCtx()
    const decompressing = portable.createDCtx()
    zstd = {
      compress: (bytes) => portable.compressUsingDict(compressing, bytes, none, LEVEL),
      decompress: (frame) => portable.decompressUsingDict(decompressing, frame, none),
    }
    return true
  } catch {
    return false
  }
}

function nativeZstd({ zstdCompressSync, zstdDecompressSync, constants }: ZlibWithZstd): Zstd | null {
  const { ZSTD_c_compressionLevel: parameter } = constants
  if (zstdCompressSync === undefined || zstdDecompressSync === undefined || parameter === undefined) return null
  const params = { [parameter]: LEVEL }
  return {
    compress: (bytes) => zstdCompressSync(bytes, { params, pledgedSrcSize: bytes.length }),
    decompress(frame, rawLength) {
      const raw = zstdDecompressSync(frame, { maxOutputLength: Math.max(rawLength, 1) })
      return new Uint8Array(raw.buffer, raw.byteOffset, raw.length)
    },
  }
}

/** One zstd frame; null when it would save less than an eighth, or when nothing was prepared. */
export function compressBlock(bytes: Uint8Array): Uint8Array | null {
  if (zstd === null) return null
  const { buffer, byteOffset, length } = zstd.compress(bytes)
  return length > bytes.length * (1 - SAVING_MIN) ? null : new Uint8Array(buffer, byteOffset, length)
}

/** The `rawLength` bytes of a frame. Throws an `Error` when it is not one, or nothing was prepared. */
export function decompressFrame(frame: Uint8Array, rawLength: number): Uint8Array {
  if (zstd === null) throw new Error('there is no zstd here')
  checkFrame(frame, rawLength)
  const raw = zstd.decompress(frame, rawLength)
  if (raw.length !== rawLength) throw new Error(`the zstd frame gives ${raw.length} bytes, not ${rawLength}`)
  return raw
}
