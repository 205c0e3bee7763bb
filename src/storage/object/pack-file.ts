// Reads a pack by ranges. A small pack is read at once. Of others the index, the footer and what comes before them are:
// there lie the manifest, the roots of the blobs and their segments, which a load would ask for one after the other.
// Requests cost more than bytes.

import { HoldfastError } from '../../errors.ts'
import { ENTRY_BYTES, FANOUT_BYTES, FOOTER_BYTES } from '../../format/limits.ts'
import type { PackFile, PackPart } from '../port.ts'
import type { Into, ObjectClient } from './client.ts'
import { PACKS } from './layout.ts'
import { attemptRequest } from './retry.ts'

/** A pack of this size is one request. */
const WHOLE_BYTES_MAX = 256 * 1024
/**
 * What is read before the index: the nodes of the blobs, which take a few bytes for each KiB of chunks, are the last
 * blocks of a pack. A pack of a small change has nodes of the whole blob, so it is at least this much.
 */
const TAIL_SHARE = 1 / 256
const TAIL_BYTES_MIN = 64 * 1024
const TAIL_BYTES_MAX = 1024 * 1024
/** So much is kept, of the packs that were opened last. */
const TAILS_BYTES_MAX = 16 * 1024 * 1024

/** What comes before the indexes of packs, by the pack's key. */
interface Tails {
  get(key: string): Uint8Array | undefined
  put(key: string, tail: Uint8Array): void
}

export function createTails(): Tails {
  const tails = new Map<string, Uint8Array>()
  let kept = 0
  function drop(key: string): void {
    kept -= tails.get(key)?.length ?? 0
    tails.delete(key)
  }
  return {
    get: (key) => tails.get(key),
    put(key, tail) {
      drop(key)
      tails.set(key, tail)
      kept += tail.length
      while (kept > TAILS_BYTES_MAX) drop(tails.keys().next().value!)
    },
  }
}

function tailBytesOf(bytes: number): number {
  return Math.floor(Math.min(Math.max(bytes * TAIL_SHARE, TAIL_BYTES_MIN), TAIL_BYTES_MAX))
}

export function objectPack(
  client: ObjectClient,
  name: string,
  { key, bytes, blocks }: { key: string; bytes: number; blocks: number },
  tails: Tails,
): PackFile {
  const isSmall = bytes <= WHOLE_BYTES_MAX
  const endBytes = FOOTER_BYTES + FANOUT_BYTES + ENTRY_BYTES * blocks
  const indexStart = isSmall ? 0 : blocks === -1 ? bytes : Math.max(0, bytes - endBytes)
  /** From here on to the end is read at once. */
  const endStart = indexStart === bytes ? bytes : Math.max(0, indexStart - tailBytesOf(bytes))
  let end: Promise<Uint8Array> | null = null
  /** How far the index was read, from its start on. Who looks for one block reads a part of it. */
  let indexRead = indexStart

  /** Null: `into` was given all of it. */
  async function request(start: number, stop: number, into?: Into): Promise<Uint8Array | null> {
    return await attemptRequest(client.location, `reading pack ${name}`, async () => {
      const range = { start, end: stop }
      const got = await client.get(PACKS + key, into === undefined ? { range } : { range, into })
      if (got.state !== 'found') {
        throw new HoldfastError('PACK_MISSING', `pack ${name} is missing`, { details: { pack: name, key } })
      }
      if (got.isGiven === true) return null
      if (got.bytes.length === stop - start) return got.bytes
      throw cutShort()
    })
  }

  async function fetch(start: number, stop: number): Promise<Uint8Array> {
    return (await request(start, stop))!
  }

  /**
   * Into the parts as the bytes come: memory of megabytes in between would be made, filled and copied for each read.
   */
  async function fetchParts(parts: readonly PackPart[], start: number, stop: number): Promise<void> {
    const whole = await request(start, stop, intoParts(parts, start))
    if (whole !== null) intoParts(parts, start)(whole, 0)
  }

  function cutShort(): HoldfastError {
    return new HoldfastError('PACK_DAMAGED', `pack ${name} is cut short`, { details: { pack: name, key } })
  }

  function fetchEnd(): Promise<Uint8Array> {
    if (end === null) {
      end = fetch(endStart, bytes)
      end.catch(() => {
        end = null
      })
    }
    return end
  }

  /** What of [position, stop) needs no request of its own. Null: it needs one. */
  async function known(position: number, stop: number): Promise<Uint8Array | null> {
    if (position < endStart) return null
    const tail = end === null && stop <= indexStart ? tails.get(key) : undefined
    if (end === null && position < indexStart && tail === undefined) return null
    return (tail ?? (await fetchEnd())).subarray(position - endStart, stop - endStart)
  }

  /** The index is kept in another form by whoever has read it to its end, in one part or in several. */
  function dropIndex(part: Uint8Array): void {
    end = null
    indexRead = indexStart
    // A copy: a view would keep the index.
    tails.put(key, part.slice(0, indexStart - endStart))
  }

  async function read(target: Uint8Array, position: number): Promise<void> {
    const stop = position + target.length
    if (stop > bytes) throw cutShort()
    if (target.length === 0) return
    const part = await known(position, stop)
    if (part === null) return await fetchParts([{ target, position }], position, stop)
    target.set(part)
    if (position <= indexRead) indexRead = Math.max(indexRead, stop)
    if (!isSmall && stop === bytes - FOOTER_BYTES && indexRead === stop && end !== null) dropIndex(await end)
  }

  return {
    name,
    bytes,
    read,
    async readParts(parts) {
      const start = parts[0]!.position
      const { target, position } = parts.at(-1)!
      const stop = position + target.length
      // What the end is read for is read once.
      const isKnown = start >= endStart && (end !== null || tails.get(key) !== undefined)
      if (parts.length === 1 || stop > bytes || stop > indexStart || isKnown)
        await Promise.all(parts.map((part) => read(part.target, part.position)))
      else await fetchParts(parts, start, stop)
    },
    async close() {
      end = null
    },
    closeSync() {
      end = null
    },
  }
}

/** Puts bytes of the pack, which come in order from `start` on, to where they belong. What comes at 0 begins anew. */
function intoParts(parts: readonly PackPart[], start: number): Into {
  let next = 0
  return (bytes, at) => {
    if (at === 0) next = 0
    const from = start + at
    const to = from + bytes.length
    for (; next < parts.length && parts[next]!.position < to; next++) {
      const { target, position } = parts[next]!
      const end = position + target.length
      const first = Math.max(position, from)
      if (first < end) target.set(bytes.subarray(first - from, Math.min(end, to) - from), first - position)
      // The rest of it comes with the next bytes.
      if (end > to) return
    }
  }
}
