import { prepareZstd, ZSTD_PACKAGE, zstdIsNative } from '../format/compress.ts'
import { requireNative, resolveNative } from '../native.ts'

/** Makes this thread able to compress; answers whether it is. */
export async function canCompress(): Promise<boolean> {
  return await prepareZstd(() => requireNative(ZSTD_PACKAGE))
}

/** Where a worker finds the package; null where it needs none, or there is none. */
export function zstdPath(): string | null {
  if (zstdIsNative) return null
  try {
    return resolveNative(ZSTD_PACKAGE)
  } catch {
    return null
  }
}
