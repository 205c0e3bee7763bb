// A place whose data is cached on this machine: for readers that start again, or that go on while the server is away.

import { resolve } from 'node:path'
import { pathOf } from './location.ts'
import { assertOptions, type OptionTable } from './misuse.ts'
import { openRemote, type RemoteLocation, remoteAt, remoteLocation } from './remote.ts'

/** Where data of a store is cached, and how much. */
export interface CacheOptions {
  /** A directory on this machine. Any number of processes and stores share it. */
  directory: string | URL
  /** For each store, about, in bytes; default 4 GiB. What was not used for longest goes. */
  maxBytes?: number | undefined
  /**
   * While the server cannot be reached, the newest HEAD that was seen is served for so long, in ms; default 24 hours.
   * 0: never.
   */
  maxAgeMs?: number | undefined
}

const CACHE_OPTIONS: OptionTable<CacheOptions> = { directory: 'any', maxBytes: 'any', maxAgeMs: 'ms' }

const MAX_BYTES = 4 * 1024 ** 3
const MAX_BYTES_MIN = 16 * 1024 ** 2
const MAX_AGE_MS = 24 * 60 * 60 * 1000

/**
 * The place `remote`, read through a cache. What was read once is read from the directory, checked, and while the
 * server cannot be reached a load gives the newest snapshot that was seen: its `offline` says since when and why.
 * Writes go to the server.
 *
 * @param remote as `s3()` gives it, or an `s3://` URL
 * @throws TypeError
 */
export function cached(remote: RemoteLocation | string, options: CacheOptions): RemoteLocation {
  assertOptions('cached', options, CACHE_OPTIONS)
  const place = remoteAt(remote)
  if (place === null)
    throw new TypeError('cached: give a place as s3() makes it; with an s3:// URL, import holdfast/s3')
  const { maxBytes = MAX_BYTES, maxAgeMs = MAX_AGE_MS } = options
  if (!(Number.isFinite(maxBytes) && maxBytes >= MAX_BYTES_MIN)) {
    throw new RangeError(`cached: maxBytes must be at least ${MAX_BYTES_MIN}, got ${String(maxBytes)}`)
  }
  const directory = resolve(pathOf(options.directory, 'cached'))
  return remoteLocation(place.location, async (how) => {
    const { cachedStorage } = await import('./storage/cached.ts')
    const { createSegmentCache } = await import('./local/segment-cache.ts')
    const storage = await openRemote(place, how)
    const address = storage.address ?? storage.location
    return cachedStorage(storage, createSegmentCache({ directory, maxBytes, address }), { maxAgeMs })
  })
}
