// Whether a path lies in a directory, whatever the names: links and mounts are looked through, by comparing what the
// directories are.

import { dirname, join, relative, sep } from 'node:path'
import { isSameFile } from './io.ts'
import type { FileSystem } from './port.ts'

/**
 * A copy of a store onto itself, or into its own directory, would be no copy.
 *
 * @throws TypeError
 */
export async function assertElsewhere(fs: FileSystem, call: string, store: string, to: string): Promise<void> {
  if ((await pathInside(fs, store, to)) === null) return
  throw new TypeError(`${call}: ${to} is the directory of ${store} itself, or lies in it: give another directory`)
}

/**
 * Where `path`, which need not exist, lies in `directory`: names with `/` between them, '' for the directory itself.
 * Null: outside of it.
 */
export async function pathInside(fs: FileSystem, directory: string, path: string): Promise<string | null> {
  const own = await fs.stat(directory).catch(() => null)
  if (own === null) return null
  const real = await realPath(fs, path)
  for (let at = real; ; at = dirname(at)) {
    const stat = await fs.stat(at).catch(() => null)
    if (stat !== null && isSameFile(stat, own)) {
      return relative(at, real).split(sep).join('/')
    }
    if (at === dirname(at)) return null
  }
}

/** The real path of the nearest directory of `path` that exists, and what comes after it. */
async function realPath(fs: FileSystem, path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    const real = await fs.realpath(at).catch(() => null)
    if (real !== null) return join(real, relative(at, path))
    if (at === dirname(at)) return path
  }
}
