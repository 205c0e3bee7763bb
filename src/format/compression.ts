import * as zlib from 'node:zlib'
import { ZSTDDecoder } from 'zstddec'
import { checkFrame } from './zstd.ts'

export const COMPRESSION = { none: 0, zstd: 1 } as const

/** What Node's zlib has from 22.15 and 23.8 on; `@types/node` of the oldest supported version has not. */
interface ZlibWithZstd {
  zstdDecompressSync?(bytes: Uint8Array, options: { maxOutputLength: number }): Buffer
}

const { zstdDecompressSync } = zlib as unknown as ZlibWithZstd

/**
 * The `rawLength` bytes of a compressed block. The frame's own account of itself is checked before anything is
 * allocated for it. Throws an `Error` with the reason, for the caller to wrap. It may still give wrong bytes for a
 * wrong frame: only the block's digest tells.
 */
export function decompressBlock(stored: Uint8Array, rawLength: number): Uint8Array {
  checkFrame(stored, rawLength)
  if (zstdDecompressSync === undefined) return decodePortably(stored, rawLength)
  const raw = zstdDecompressSync(stored, { maxOutputLength: Math.max(rawLength, 1) })
  if (raw.length !== rawLength) throw new Error(`the zstd frame gives ${raw.length} bytes, not ${rawLength}`)
  return new Uint8Array(raw.buffer, raw.byteOffset, raw.length)
}

const portable = new ZSTDDecoder()
let isPortableReady = false

/** Must have resolved before `decompressBlock` is called, on a Node without zstd. Costs nothing elsewhere. */
export async function prepareDecompression(): Promise<void> {
  if (zstdDecompressSync !== undefined) return
  await preparePortable()
}

/** @internal for tests, on every Node */
export async function preparePortable(): Promise<void> {
  await portable.init()
  isPortableReady = true
}

/** @internal libzstd as WebAssembly; the frame has been checked. */
export function decodePortably(stored: Uint8Array, rawLength: number): Uint8Array {
  if (!isPortableReady) throw new Error('bug: decompression was not prepared')
  // It takes 0 for "unknown".
  const raw = portable.decode(stored, Math.max(rawLength, 1))
  // Its errors are sizes near 2^32, cut to what its memory holds.
  if (raw.length !== rawLength) throw new Error('the zstd frame is damaged')
  return raw
}
