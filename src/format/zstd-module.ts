// Finds libzstd for a Node that has no zstd of its own. Compiled once, for this thread and the workers.

import { readPackageFile } from '../native.ts'
import { type WasmModule, webAssembly } from './wasm-api.ts'

/** Where libzstd comes from on Node 20. Resolved at run time, as addons are: where it is not, nothing is compressed. */
export const ZSTD_PACKAGE = '@bokuweb/zstd-wasm'

let compiled: WasmModule | undefined

/** Throws where the package is not installed, or WebAssembly is forbidden. */
export function zstdModule(): WasmModule {
  compiled ??= new (webAssembly().Module)(readPackageFile(ZSTD_PACKAGE, 'zstd.wasm'))
  return compiled
}
