// libzstd as WebAssembly, for a Node without zstd of its own: the file `zstd.wasm` of `@bokuweb/zstd-wasm`.
//
// That package keeps one instance for the whole process and replaces it whenever somebody calls its `init`; contexts
// made before then point into memory that is no longer used, and give wrong bytes without an error. So the package's
// JavaScript is never run: the module is instantiated here, and nobody else can reach the instance. Compression and
// decompression have an instance each, so that one which goes wrong cannot make the other agree with it.
// Everything is synchronous: there is nothing to wait for that may never come.

import { BLOCK_BYTES_MAX } from './limits.ts'
import { WASM_PAGE_BYTES, type WasmMemory, type WasmModule, webAssembly } from './wasm-api.ts'

/** Compresses and decompresses one block at a time. Both throw an `Error` when they cannot. */
export interface Zstd {
  /** One frame that declares its content size. The result is the caller's. */
  compress(bytes: Uint8Array): Uint8Array
  /** The content of a frame that `checkFrame` has accepted. The result is the caller's. */
  decompress(frame: Uint8Array, rawLength: number): Uint8Array
}

/** The exports under the names that release 0.0.27 gives them; package.json asks for exactly that release. */
interface LibZstd {
  /** memory */
  f: WasmMemory
  /** constructors */
  g(): void
  /** ZSTD_isError(code) */
  h(code: number): number
  /** ZSTD_compressBound(size) */
  i(size: number): number
  /** ZSTD_createCCtx() */
  j(): number
  /** ZSTD_compress_usingDict(context, target, capacity, source, size, dictionary, dictionarySize, level) */
  l(...args: number[]): number
  /** ZSTD_createDCtx() */
  n(): number
  /** ZSTD_decompress_usingDict(context, target, capacity, source, size, dictionary, dictionarySize) */
  q(...args: number[]): number
  /** malloc(size) */
  s(size: number): number
  /** free(pointer) */
  t(pointer: number): void
}

/** A block and its frame are 16 MiB each; a context at level 1 takes a few MiB more. */
const MEMORY_BYTES_MAX = 8 * BLOCK_BYTES_MAX

/** Throws when the module is not the one expected, or there is no memory for it. */
export function instantiateZstd(module: WasmModule, level: number): Zstd {
  const compressor = openInstance(module, 'j')
  const decompressor = openInstance(module, 'n')
  const zstd: Zstd = {
    compress: (bytes) => {
      const capacity = compressor.lib.i(bytes.length)
      return compressor.run(bytes, capacity, (context, target, source) =>
        compressor.lib.l(context, target, capacity, source, bytes.length, 0, 0, level),
      )
    },
    decompress: (frame, rawLength) =>
      decompressor.run(frame, Math.max(rawLength, 1), (context, target, source) =>
        decompressor.lib.q(context, target, rawLength, source, frame.length, 0, 0),
      ),
  }
  assertWorks(zstd)
  return zstd
}

interface Instance {
  lib: LibZstd
  /** Calls `work` with the context, room for `capacity` bytes and a copy of `input`; answers a copy of its result. */
  run(
    input: Uint8Array,
    capacity: number,
    work: (context: number, target: number, source: number) => number,
  ): Uint8Array
}

function openInstance(module: WasmModule, createContext: 'j' | 'n'): Instance {
  const lib = new (webAssembly().Instance)(module, {
    a: { a: stop, b: () => undefined, c: stop, d: () => 0, e: grow },
  }).exports as unknown as LibZstd
  lib.g()
  const context = lib[createContext]()
  if (context === 0) throw new Error('libzstd has no memory for a context')

  /** emscripten_resize_heap: answers 1 when the memory has `bytes` bytes now. */
  function grow(bytes: number): number {
    const wanted = bytes >>> 0
    if (wanted > MEMORY_BYTES_MAX) return 0
    try {
      lib.f.grow(Math.ceil((wanted - lib.f.buffer.byteLength) / WASM_PAGE_BYTES))
      return 1
    } catch {
      return 0
    }
  }

  function allocate(bytes: number): number {
    const pointer = lib.s(Math.max(bytes, 1))
    if (pointer === 0) throw new Error(`libzstd has no memory for ${bytes} bytes`)
    return pointer
  }

  return {
    lib,
    run(input, capacity, work) {
      const source = allocate(input.length)
      try {
        const target = allocate(capacity)
        try {
          new Uint8Array(lib.f.buffer, source, input.length).set(input)
          const length = work(context, target, source)
          if (lib.h(length) !== 0) throw new Error(`libzstd failed with code ${-length}`)
          return new Uint8Array(lib.f.buffer).slice(target, target + length)
        } finally {
          lib.t(target)
        }
      } finally {
        lib.t(source)
      }
    },
  }
}

function stop(): never {
  throw new Error('libzstd aborted')
}

/** Another release may give the same names to other functions. */
function assertWorks(zstd: Zstd): void {
  const bytes = new Uint8Array(1024).map((_, i) => i % 7)
  const raw = zstd.decompress(zstd.compress(bytes), bytes.length)
  if (Buffer.compare(raw, bytes) !== 0) throw new Error('libzstd is not the release that was expected')
}
