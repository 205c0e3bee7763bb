// The process's worker threads, shared by all stores. They start when there is work for them and end when idle.

import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { clock } from '../clock.ts'
import { blake3Implementation } from '../format/blake3.ts'
import type { Cut, CutJob, Joined, JoinJob } from '../format/columns.ts'
import { zstdModule } from '../format/compression.ts'
import type { ZstdModule } from '../format/libzstd.ts'
import { addressSpaceBytes, resolveNative } from '../native.ts'
import type { Compressed, CompressJob, DecompressJob } from './frames.ts'
import { GEAR_WASM, WORKER_SOURCE } from './generated.ts'
import type { Job } from './jobs.ts'
import type { SharedMemory } from './wasm.ts'
import type { FromWorker, GivenJob, ToWorker, WorkerData } from './worker.ts'
import type { Checked, CheckJob } from './wrong-parts.ts'

/** Memory that windows lie in, seen by every worker. */
export interface Arena {
  id: number
  memory: SharedMemory
}

/** Worker threads shared by all stores of the process. */
export interface Pool {
  /** Rejects with `WorkerFailed` when the worker died: run the job here instead. */
  run<Asked extends Job | CompressJob>(arena: Arena, job: Asked): Promise<Result<Asked>>
  /**
   * A job that brings its memory: shared, or moved along and back. Rejects with `WorkerFailed`, also when a frame is
   * damaged.
   */
  give<Asked extends GivenJob>(job: Asked, moved?: ArrayBuffer[]): Promise<GivenResult<Asked>>
  /** Whether a worker has come up, and answers at once. */
  readonly isUp: boolean
  /** Workers die in this process, so none are started for a while. */
  readonly isPaused: boolean
  /** Starts all workers that are not there yet. */
  startUp(): void
  /** Workers forget an arena. */
  close(arena: Arena): void
}

type GivenResult<Asked extends GivenJob> = Asked extends CheckJob
  ? Checked
  : Asked extends CutJob
    ? Cut
    : Asked extends JoinJob
      ? Joined
      : number

type Result<Asked extends Job | CompressJob> = Asked extends CompressJob ? Compressed : number

export class WorkerFailed extends Error {}

/** More than this many threads wait for memory, not for each other (measured with two; untested beyond four). */
const WORKERS_MAX = 4
/** Threads that have had nothing to do for this long are ended. */
const IDLE_MS = 5_000

/** Jobs are a few MiB each. A worker that has not answered after this long never will. */
const ANSWER_MS = 60_000
/** So many workers may die before one has answered; then the process goes on without, and tries again much later. */
const DEATHS_MAX = 3
const DEATHS_PAUSE_MS = 5 * 60_000

const none = new Uint32Array(0)
const NOTHING: DecompressJob = {
  kind: 'decompress',
  stored: new Uint8Array(0),
  raw: new Uint8Array(0),
  offsets: none,
  lengths: none,
  rawLengths: none,
  checks: new Uint8Array(0),
}

let pool: Pool | null = null

/**
 * A thread that finds no address space for its heap ends the whole process, and cannot be asked before. Its WebAssembly
 * reserves up to 10 GiB an instance. Under a limit (`ulimit -v`) below this there are no threads.
 */
const ADDRESS_SPACE_MIN = 2 ** 40

let hasRoom: boolean | undefined

/**
 * The process's pool; null where there can be none: no native BLAKE3, threads forbidden, `HOLDFAST_WORKERS=0`, or a
 * limit on virtual memory.
 */
export function sharedPool(): Pool | null {
  if (process.env.HOLDFAST_WORKERS === '0' || blake3Implementation().name !== 'native') return null
  hasRoom ??= addressSpaceBytes() >= ADDRESS_SPACE_MIN
  if (!hasRoom) return null
  pool ??= createPool(Math.min(WORKERS_MAX, availableParallelism()))
  return pool.isPaused ? null : pool
}

/**
 * Starting the threads takes as long as decompressing this many bytes on the main thread. Start them only once more
 * than that has been asked for, or is going to be. Until they are up, the main thread does the work.
 */
const WORTH_STARTING_BYTES = 16 * 1024 * 1024
/** Work done on the main thread longer ago than this is not counted. */
const FORGOTTEN_MS = 1_000

let doneHere = 0
let lastHereMs = 0
let expected = 0

/**
 * So many bytes are about to be read. If the first of them have to be decompressed, the others probably do, and threads
 * are worth it at once. Call what it gives when they were read.
 */
export function expectReading(bytes: number): () => void {
  expected += bytes
  return () => {
    expected -= bytes
  }
}

/**
 * The pool, if it is up. Else null, and it is started once there was work that is worth it, or is going to be, counted
 * in bytes to decompress.
 */
export function poolWorth(bytes: number): Pool | null {
  const pool = sharedPool()
  if (pool === null || pool.isUp) return pool
  const nowMs = clock.monotonicMs()
  if (nowMs - lastHereMs > FORGOTTEN_MS) doneHere = 0
  lastHereMs = nowMs
  doneHere += bytes
  if (Math.max(doneHere, expected) > WORTH_STARTING_BYTES) pool.startUp()
  return null
}

interface Member {
  worker: Worker
  arenas: Set<number>
  zstd: ZstdModule | null
  /** It has answered once. */
  isUp: boolean
  pending: Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>
  /** Sum of the weights of its jobs. */
  load: number
}

/**
 * About how long a job takes; to hash a segment is 1. All windows wait for the one whose boundaries are being found.
 * Such a job must not lie behind a compression while the other worker is about to be free: that made a persist of text
 * with 1 % of changes 10 % slower.
 */
const WEIGHTS: Partial<Record<string, number>> = { digest: 1, cut: 2, hash: 2, follow: 4, compress: 10 }
const WEIGHT = 4

function createPool(size: number): Pool {
  let members: Member[] = []
  let nextId = 0
  let idle: NodeJS.Timeout | undefined
  /** Since the last answer. */
  let deaths = 0
  let pausedUntilMs = Number.NEGATIVE_INFINITY

  function start(): Member {
    const worker = new Worker(WORKER_SOURCE, {
      eval: true,
      name: 'holdfast',
      workerData: {
        blake3Path: blake3Implementation().path ?? resolveNative('@napi-rs/blake-hash'),
        wasm: Buffer.from(GEAR_WASM, 'base64'),
      } satisfies WorkerData,
      // The host's flags (loaders, inspectors, memory limits) are not meant for the workers.
      execArgv: [],
      stdin: false,
    })
    const member: Member = { worker, arenas: new Set(), zstd: null, isUp: false, pending: new Map(), load: 0 }
    worker.on('message', (message: FromWorker) => settle(member, message))
    worker.on('error', (error) => fail(member, error))
    worker.on('exit', () => fail(member, new Error('the worker ended')))
    // An idle thread does not keep the process alive; one with work does.
    worker.unref()
    members.push(member)
    return member
  }

  function settle(member: Member, message: FromWorker): void {
    const waiting = member.pending.get(message.id)
    member.isUp = true
    deaths = 0
    member.pending.delete(message.id)
    if (member.pending.size === 0) member.worker.unref()
    if ('error' in message) waiting?.reject(new WorkerFailed(message.error))
    else waiting?.resolve(message.result as never)
  }

  /** Both `error` and `exit` come here; `exit` alone when the thread was terminated. */
  function fail(member: Member, error: Error): void {
    if (members.includes(member)) {
      deaths += 1
      if (deaths >= DEATHS_MAX) pausedUntilMs = clock.monotonicMs() + DEATHS_PAUSE_MS
    }
    members = members.filter((other) => other !== member)
    for (const { reject } of member.pending.values()) reject(new WorkerFailed(error.message, { cause: error }))
    member.pending.clear()
  }

  function isPaused(): boolean {
    return clock.monotonicMs() < pausedUntilMs
  }

  function leastBusy(): Member {
    const free = members.find(({ pending }) => pending.size === 0)
    if (free !== undefined) return free
    if (members.length < size && !isPaused()) return start()
    if (members.length === 0) throw new Error('worker threads die here')
    return members.reduce((a, b) => (b.load < a.load ? b : a))
  }

  function giveZstd(member: Member): void {
    const zstd = zstdModule()
    if (zstd === member.zstd || zstd === null) return
    member.worker.postMessage({ zstd } satisfies ToWorker)
    member.zstd = zstd
  }

  function endWhenIdle(): void {
    clock.stopTimer(idle)
    idle = clock.startTimer(() => {
      if (members.some(({ pending }) => pending.size > 0)) return
      for (const { worker } of members) void worker.terminate()
      members = []
    }, IDLE_MS)
    idle.unref()
  }

  function member(): Member {
    try {
      return leastBusy()
    } catch (cause) {
      throw new WorkerFailed('a worker thread could not be started', { cause })
    }
  }

  async function ask<T>(
    member: Member,
    ask: (id: number) => Extract<ToWorker, { id: number }>,
    moved: ArrayBuffer[] = [],
  ): Promise<T> {
    const { worker, pending } = member
    const id = nextId++
    const message = ask(id)
    const weight = WEIGHTS[message.job.kind] ?? WEIGHT
    member.load += weight
    const done = new Promise<T>((resolve, reject) => {
      pending.set(id, { resolve, reject })
    })
    worker.ref()
    worker.postMessage(message, moved)
    // Its jobs are rejected only at its `exit`: from then on it writes no more into memory that others use.
    const silent = clock.startTimer(() => void worker.terminate(), ANSWER_MS)
    silent.unref()
    try {
      return await done
    } finally {
      member.load -= weight
      clock.stopTimer(silent)
      endWhenIdle()
    }
  }

  return {
    async run(arena, job) {
      const chosen = member()
      if (!chosen.arenas.has(arena.id)) {
        chosen.worker.postMessage({ open: arena.id, memory: arena.memory } satisfies ToWorker)
        chosen.arenas.add(arena.id)
      }
      if (job.kind === 'compress') giveZstd(chosen)
      return await ask(chosen, (id) => ({ id, arena: arena.id, job }))
    },
    async give(job, moved) {
      const chosen = member()
      if (job.kind === 'decompress') giveZstd(chosen)
      return await ask(chosen, (id) => ({ id, job }), moved)
    },
    get isPaused() {
      return isPaused()
    },
    get isUp() {
      return members.some((member) => member.isUp)
    },
    startUp() {
      try {
        while (members.length < size && !isPaused())
          void ask(start(), (id) => ({ id, job: NOTHING })).catch(() => undefined)
      } catch {
        // The main thread then does the work.
      }
    },
    close(arena) {
      for (const member of members) {
        if (member.arenas.delete(arena.id)) member.worker.postMessage({ close: arena.id } satisfies ToWorker)
      }
    },
  }
}
