// A directory of cached data of one store: its newest HEAD, and segments of its packs. Any number of processes share it
// without a lock, for what is in it never changes: a file is written beside its place and renamed there, begins with
// its digest, and is not believed without. Nothing is fsynced, and nothing here fails: what cannot be read or written
// is not in the cache.

import { createHash, randomBytes } from 'node:crypto'
import { promises as fs } from 'node:fs'
import { join } from 'node:path'
import { clock } from '../clock.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { DIGEST_BYTES } from '../format/limits.ts'

export interface SegmentCache {
  get(pack: string, segment: number): Promise<Uint8Array | null>
  put(pack: string, segment: number, bytes: Uint8Array): Promise<void>
  /** The newest HEAD that was seen, and when it was last seen to be the newest. */
  head(): Promise<{ bytes: Uint8Array; seenMs: number } | null>
  /** Null: it is the one that is cached. */
  noteHead(bytes: Uint8Array | null): Promise<void>
  /** Segments of a pack that is open are not evicted by this process. */
  open(pack: string): void
  close(pack: string): void
}

interface CacheOptions {
  directory: string
  /** Of all files together, about. */
  maxBytes: number
  /** What the data is of: the server, the bucket, the prefix. */
  address: string
}

/** A part of the limit is written between two looks at what is there. */
const LOOKS = 32
/** An eviction goes on until so much of the limit is free. */
const FREE = 0.1
/** How late a use may be noted, in ms. */
const USED_MS = 60_000
/** A file that is being written is renamed long before. */
const TEMP_AGE_MS = 60 * 60 * 1000

const TEMP = '.tmp'
const HEAD = 'HEAD'

export function createSegmentCache({ directory, maxBytes, address }: CacheOptions): SegmentCache {
  const root = join(directory, createHash('sha256').update(address).digest('hex').slice(0, 32))
  const users = new Map<string, number>()
  let making: Promise<unknown> | null = null
  let sinceLook = Number.POSITIVE_INFINITY
  let evicting: Promise<void> | null = null
  let isFull = false

  /** The content of a file, if it is whole. One that is not is removed. */
  async function read(name: string): Promise<{ bytes: Uint8Array; usedMs: number } | null> {
    const path = join(root, name)
    try {
      const file = await fs.open(path)
      try {
        const { mtimeMs } = await file.stat()
        const whole = await file.readFile()
        const bytes = whole.subarray(DIGEST_BYTES)
        if (whole.length >= DIGEST_BYTES && digestsEqual(blake3(bytes), 0, whole, 0)) return { bytes, usedMs: mtimeMs }
      } finally {
        await file.close()
      }
      await fs.rm(path, { force: true })
    } catch {
      // Not there, or not to be read.
    }
    return null
  }

  async function write(name: string, bytes: Uint8Array): Promise<boolean> {
    making ??= fs.mkdir(root, { recursive: true, mode: 0o700 })
    const temp = join(root, `${randomBytes(12).toString('hex')}${TEMP}`)
    try {
      await making
      await fs.writeFile(temp, [blake3(bytes), bytes], { flag: 'wx', mode: 0o600 })
      await fs.rename(temp, join(root, name))
      return true
    } catch {
      making = null
      await fs.rm(temp, { force: true }).catch(() => undefined)
      return false
    }
  }

  async function touch(name: string): Promise<void> {
    const now = clock.now()
    await fs.utimes(join(root, name), now, now).catch(() => undefined)
  }

  /** Removes what was not used for longest, and what a process left that died while it wrote. */
  async function evict(): Promise<void> {
    const files: { name: string; bytes: number; usedMs: number }[] = []
    for (const name of await fs.readdir(root).catch(() => [])) {
      const stat = await fs.stat(join(root, name)).catch(() => null)
      if (stat === null) continue
      const isLeft = name.endsWith(TEMP) && clock.nowMs() - stat.mtimeMs > TEMP_AGE_MS
      if (isLeft) await fs.rm(join(root, name), { force: true }).catch(() => undefined)
      else files.push({ name, bytes: stat.size, usedMs: stat.mtimeMs })
    }
    let total = files.reduce((sum, { bytes }) => sum + bytes, 0)
    isFull = total > maxBytes
    if (!isFull) return
    for (const { name, bytes } of files.sort((a, b) => a.usedMs - b.usedMs)) {
      if (total <= maxBytes * (1 - FREE)) break
      if (name === HEAD || name.endsWith(TEMP) || users.has(packOf(name))) continue
      if (
        await fs.rm(join(root, name), { force: true }).then(
          () => true,
          () => false,
        )
      )
        total -= bytes
    }
    isFull = total > maxBytes
  }

  /**
   * Looks at what is there now and then. More than fits is not written: what is open stays, and the rest is fetched
   * each time.
   */
  async function hasRoom(bytes: number): Promise<boolean> {
    if (sinceLook >= maxBytes / LOOKS) {
      evicting ??= evict().finally(() => {
        evicting = null
        sinceLook = 0
      })
    }
    await evicting
    sinceLook += bytes
    return !isFull
  }

  return {
    async get(pack, segment) {
      const found = await read(nameOf(pack, segment))
      if (found === null) return null
      if (clock.nowMs() - found.usedMs > USED_MS) await touch(nameOf(pack, segment))
      return found.bytes
    },
    async put(pack, segment, bytes) {
      if (bytes.length > maxBytes || !(await hasRoom(bytes.length))) return
      // A disk that is full may have room once old segments are gone.
      if (!(await write(nameOf(pack, segment), bytes))) sinceLook += maxBytes / LOOKS / 4
    },
    async head() {
      const found = await read(HEAD)
      return found === null ? null : { bytes: found.bytes, seenMs: found.usedMs }
    },
    async noteHead(bytes) {
      if (bytes === null) await touch(HEAD)
      else await write(HEAD, bytes)
    },
    open(pack) {
      users.set(pack, (users.get(pack) ?? 0) + 1)
    },
    close(pack) {
      const left = (users.get(pack) ?? 1) - 1
      if (left === 0) users.delete(pack)
      else users.set(pack, left)
    },
  }
}

function nameOf(pack: string, segment: number): string {
  return `${pack}.${segment}`
}

function packOf(name: string): string {
  return name.slice(0, name.indexOf('.'))
}
