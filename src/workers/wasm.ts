// The chunker's loop as WebAssembly, over memory that threads share.

import { WASM_PAGE_BYTES, webAssembly } from '../format/wasm-api.ts'

export interface SharedMemory {
  readonly buffer: SharedArrayBuffer
}

/** Memory of at least `bytes` bytes, zeroed, that threads share. */
export function sharedMemory(bytes: number): SharedMemory {
  const { Memory } = webAssembly()
  // The maximum, in pages, is all that 32 bits address.
  const initial = Math.ceil(bytes / WASM_PAGE_BYTES)
  return new Memory({ initial, maximum: 65_536, shared: true }) as SharedMemory
}

/** The chunker's loop over `memory`: the length of the first chunk of [start, end). */
export function chunkerOver(
  wasm: Uint8Array,
  memory: SharedMemory,
): (start: number, end: number, average: number) => number {
  const { Instance, Module } = webAssembly()
  const { exports } = new Instance(new Module(wasm), { env: { memory } })
  return exports.one as (start: number, end: number, average: number) => number
}
