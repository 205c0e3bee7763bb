// Reads a CAR file block by block, and trusts nothing in it: `@ipld/car` parses it over a reader that refuses to hold
// more than a block, and each block is checked against its CID here, which that library does not do.

import type { CID } from 'multiformats/cid'
import { isBlock } from '../blocks/walk-snapshot.ts'
import { isHoldfastError } from '../errors.ts'
import { type BlockId, blockId, CODEC_DAG_CBOR, cidText, sameBlock } from '../format/cid.ts'
import { BLOCK_BYTES_MAX } from '../format/limits.ts'
import type { ByteReader } from '../persist/open-source.ts'
import { carInvalid } from './invalid.ts'
import { type BytesReader, loadCarDecoder } from './package.ts'

/** A header with one root takes 59 bytes. Some with many roots are read, to say what is wrong about them. */
const HEADER_BYTES_MAX = 4096
const BUFFER_BYTES = 256 * 1024

export interface CarReader {
  /** Digest of the manifest that the file says it is of. */
  readonly root: Uint8Array
  /** Bytes of the file that were read. */
  readonly bytes: number
  /** The next block, which must be this one. The bytes are good until the next call. @param length if known */
  next(wanted: BlockId, length: number | null): Promise<Uint8Array>
  /** Refuses what follows the last block. */
  end(): Promise<void>
}

/** Reads the header. @throws CAR_INVALID, SOURCE_FAILED, PACKAGE_MISSING */
export async function openCar(source: ByteReader, signal: AbortSignal): Promise<CarReader> {
  const { readHeader, readBlockHead } = await loadCarDecoder()
  const reader = createBytesReader(source)

  /** What the decoder throws is about the file, unless it is ours or the caller's. */
  async function parsed<T>(reason: 'header' | 'malformed', parse: () => Promise<T>): Promise<T> {
    const at = reader.pos
    try {
      return await parse()
    } catch (cause) {
      if (signal.aborted || isHoldfastError(cause)) throw cause
      throw carInvalid(reason, at, cause instanceof Error ? cause.message : String(cause), cause)
    }
  }

  if (await reader.atEnd()) throw carInvalid('truncated', 0, 'it is empty')
  reader.limitTo(HEADER_BYTES_MAX)
  const { roots } = await parsed('header', () => readHeader(reader, 1))
  reader.limitTo(BLOCK_BYTES_MAX)
  if (roots.length !== 1) throw carInvalid('roots', 0, `it has ${roots.length} roots, and not the one of a snapshot`)
  const root = idOf(roots[0]!, 0)
  if (root.codec !== CODEC_DAG_CBOR) throw carInvalid('roots', 0, `its root ${roots[0]} is no manifest`)

  return {
    root: root.digest,
    get bytes() {
      return reader.pos
    },
    async next(wanted, length) {
      const at = reader.pos
      if (await reader.atEnd()) {
        throw carInvalid('incomplete', at, `it ends, and block ${cidText(wanted)} of the snapshot is missing`)
      }
      const { cid, blockLength } = await parsed('malformed', () => readBlockHead(reader))
      const id = idOf(cid, at)
      if (!sameBlock(id, wanted)) {
        throw carInvalid(
          'order',
          at,
          `it has block ${cid} where ${cidText(wanted)} comes next (depth-first, each block once): one is missing, is there twice, is in ` +
            'another order, or is of nothing in the snapshot',
        )
      }
      if (blockLength < 0) throw carInvalid('malformed', at, 'a block is shorter than its CID')
      if (length !== null && blockLength !== length) {
        throw carInvalid('structure', at, `block ${cid} has ${blockLength} bytes, and is listed with ${length}`)
      }
      const bytes = await reader.exactly(blockLength, true)
      if (!isBlock(bytes, wanted)) throw carInvalid('digest', at, `the bytes of block ${cid} are not those of its CID`)
      return bytes
    },
    async end() {
      if (await reader.atEnd()) return
      throw carInvalid('trailing', reader.pos, 'something follows the last block of the snapshot')
    },
  }
}

function idOf(cid: CID, at: number): BlockId {
  try {
    return blockId(cid)
  } catch (cause) {
    throw carInvalid('cid', at, `${(cause as Error).message}. holdfast imports only what it exported`, cause)
  }
}

interface LimitedReader extends BytesReader {
  atEnd(): Promise<boolean>
  /** Refuses to read more at once. */
  limitTo(bytes: number): void
}

/** The views that it gives are good until the next call that reads. */
function createBytesReader(source: ByteReader): LimitedReader {
  let buffer = new Uint8Array(BUFFER_BYTES)
  /** Where what was read and not taken lies in `buffer`. */
  let start = 0
  let end = 0
  let pos = 0
  let limit = 0

  /** Reads until there are so many bytes, or the source ends. */
  async function fill(bytes: number): Promise<void> {
    if (end - start >= bytes) return
    const held = buffer.subarray(start, end)
    if (bytes > buffer.length) {
      const larger = new Uint8Array(bytes)
      larger.set(held)
      buffer = larger
    } else buffer.copyWithin(0, start, end)
    start = 0
    end = held.length
    while (end < bytes) {
      const read = await source.read(buffer.subarray(end))
      if (read === 0) return
      end += read
    }
  }

  function seek(bytes: number): void {
    start += bytes
    pos += bytes
  }

  return {
    get pos() {
      return pos
    },
    async upTo(bytes) {
      await fill(bytes)
      return buffer.subarray(start, Math.min(start + bytes, end))
    },
    async exactly(bytes, take = false) {
      if (bytes > limit) throw carInvalid('limit', pos, `a part of ${bytes} bytes is larger than any may be (${limit})`)
      await fill(bytes)
      if (end - start < bytes) throw carInvalid('truncated', pos + end - start, 'it ends too early')
      const view = buffer.subarray(start, start + bytes)
      if (take) seek(bytes)
      return view
    },
    seek,
    async atEnd() {
      await fill(1)
      return end === start
    },
    limitTo(bytes) {
      limit = bytes
    },
  }
}
