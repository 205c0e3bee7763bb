// The entry point of a worker thread: it receives jobs from the pool and runs them with the functions of `jobs.ts` and
// `frames.ts`. The build bundles it into a string, so that the package can itself be bundled.

import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { useCompressor, useDecompressor, zstdIsNative } from '../format/codec.ts'
import { type Cut, type CutJob, cutColumn, type Joined, type JoinJob, joinColumns } from '../format/columns.ts'
import type { ZstdModule } from '../format/libzstd.ts'
import { type Compressed, type CompressJob, compressChunks, type DecompressJob, decompressFrames } from './frames.ts'
import { type Job, runJob, type Tools } from './jobs.ts'
import { chunkerOver, type SharedMemory } from './wasm.ts'
import { type Checked, type CheckJob, wrongParts } from './wrong-parts.ts'

// The main thread has resolved the packages and passes their paths.

export interface WorkerData {
  blake3Path: string
  wasm: Uint8Array
}

const { blake3Path, wasm } = workerData as WorkerData
const { blake3 } = load(blake3Path) as { blake3: (bytes: Uint8Array) => Uint8Array }
const arenas = new Map<number, Tools>()
let zstd: ZstdModule | null = null

/** Jobs that bring their memory. */
export type GivenJob = DecompressJob | CheckJob | CutJob | JoinJob

export type ToWorker =
  | { open: number; memory: SharedMemory }
  | { close: number }
  /** Where Node has no zstd of its own; before the first job that needs it. */
  | { zstd: ZstdModule }
  | { id: number; arena: number; job: Job | CompressJob }
  | { id: number; job: GivenJob }
export type FromWorker = { id: number; result: Answer['result'] } | { id: number; error: string }

parentPort!.on('message', (message: ToWorker) => {
  if ('open' in message) {
    arenas.set(message.open, {
      memory: new Uint8Array(message.memory.buffer),
      blake3,
      cutOne: chunkerOver(wasm, message.memory),
    })
  } else if ('close' in message) {
    arenas.delete(message.close)
  } else if ('zstd' in message) {
    zstd = message.zstd
  } else if ('arena' in message) {
    answer(message.id, () => work(message.job, arenas.get(message.arena)!))
  } else {
    answer(message.id, () => given(message.job))
  }
})

function answer(id: number, work: () => Answer): void {
  try {
    const { result, moved } = work()
    parentPort!.postMessage(
      { id, result } satisfies FromWorker,
      moved.map(({ buffer }) => buffer as ArrayBuffer),
    )
  } catch (error) {
    parentPort!.postMessage({ id, error: (error as Error).message } satisfies FromWorker)
  }
}

interface Answer {
  result: number | Compressed | Checked | Cut | Joined
  /** Transferred, not copied. */
  moved: Uint8Array[]
}

function work(job: Job | CompressJob, tools: Tools): Answer {
  if (job.kind !== 'compress') return { result: runJob(job, tools), moved: [] }
  readyZstd(useCompressor)
  const result = compressChunks(job, tools)
  return { result, moved: [result.stored] }
}

function given(job: GivenJob): Answer {
  if (job.kind === 'check') return check(job)
  if (job.kind === 'cut-column') return { result: cutColumn(job), moved: [] }
  if (job.kind === 'join-columns') return { result: joinColumns(job), moved: [] }
  return decompress(job)
}

function check(job: CheckJob): Answer {
  const { bytes } = job
  const wrong = wrongParts(job, blake3)
  const isShared = bytes.buffer instanceof SharedArrayBuffer
  return { result: { wrong, bytes: isShared ? null : bytes }, moved: isShared ? [] : [bytes] }
}

function decompress(job: DecompressJob): Answer {
  // A job of none only starts this thread.
  if (job.lengths.length > 0) readyZstd(useDecompressor)
  decompressFrames(job, blake3)
  return { result: job.lengths.length, moved: [] }
}

function readyZstd(use: (module: ZstdModule) => void): void {
  if (zstdIsNative) return
  if (zstd === null) throw new Error('there is no zstd here')
  use(zstd)
}

function load(path: string): unknown {
  return createRequire(path)(path)
}
