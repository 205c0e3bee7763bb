// Looks at the objects of a store as they are, good or damaged, for verify and repair. And finds the packs, whose names
// HEAD says.

import { randomBytes } from 'node:crypto'
import { type HoldfastError, isDamage, isHoldfastError } from '../../errors.ts'
import type { Head } from '../../format/head.ts'
import { FOOTER_BYTES } from '../../format/limits.ts'
import { parsePackFooter } from '../../format/pack.ts'
import { revisionOfKey } from '../../format/pack-key.ts'
import { parseStoreFile } from '../../format/store-file.ts'
import type { Found, Inspection, StoredHead } from '../port.ts'
import type { ObjectClient } from './client.ts'
import { unpackHead } from './head-bytes.ts'
import type { KnownPacks } from './known-packs.ts'
import { copyOf, HEAD, HEADS, listAll, PACKS, QUARANTINE, STORE } from './layout.ts'
import { attemptRequest } from './retry.ts'

/** A pack's object. `name` is null when its end is not that of a pack. */
interface FoundPack {
  key: string
  name: string | null
  bytes: number
  lastModifiedMs: number
}

export interface ObjectReader {
  inspect(): Promise<Inspection>
  /** An object as it was found, and its ETag. */
  raw(key: string): Promise<{ bytes: Uint8Array; etag: string | null } | null>
  /** Packs that are not in quarantine. Ends of objects are read only with `named`. */
  packs(options: { named: boolean }): Promise<FoundPack[]>
  /** Keys of the packs in quarantine. */
  marked(): Promise<Set<string>>
  /** Marks an object, or keeps a copy of it. Answers where. */
  quarantine(
    name: string,
    note: { reason: string; details: Record<string, unknown>; key?: string; content?: string | undefined },
  ): Promise<string>
}

export function createObjectReader(client: ObjectClient, known: KnownPacks): ObjectReader {
  const { location } = client

  async function raw(key: string): Promise<{ bytes: Uint8Array; etag: string | null } | null> {
    const got = await attemptRequest(location, `reading ${key}`, () => client.get(key))
    return got.state === 'found' ? got : null
  }

  async function found<T>(key: string, parse: (bytes: Uint8Array) => T | Promise<T>): Promise<Found<T>> {
    const got = await raw(key)
    if (got === null) return { state: 'missing' }
    try {
      return { state: 'good', value: await parse(got.bytes) }
    } catch (error) {
      if (isDamage(error) || isHoldfastError(error, 'NOT_A_STORE', 'LIMIT_EXCEEDED')) {
        return { state: 'damaged', error: error as HoldfastError }
      }
      throw error
    }
  }

  function parsed(key: string): (bytes: Uint8Array) => Promise<StoredHead> {
    return async (bytes) => ({ ...(await unpackHead(bytes, `${location}/${key}`)), bytes })
  }

  /** The newest copy that is not of the HEAD that is there. */
  async function newestCopy(head: Head | null): Promise<Found<StoredHead>> {
    for (const { key } of await listAll(client, HEADS, 2)) {
      if (copyOf(key)?.revision === head?.revision) continue
      return await found(key, parsed(key))
    }
    return { state: 'missing' }
  }

  async function inspect(): Promise<Inspection> {
    const packs = (await listPacks({ named: true })).flatMap(({ name, bytes }) =>
      name === null ? [] : [{ name, bytes }],
    )
    const store = await found(STORE, (bytes) => parseStoreFile(bytes, `${location}/${STORE}`).storeId)
    const head = await found(HEAD, parsed(HEAD))
    const good = head.state === 'good' ? head.value.head : null
    const previous = await newestCopy(good)
    for (const stored of [previous.state === 'good' ? previous.value.head : null, good])
      if (stored !== null) known.addHead(stored)
    return { store, head, previous, putBack: false, packs, obstacles: [] }
  }

  async function marked(): Promise<Set<string>> {
    const keys = new Set<string>()
    for (const { key } of await listAll(client, QUARANTINE)) {
      const parts = /^quarantine\/packs-([0-9a-f]{16}-[0-9a-f]{32})\./.exec(key)
      if (parts !== null) keys.add(parts[1]!)
    }
    return keys
  }

  async function listPacks({ named }: { named: boolean }): Promise<FoundPack[]> {
    const objects = await listAll(client, PACKS)
    const aside = objects.length === 0 ? new Set<string>() : await marked()
    const packs: FoundPack[] = []
    for (const { key: path, size, lastModifiedMs } of objects) {
      const key = path.slice(PACKS.length)
      if (revisionOfKey(key) === null || aside.has(key)) continue
      const name = known.nameOf(key) ?? (named ? await nameIn(key, size) : null)
      packs.push({ key, name, bytes: size, lastModifiedMs })
    }
    return packs
  }

  /** The name in the footer of a pack. */
  async function nameIn(key: string, bytes: number): Promise<string | null> {
    if (bytes < FOOTER_BYTES) return null
    const range = { start: bytes - FOOTER_BYTES, end: bytes }
    const got = await attemptRequest(location, `reading ${PACKS}${key}`, () => client.get(PACKS + key, { range }))
    if (got.state !== 'found') return null
    try {
      const { blocks } = parsePackFooter(got.bytes, bytes, key)
      const name = Buffer.from(got.bytes.subarray(24, 56)).toString('hex')
      known.add(name, { key, bytes, blocks })
      return name
    } catch (error) {
      if (isDamage(error)) return null
      throw error
    }
  }

  async function quarantine(
    name: string,
    { reason, details, key, content }: Parameters<ObjectReader['quarantine']>[1],
  ): Promise<string> {
    const original = key === undefined ? name : `packs-${key}`
    const path = `${QUARANTINE}${original}.${reason}.${randomBytes(8).toString('hex')}.json`
    const note = Buffer.from(`${JSON.stringify({ name, reason, details, content }, null, 2)}\n`)
    await attemptRequest(location, `writing ${path}`, () => client.put(path, note))
    return `${location}/${path}`
  }

  return { inspect, raw, packs: listPacks, marked, quarantine }
}
