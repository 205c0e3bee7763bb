// Decompresses the blocks of one read of a pack in worker threads, in memory that they share.

import { clock } from '../clock.ts'
import type { DecompressJob } from './frames.ts'
import { poolWorth, sharedPool, WorkerFailed } from './pool.ts'

/** Below this the main thread is not held up for long, and a thread gains nothing. */
const WORTH_WORKERS_BYTES = 256 * 1024

/** Shared memory for one read of a pack. It is reused: allocating it anew costs more than the decompression. */
export interface SharedBuffer {
  /** For the bytes as they lie in the pack. */
  stored: Uint8Array
  /** For the blocks, back to back. */
  raw: Uint8Array
  /**
   * Fills `raw` with the blocks of the frames in `stored`, in a worker. False: it could not, since a frame is damaged
   * or the worker died; `stored` is as it was.
   */
  decompress(frames: Frames): Promise<boolean>
  release(): void
}

export type Frames = Omit<DecompressJob, 'kind' | 'stored' | 'raw'>

/** To be asked again and again: whether threads are up, and so many bytes to decompress are worth one. */
export function watchWorkers(): (rawBytes: number) => boolean {
  const pool = sharedPool()
  return (rawBytes) => rawBytes >= WORTH_WORKERS_BYTES && pool?.isUp === true
}

/** Two for each of two threads: one that it works on, and one that is read or copied meanwhile. */
const SLOTS = 4
const SLOT_BYTES = 2 * 1024 * 1024
/** Buffers are kept for the next read, for this long. */
const KEPT_MS = 5_000

let memories: SharedArrayBuffer[] = []
let borrowed = 0
const waiting: (() => void)[] = []
let forgetting: NodeJS.Timeout | undefined

/**
 * Null if there are no workers, none is up yet, or the read is too small to be worth it. Then the main thread
 * decompresses.
 */
export async function borrowBuffer(storedBytes: number, rawBytes: number): Promise<SharedBuffer | null> {
  const pool = rawBytes < WORTH_WORKERS_BYTES ? null : poolWorth(rawBytes)
  if (pool === null) return null
  if (borrowed === SLOTS) await new Promise<void>((resolve) => waiting.push(resolve))
  else borrowed += 1
  const fits = storedBytes <= SLOT_BYTES && rawBytes <= SLOT_BYTES
  const kept = fits ? memories.pop() : undefined
  const rawAt = fits ? SLOT_BYTES : Math.ceil(storedBytes / 64) * 64
  const memory = kept ?? new SharedArrayBuffer(fits ? 2 * SLOT_BYTES : rawAt + rawBytes)
  const stored = new Uint8Array(memory, 0, storedBytes)
  const raw = new Uint8Array(memory, rawAt, rawBytes)
  return {
    stored,
    raw,
    async decompress(frames) {
      try {
        await pool.give({ kind: 'decompress', stored, raw, ...frames })
        return true
      } catch (error) {
        if (!(error instanceof WorkerFailed)) throw error
        return false
      }
    },
    release() {
      if (fits) memories.push(memory)
      const next = waiting.shift()
      if (next !== undefined) next()
      else borrowed -= 1
      forgetLater()
    },
  }
}

function forgetLater(): void {
  clock.stopTimer(forgetting)
  forgetting = clock.startTimer(() => {
    memories = []
  }, KEPT_MS)
  forgetting.unref()
}
