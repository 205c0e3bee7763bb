// Places for stores that are no directories. A storage of another package entry (`holdfast/s3`) makes one, and may
// register the scheme of its URLs, so that a text such as `s3://bucket/prefix` is understood wherever a store is named.

import type { Storage } from './storage/port.ts'

const open = Symbol.for('holdfast.remote')

/** A place for a store that is no directory, as `s3()` gives it. For `openStore` and whatever takes a store's path. */
export interface RemoteLocation {
  /** For messages: `s3://bucket/prefix`. */
  readonly location: string
  readonly [open]: (options: { readOnly: boolean }) => Promise<Storage>
}

/** Where a store is: a path or a `file:` URL of a directory, or a place that another entry gives. */
export type StoreLocation = string | URL | RemoteLocation

const schemes = new Map<string, (url: string) => RemoteLocation>()

/** Makes a place. `load` loads the storage's code on first use. */
export function remoteLocation(
  location: string,
  load: (options: { readOnly: boolean }) => Promise<Storage>,
): RemoteLocation {
  return { location, [open]: load }
}

/** @param scheme as `s3:` */
export function registerScheme(scheme: string, locate: (url: string) => RemoteLocation): void {
  schemes.set(scheme, locate)
}

/** The place of a remote location, or of a URL whose scheme is registered; null: it is something else. */
export function remoteAt(location: unknown): RemoteLocation | null {
  if (typeof location === 'object' && location !== null && open in location) return location as RemoteLocation
  if (typeof location !== 'string' && !(location instanceof URL)) return null
  const scheme = /^[a-z][a-z0-9+.-]+:(?=\/\/)/i.exec(String(location))?.[0].toLowerCase()
  const locate = scheme === undefined ? undefined : schemes.get(scheme)
  return locate === undefined ? null : locate(String(location))
}

export async function openRemote(remote: RemoteLocation, options: { readOnly: boolean }): Promise<Storage> {
  return await remote[open](options)
}
