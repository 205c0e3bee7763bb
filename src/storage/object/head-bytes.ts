// HEAD as an object: the JSON file, compressed when it is large, because every reader that follows fetches it whenever
// it changes. A small one can be read as it is.

import { promisify } from 'node:util'
import { constants, gunzip, gzip } from 'node:zlib'
import { HoldfastError } from '../../errors.ts'
import { encodeHead, type Head, parseHead } from '../../format/head.ts'
import { JSON_BYTES_MAX } from '../../format/limits.ts'

/** A request takes as long as so many bytes. */
const PLAIN_BYTES_MAX = 16 * 1024

/** Names of packs are random digits: more effort takes four times as long and saves a hundredth. */
const LEVEL = constants.Z_BEST_SPEED

const compress = promisify(gzip)
const decompress = promisify(gunzip)

export async function packHead(head: Head): Promise<Uint8Array> {
  const bytes = encodeHead(head)
  return bytes.length <= PLAIN_BYTES_MAX ? bytes : await compress(bytes, { level: LEVEL })
}

/** As `parseHead`, of the object's bytes. */
export async function unpackHead(bytes: Uint8Array, where: string): Promise<{ head: Head; unknown: string[] }> {
  return parseHead(await unpackedHead(bytes, where), where)
}

/** The file in an object. */
async function unpackedHead(bytes: Uint8Array, where: string): Promise<Uint8Array> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    return await decompress(bytes, { maxOutputLength: JSON_BYTES_MAX })
  } catch (cause) {
    const reason = `it cannot be decompressed: ${(cause as Error).message}`
    throw new HoldfastError('HEAD_DAMAGED', `${where} is damaged: ${reason}`, { details: { where, reason }, cause })
  }
}
