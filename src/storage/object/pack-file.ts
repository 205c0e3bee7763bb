// Reads a pack by ranges. A small pack is read at once, and so are the index and the footer of others: requests cost more than bytes.

import { HoldfastError } from '../../errors.ts'
import { ENTRY_BYTES, FANOUT_BYTES, FOOTER_BYTES } from '../../format/limits.ts'
import type { PackFile } from '../port.ts'
import type { ObjectClient } from './client.ts'
import { PACKS } from './layout.ts'
import { attemptRequest } from './retry.ts'

/** A pack of this size is one request. */
const WHOLE_BYTES_MAX = 256 * 1024

export function objectPack(
  client: ObjectClient,
  name: string,
  { key, bytes, blocks }: { key: string; bytes: number; blocks: number },
): PackFile {
  const isSmall = bytes <= WHOLE_BYTES_MAX
  const endBytes = FOOTER_BYTES + FANOUT_BYTES + ENTRY_BYTES * blocks
  /** From here on to the end is read at once. */
  const endStart = isSmall ? 0 : blocks === -1 ? bytes : Math.max(0, bytes - endBytes)
  let end: Promise<Uint8Array> | null = null

  async function fetch(start: number, stop: number, into?: Uint8Array): Promise<Uint8Array> {
    return await attemptRequest(client.location, `reading pack ${name}`, async () => {
      const range = { start, end: stop }
      const got = await client.get(PACKS + key, into === undefined ? { range } : { range, into })
      if (got.state !== 'found') {
        throw new HoldfastError('PACK_MISSING', `pack ${name} is missing`, { details: { pack: name, key } })
      }
      if (got.bytes.length === stop - start) return got.bytes
      throw new HoldfastError('PACK_DAMAGED', `pack ${name} is cut short`, { details: { pack: name, key } })
    })
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

  async function read(target: Uint8Array, position: number): Promise<void> {
    const stop = position + target.length
    if (stop > bytes) {
      throw new HoldfastError('PACK_DAMAGED', `pack ${name} is cut short`, { details: { pack: name, key } })
    }
    if (target.length === 0) return
    if (position < endStart) {
      const got = await fetch(position, stop, target)
      if (got.buffer !== target.buffer || got.byteOffset !== target.byteOffset) target.set(got)
      return
    }
    const part = await fetchEnd()
    target.set(part.subarray(position - endStart, stop - endStart))
    // The index is kept in another form by whoever has read it to its end, in one part or in several.
    if (!isSmall && stop === bytes - FOOTER_BYTES) end = null
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
      if (parts.length === 1 || stop > bytes || stop > endStart)
        await Promise.all(parts.map((part) => read(part.target, part.position)))
      else {
        const between = await fetch(start, stop)
        for (const part of parts) {
          const at = part.position - start
          part.target.set(between.subarray(at, at + part.target.length))
        }
      }
    },
    async close() {
      end = null
    },
    closeSync() {
      end = null
    },
  }
}
