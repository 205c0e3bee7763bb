// Keeps what is written out of the store's directory: its files are its own.

import { realpathSync } from 'node:fs'
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path'
import { usage } from './failure.ts'

/** @throws a usage error for a path in the store, links followed */
export function assertOutside(target: string, store: string): void {
  const inside = relative(real(store), real(target))
  const [first] = inside.split(sep)
  if (isAbsolute(inside) || first === '..') return
  throw usage(`${target} lies in the store ${store}, whose files are its own; give a path outside of it`)
}

/** The path with the links of what exists of it followed. */
function real(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return dirname(path) === path ? path : join(real(dirname(path)), basename(path))
  }
}
