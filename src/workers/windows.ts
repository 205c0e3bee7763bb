// The windows of memory that a blob is read into, and the work on them: in threads for large blobs, here for small.

import { clock } from '../clock.ts'
import { blake3 } from '../format/blake3.ts'
import { type Chunking, chunkBytesMax, cutter } from '../format/chunking.ts'
import { gearTable } from '../format/gear.ts'
import { DIGEST_BYTES, SEGMENT_BYTES } from '../format/limits.ts'
import { addFailures, type Compressed, type CompressJob, compressChunks, NO_FAILURES, type Skip } from './frames.ts'
import { GEAR_WASM } from './generated.ts'
import { type Job, type KnownChunks, type Region, runJob, type Tools } from './jobs.ts'
import { type Arena, type Pool, sharedPool, WorkerFailed } from './pool.ts'
import { chunkerOver, sharedMemory } from './wasm.ts'

/**
 * One segment of a blob in our own memory, and in front of it the bytes that the segment before left uncut. Positions
 * are into `bytes`; `origin` is where the segment begins.
 */
export interface Window {
  bytes: Uint8Array
  origin: number
  /** After `cut` or `follow`: where each chunk ends. */
  ends: Uint32Array
  /** After `hash` or `follow`: 32 bytes a chunk. */
  digests: Uint8Array
  /** After `digest`: of the segment. */
  segmentDigest: Uint8Array
}

/** Windows in turn, and the work on them: in worker threads for large blobs, here for small ones. */
export interface Windows {
  readonly count: number
  /** Whether worker threads hash copies beside the main thread. */
  readonly isThreaded: boolean
  at(turn: number): Window
  digest(window: Window, start: number, end: number): Promise<void>
  cut(window: Window, start: number, end: number, final: boolean): Promise<number>
  hash(window: Window, start: number, count: number): Promise<void>
  rechunk(window: Window, start: number, end: number, final: boolean, known: KnownChunks): Promise<number>
  /** Of the chunks [start, end), in pairs. */
  compress(window: Window, ranges: Uint32Array, skip: Skip): Promise<Compressed>
  release(): void
}

/** Below this a blob is cut here: starting threads costs more than it saves. */
const WORTH_WORKERS_BYTES = 8 * 1024 * 1024
/**
 * A blob this large starts the threads even if nothing has changed: until they are up, the main thread has hashed a
 * third of it.
 */
export const WORTH_STARTING_BYTES = 256 * 1024 * 1024
/** One is filled, one is cut, one is hashed, and one is written. */
const WINDOWS = 4
const CARRY_BYTES_MAX = 4 * 1024 * 1024
/** The smallest chunk is 512 bytes, by `fixed(512)`. */
const CHUNKS_MAX = (CARRY_BYTES_MAX + SEGMENT_BYTES) / 512 + 2
const SHARED_LAYOUT: Layout = { carry: CARRY_BYTES_MAX, segment: SEGMENT_BYTES, chunks: CHUNKS_MAX }
const GEAR_BYTES = 2048
/** The main thread compresses this much per step: a millisecond or two. */
const COMPRESS_STEP_BYTES = 128 * 1024

/** Windows for a blob of `size` bytes (null: unknown) under one chunking. */
export function openWindows(chunking: Chunking, size: number | null): Windows {
  const large = size === null || size >= WORTH_WORKERS_BYTES
  const pool = large ? sharedPool() : null
  const arena = pool === null ? null : openArena()
  if (pool === null || arena === null) return localWindows(chunking, size)
  if (size !== null && size >= WORTH_STARTING_BYTES) pool.startUp()
  return sharedWindows(chunking, pool, arena)
}

/** In plain memory, cut by the reference implementation, a turn for the event loop after each job. */
function localWindows(chunking: Chunking, size: number | null): Windows {
  const isWhole = size !== null && size < SEGMENT_BYTES
  const carry = isWhole ? 0 : chunkBytesMax(chunking)
  const segment = isWhole ? Math.max(size, 1) : SEGMENT_BYTES
  const chunks = Math.ceil((carry + segment) / smallest(chunking)) + 2
  const layout = { carry, segment, chunks }
  // One being written while the other is filled, if there is another.
  const count = isWhole ? 1 : 2
  const memory = new Uint8Array(new ArrayBuffer(count * strideOf(layout)))
  const cut = cutter(chunking)
  const tools: Tools = { memory, blake3, cutOne: (start, end) => cut(memory, start, end) }
  const run = async (job: Job): Promise<number> => {
    const count = runJob(job, tools)
    await clock.nextTurn()
    return count
  }
  const doing: Doing = { isThreaded: () => false, run, compress: (job) => compressHere(job, tools) }
  return windowsOver(memory, 0, count, layout, chunking, doing, () => {})
}

/** Compressing is the slowest work on the main thread. It is done in steps, so that the event loop turns. */
async function compressHere({ ranges, skip }: CompressJob, tools: Tools): Promise<Compressed> {
  const steps: Compressed[] = []
  for (let at = 0; at < ranges.length; ) {
    const from = at
    for (let bytes = 0; at < ranges.length && bytes < COMPRESS_STEP_BYTES; at += 2)
      bytes += ranges[at + 1]! - ranges[at]!
    const job: CompressJob = { kind: 'compress', ranges: ranges.subarray(from, at), skip: steps.at(-1)?.skip ?? skip }
    steps.push(compressChunks(job, tools))
    await clock.nextTurn()
  }
  return merged(steps, skip)
}

function merged(steps: readonly Compressed[], skip: Skip): Compressed {
  const lengths = new Uint32Array(steps.reduce((sum, step) => sum + step.lengths.length, 0))
  let at = 0
  for (const step of steps) {
    lengths.set(step.lengths, at)
    at += step.lengths.length
  }
  const stored = Buffer.concat(steps.map((step) => step.stored))
  const checks = Buffer.concat(steps.map((step) => step.checks))
  const failures = steps.map((step) => step.failures).reduce(addFailures, NO_FAILURES)
  return { stored, lengths, checks, skip: steps.at(-1)?.skip ?? skip, failures }
}

/** Where jobs are done. */
interface Doing {
  isThreaded(): boolean
  run(job: Job): Promise<number>
  compress(job: CompressJob): Promise<Compressed>
}

interface Layout {
  carry: number
  segment: number
  chunks: number
}

function strideOf({ carry, segment, chunks }: Layout): number {
  return align(carry + segment) + align(chunks * 4) + align(chunks * DIGEST_BYTES) + DIGEST_BYTES
}

function align(bytes: number): number {
  return Math.ceil(bytes / 32) * 32
}

function smallest(chunking: Chunking): number {
  return chunking.kind === 'fixed' ? chunking.size : chunking.average / 4
}

interface OpenArena extends Arena {
  tools: Tools
}

/** Kept from one persist to the next: address space for WebAssembly is dear, and pages touched once stay warm. */
const spare: OpenArena[] = []
const SPARE_MAX = 2
let arenas = 0

/** Null if there is no address space for one, as under a limit on virtual memory. */
function openArena(): OpenArena | null {
  const kept = spare.pop()
  if (kept !== undefined) return kept
  try {
    return newArena()
  } catch {
    return null
  }
}

function newArena(): OpenArena {
  const memory = sharedMemory(GEAR_BYTES + WINDOWS * strideOf(SHARED_LAYOUT))
  const view = new DataView(memory.buffer)
  for (const [byte, gear] of gearTable().entries()) view.setBigUint64(byte * 8, gear, true)
  const cutOne = chunkerOver(Buffer.from(GEAR_WASM, 'base64'), memory)
  arenas += 1
  return { id: arenas, memory, tools: { memory: new Uint8Array(memory.buffer), blake3, cutOne } }
}

/** In shared memory, worked on by threads. */
function sharedWindows(chunking: Chunking, pool: Pool, arena: OpenArena): Windows {
  const unlessFailed = async <T>(work: Promise<T>, here: () => T | Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      if (!(error instanceof WorkerFailed)) throw error
      // The memory is unchanged, so the main thread can do what the worker could not.
      return await here()
    }
  }
  const doing: Doing = {
    isThreaded: () => pool.isUp,
    run: (job) => unlessFailed(pool.run(arena, job), () => runJob(job, arena.tools)),
    compress: (job) => unlessFailed(pool.run(arena, job), () => compressHere(job, arena.tools)),
  }
  return windowsOver(arena.tools.memory, GEAR_BYTES, WINDOWS, SHARED_LAYOUT, chunking, doing, () => {
    if (spare.length < SPARE_MAX) spare.push(arena)
    else pool.close(arena)
  })
}

function windowsOver(
  memory: Uint8Array,
  from: number,
  count: number,
  layout: Layout,
  chunking: Chunking,
  { isThreaded, run, compress }: Doing,
  release: () => void,
): Windows {
  const { carry, segment, chunks } = layout
  const windows = Array.from({ length: count }, (_, i) => {
    const base = from + i * strideOf(layout)
    const endsAt = base + align(carry + segment)
    const digestsAt = endsAt + align(chunks * 4)
    const segmentAt = digestsAt + align(chunks * DIGEST_BYTES)
    const { buffer, byteOffset } = memory
    return {
      base,
      region: { endsAt, digestsAt } satisfies Region,
      segmentAt,
      origin: carry,
      bytes: memory.subarray(base, base + carry + segment),
      ends: new Uint32Array(buffer, byteOffset + endsAt, chunks),
      digests: memory.subarray(digestsAt, digestsAt + chunks * DIGEST_BYTES),
      segmentDigest: memory.subarray(segmentAt, segmentAt + DIGEST_BYTES),
    }
  })
  type Own = (typeof windows)[number]

  /** Jobs speak in positions of the whole memory, windows in their own. */
  function toOwn(window: Own, count: number): number {
    for (let i = 0; i < count; i++) window.ends[i]! -= window.base
    return count
  }

  return {
    count,
    get isThreaded() {
      return isThreaded()
    },
    at: (turn) => windows[turn % count]!,
    async digest(window, start, end) {
      const { base, segmentAt } = window as Own
      await run({ kind: 'digest', start: base + start, end: base + end, digestAt: segmentAt })
    },
    async cut(window, start, end, final) {
      const { base, region } = window as Own
      const job: Job = { kind: 'cut', start: base + start, end: base + end, final, chunking, region }
      return toOwn(window as Own, await run(job))
    },
    async hash(window, start, count) {
      const own = window as Own
      for (let i = 0; i < count; i++) own.ends[i]! += own.base
      await run({ kind: 'hash', start: own.base + start, count, region: own.region })
      toOwn(own, count)
    },
    async rechunk(window, start, end, final, known) {
      const own = window as Own
      const shifted = { ...known, start: known.start + own.base, ends: known.ends.map((at) => at + own.base) }
      const { base, region } = own
      const job: Job = { kind: 'follow', start: base + start, end: base + end, final, chunking, region, known: shifted }
      return toOwn(own, await run(job))
    },
    async compress(window, ranges, skip) {
      const { base } = window as Own
      return await compress({ kind: 'compress', ranges: ranges.map((at) => at + base), skip })
    },
    release,
  }
}
