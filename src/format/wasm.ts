// The parts of the WebAssembly API that are used here. Node's types leave it to the DOM's. Undefined where Node runs
// without it (`--jitless`): then every use throws.

interface WebAssemblyApi {
  Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => { readonly buffer: SharedArrayBuffer }
  Module: new (bytes: Uint8Array) => object
  Instance: new (
    module: object,
    imports: Record<string, Record<string, unknown>>,
  ) => { exports: Record<string, unknown> }
}

/** The memory of an instance that no other thread sees. It moves when it grows: never keep its `buffer`. */
export interface InstanceMemory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}

export const PAGE_BYTES = 65_536

export const wasm = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly
