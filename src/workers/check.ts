// Checks parts of a buffer against their digests: in a worker when there is much of it, else here. Like `frames.ts`,
// the job is one function for both.

import { clock } from '../clock.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import { type Pool, poolWorth, WorkerFailed } from './pool.ts'
import { type CheckJob, wrongParts } from './wrong-parts.ts'

/**
 * Memory that a worker may be lent: shared memory is seen by both threads, other memory moves there and comes back in a
 * new array.
 */
interface Lent {
  bytes: Uint8Array
}

/** Below this a worker gains nothing. */
const WORTH_WORKERS_BYTES = 512 * 1024
/**
 * Large parts are hashed four times as fast as blocks are decompressed, by which the pool counts whether its threads
 * are worth starting.
 */
const WEIGHT = 4
/**
 * The main thread hashes this much before it yields to the event loop: a millisecond of small parts, or a fourth of one
 * large part.
 */
const STEP_BYTES = 1024 * 1024

/**
 * The numbers of the parts of `lent.bytes` (start and end of each, ascending) that do not have their digest. Null: a
 * worker died and took the memory along, so that it has to be filled again.
 */
export async function findWrong(lent: Lent, parts: Uint32Array, digests: Uint8Array): Promise<Uint32Array | null> {
  const pool = lent.bytes.length < WORTH_WORKERS_BYTES ? null : poolWorth(lent.bytes.length / WEIGHT)
  if (pool === null) return await findHere(lent.bytes, parts, digests)
  return await findThere(pool, lent, parts, digests)
}

async function findThere(pool: Pool, lent: Lent, parts: Uint32Array, digests: Uint8Array): Promise<Uint32Array | null> {
  const { bytes } = lent
  const isShared = bytes.buffer instanceof SharedArrayBuffer
  try {
    const job: CheckJob = { kind: 'check', bytes, parts, digests }
    const answer = await pool.give(job, isShared ? [] : [bytes.buffer as ArrayBuffer])
    if (!isShared) lent.bytes = answer.bytes!
    return answer.wrong
  } catch (error) {
    if (!(error instanceof WorkerFailed)) throw error
    return isShared ? await findHere(bytes, parts, digests) : null
  }
}

async function findHere(bytes: Uint8Array, parts: Uint32Array, digests: Uint8Array): Promise<Uint32Array> {
  const wrong: number[] = []
  const count = parts.length / 2
  for (let from = 0; from < count; ) {
    let to = from
    for (let sum = 0; to < count && sum < STEP_BYTES; to++) sum += parts[2 * to + 1]! - parts[2 * to]!
    const job = { bytes, parts: parts.subarray(2 * from, 2 * to), digests: digests.subarray(from * DIGEST_BYTES) }
    for (const n of wrongParts(job, blake3)) wrong.push(from + n)
    from = to
    // A caller with one small part need not wait for others.
    if (bytes.length >= WORTH_WORKERS_BYTES) await clock.nextTurn()
  }
  return Uint32Array.from(wrong)
}

/** Whether all of `lent.bytes` has the digest at `at`; null as above. */
export async function hasDigest(lent: Lent, digests: Uint8Array, at: number): Promise<boolean | null> {
  const { bytes } = lent
  if (bytes.length < WORTH_WORKERS_BYTES) return digestsEqual(blake3(bytes), 0, digests, at)
  const wrong = await findWrong(lent, Uint32Array.of(0, bytes.length), digests.slice(at, at + DIGEST_BYTES))
  return wrong === null ? null : wrong.length === 0
}
