import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { type Compressed, type CompressJob, compressChunks, type Job, runJob, type Tools } from './jobs.ts'
import { chunkerOver, type SharedMemory } from './wasm.ts'

// Bundled into a string by `assembly/build.mjs`. The addon's path was resolved by the main thread.

const { blake3Path, wasm } = workerData as { blake3Path: string; wasm: Uint8Array }
const { blake3 } = createRequire(blake3Path)(blake3Path) as { blake3: (bytes: Uint8Array) => Uint8Array }
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
    const answer = answerTo(message.id, message.arena, message.job)
    const moved =
      'result' in answer && typeof answer.result === 'object' ? [answer.result.stored.buffer as ArrayBuffer] : []
    parentPort!.postMessage(answer, moved)
  }
})

function answerTo(id: number, arena: number, job: Job | CompressJob): FromWorker {
  try {
    const tools = arenas.get(arena)!
    return { id, result: job.kind === 'compress' ? compressChunks(job, tools) : runJob(job, tools) }
  } catch (error) {
    return { id, error: (error as Error).message }
  }
}
