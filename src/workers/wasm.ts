// Shared memory, and the chunker's WebAssembly over it.

import { PAGE_BYTES, wasm } from '../format/wasm.ts'

export interface SharedMemory {
  readonly buffer: SharedArrayBuffer
}

/** Memory of at least `bytes` bytes, zeroed, that threads share. */
export function sharedMemory(bytes: number): SharedMemory {
  return new wasm.Memory({ initial: Math.ceil(bytes / PAGE_BYTES), maximum: PAGE_BYTES, shared: true })
}

/** The chunker's loop over `memory`: the length of the first chunk of [start, end). */
export function chunkerOver(
  chunker: Uint8Array,
  memory: SharedMemory,
): (start: number, end: number, average: number) => number {
  const { exports } = new wasm.Instance(new wasm.Module(chunker), { env: { memory } })
  return exports.one as (start: number, end: number, average: number) => number
}
