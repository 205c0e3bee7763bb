// As much of the WebAssembly API as is used here: Node's types leave it to the DOM's.

/** A compiled module. Threads hand it to each other. */
export type WasmModule = object

export interface WasmMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer
  grow(pages: number): number
}

interface WebAssemblyApi {
  Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => WasmMemory
  Module: new (bytes: Uint8Array) => WasmModule
  Instance: new (
    module: WasmModule,
    imports: Record<string, Record<string, unknown>>,
  ) => { exports: Record<string, unknown> }
}

export const WASM_PAGE_BYTES = 65_536

/** Throws a `TypeError` where WebAssembly is switched off. */
export function webAssembly(): WebAssemblyApi {
  const api = (globalThis as { WebAssembly?: WebAssemblyApi }).WebAssembly
  if (api === undefined) throw new TypeError('this process has no WebAssembly')
  return api
}
