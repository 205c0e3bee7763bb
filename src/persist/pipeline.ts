// Ingests one blob: reads, cuts, hashes and stores it in windows, several at once. This file is only the order of the
// steps.

import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { clock } from '../clock.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import type { Chunking } from '../format/chunking.ts'
import type { CompressFailures } from '../workers/frames.ts'
import { openWindows, type Windows } from '../workers/windows.ts'
import { type CutChunks, createWindowCutter, type SameChunks } from './cut-window.ts'
import { createWindowFiller } from './fill-window.ts'
import { createLanes, type Lanes } from './lanes.ts'
import type { ByteReader } from './open-source.ts'
import { createPreviousChunks, type PreviousBlob, type PreviousChunks } from './previous-blob.ts'
import { createChunkSink } from './store-chunks.ts'

interface PipelineOptions {
  name: string
  reader: ByteReader
  chunking: Chunking
  compress: boolean
  /** Cut by the same chunking, or null. */
  previous: PreviousBlob | null
  dedup: DedupWriter
  signal: AbortSignal
  onBytes: (bytes: number) => void
  onCompressFailures: (failures: CompressFailures) => void
}

/** What the steps share: the memory, the previous snapshot's chunks, and the running work. */
interface Shared {
  windows: Windows
  previous: PreviousChunks | null
  lanes: Lanes
}

/**
 * Reads a blob once, into our own buffers, and stores what the store does not have. Everything (segment digest,
 * boundaries, chunk digests, the bytes written) comes from that one copy: a source that changes meanwhile cannot make
 * them disagree.
 *
 * A pipeline over windows of one segment each: while one is filled, the one before is cut, the one before that is
 * hashed, and an older one is written. Boundaries are found strictly in order, since each depends on the one before.
 */
export async function ingestBlob(options: PipelineOptions): Promise<BlobEntry> {
  const windows = openWindows(options.chunking, options.reader.size)
  const lanes = createLanes()
  const previous = options.previous === null ? null : createPreviousChunks(options.previous)
  try {
    return await ingest(options, { windows, previous, lanes })
  } finally {
    // Threads and writes in flight still use the windows' memory.
    await lanes.drain()
    await previous?.settled()
    await options.dedup.drain().catch(() => undefined)
    windows.release()
  }
}

async function ingest(options: PipelineOptions, shared: Shared): Promise<BlobEntry> {
  const { reader, dedup, signal } = options
  const { windows, previous, lanes } = shared
  const filler = createWindowFiller({ ...options, ...shared })
  const cutter = createWindowCutter({ ...options, ...shared, filler })
  const sink = createChunkSink({ ...options, ...shared })

  /** Stores the chunks of a window once those of the window before are stored. */
  async function store(outcome: Promise<SameChunks | CutChunks>, before: Promise<void>): Promise<void> {
    const found = await outcome
    await found.filled.digested
    if (found.kind === 'cut') await found.hashed
    const compressed = found.kind === 'cut' ? await lanes.track(sink.compress(found)) : null
    await before
    signal.throwIfAborted()
    await sink.store(found, compressed)
    await dedup.flush()
    options.onBytes(found.filled.start + found.filled.length)
  }

  /** For each window, what must end before it is filled again. */
  const busy: Promise<unknown>[] = []
  let cutting: Promise<void> = Promise.resolve()
  let storing: Promise<void> = Promise.resolve()
  for (let turn = 0, final = false; !final; turn++) {
    signal.throwIfAborted()
    await busy[turn % windows.count]
    const filled = await filler.fill(windows.at(turn))
    final = filled.final
    await cutting
    // This is not done in `cut`, which must decide about a peeked segment before the next window is filled.
    await previous?.advance(cutter.uncut, filler.size)
    const outcome = lanes.track(cutter.cut(filled))
    cutting = lanes.track(outcome.then(() => undefined))
    const stored = lanes.track(store(outcome, storing))
    storing = stored
    // A peeked segment involves no wait, so the pipeline yields to the event loop here.
    if (filled.peeked) await clock.nextTurn()
    busy[turn % windows.count] = lanes.track(stored.then(() => dedup.written()))
  }
  await cutting
  await storing
  await reader.settle()
  const entry = sink.finish(filler.size)
  await dedup.flush()
  return entry
}
