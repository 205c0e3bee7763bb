// Reading compressed blocks on the main thread, also in a bundle, which has no file of libzstd's beside it.

import type { ZSTDDecoder } from 'zstddec'
import { clock } from '../clock.ts'
import { HoldfastError } from '../errors.ts'
import { decompressFrame, prepareZstd } from './compress.ts'
import { checkFrame } from './zstd.ts'
import { ZSTD_PACKAGE, zstdModule } from './zstd-module.ts'

export const COMPRESSION = { none: 0, zstd: 1 } as const

let preparing: Promise<void> | undefined
let portable: ZSTDDecoder | undefined
let isBundled = false

/** The decoder's package fetches a data: URL and compiles; under a limit on memory that may never come to an end. */
const PREPARE_MS_MAX = 20_000

/**
 * Must have resolved before `decompressBlock` is called. Not asked for before it is needed: some of it takes 10 ms.
 * `COMPRESSION_UNSUPPORTED`: there is no zstd here; the next call tries again.
 */
export function prepareDecompression(): Promise<void> {
  preparing ??= prepare().catch((error: unknown) => {
    preparing = undefined
    throw error
  })
  return preparing
}

/** Node's own zstd, or the package that compresses too; in a bundle, which has not that, the decoder that it has. */
async function prepare(): Promise<void> {
  if (prepareZstd(zstdModule)) return
  let timer: NodeJS.Timeout | undefined
  try {
    await Promise.race([
      preparePortable(),
      new Promise((_, reject) => {
        timer = clock.startTimer(
          () => reject(new Error(`it did not load in ${PREPARE_MS_MAX / 1000} s`)),
          PREPARE_MS_MAX,
        )
      }),
    ])
  } catch (cause) {
    throw new HoldfastError(
      'COMPRESSION_UNSUPPORTED',
      `the store is compressed, and no zstd loads here (${(cause as Error).message}): install ${ZSTD_PACKAGE} beside holdfast, ` +
        'use Node 22.15 or later, or give the process more memory. Nothing is damaged',
      { details: { node: process.version }, cause },
    )
  } finally {
    clock.stopTimer(timer)
  }
  isBundled = true
}

/**
 * The `rawLength` bytes of a compressed block. The frame's own account of itself is checked before anything is
 * allocated for it. Throws an `Error` with the reason, for the caller to wrap. It may still give wrong bytes for a
 * wrong frame: only the block's digest tells.
 */
export function decompressBlock(stored: Uint8Array, rawLength: number): Uint8Array {
  return isBundled ? decodePortably(stored, rawLength) : decompressFrame(stored, rawLength)
}

/** @internal for tests, where there are better ones. It fetches a data: URL, for which Node loads its whole HTTP client: 25 ms. */
export async function preparePortable(): Promise<void> {
  const decoder = new (await import('zstddec')).ZSTDDecoder()
  await decoder.init()
  portable = decoder
}

/** @internal libzstd as WebAssembly. */
export function decodePortably(stored: Uint8Array, rawLength: number): Uint8Array {
  if (portable === undefined) throw new Error('bug: decompression was not prepared')
  checkFrame(stored, rawLength)
  // It takes 0 for "unknown".
  const raw = portable.decode(stored, Math.max(rawLength, 1))
  // Its errors are sizes near 2^32, cut to what its memory holds.
  if (raw.length !== rawLength) throw new Error('the zstd frame is damaged')
  return raw
}
