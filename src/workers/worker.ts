import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { prepareZstd } from '../format/compress.ts'
import { type Compressed, type CompressJob, compressChunks, type DecompressJob, decompressFrames } from './frames.ts'
import { type Job, runJob, type Tools } from './jobs.ts'
import { chunkerOver, type SharedMemory } from './wasm.ts'

// Bundled into a string by `assembly/build.mjs`. The paths of packages were resolved by the main thread.

export interface WorkerData {
  blake3Path: string
  /** Null where Node has zstd itself, or the package is not there. */
  zstdPath: string | null
  wasm: Uint8Array
}

const { blake3Path, zstdPath, wasm } = workerData as WorkerData
const { blake3 } = load(blake3Path) as { blake3: (bytes: Uint8Array) => Uint8Array }
const arenas = new Map<number, Tools>()

export type ToWorker =
  | { open: number; memory: SharedMemory }
  | { close: number }
  | { id: number; arena: number; job: Job | CompressJob }
  | { id: number; job: DecompressJob }
export type FromWorker = { id: number; result: number | Compressed } | { id: number; error: string }

parentPort!.on('message', (message: ToWorker) => {
  if ('open' in message) {
    arenas.set(message.open, {
      memory: new Uint8Array(message.memory.buffer),
      blake3,
      cutOne: chunkerOver(wasm, message.memory),
    })
  } else if ('close' in message) {
    arenas.delete(message.close)
  } else if ('arena' in message) {
    void answer(message.id, () => work(message.job, arenas.get(message.arena)!))
  } else {
    void answer(message.id, () => decompress(message.job))
  }
})

async function answer(id: number, work: () => Answer | Promise<Answer>): Promise<void> {
  try {
    const { result, moved } = await work()
    parentPort!.postMessage(
      { id, result } satisfies FromWorker,
      moved.map(({ buffer }) => buffer as ArrayBuffer),
    )
  } catch (error) {
    parentPort!.postMessage({ id, error: (error as Error).message } satisfies FromWorker)
  }
}

interface Answer {
  result: number | Compressed
  /** What is handed over, not copied. */
  moved: Uint8Array[]
}

async function work(job: Job | CompressJob, tools: Tools): Promise<Answer> {
  if (job.kind !== 'compress') return { result: runJob(job, tools), moved: [] }
  await readyZstd()
  const result = compressChunks(job, tools)
  return { result, moved: [result.stored] }
}

async function decompress(job: DecompressJob): Promise<Answer> {
  // None are asked for by who only wants this thread up.
  if (job.lengths.length > 0) await readyZstd()
  decompressFrames(job, blake3)
  return { result: job.lengths.length, moved: [] }
}

async function readyZstd(): Promise<void> {
  if (!(await prepareZstd(() => load(zstdPath!)))) throw new Error('there is no zstd here')
}

function load(path: string): unknown {
  return createRequire(path)(path)
}
