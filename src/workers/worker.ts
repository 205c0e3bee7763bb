import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { prepareCompression } from '../format/compress.ts'
import { type Compressed, type CompressJob, compressChunks, type Job, runJob, type Tools } from './jobs.ts'
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
  } else {
    void answer(message.id, message.arena, message.job)
  }
})

async function answer(id: number, arena: number, job: Job | CompressJob): Promise<void> {
  const tools = arenas.get(arena)!
  try {
    if (job.kind === 'compress') {
      if (!(await prepareCompression(() => load(zstdPath!)))) throw new Error('there is no zstd here')
      const compressed = compressChunks(job, tools)
      post({ id, result: compressed }, [compressed.stored.buffer as ArrayBuffer])
    } else {
      post({ id, result: runJob(job, tools) })
    }
  } catch (error) {
    post({ id, error: (error as Error).message })
  }
}

function post(message: FromWorker, moved: ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, moved)
}

function load(path: string): unknown {
  return createRequire(path)(path)
}
