import * as zlib from 'node:zlib'

// Writing zstd. Imports no package, because this is bundled into the worker's source; reading is in `compression.ts`.

/** What Node's zlib has from 22.15 and 23.8 on; `@types/node` of the oldest supported version has not. */
interface ZlibWithZstd {
  zstdCompressSync?(bytes: Uint8Array, options: { params: Record<number, number>; pledgedSrcSize: number }): Buffer
  constants: { ZSTD_c_compressionLevel?: number }
}

/** libzstd as WebAssembly, in as far as it is used here: `@bokuweb/zstd-wasm`. */
interface PortableZstd {
  init(): Promise<void>
  createCCtx(): number
  compressUsingDict(context: number, bytes: Uint8Array, dictionary: Uint8Array, level: number): Uint8Array
}

type Compress = (bytes: Uint8Array) => Uint8Array

/** Level 1: the others cost more time than their bytes are worth to a disk. */
const LEVEL = 1

/** Compression is not kept for less than this part of the bytes. */
const SAVING_MIN = 1 / 16

const native = nativeZstd(zlib as unknown as ZlibWithZstd)
let compress = native
let prepared: Promise<boolean> | undefined

/** Whether Node itself can compress, and nothing else needs to be loaded. */
export const zstdIsNative = native !== null

/**
 * Makes `compressBlock` able to compress. `load` gives `@bokuweb/zstd-wasm`, and is called, once, where Node itself has no zstd. Answers whether
 * it worked.
 */
export async function prepareCompression(load: () => unknown): Promise<boolean> {
  if (native !== null) return true
  prepared ??= preparePortable(load)
  return await prepared
}

async function preparePortable(load: () => unknown): Promise<boolean> {
  try {
    const zstd = load() as PortableZstd
    await zstd.init()
    const context = zstd.createCCtx()
    const none = new Uint8Array(0)
    // With one context for all blocks it is a third faster than without; an empty dictionary is none.
    compress = (bytes) => zstd.compressUsingDict(context, bytes, none, LEVEL)
    return true
  } catch {
    return false
  }
}

function nativeZstd({ zstdCompressSync, constants }: ZlibWithZstd): Compress | null {
  const { ZSTD_c_compressionLevel: parameter } = constants
  if (zstdCompressSync === undefined || parameter === undefined) return null
  const params = { [parameter]: LEVEL }
  return (bytes) => zstdCompressSync(bytes, { params, pledgedSrcSize: bytes.length })
}

/** One zstd frame; null when it would save less than a sixteenth, or when nothing was prepared. */
export function compressBlock(bytes: Uint8Array): Uint8Array | null {
  if (compress === null) return null
  const { buffer, byteOffset, length } = compress(bytes)
  return length > bytes.length * (1 - SAVING_MIN) ? null : new Uint8Array(buffer, byteOffset, length)
}
