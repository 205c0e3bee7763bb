import { HoldfastError } from '../errors.ts'
import { COMPRESSION, prepareDecompression } from '../format/compression.ts'
import { FOOTER_BYTES, HEADER_BYTES } from '../format/limits.ts'
import { type PackIndex, parsePackFooter, parsePackIndex } from '../format/pack.ts'
import type { PackFile, Storage } from '../storage/port.ts'

/** A pack pinned open, and its index once somebody asked for it. Shared by everybody in the process who reads it. */
export interface OpenPack {
  readonly name: string
  readonly file: PackFile
  /** Read and checked once. */
  index(): Promise<PackIndex>
  /** Gives up this use of it; the file closes with its last user. */
  release(): Promise<void>
  releaseSync(): void
}

/** Opens packs, each at most once at a time. */
export interface PackShelf {
  open(name: string, storeId: Uint8Array): Promise<OpenPack>
}

interface Shelved {
  file: Promise<PackFile>
  index: Promise<PackIndex> | null
  users: number
}

/** Indexes kept from one operation of a store to the next, in bytes: packs never change. */
const INDEX_CACHE_BYTES = 32 * 1024 * 1024

export function createPackShelf(storage: Storage): PackShelf {
  const shelf = new Map<string, Shelved>()
  const cached = new Map<string, PackIndex>()
  let cachedBytes = 0

  async function indexOf(file: PackFile, storeId: Uint8Array): Promise<PackIndex> {
    const known = cached.get(file.name)
    if (known !== undefined) {
      // Used last, dropped last.
      cached.delete(file.name)
      cached.set(file.name, known)
      return known
    }
    const index = await readPackIndex(file, storeId)
    cached.set(file.name, index)
    cachedBytes += index.bytes.length
    for (const [name, oldest] of cached) {
      if (cachedBytes <= INDEX_CACHE_BYTES) break
      cached.delete(name)
      cachedBytes -= oldest.bytes.length
    }
    return index
  }

  function drop(name: string, shelved: Shelved): boolean {
    shelved.users -= 1
    if (shelved.users > 0) return false
    if (shelf.get(name) === shelved) shelf.delete(name)
    return true
  }

  return {
    async open(name, storeId) {
      let shelved = shelf.get(name)
      if (shelved === undefined) {
        shelved = { file: storage.openPack(name), index: null, users: 0 }
        shelf.set(name, shelved)
      }
      shelved.users += 1
      const held = shelved
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
            // A failed read is tried again by the next who asks: it may have been the disk's passing mood.
            held.index.catch(() => {
              held.index = null
            })
          }
          return held.index
        },
        async release() {
          if (released) return
          released = true
          // Nothing was written through it, so its close has nothing to report.
          if (drop(name, held)) await file.close().catch(() => undefined)
        },
        releaseSync() {
          if (released) return
          released = true
          if (drop(name, held)) file.closeSync()
        },
      }
    },
  }
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
  await file.read(header, 0)
  await file.read(footer, file.bytes - FOOTER_BYTES)
  const { indexOffset, indexBytes } = parsePackFooter(footer, file.bytes, where)
  const index = new Uint8Array(indexBytes)
  await file.read(index, indexOffset)
  const parsed = parsePackIndex({ name: file.name, header, index, footer, fileBytes: file.bytes, storeId, where })
  if (hasCompressed(parsed)) await prepareDecompression()
  return parsed
}

function hasCompressed(index: PackIndex): boolean {
  for (let entry = 0; entry < index.blocks; entry++) if (index.compression(entry) !== COMPRESSION.none) return true
  return false
}
