// The file that a native engine saved, as the metadata of a snapshot names it: `engine.file` has its digest and its
// size. The digest is BLAKE3 of the digests of each 4 MiB of the file, so that threads can share the work.

import { blake3 } from './blake3.ts'
import { toHex } from './hex.ts'
import { DIGEST_BYTES, SEGMENT_BYTES } from './limits.ts'

/** Which bytes a file must have. */
interface FileIdentity {
  /** 32 bytes. */
  digest: Uint8Array
  /** Bytes. */
  size: number
}

/** The metadata key of the engine's record. */
export const ENGINE_KEY = 'engine'

/** How many digests there are of a file. */
export function segmentsOf(size: number): number {
  return Math.ceil(size / SEGMENT_BYTES)
}

/** The digest of a file whose segments have these digests, 32 bytes each. */
export function fileDigest(segments: Uint8Array): Uint8Array {
  return blake3(segments)
}

/** The file that an engine's record names; null when it names none. */
export function fileOfRecord(record: unknown): FileIdentity | null {
  const file = fieldOf(record, 'file')
  const digest = fieldOf(file, 'digest')
  const size = fieldOf(file, 'size')
  if (!(digest instanceof Uint8Array) || digest.length !== DIGEST_BYTES) return null
  return typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? { digest, size } : null
}

/** The digest, in hex, of the file of the engine in a snapshot of this metadata; null when there is none. */
export function engineFileDigest(metadata: unknown): string | null {
  const file = fileOfRecord(fieldOf(metadata, ENGINE_KEY))
  return file === null ? null : toHex(file.digest)
}

function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return (value as Record<string, unknown>)[name]
}
