// A storage whose packs are read through a cache on this machine, and whose newest HEAD is served from there while the
// server cannot be reached. Invariants:
//
//  1. only no connection, no answer in time and 5xx after the retries count as unreachable. A refusal (401, 403, 404)
//     and a wrong certificate are errors;
//  2. HEAD never goes back: one below the cached one is read again, and then STORE_ROLLED_BACK;
//  3. a write goes to the server, and is acknowledged by it alone.

import { clock } from '../clock.ts'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { encodeHead, type Head, parseHead } from '../format/head.ts'
import type { SegmentCache } from '../local/segment-cache.ts'
import type { PackFile, PackPart, Storage, StoredHead } from './port.ts'

/** Packs are cached in parts of this size. */
const CACHE_SEGMENT_BYTES = 1024 * 1024
/** Neighbouring segments are fetched together up to so many. */
const RUN_SEGMENTS_MAX = 16
const READS_MAX = 4
const WAIT_MS = 200

export function cachedStorage(remote: Storage, cache: SegmentCache, options: { maxAgeMs: number }): Storage {
  const { location } = remote
  let noted: Head | null = null

  async function readHead(): Promise<StoredHead | null> {
    let stored: StoredHead | null
    try {
      stored = await remote.readHead()
    } catch (error) {
      if (!isUnreachable(error)) throw error
      return await cachedHead(error)
    }
    if (stored === null) return null
    const newest = noted ?? (await parsed())?.head ?? null
    for (let reads = 1; newest !== null && isBehind(stored.head, newest); reads++) {
      if (reads >= READS_MAX) throw rolledBack(location, stored.head, newest)
      await clock.sleep(WAIT_MS * reads)
      stored = (await remote.readHead()) ?? stored
    }
    if (newest !== null) assertFollows(location, stored.head, newest)
    await cache.noteHead(stored.head === noted ? null : encodeHead(stored.head))
    noted = stored.head
    return stored
  }

  async function parsed(): Promise<(StoredHead & { seenMs: number }) | null> {
    const found = await cache.head()
    if (found === null) return null
    try {
      return { ...parseHead(found.bytes, `the cached HEAD of ${location}`), ...found }
    } catch {
      // Of another version of this package.
      return null
    }
  }

  async function cachedHead(error: HoldfastError): Promise<StoredHead> {
    const found = await parsed()
    if (found === null || clock.nowMs() - found.seenMs > options.maxAgeMs) throw error
    remote.learn?.(found.head)
    return { ...found, offline: { since: new Date(found.seenMs), error } }
  }

  return { ...remote, readHead, openPack: async (name) => cachedPack(await remote.openPack(name), cache) }
}

function cachedPack(file: PackFile, cache: SegmentCache): PackFile {
  const { name, bytes } = file
  /** Segments that are being fetched. */
  const fetching = new Map<number, Promise<Uint8Array>>()
  let isOpen = true
  cache.open(name)

  async function segment(number: number): Promise<Uint8Array | null> {
    const cached = await cache.get(name, number)
    return cached?.length === lengthOf(number) ? cached : null
  }

  function lengthOf(number: number): number {
    return Math.min(CACHE_SEGMENT_BYTES, bytes - number * CACHE_SEGMENT_BYTES)
  }

  /** Segments [first, last), in one request. */
  async function fetchRun(first: number, last: number): Promise<Uint8Array> {
    const start = first * CACHE_SEGMENT_BYTES
    const run = Buffer.allocUnsafeSlow(Math.min(last * CACHE_SEGMENT_BYTES, bytes) - start)
    await file.read(run, start)
    for (let number = first; number < last; number++) {
      const at = (number - first) * CACHE_SEGMENT_BYTES
      await cache.put(name, number, run.subarray(at, at + lengthOf(number)))
    }
    return run
  }

  async function segments(first: number, last: number): Promise<Uint8Array[]> {
    const numbers = Array.from({ length: last - first }, (_, i) => first + i)
    const found = await Promise.all(numbers.map((number) => fetching.get(number) ?? segment(number)))
    for (let i = 0; i < found.length; ) {
      let end = i
      while (end < found.length && end - i < RUN_SEGMENTS_MAX && found[end] === null) end++
      if (end > i) startRun(first + i, first + end)
      i = Math.max(end, i + 1)
    }
    return await Promise.all(found.map((bytes, i) => bytes ?? fetching.get(first + i)!))
  }

  function startRun(first: number, last: number): void {
    const run = fetchRun(first, last)
    for (let number = first; number < last; number++) {
      const at = (number - first) * CACHE_SEGMENT_BYTES
      const mine = run.then((whole) => whole.subarray(at, at + lengthOf(number)))
      mine.catch(() => undefined)
      fetching.set(number, mine)
    }
    const done = (): void => {
      for (let number = first; number < last; number++) fetching.delete(number)
    }
    run.then(done, done)
  }

  async function read(target: Uint8Array, position: number): Promise<void> {
    const end = position + target.length
    if (end > bytes) {
      throw new HoldfastError('PACK_DAMAGED', `pack ${name} is cut short`, { details: { pack: name } })
    }
    if (target.length === 0) return
    const first = Math.floor(position / CACHE_SEGMENT_BYTES)
    const parts = await segments(first, Math.ceil(end / CACHE_SEGMENT_BYTES))
    for (const [i, part] of parts.entries()) {
      const start = (first + i) * CACHE_SEGMENT_BYTES
      const from = Math.max(position, start)
      target.set(part.subarray(from - start, Math.min(end - start, part.length)), from - position)
    }
  }

  function closed(): void {
    if (isOpen) cache.close(name)
    isOpen = false
  }

  return {
    name,
    bytes,
    read,
    readParts: async (parts: readonly PackPart[]) => {
      await Promise.all(parts.map(({ target, position }) => read(target, position)))
    },
    async close() {
      closed()
      await file.close()
    },
    closeSync() {
      closed()
      file.closeSync()
    },
  }
}

function isUnreachable(error: unknown): error is HoldfastError {
  if (!isHoldfastError(error, 'IO_FAILED')) return false
  const { status, code } = error.details as { status?: unknown; code?: unknown }
  if (status === 0) return typeof code !== 'string' || !/CERT|SIGNED|TLS|SSL/i.test(code)
  return typeof status === 'number' && status >= 500 && status !== 501
}

function isBehind(head: Head, newest: Head): boolean {
  return head.storeId === newest.storeId && head.revision < newest.revision
}

function rolledBack(location: string, { revision }: Head, newest: Head): HoldfastError {
  return new HoldfastError(
    'STORE_ROLLED_BACK',
    `${location}: HEAD is of revision ${revision}, but this machine has seen revision ${newest.revision}: an old copy was put in its place`,
    { details: { location, revision, newest: newest.revision, files: [] } },
  )
}

/** The HEAD that was seen must be in the history of the one that is there. */
function assertFollows(location: string, head: Head, seen: Head): void {
  if (head.storeId !== seen.storeId) return
  const [before] = seen.writes
  const there = head.writes[head.revision - seen.revision]
  if (before === undefined || there === undefined || there === before) return
  throw new HoldfastError(
    'HEAD_FORKED',
    `${location}: the HEAD of revision ${seen.revision} that this machine has seen is not in the history of the one that is there`,
    { details: { location, revision: seen.revision, writes: [before, there] } },
  )
}
