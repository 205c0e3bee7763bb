// The job that checks parts of a buffer against their digests. It runs in a worker, or on the main thread where there
// are no workers.

import { DIGEST_BYTES } from '../format/limits.ts'
import type { Tools } from './jobs.ts'

/** Parts of a buffer, and what their digests should be. */
export interface CheckJob {
  kind: 'check'
  bytes: Uint8Array
  /** Start and end of each. */
  parts: Uint32Array
  /** 32 bytes a part. */
  digests: Uint8Array
}

/** What a `CheckJob` gives. */
export interface Checked {
  /** Numbers of the parts whose bytes are not those of their digest, ascending. */
  wrong: Uint32Array
  /** The memory again, if it was moved. */
  bytes: Uint8Array | null
}

export function wrongParts({ bytes, parts, digests }: Omit<CheckJob, 'kind'>, blake3: Tools['blake3']): Uint32Array {
  const wrong: number[] = []
  for (let n = 0; n < parts.length / 2; n++) {
    const digest = blake3(bytes.subarray(parts[2 * n], parts[2 * n + 1]))
    for (let k = 0; k < DIGEST_BYTES; k++) {
      if (digest[k] === digests[n * DIGEST_BYTES + k]) continue
      wrong.push(n)
      break
    }
  }
  return Uint32Array.from(wrong)
}
