// Finds the version of an engine's package, for the engine record.

import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/**
 * The version of an installed package, as the running program would find it; undefined where it would not: bundled
 * programs, packages that are linked from elsewhere. A hint for people and for `refuses`; an adapter's `version` option
 * overrides it.
 */
export function packageVersion(name: string): string | undefined {
  for (const base of [process.argv[1], join(process.cwd(), 'program')]) {
    if (base === undefined || base === '') continue
    try {
      const require = createRequire(base)
      return versionAbove(require, dirname(require.resolve(name)), name)
    } catch {
      // Not installed there.
    }
  }
  return undefined
}

/** By way of the entry point, for many packages do not export their package.json. */
function versionAbove(require: NodeJS.Require, directory: string, name: string): string | undefined {
  for (let at = directory; ; at = dirname(at)) {
    try {
      const found = require(join(at, 'package.json')) as { name?: unknown; version?: unknown }
      // Some packages have others of their own inside, to tell modules from scripts.
      if (found.name === name && typeof found.version === 'string') return found.version
    } catch {
      // One level up, then.
    }
    if (dirname(at) === at) return undefined
  }
}
