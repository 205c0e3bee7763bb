import * as zlib from 'node:zlib'

// Writing zstd. Imports no package, because this is bundled into the worker's source; reading is in `compression.ts`.

/** What Node's zlib has from 22.15 and 23.8 on; `@types/node` of the oldest supported version has not. */
interface ZlibWithZstd {
  zstdCompressSync?(bytes: Uint8Array, options: { params: Record<number, number>; pledgedSrcSize: number }): Buffer
  constants: { ZSTD_c_compressionLevel?: number }
}

const { zstdCompressSync, constants } = zlib as unknown as ZlibWithZstd

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
