// Reads STORE.json and HEAD.json of a store directory, and judges one by the other and by what else lies there.

import { dirname, join } from 'node:path'
import { HoldfastError, isDamage, isHoldfastError } from '../../errors.ts'
import { type Head, parseHead } from '../../format/head.ts'
import { isHex } from '../../format/hex.ts'
import { originalOf } from '../../format/json-file.ts'
import { DIGEST_BYTES, JSON_BYTES_MAX } from '../../format/limits.ts'
import { parseStoreFile, type StoreFile } from '../../format/store-file.ts'
import { attempt, ignoreMissing, ioError, lstatOrNull, readFileOrNull, statOrNull } from '../../fs/io.ts'
import type { FileSystem } from '../../fs/port.ts'
import { term } from '../../terms.ts'
import type { Found, Inspection, StoredHead } from '../port.ts'
import { listPackNames, packPath, paths } from './layout.ts'
import { findObstacles } from './obstacles.ts'
import { hasHeader, isHarmless, isPack, sortFiles } from './own-files.ts'
import { createParsed, type Parsed } from './parse-cache.ts'
import { isPutBack } from './put-back.ts'
import { leadsNowhere } from './remove.ts'

interface StoreReader {
  /** HEADs that were parsed, by their bytes. */
  readonly heads: Parsed<{ head: Head; unknown: string[] }>
  /**
   * HEAD; null where no store was ever made. `readBytes`: how to get the bytes, `quickFs`: for small work on what was
   * just used.
   */
  readHead(readBytes?: () => Promise<Uint8Array | null>, quickFs?: FileSystem): Promise<StoredHead | null>
  /** HEAD; null also where it is damaged. */
  readHeadIfGood(readBytes?: () => Promise<Uint8Array | null>, quickFs?: FileSystem): Promise<StoredHead | null>
  inspect(): Promise<Inspection>
  /** Refuses, before anything is made, to begin a store among other files, or where there was one. */
  assertRoomForStore(): Promise<void>
  /** Notes whether the store has had snapshots. */
  noteSeen(stored: StoredHead | null): void
}

export function createStoreReader(fs: FileSystem, root: string): StoreReader {
  const at = paths(root)
  const storeFiles = createParsed(parseStoreFile)
  const heads = createParsed(parseHead)
  /** This object has seen snapshots. If they are gone, it does not start a new store. */
  let seen = false

  function noteSeen(stored: StoredHead | null): void {
    seen ||= stored !== null && stored.head.snapshots.length > 0
  }

  function bytesOf(path: string, quickFs = fs): Promise<Uint8Array | null> {
    return readFileOrNull(quickFs, path, JSON_BYTES_MAX)
  }

  async function readStoreFile(quickFs?: FileSystem): Promise<StoreFile | null> {
    const bytes = await whole(bytesOf(at.store, quickFs), at.store, 'STORE_DAMAGED')
    return bytes === null ? null : storeFiles.parse(bytes, at.store)
  }

  async function readHead(
    readBytes?: () => Promise<Uint8Array | null>,
    quickFs?: FileSystem,
  ): Promise<StoredHead | null> {
    const stored = await readHeadThatIsThere(readBytes, quickFs).catch((error: unknown) => {
      throw adviseOnHead(error)
    })
    if (stored === null && seen) throw gone()
    noteSeen(stored)
    return stored
  }

  function gone(): HoldfastError {
    return new HoldfastError(
      'HEAD_MISSING',
      `${root} had snapshots when this store object last looked, and now there is no store: is its disk unmounted, or was the directory ` +
        'renamed or emptied? Nothing was written. Bring it back; or, to start afresh, open the store anew',
      { details: { path: root } },
    )
  }

  async function readHeadThatIsThere(
    readBytes = () => bytesOf(at.head),
    quickFs?: FileSystem,
  ): Promise<StoredHead | null> {
    // STORE.json is written after the first HEAD. So if STORE.json exists now, HEAD must exist, too.
    const store = await readStoreFile(quickFs)
    const bytes = await whole(readBytes(), at.head, 'HEAD_DAMAGED')
    if (store === null) return await withoutStoreFile(bytes)
    if (bytes === null) {
      throw new HoldfastError(
        'HEAD_MISSING',
        `${at.head} is missing, but ${at.store} says that a store was made here: its snapshots are not lost. ${term('repair')} rebuilds it, and until ` +
          `then ${term('loadFallback')} goes on from HEAD.prev.json; or move the directory aside${term('withSetAside')} to start afresh`,
        { details: { path: at.head } },
      )
    }
    const { head, unknown } = heads.parse(bytes, at.head)
    if (head.storeId !== store.storeId) {
      throw new HoldfastError(
        'STORE_DAMAGED',
        `${at.head} belongs to store ${head.storeId}, but ${at.store} to ${store.storeId}: two stores were mixed`,
        { details: { path: root, head: head.storeId, store: store.storeId } },
      )
    }
    return { head, bytes, unknown }
  }

  /** Handles a missing STORE.json: no store yet, a running or interrupted creation, or damage. */
  async function withoutStoreFile(head: Uint8Array | null): Promise<StoredHead | null> {
    const stat = await attempt(statOrNull(fs, root), `looking at ${root}`)
    if (stat !== null && stat.kind !== 'directory') {
      throw new HoldfastError('NOT_A_STORE', `${root} is not a directory`, { details: { path: root } })
    }
    if (stat === null) await attempt(assertNoDanglingLink(fs, root), `looking at ${root}`)
    // An interrupted creation leaves a HEAD of revision 0 and nothing else.
    const evidence =
      (head !== null && parseHead(head, at.head).head.revision > 0) ||
      (await listPackNames(fs, at.packs)).some((name) => isHex(name, DIGEST_BYTES)) ||
      (await attempt(lstatOrNull(fs, at.previous), `looking at ${at.previous}`)) !== null
    if (!evidence) return null
    // The creator may have finished between the two reads.
    if ((await readStoreFile()) !== null) return await readHead()
    throw new HoldfastError(
      'STORE_DAMAGED',
      `${at.store} is missing, but there are snapshots in ${root}: ${term('repair')} writes it anew; or move the directory aside` +
        `${term('withSetAside')} to start afresh`,
      { details: { path: at.store } },
    )
  }

  /** Reads HEAD for a repair, which also accepts a damaged store. */
  async function readHeadIfGood(
    readBytes?: () => Promise<Uint8Array | null>,
    quickFs?: FileSystem,
  ): Promise<StoredHead | null> {
    try {
      return await readHead(readBytes, quickFs)
    } catch (error) {
      if (isDamage(error) || isHoldfastError(error, 'NOT_A_STORE')) return null
      throw error
    }
  }

  async function inspect(): Promise<Inspection> {
    const packs: Inspection['packs'] = []
    for (const name of await listPackNames(fs, at.packs)) {
      const path = packPath(at.packs, name)
      const stat = await attempt(lstatOrNull(fs, path), `looking at ${path}`)
      if (stat !== null) packs.push({ name, bytes: stat.size })
    }
    // HEAD's stat is read before HEAD, and after HEAD.prev.json. So a writer that replaces both meanwhile does not look
    // like somebody who restored a HEAD.
    const headStat = await attempt(statOrNull(fs, at.head), `looking at ${at.head}`)
    const store = await found(at.store, (bytes) => parseStoreFile(bytes, at.store).storeId)
    const head = await found(at.head, (bytes) => ({ ...parseHead(bytes, at.head), bytes }))
    const previous = await found(at.previous, (bytes) => ({ ...parseHead(bytes, at.previous), bytes }))
    const previousStat = await attempt(statOrNull(fs, at.previous), `looking at ${at.previous}`)
    const current = head.state === 'good' && headStat !== null ? { head: head.value.head, stat: headStat } : null
    const spare =
      previous.state === 'good' && previousStat !== null ? { head: previous.value.head, stat: previousStat } : null
    const putBack = current !== null && previous.state !== 'damaged' && isPutBack(current, spare)
    return { store, head, previous, putBack, packs, obstacles: await findObstacles(fs, at) }
  }

  async function found<T>(path: string, parse: (bytes: Uint8Array) => T): Promise<Found<T>> {
    let bytes: Uint8Array | null = null
    try {
      bytes = await whole(bytesOf(path), path, path === at.store ? 'STORE_DAMAGED' : 'HEAD_DAMAGED')
      return bytes === null ? { state: 'missing' } : { state: 'good', value: parse(bytes) }
    } catch (error) {
      if (!isDamage(error) && !isHoldfastError(error, 'NOT_A_STORE', 'LIMIT_EXCEEDED')) throw error
      const original = bytes === null ? null : originalOf(bytes)
      // As it was sealed, it has been parsed above.
      const isOther = original !== null && original !== bytes
      return { state: 'damaged', error, original: isOther ? parsedOrUndefined(parse, original) : undefined }
    }
  }

  /** Refuses to start a store among other files, or where a store was, before anything is made. */
  async function assertRoomForStore(): Promise<void> {
    if ((await attempt(lstatOrNull(fs, at.store), `looking at ${at.store}`)) !== null) return
    if (seen && (await readHeadIfGood()) === null && !(await isBegun())) throw gone()
    const entries = await attempt(ignoreMissing(sortFiles(fs, root, await isBegun())), `looking at ${root}`)
    const foreign = entries?.foreign.filter((path) => !isHarmless(path)) ?? []
    if (foreign.length === 0) return
    // With a good HEAD it is a store that lost its STORE.json. The error of whoever reads it says so, and what to do.
    if ((await found(at.head, (bytes) => parseHead(bytes, at.head))).state === 'good') return
    const some = foreign.slice(0, 5).join(', ') + (foreign.length > 5 ? ` and ${foreign.length - 5} more` : '')
    throw new HoldfastError(
      'NOT_A_STORE',
      `${root} is no store, and there are other files in it (${some}): nothing was written. Give a directory of its own, such as ` +
        `${join(root, 'store')}`,
      { details: { path: root, found: foreign.slice(0, 100) } },
    )
  }

  /** Whether a store without STORE.json was begun, or lost it. */
  async function isBegun(): Promise<boolean> {
    if ((await attempt(lstatOrNull(fs, at.previous), `looking at ${at.previous}`)) !== null) {
      return await attempt(hasHeader(fs, at.previous), `reading ${at.previous}`)
    }
    if (await attempt(hasHeader(fs, at.head), `reading ${at.head}`)) return true
    for (const name of await listPackNames(fs, at.packs)) {
      if (isHex(name, DIGEST_BYTES) && (await isPack(fs, packPath(at.packs, name), name))) return true
    }
    return false
  }

  return { heads, readHead, readHeadIfGood, inspect, assertRoomForStore, noteSeen }
}

/**
 * Throws if a link on the way to a store is dangling. That means that a disk is not mounted, not that no store was ever
 * made.
 */
async function assertNoDanglingLink(fs: FileSystem, root: string): Promise<void> {
  for (let path = root; path !== dirname(path); path = dirname(path)) {
    const there = await lstatOrNull(fs, path)
    if (there?.kind === 'link' && (await statOrNull(fs, path)) === null) throw leadsNowhere(path)
    if (there !== null && (there.kind === 'file' || there.kind === 'other')) {
      throw new HoldfastError('NOT_A_STORE', `${root} lies below ${path}, which is not a directory: check the path`, {
        details: { path: root },
      })
    }
    if (there !== null) return
  }
}

function parsedOrUndefined<T>(parse: (bytes: Uint8Array) => T, bytes: Uint8Array): T | undefined {
  try {
    return parse(bytes)
  } catch (error) {
    if (isHoldfastError(error)) return undefined
    throw error
  }
}

/** Adds advice to the error of a damaged HEAD. */
function adviseOnHead(error: unknown): unknown {
  if (!isHoldfastError(error, 'HEAD_DAMAGED')) return error
  const advice = `${term('repair')} rebuilds it; until then ${term('loadFallback')} goes on from HEAD.prev.json`
  return new HoldfastError('HEAD_DAMAGED', `${error.message}. ${advice}`, { details: error.details, cause: error })
}

/** Reads a whole file. A file that is far too large is damaged. */
async function whole(
  reading: Promise<Uint8Array | null>,
  path: string,
  damaged: 'HEAD_DAMAGED' | 'STORE_DAMAGED',
): Promise<Uint8Array | null> {
  try {
    return await reading
  } catch (error) {
    if (!isHoldfastError(error, 'LIMIT_EXCEEDED')) throw ioError(error, `reading ${path}`, path)
    const reason = error.message
    throw new HoldfastError(damaged, `${path} is damaged: ${reason}`, {
      details: { where: path, reason },
      cause: error,
    })
  }
}
