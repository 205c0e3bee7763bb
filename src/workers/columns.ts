// Cuts files into columns and puts them together again, in a worker where one is up. The memory is shared, so that only
// handles move.

import { clock } from '../clock.ts'
import { type Cut, type CutJob, cutColumn, type Joined, type JoinJob, joinColumns } from '../format/columns.ts'
import { type Pool, sharedPool, WorkerFailed } from './pool.ts'

/** Below this a worker gains nothing. */
const WORTH_WORKERS_BYTES = 256 * 1024
/** The main thread does so much of it at a time: a millisecond or two. */
const STEP_BYTES = 512 * 1024
const THREAD_STEP_BYTES = 4 * 1024 * 1024

/** How many bytes of a file are worth one job. */
export function columnStepBytes(): number {
  return sharedPool()?.isUp === true ? THREAD_STEP_BYTES : STEP_BYTES
}

/**
 * A file of this size is worth the start of the threads, which takes them as long as the main thread takes for a third
 * of it.
 */
const WORTH_STARTING_BYTES = 16 * 1024 * 1024

/** Starts the threads for a file of so many bytes. Until they are up, the main thread does the work. */
export function expectColumns(bytes: number): void {
  if (bytes >= WORTH_STARTING_BYTES) sharedPool()?.startUp()
}

/** In place. Null: a worker died over it, and the memory has to be filled again. */
export async function cutInPool(job: Omit<CutJob, 'kind'>): Promise<Cut | null> {
  const pool = poolFor(job.bytes.length, [job.bytes])
  if (pool === null) return await thenTurn(cutColumn(job))
  return await unlessFailed(pool.give({ kind: 'cut-column', ...job }))
}

export async function joinInPool(job: Omit<JoinJob, 'kind'>): Promise<Joined> {
  const pool = poolFor(job.file.length, [job.file, ...job.columns])
  const joined = pool === null ? null : await unlessFailed(pool.give({ kind: 'join-columns', ...job }))
  // What a worker that died has written is written again.
  return joined ?? (await thenTurn(joinColumns(job)))
}

function poolFor(bytes: number, memory: readonly Uint8Array[]): Pool | null {
  const pool = bytes < WORTH_WORKERS_BYTES ? null : sharedPool()
  return pool?.isUp === true && memory.every(({ buffer }) => buffer instanceof SharedArrayBuffer) ? pool : null
}

async function unlessFailed<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work
  } catch (error) {
    if (!(error instanceof WorkerFailed)) throw error
    return null
  }
}

async function thenTurn<T>(done: T): Promise<T> {
  await clock.nextTurn()
  return done
}
