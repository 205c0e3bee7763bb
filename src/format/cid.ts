// A CIDv1 with a BLAKE3 multihash, 36 bytes:
//
//    0   0x01   CID version
//    1   codec  0x55 raw, 0x71 dag-cbor
//    2   0x1e   multihash code of BLAKE3
//    3   0x20   digest length
//    4   digest of the uncompressed block (32)

import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { HoldfastError } from '../errors.ts'
import { DIGEST_BYTES } from './limits.ts'

/** Multicodec code of raw bytes. */
export const CODEC_RAW = 0x55
/** Multicodec code of dag-cbor. */
export const CODEC_DAG_CBOR = 0x71
/** Multihash code of BLAKE3. */
export const HASH_BLAKE3 = 0x1e

/** `b`, and 36 bytes in base32. */
const CID_TEXT_LENGTH = 59

export type Codec = typeof CODEC_RAW | typeof CODEC_DAG_CBOR

/** A CID without the parts that never vary. */
export interface BlockId {
  codec: Codec
  /** 32 bytes. */
  digest: Uint8Array
}

/** Whether two ids are the same CID. */
export function sameBlock(a: BlockId, b: BlockId): boolean {
  return a.codec === b.codec && Buffer.compare(a.digest, b.digest) === 0
}

/** The CIDv1 of a block. */
export function cidOf(id: BlockId): CID {
  if (id.digest.length !== DIGEST_BYTES) throw new Error(`a digest has ${DIGEST_BYTES} bytes, not ${id.digest.length}`)
  return CID.createV1(id.codec, createMultihash(HASH_BLAKE3, id.digest))
}

/** The CID as lower-case base32: `bafkr4i…` (raw), `bafyr4i…` (dag-cbor). */
export function cidText(id: BlockId): string {
  return cidOf(id).toString()
}

/** The parts of a CID. Throws `SNAPSHOT_DAMAGED` when it is not one that this format uses. */
export function blockId(cid: CID): BlockId {
  const { version, code, multihash } = cid
  if (version !== 1) throw foreign(cid, `CID version ${version}`)
  if (code !== CODEC_RAW && code !== CODEC_DAG_CBOR) throw foreign(cid, `codec 0x${code.toString(16)}`)
  if (multihash.code !== HASH_BLAKE3) throw foreign(cid, `multihash 0x${multihash.code.toString(16)}`)
  if (multihash.digest.length !== DIGEST_BYTES) throw foreign(cid, `a digest of ${multihash.digest.length} bytes`)
  return { codec: code, digest: multihash.digest.slice() }
}

/** The parts of a CID in text, which must be spelled as `cidText` spells it. Throws `SNAPSHOT_DAMAGED`. */
export function parseCid(text: string): BlockId {
  let cid: CID
  // All CIDs of this format have one length. Decoding base32 takes quadratic time, so the length is checked first.
  if (text.length !== CID_TEXT_LENGTH) {
    const cid = text.slice(0, CID_TEXT_LENGTH)
    throw new HoldfastError(
      'SNAPSHOT_DAMAGED',
      `'${cid}…' is not a CID of this format: it has ${text.length} characters`,
      {
        details: { cid },
      },
    )
  }
  try {
    cid = CID.parse(text)
  } catch (cause) {
    throw new HoldfastError('SNAPSHOT_DAMAGED', `'${text}' is not a CID`, { details: { cid: text }, cause })
  }
  const id = blockId(cid)
  // Other bases, upper case and stray trailing bits also parse, but one block has one name.
  if (cidText(id) !== text) throw foreign(cid, `the spelling '${text}'`)
  return id
}

function foreign(cid: CID, what: string): HoldfastError {
  const reason = `${what} is not used by this format`
  return new HoldfastError('SNAPSHOT_DAMAGED', `CID ${cid}: ${reason}`, { details: { cid: `${cid}`, reason } })
}
