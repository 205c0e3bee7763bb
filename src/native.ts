// Loads what is not JavaScript, by package name, when it is needed: addons and WebAssembly. They are resolved at run
// time and never bundled. The only file that knows from where a package is looked for.

import { readFileSync } from 'node:fs'
// The default import: webpack replaces a named `createRequire`, and leaves this one alone.
import module from 'node:module'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

/** Loads a package, synchronously. Throws whatever `require` throws: the caller decides what to do without it. */
export function requireNative(name: string): unknown {
  return fromFirst((base) => {
    // By their full names, so that tracers such as @vercel/nft see what is needed.
    const requireFrom = module.createRequire(base)
    switch (name) {
      case 'fs-native-extensions':
        return requireFrom('fs-native-extensions')
      // What the package above loads by a computed name.
      case 'fs-native-extensions/prebuilds/linux-x64/fs-native-extensions.node':
        return requireFrom('fs-native-extensions/prebuilds/linux-x64/fs-native-extensions.node')
      case 'fs-native-extensions/prebuilds/linux-arm64/fs-native-extensions.node':
        return requireFrom('fs-native-extensions/prebuilds/linux-arm64/fs-native-extensions.node')
      case 'fs-native-extensions/prebuilds/darwin-x64/fs-native-extensions.node':
        return requireFrom('fs-native-extensions/prebuilds/darwin-x64/fs-native-extensions.node')
      case 'fs-native-extensions/prebuilds/darwin-arm64/fs-native-extensions.node':
        return requireFrom('fs-native-extensions/prebuilds/darwin-arm64/fs-native-extensions.node')
      case 'fs-native-extensions/prebuilds/win32-x64/fs-native-extensions.node':
        return requireFrom('fs-native-extensions/prebuilds/win32-x64/fs-native-extensions.node')
      case 'fs-native-extensions/prebuilds/win32-arm64/fs-native-extensions.node':
        return requireFrom('fs-native-extensions/prebuilds/win32-arm64/fs-native-extensions.node')
      case '@napi-rs/blake-hash':
        return requireFrom('@napi-rs/blake-hash')
      case '@bokuweb/zstd-wasm':
        return requireFrom('@bokuweb/zstd-wasm')
      default:
        return requireFrom(name)
    }
  })
}

/**
 * The addon of BLAKE3 for this platform, without the package's own search: that asks for a report of the process, which
 * takes 10 ms. Null where it is not known, or is not installed: then the package itself is to be asked.
 */
export function blake3Addon(): string | null {
  const { platform, arch } = process
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) return null
  try {
    // It is a dependency of that package, and need not be seen from here.
    const requireFrom = module.createRequire(resolveNative('@napi-rs/blake-hash'))
    return arch === 'x64'
      ? requireFrom.resolve('@napi-rs/blake-hash-linux-x64-gnu')
      : requireFrom.resolve('@napi-rs/blake-hash-linux-arm64-gnu')
  } catch {
    return null
  }
}

/** Loads an addon by its path. */
export function requirePath(path: string): unknown {
  return module.createRequire(path)(path)
}

/** Where the package's main file is, for a thread that has no module resolution of its own. */
export function resolveNative(name: string): string {
  return fromFirst((base) => {
    return module.createRequire(base).resolve(name)
  })
}

/** The bytes of `file` beside the package's main file: what a package brings beside its code. */
export function readNative(name: string, file: string): Uint8Array {
  return readFileSync(join(dirname(resolveNative(name)), file))
}

/** Why a package did not load, and what to do, in words. */
export function whyNotLoaded(name: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ERR_ACCESS_DENIED' || code === 'ERR_DLOPEN_DISABLED') {
    return `Node's permission model did not let the package ${name} be loaded: allow it with --allow-addons and --allow-fs-read`
  }
  if (code !== 'MODULE_NOT_FOUND' && !/Cannot find addon/.test(message)) {
    return `the package ${name} was found and did not load on ${process.platform}-${process.arch}: ${message}; install it again for this platform`
  }
  const missing =
    /Cannot find module '([^']+)'/.exec(message)?.[1] ?? (code === 'MODULE_NOT_FOUND' ? name : 'the binary')
  return (
    `${missing === name ? `the package ${name}` : `${missing}, which the package ${name} needs,`} was not found; looked for from ` +
    `${bases().join(' and ')}. In a bundle, keep holdfast external, or install ${name} into a node_modules beside the bundle; ` +
    'have a tracer (Next.js, serverless) include it: see docs/deployment.md of the package'
  )
}

/** Which C library is mapped; null where the system does not say. Node's report takes 20 ms. */
export function loadedLibc(): 'glibc' | 'musl' | null {
  try {
    const maps = readFileSync('/proc/self/maps', 'latin1')
    if (/\/ld-musl-|\/libc\.musl-/.test(maps)) return 'musl'
    return /\/libc\.so\.6|\/libc-2\./.test(maps) ? 'glibc' : null
  } catch {
    return null
  }
}

/**
 * The limit on virtual memory that this process was started with (`ulimit -v`). Infinity: none, or the system does not
 * say.
 */
export function addressSpaceBytes(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1')
    return Number(/^Max address space\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** The result of the first base that has the package. If none has it, the error of the first. */
function fromFirst<T>(load: (base: string) => T): T {
  let first: unknown
  for (const base of bases()) {
    try {
      return load(base)
    } catch (error) {
      first ??= error
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    }
  }
  throw first
}

/**
 * Where packages are looked for: from this file, and from the program. webpack writes the path that this file had when
 * the bundle was made into the bundle; the program is then where the bundle is. Bundled to CommonJS, `import.meta.url`
 * is empty and `__filename` stands in for it; inside an eval'd worker neither exists, and the working directory is the
 * best guess left.
 */
function bases(): string[] {
  const found: string[] = []
  const url: unknown = import.meta.url
  if (typeof url === 'string' && url.startsWith('file:')) found.push(fileURLToPath(url))
  const file = fileOfScript()
  if (file !== undefined && /^([/\\]|[a-z]:)/i.test(file)) found.push(file)
  const program = process.argv[1]
  if (program !== undefined && program !== '' && !program.startsWith('[')) found.push(program)
  return found.length > 0 ? [...new Set(found)] : [join(process.cwd(), 'holdfast.cjs')]
}

/** Undefined where there is none: webpack answers `typeof` for a name that its ES modules then lack. */
function fileOfScript(): string | undefined {
  try {
    return __filename
  } catch {
    return undefined
  }
}
