// Refuses a directory that is another one under another name, or lies in it.

import { dirname } from 'node:path'
import { isSameFile } from './io.ts'
import type { FileSystem } from './port.ts'

/**
 * A copy of a store onto itself, or into its own directory, would be no copy. Links and mounts are looked through.
 *
 * @throws TypeError
 */
export async function assertElsewhere(fs: FileSystem, call: string, store: string, to: string): Promise<void> {
  const own = await fs.stat(store).catch(() => null)
  if (own === null) return
  const target = await existing(fs, to)
  for (let path = target; ; path = dirname(path)) {
    const stat = await fs.stat(path).catch(() => null)
    if (stat !== null && isSameFile(stat, own)) {
      throw new TypeError(`${call}: ${to} is the directory of ${store} itself, or lies in it: give another directory`)
    }
    if (path === dirname(path)) return
  }
}

/** The real path of the nearest directory of `path` that exists. */
async function existing(fs: FileSystem, path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    const real = await fs.realpath(at).catch(() => null)
    if (real !== null || at === dirname(at)) return real ?? at
  }
}
