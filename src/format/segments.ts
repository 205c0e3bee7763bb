// A segments block is dag-cbor, a map of two:
//
//    a2                          map of 2
//    66 6c 65 6e 67 74 68        "length"
//    1a 00 40 00 00              4,194,304
//    67 64 69 67 65 73 74 73     "digests"
//    58|59|5a …                  byte string: 32 bytes for each 4 MiB of the blob, in order

import { HoldfastError } from '../errors.ts'
import { headBytes, MAJOR, writeHead } from './cbor.ts'
import { BLOCK_BYTES_MAX, DIGEST_BYTES, SEGMENT_BYTES } from './limits.ts'

const prefix = Uint8Array.of(
  ...[0xa2, 0x66, ...new TextEncoder().encode('length')],
  ...[0x1a, SEGMENT_BYTES >>> 24, (SEGMENT_BYTES >>> 16) & 0xff, (SEGMENT_BYTES >>> 8) & 0xff, SEGMENT_BYTES & 0xff],
  ...[0x67, ...new TextEncoder().encode('digests')],
)

/** The segments block of a blob. `digests`: 32 bytes for each 4 MiB, in order, at least one. */
export function encodeSegments(digests: Uint8Array): Uint8Array {
  if (digests.length === 0 || digests.length % DIGEST_BYTES !== 0) {
    throw new Error(`bug: ${digests.length} bytes of segment digests`)
  }
  const digestsAt = prefix.length + headBytes(digests.length)
  if (digestsAt + digests.length > BLOCK_BYTES_MAX) throw new Error('bug: a segments block beyond the largest blob')
  const block = new Uint8Array(digestsAt + digests.length)
  block.set(prefix, 0)
  writeHead(block, prefix.length, MAJOR.bytes, digests.length)
  block.set(digests, digestsAt)
  return block
}

/**
 * The digests in the segments block of a blob of `size` bytes (a view of the block). There is exactly one block for a
 * size and its digests, so everything before the digests is compared, not parsed. Throws `SNAPSHOT_DAMAGED`.
 */
export function decodeSegments(block: Uint8Array, size: number, where: string): Uint8Array {
  const digestBytes = DIGEST_BYTES * Math.ceil(size / SEGMENT_BYTES)
  const digestsAt = prefix.length + headBytes(digestBytes)
  const head = new Uint8Array(digestsAt)
  head.set(prefix, 0)
  writeHead(head, prefix.length, MAJOR.bytes, digestBytes)
  const matches =
    size > 0 && block.length === digestsAt + digestBytes && Buffer.compare(head, block.subarray(0, digestsAt)) === 0
  if (matches) return block.subarray(digestsAt)
  const reason = `it is not the segments block of a blob of ${size} bytes`
  throw new HoldfastError('SNAPSHOT_DAMAGED', `a segments block is damaged (${where}): ${reason}`, {
    details: { where, reason },
  })
}
