import type { DecompressJob } from './frames.ts'
import { sharedPool, WorkerFailed } from './pool.ts'

/** Below this the main thread is not held up for long, and a thread gains nothing. */
const WORTH_WORKERS_BYTES = 256 * 1024

/**
 * The blocks of `job`, back to back, from a worker, which takes `job.stored` away: it has no bytes afterwards. Null where that does not pay
 * or there are no workers, with `job.stored` as it was; and where a frame is damaged, without.
 */
export async function decompressInWorker(job: DecompressJob): Promise<Uint8Array | null> {
  const bytes = job.rawLengths.reduce((sum, length) => sum + length, 0)
  const pool = bytes < WORTH_WORKERS_BYTES ? null : sharedPool()
  if (pool === null) return null
  try {
    return await pool.decompress(job)
  } catch (error) {
    if (!(error instanceof WorkerFailed)) throw error
    return null
  }
}
