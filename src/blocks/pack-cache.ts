// Opens packs and caches their indexes. A pack never changes, so a cached index never becomes stale.

import { clock } from '../clock.ts'
import { HoldfastError } from '../errors.ts'
import { runYielding } from '../event-loop.ts'
import { zstdReady } from '../format/codec.ts'
import { compactingIndex } from '../format/compact-index.ts'
import { COMPRESSION, prepareDecompression } from '../format/compression.ts'
import { FOOTER_BYTES, HEADER_BYTES } from '../format/limits.ts'
import { type PackIndex, parsePackFooter, parsingPackIndex } from '../format/pack.ts'
import type { PackFile, Storage } from '../storage/port.ts'
import { readParts } from './read-parts.ts'

/** A pack that is held open, and its index once it was read. All readers in the process share it. */
export interface OpenPack {
  readonly name: string
  readonly file: PackFile
  /** Reads and checks the index once. */
  index(): Promise<PackIndex>
  /** Ends this use of the pack. Its file is closed after the last use. */
  release(): Promise<void>
  releaseSync(): void
}

/** Opens packs, each at most once at a time. */
export interface PackCache {
  open(name: string, storeId: Uint8Array): Promise<OpenPack>
  /** As `open`, for a pack that is known to exist. If its index is cached, the file is opened by the first read. */
  openLater(name: string, storeId: Uint8Array): Promise<OpenPack>
  /** Adds the index of a pack that this process has written, so that it need not be read. */
  put(name: string, index: PackIndex, fileBytes: number): unknown
}

interface SharedPack {
  file: Promise<PackFile>
  index: Promise<PackIndex> | null
  users: number
}

interface CachedIndex {
  index: PackIndex
  fileBytes: number
  compressed: boolean
}

/** Memory for indexes that are kept between operations of a store, in bytes. */
const INDEX_CACHE_BYTES = 32 * 1024 * 1024
/**
 * Small persists make small packs, which compaction soon replaces. Without this limit most cached indexes would be of
 * deleted packs.
 */
const INDEXES_CACHED_MAX = 1024

export function createPackCache(storage: Storage): PackCache {
  const opened = new Map<string, SharedPack>()
  const cached = new Map<string, CachedIndex>()
  let cachedBytes = 0

  async function indexOf(file: PackFile, storeId: Uint8Array): Promise<PackIndex> {
    const known = cached.get(file.name)
    if (known !== undefined) {
      // The least recently used index is dropped first.
      cached.delete(file.name)
      cached.set(file.name, known)
      return await readyIndex(known)
    }
    const index = await readPackIndex(file, storeId)
    return await readyIndex(put(file.name, index, file.bytes))
  }

  function put(name: string, index: PackIndex, fileBytes: number): CachedIndex {
    const known = { index, fileBytes, compressed: hasCompressed(index) }
    cached.set(name, known)
    cachedBytes += index.bytes.length
    for (const [name, oldest] of cached) {
      if (cachedBytes <= INDEX_CACHE_BYTES && cached.size <= INDEXES_CACHED_MAX) break
      cached.delete(name)
      cachedBytes -= oldest.index.bytes.length
    }
    return known
  }

  function drop(name: string, shared: SharedPack): boolean {
    shared.users -= 1
    if (shared.users > 0) return false
    if (opened.get(name) === shared) opened.delete(name)
    return true
  }

  async function open(name: string, storeId: Uint8Array): Promise<OpenPack> {
    let shared = opened.get(name)
    if (shared === undefined) {
      shared = { file: storage.openPack(name), index: null, users: 0 }
      opened.set(name, shared)
    }
    shared.users += 1
    const held = shared
    let file: PackFile
    try {
      file = await held.file
    } catch (error) {
      drop(name, held)
      throw error
    }
    let released = false
    return {
      name,
      file,
      index() {
        if (held.index === null) {
          held.index = indexOf(file, storeId)
          // The next caller tries a failed read again: the failure may have been transient.
          held.index.catch(() => {
            held.index = null
          })
        }
        return held.index
      },
      async release() {
        if (released) return
        released = true
        // The file was only read, so its close has no error to report.
        if (drop(name, held)) await file.close().catch(() => undefined)
      },
      releaseSync() {
        if (released) return
        released = true
        if (drop(name, held)) file.closeSync()
      },
    }
  }

  async function openLater(name: string, storeId: Uint8Array): Promise<OpenPack> {
    const known = cached.get(name)
    if (known === undefined) return await open(name, storeId)
    let opening: Promise<OpenPack> | null = null
    let released = false

    async function ensureOpen(): Promise<OpenPack> {
      opening ??= open(name, storeId)
      try {
        return await opening
      } catch (error) {
        opening = null
        throw error
      }
    }
    const file: PackFile = {
      name,
      bytes: known.fileBytes,
      read: async (target, position) => await (await ensureOpen()).file.read(target, position),
      readParts: async (parts) => await readParts((await ensureOpen()).file, parts),
      close: release,
      closeSync: releaseSync,
    }
    async function release(): Promise<void> {
      released = true
      await (await opening?.catch(() => null))?.release()
    }
    function releaseSync(): void {
      if (released) return
      released = true
      opening?.then((pack) => pack.releaseSync()).catch(() => undefined)
    }
    return { name, file, index: () => readyIndex(known), release, releaseSync }
  }

  return { open, openLater, put }
}

/** Loads zstd before an index with compressed blocks is returned, because decompression is synchronous. */
async function readyIndex({ index, compressed }: CachedIndex): Promise<PackIndex> {
  if (compressed && !zstdReady().decompress) {
    // To load it takes a turn of the event loop by itself.
    await clock.nextTurn()
    await prepareDecompression()
  }
  return index
}

/**
 * Indexes are read into this buffer and kept in a smaller form. A buffer for each read would leave a megabyte of
 * garbage for each pack of a large store.
 */
let scratch: Uint8Array | null = null
const SCRATCH_BYTES_MAX = 4 * 1024 * 1024

function takeScratch(bytes: number): Uint8Array {
  const taken = scratch
  scratch = null
  return taken !== null && taken.length >= bytes ? taken : new Uint8Array(bytes)
}

async function readPackIndex(file: PackFile, storeId: Uint8Array): Promise<PackIndex> {
  const where = `pack ${file.name}`
  if (file.bytes < HEADER_BYTES + FOOTER_BYTES) {
    throw new HoldfastError('PACK_DAMAGED', `${where} is cut short: ${file.bytes} bytes`, {
      details: { pack: file.name, bytes: file.bytes },
    })
  }
  const header = new Uint8Array(HEADER_BYTES)
  const footer = new Uint8Array(FOOTER_BYTES)
  await Promise.all([file.read(header, 0), file.read(footer, file.bytes - FOOTER_BYTES)])
  const { indexOffset, indexBytes } = parsePackFooter(footer, file.bytes, where)
  const room = takeScratch(HEADER_BYTES + indexBytes)
  try {
    room.set(header)
    const index = room.subarray(HEADER_BYTES, HEADER_BYTES + indexBytes)
    await file.read(index, indexOffset)
    const parts = { header: room.subarray(0, HEADER_BYTES), index, footer }
    const parsed = await runYielding(
      parsingPackIndex({ ...parts, name: file.name, fileBytes: file.bytes, storeId, where }),
    )
    return await runYielding(compactingIndex(parsed))
  } finally {
    if (room.length <= SCRATCH_BYTES_MAX) scratch = room
  }
}

function hasCompressed(index: PackIndex): boolean {
  for (let entry = 0; entry < index.blocks; entry++) if (index.compression(entry) !== COMPRESSION.none) return true
  return false
}
