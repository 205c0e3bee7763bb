// Finds addons and packages' own files by name at run time, so that holdfast can be bundled.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import process from 'node:process'

/**
 * Loads a native addon by package name, synchronously. Throws whatever `require` throws: the caller decides what to do
 * without it.
 *
 * Addons are resolved at run time, never bundled. Bundled to CommonJS, `import.meta.url` is empty and `__filename`
 * stands in for it; inside an eval'd worker neither exists, and the working directory is the best guess left.
 */
export function requireNative(name: string): unknown {
  return createRequire(requireBase())(name)
}

/** Where the package's main file is, for a thread that has no module resolution of its own. */
export function resolveNative(name: string): string {
  return createRequire(requireBase()).resolve(name)
}

/** A file that lies beside a package's main file. Throws whatever finding or reading it throws. */
export function readPackageFile(name: string, file: string): Uint8Array {
  return readFileSync(join(dirname(resolveNative(name)), file))
}

function requireBase(): string {
  const url: unknown = import.meta.url
  if (typeof url === 'string' && url.startsWith('file:')) return url
  if (typeof __filename === 'string' && __filename !== '' && !__filename.startsWith('[')) return __filename
  return join(process.cwd(), 'holdfast.cjs')
}
