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

/** The bytes of `file` beside the package's main file: what a package brings beside its code. */
export function readNative(name: string, file: string): Uint8Array {
  return readFileSync(join(dirname(resolveNative(name)), file))
}

/** The limit on virtual memory that this process was started with (`ulimit -v`). Infinity: none, or the system does not say. */
export function addressSpaceBytes(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1')
    return Number(/^Max address space\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

function requireBase(): string {
  const url: unknown = import.meta.url
  if (typeof url === 'string' && url.startsWith('file:')) return url
  if (typeof __filename === 'string' && __filename !== '' && !__filename.startsWith('[')) return __filename
  return join(process.cwd(), 'holdfast.cjs')
}
