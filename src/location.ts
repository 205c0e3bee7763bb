// What callers give as a place: a path, a `file:` URL, or an open store.

import { fileURLToPath } from 'node:url'

/**
 * The path that was meant.
 *
 * @param where begins the message: `writeTo`, `blob "index"`
 * @throws TypeError
 */
export function pathOf(path: string | URL, where: string): string {
  if (path instanceof URL) {
    if (path.protocol === 'file:') return fileURLToPath(path)
    throw new TypeError(`${where}: only file: URLs are paths, got ${path.href}`)
  }
  if (typeof path === 'string' && path !== '') return path
  throw new TypeError(`${where}: expected a path or a file: URL, got ${String(path)}`)
}

/** Whether a location is an open store. */
export function isStore<S extends object>(location: string | URL | S): location is S {
  return typeof location === 'object' && !(location instanceof URL) && 'persist' in location
}
