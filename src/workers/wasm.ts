/** As much of the WebAssembly API as is used here: Node's types leave it to the DOM's. */
interface WebAssemblyApi {
  Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => SharedMemory
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object, imports: { env: { memory: SharedMemory } }) => { exports: Record<string, unknown> }
}

export interface SharedMemory {
  readonly buffer: SharedArrayBuffer
}

const api = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly

const PAGE_BYTES = 65_536

/** Memory of at least `bytes` bytes, zeroed, that threads share. */
export function sharedMemory(bytes: number): SharedMemory {
  return new api.Memory({ initial: Math.ceil(bytes / PAGE_BYTES), maximum: PAGE_BYTES, shared: true })
}

/** The chunker's loop over `memory`: the length of the first chunk of [start, end). */
export function chunkerOver(
  wasm: Uint8Array,
  memory: SharedMemory,
): (start: number, end: number, average: number) => number {
  const { exports } = new api.Instance(new api.Module(wasm), { env: { memory } })
  return exports.one as (start: number, end: number, average: number) => number
}
