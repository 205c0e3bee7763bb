// libzstd as WebAssembly. Each compressor and each decompressor has an instance of its own, which nobody else in the
// process can reach. The packages that bring the WebAssembly share one instance among all who import them, and an
// `init` by any of them replaces its memory. Instances are made synchronously: there is nothing to wait for.

import { BLOCK_BYTES_MAX } from './limits.ts'
import { type InstanceMemory, PAGE_BYTES, wasm } from './wasm.ts'

/** A build of libzstd, compiled. Threads may send it to each other. */
export interface ZstdModule {
  compiled: object
  /** `full`: `zstd.wasm` of `@bokuweb/zstd-wasm`. `decoder`: that of `zstddec`. */
  build: 'full' | 'decoder'
}

/** The result lies in the instance's memory, and is overwritten by the next call. */
export type Compress = (bytes: Uint8Array) => Uint8Array
export type Decompress = (frame: Uint8Array, rawLength: number) => Uint8Array

/** What libzstd itself refuses. Its instance is as good as before; after any other error it is not. */
export class ZstdError extends Error {}

/** There is no memory for a call that may be right. */
export class ZstdOutOfMemory extends ZstdError {}

/** Level 1: the others cost more time than their bytes are worth to a disk. */
export const LEVEL = 1

/** A block and its frame, each 16 MiB, beside the 16 MiB that an instance starts with and its context. */
const MEMORY_BYTES_MAX = 4 * BLOCK_BYTES_MAX

/** `ZSTD_error_memory_allocation` of zstd_errors.h, as a `size_t`. */
const MEMORY_ALLOCATION = 2 ** 32 - 64

type Native = (...args: number[]) => number

interface Library {
  memory: InstanceMemory
  malloc: Native
  free: Native
  isError: Native
}

interface FullLibrary extends Library {
  compressBound: Native
  createCCtx: Native
  compressUsingDict: Native
  createDCtx: Native
  decompressUsingDict: Native
}

interface DecoderLibrary extends Library {
  decompress: Native
}

export function openCompressor({ compiled, build }: ZstdModule): Compress {
  if (build !== 'full') throw new Error('this build of libzstd only decompresses')
  const library = openFull(compiled)
  const { compressBound, createCCtx, compressUsingDict } = library
  const call = callsOf(library)
  // One context for all blocks is a third faster than one for each. A dictionary of no bytes is none.
  const context = allocated(createCCtx())
  return (bytes) =>
    call(bytes, compressBound(bytes.length), (to, room, from, length) =>
      compressUsingDict(context, to, room, from, length, 0, 0, LEVEL),
    )
}

export function openDecompressor({ compiled, build }: ZstdModule): Decompress {
  if (build === 'decoder') {
    const library = openDecoder(compiled)
    const call = callsOf(library)
    return (frame, rawLength) => call(frame, rawLength, library.decompress)
  }
  const library = openFull(compiled)
  const { createDCtx, decompressUsingDict } = library
  const call = callsOf(library)
  const context = allocated(createDCtx())
  return (frame, rawLength) =>
    call(frame, rawLength, (to, room, from, length) => decompressUsingDict(context, to, room, from, length, 0, 0))
}

/** Its imports and exports have the names that its build gave them: see `zstd.js` beside it. */
function openFull(compiled: object): FullLibrary {
  const unexpected = (): never => {
    throw new Error('libzstd gave up')
  }
  const imports = {
    a: unexpected, // proc_exit
    b: unexpected, // emscripten_runtime_keepalive_clear
    c: unexpected, // abort
    d: unexpected, // setitimer
    e: (bytes: number) => grow(exports.f as InstanceMemory, bytes >>> 0), // emscripten_resize_heap
  }
  const { exports } = new wasm.Instance(compiled, { a: imports })
  const { f, g, h, i, j, l, n, q, s, t } = exports as Record<string, Native>
  g!() // Its constructors.
  return {
    memory: f as unknown as InstanceMemory,
    malloc: s!,
    free: t!,
    isError: h!,
    compressBound: i!,
    createCCtx: j!,
    compressUsingDict: l!,
    createDCtx: n!,
    decompressUsingDict: q!,
  }
}

function grow(memory: InstanceMemory, bytes: number): number {
  if (bytes > MEMORY_BYTES_MAX) return 0
  try {
    memory.grow(Math.ceil((bytes - memory.buffer.byteLength) / PAGE_BYTES))
    return 1
  } catch {
    return 0
  }
}

/** It grows its memory itself; the sizes of blocks and frames bound it. */
function openDecoder(compiled: object): DecoderLibrary {
  const { exports } = new wasm.Instance(compiled, { env: { emscripten_notify_memory_growth: () => undefined } })
  const { memory, malloc, free, ZSTD_isError, ZSTD_decompress } = exports as Record<string, Native>
  return {
    memory: memory as unknown as InstanceMemory,
    malloc: malloc!,
    free: free!,
    isError: ZSTD_isError!,
    decompress: ZSTD_decompress!,
  }
}

type Operation = (to: number, room: number, from: number, length: number) => number

/** Calls with one input and one output, in memory that is kept for the next call. */
function callsOf({ memory, malloc, free, isError }: Library) {
  let start = 0
  let bytes = 0

  function reserve(wanted: number): number {
    if (wanted > bytes) {
      free(start)
      start = 0
      bytes = 0
      start = allocated(malloc(wanted))
      bytes = wanted
    }
    return start
  }

  return (input: Uint8Array, room: number, operation: Operation): Uint8Array => {
    // At least one byte: an allocation of none may be refused.
    const from = reserve(input.length + Math.max(room, 1))
    const to = from + input.length
    new Uint8Array(memory.buffer, from, input.length).set(input)
    const size = operation(to, room, from, input.length) >>> 0
    if (size === MEMORY_ALLOCATION) throw new ZstdOutOfMemory('libzstd has no memory')
    if (isError(size) !== 0) throw new ZstdError(`libzstd refuses it: error ${2 ** 32 - size}`)
    if (size > room) throw new Error(`libzstd gives ${size} bytes into ${room}`)
    return new Uint8Array(memory.buffer, to, size)
  }
}

function allocated(address: number): number {
  if (address === 0) throw new ZstdOutOfMemory('libzstd has no memory')
  return address >>> 0
}
