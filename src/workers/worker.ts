import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { type Job, runJob, type Tools } from './jobs.ts'
import { chunkerOver, type SharedMemory } from './wasm.ts'

// Bundled into a string by `assembly/build.mjs`. The addon's path was resolved by the main thread.

const { blake3Path, wasm } = workerData as { blake3Path: string; wasm: Uint8Array }
const { blake3 } = createRequire(blake3Path)(blake3Path) as { blake3: (bytes: Uint8Array) => Uint8Array }
const arenas = new Map<number, Tools>()

export type ToWorker =
  | { open: number; memory: SharedMemory }
  | { close: number }
  | { id: number; arena: number; job: Job }
export type FromWorker = { id: number; count: number } | { id: number; error: string }

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
    parentPort!.postMessage(answer(message.id, message.arena, message.job))
  }
})

function answer(id: number, arena: number, job: Job): FromWorker {
  try {
    return { id, count: runJob(job, arenas.get(arena)!) }
  } catch (error) {
    return { id, error: (error as Error).message }
  }
}
