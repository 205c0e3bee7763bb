// What callers give as a place: a path, a `file:` URL, or an open store.

import { fileURLToPath } from 'node:url'
import { refusePromise } from './misuse.ts'

/**
 * The path that a location stands for.
 *
 * @param where begins the message: `writeTo`, `blob "index"`
 * @throws TypeError
 */
export function pathOf(path: string | URL, where: string): string {
  refusePromise(path, `${where}: the path`)
  if (path instanceof URL) return pathOfUrl(path, where)
  if (typeof path !== 'string' || path === '') {
    throw new TypeError(
      `${where}: expected a path or a file: URL, got ${path === '' ? 'an empty string' : String(path)}`,
    )
  }
  if (path.includes('\0')) throw new TypeError(`${where}: the path ${JSON.stringify(path)} has a NUL character`)
  if (HOME.test(path)) {
    throw new TypeError(
      `${where}: ${JSON.stringify(path)} begins with ~, which only a shell replaces: use join(os.homedir(), …), or ./${path} for a ` +
        'directory of that name',
    )
  }
  return URL_TEXT.test(path) ? pathOfUrl(parsed(path, where), where) : path
}

/** `~`, `~/x` and `~user/x`; a file may be called `~x`. */
const HOME = /^~$|^~[\w.-]*[/\\]/
/** A scheme has two characters or more: a drive of Windows has one. */
const URL_TEXT = /^[a-z][a-z0-9+.-]+:\/\/|^file:\//i

function parsed(path: string, where: string): URL {
  try {
    return new URL(path)
  } catch {
    throw new TypeError(`${where}: ${JSON.stringify(path)} is not a URL that can be read; pass a path`)
  }
}

function pathOfUrl(url: URL, where: string): string {
  if (url.protocol === 's3:') {
    throw new TypeError(
      `${where}: s3: URLs are not supported without holdfast/s3: add import 'holdfast/s3', or openStore(s3({ bucket: ${JSON.stringify(url.hostname)}, … })) with s3 from there. ` +
        'It is a place for a store, and for nothing else',
    )
  }
  if (url.protocol !== 'file:') {
    throw new TypeError(
      `${where}: ${url.protocol} URLs are not supported, only paths of this machine and file: URLs: pass one of these, and copy what is ` +
        'there to other places',
    )
  }
  try {
    return fileURLToPath(url)
  } catch (cause) {
    throw new TypeError(
      `${where}: ${url.href} is not a path of this machine (${(cause as Error).message}): pass a path`,
      { cause },
    )
  }
}

/** Whether a location is an open store. */
export function isStore<S extends object>(location: string | URL | object): location is S {
  refusePromise(location, 'the store')
  return typeof location === 'object' && location !== null && !(location instanceof URL) && 'persist' in location
}
