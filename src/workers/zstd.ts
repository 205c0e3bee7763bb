// zstd for the threads: whether this one can compress, and what the workers need for it.

import { prepareZstd, zstdIsNative } from '../format/compress.ts'
import type { WasmModule } from '../format/wasm-api.ts'
import { zstdModule } from '../format/zstd-module.ts'

/** Makes this thread able to compress; answers whether it is. */
export function canCompress(): boolean {
  return prepareZstd(zstdModule)
}

/** What a worker needs: null where Node has zstd itself, or there is none. */
export function zstdForWorkers(): WasmModule | null {
  if (zstdIsNative) return null
  try {
    return zstdModule()
  } catch {
    return null
  }
}
