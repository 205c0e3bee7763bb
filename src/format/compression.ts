// Prepares zstd on the main thread: Node's own, the WebAssembly of `@bokuweb/zstd-wasm`, or, in a bundle that has not
// that beside it, the decoder of `zstddec`. What a build of libzstd is trusted with is decided here.

import { readNative } from '../native.ts'
import { blake3 } from './blake3.ts'
import { noDecompression, useCompressor, useDecompressor, useSharedDecoder, zstdReady } from './codec.ts'
import { toHex } from './hex.ts'
import type { ZstdModule } from './libzstd.ts'
import { wasm } from './wasm.ts'

export const COMPRESSION = { none: 0, zstd: 1 } as const

/** Zstd where Node has none. Resolved at run time, as addons are: where it is not, nothing is compressed. */
export const ZSTD_PACKAGE = '@bokuweb/zstd-wasm'

/**
 * BLAKE3 of `zstd.wasm` of version 0.0.27. Its exports have names of one letter, which mean something else in another
 * build: what is not this file is not used.
 */
const ZSTD_WASM_DIGEST = 'bbc314e95824e53f8e647248fb3a5cffba61226c253f0a21666e2b1bf9830365'

/** Longer than any machine takes to compile it. What it waits for is not ours: it may never be answered. */
const DECODER_WAIT_MS = 10_000

/** As much of `zstddec` as is used here. */
interface Decoder {
  init(): Promise<void>
  _init(result: { module: object }): void
}

/** The build that this process uses. */
let module: ZstdModule | null = null
let noFull: unknown = null
let preparing: Promise<void> | null = null

/** What a worker needs to have zstd; null where it has it, or where there is none. */
export function zstdModule(): ZstdModule | null {
  return module
}

export type Prepared = { ready: true } | { ready: false; reason: unknown }

/** Makes this thread able to compress. Answers whether it is, and why not. */
export function prepareCompression(): Prepared {
  return zstdReady().compress ? { ready: true } : withFull(useCompressor)
}

/** Where the package does not load, that is so for good. */
function withFull(use: (module: ZstdModule) => void): Prepared {
  if (noFull !== null) return { ready: false, reason: noFull }
  try {
    module ??= loadFull()
  } catch (reason) {
    noFull = reason
    return { ready: false, reason }
  }
  try {
    use(module)
    return { ready: true }
  } catch (reason) {
    return { ready: false, reason }
  }
}

/** @internal */
export function loadFull(): ZstdModule {
  const bytes = readNative(ZSTD_PACKAGE, 'zstd.wasm')
  if (toHex(blake3(bytes)) !== ZSTD_WASM_DIGEST)
    throw new Error(`${ZSTD_PACKAGE} is not of the version that is known here`)
  return { compiled: new wasm.Module(bytes), build: 'full' }
}

/**
 * Must have resolved before a block is decompressed. Not asked for before it is needed: some of it takes 10 ms.
 * `DECOMPRESSION_UNAVAILABLE` where it cannot be done.
 */
export async function prepareDecompression(): Promise<void> {
  if (zstdReady().decompress || withFull(useDecompressor).ready) return
  preparing ??= prepareDecoder().finally(() => {
    preparing = null
  })
  await preparing
}

async function prepareDecoder(): Promise<void> {
  try {
    const { ZSTDDecoder } = await import('zstddec')
    const decoder = new ZSTDDecoder()
    const compiled = await compiledDecoder(decoder)
    if (compiled === null) {
      // It takes 0 for "unknown". Its errors are sizes near 2^32, cut to what its memory holds.
      useSharedDecoder((frame, rawLength) => decoder.decode(frame, Math.max(rawLength, 1)))
      return
    }
    module = { compiled, build: 'decoder' }
    useDecompressor(module)
  } catch (cause) {
    throw noDecompression('WebAssembly does not start', cause)
  }
}

/**
 * `zstddec` has one instance for the whole process, and believes an allocation that failed. So its compiled module is
 * taken, for instances of our own. Null when it was initialised by somebody else before: then only that one can be had.
 *
 * It fetches a data: URL, for which Node loads its whole HTTP client: 25 ms.
 *
 * @internal
 */
export async function compiledDecoder(decoder: Decoder): Promise<object | null> {
  let compiled: object | null = null
  const share = decoder._init
  decoder._init = (result) => {
    compiled = result.module
    share(result)
  }
  await within(DECODER_WAIT_MS, decoder.init())
  return compiled
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer for ${ms} ms`)), ms)
  })
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
