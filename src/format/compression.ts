// Prepares zstd on the main thread: Node's own, the WebAssembly of `@bokuweb/zstd-wasm`, or, in a bundle that has not
// that beside it, the decoder of `zstddec`. This file decides which builds of libzstd are trusted.

import { clock } from '../clock.ts'
import { readNative, whyNotLoaded } from '../native.ts'
import { blake3 } from './blake3.ts'
import { refuseDecompression, useCompressor, useDecompressor, useSharedDecoder, zstdReady } from './codec.ts'
import { toHex } from './hex.ts'
import type { ZstdModule } from './libzstd.ts'
import { wasm } from './wasm.ts'

export const COMPRESSION = { none: 0, zstd: 1 } as const

/** Zstd where Node has none. Resolved at run time, as addons are: where it is not, nothing is compressed. */
const ZSTD_PACKAGE = '@bokuweb/zstd-wasm'

/**
 * BLAKE3 of `zstd.wasm` of version 0.0.27. Its exports have names of one letter, which mean something else in another
 * build: what is not this file is not used.
 */
const ZSTD_WASM_DIGEST = 'bbc314e95824e53f8e647248fb3a5cffba61226c253f0a21666e2b1bf9830365'

/** Longer than any machine takes to compile it. The wait is for code that is not ours and may never settle. */
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

type Prepared = { ready: true } | { ready: false; reason: unknown }

/** Makes this thread able to compress. Answers whether it is, and why not. */
export function prepareCompression(): Prepared {
  return zstdReady().compress ? { ready: true } : withFull(useCompressor)
}

/** A package that did not load once is not tried again. */
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
  const bytes = readFull()
  if (toHex(blake3(bytes)) !== ZSTD_WASM_DIGEST)
    throw new Error(`${ZSTD_PACKAGE} is not of the version that is known here`)
  return { compiled: new wasm.Module(bytes), build: 'full' }
}

function readFull(): Uint8Array {
  try {
    return readNative(ZSTD_PACKAGE, 'zstd.wasm')
  } catch (cause) {
    throw new Error(whyNotLoaded(ZSTD_PACKAGE, cause), { cause })
  }
}

/**
 * Must have resolved before a block is decompressed. Not asked for before it is needed: some of it takes 10 ms.
 * Where it cannot be done, to decompress is `DECOMPRESSION_UNAVAILABLE`.
 */
export async function prepareDecompression(): Promise<void> {
  if (zstdReady().decompress) return
  const full = withFull(useDecompressor)
  if (full.ready) return
  // The package has loaded, but there is no memory for an instance. There would be none for the other build either.
  if (module?.build === 'full') return refuseDecompression(full.reason)
  preparing ??= prepareDecoder().finally(() => {
    preparing = null
  })
  await preparing
}

async function prepareDecoder(): Promise<void> {
  try {
    if (module === null) {
      const { ZSTDDecoder } = await import('zstddec')
      const decoder = new ZSTDDecoder()
      const compiled = await compiledDecoder(decoder)
      // It takes 0 for "unknown". Its errors are sizes near 2^32, cut to what its memory holds.
      if (compiled === null)
        return useSharedDecoder((frame, rawLength) => decoder.decode(frame, Math.max(rawLength, 1)))
      module = { compiled, build: 'decoder' }
    }
    useDecompressor(module)
  } catch (reason) {
    refuseDecompression(reason)
  }
}

/**
 * `zstddec` has one instance for the whole process, and believes an allocation that failed. So its compiled module is
 * taken, for instances of our own. Null when it was initialised by somebody else before: then only that one can be had.
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
  await within(
    DECODER_WAIT_MS,
    withoutFetch(() => decoder.init()),
  )
  return compiled
}

/**
 * Where there is `fetch`, `zstddec` fetches its own data: URL. The application may have replaced that, it takes 25 ms,
 * and where WebAssembly has no memory Node's HTTP client ends the process. `work` looks for it before it returns.
 */
function withoutFetch<T>(work: () => T): T {
  const fetch = Object.getOwnPropertyDescriptor(globalThis, 'fetch')
  if (fetch?.configurable !== true) return work()
  Reflect.deleteProperty(globalThis, 'fetch')
  try {
    return work()
  } finally {
    Object.defineProperty(globalThis, 'fetch', fetch)
  }
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = clock.startTimer(() => reject(new Error(`no answer for ${ms} ms`)), ms)
  })
  try {
    await Promise.race([work, late])
  } finally {
    clock.stopTimer(timer)
  }
}
