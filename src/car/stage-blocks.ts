// Stores blocks that come one at a time: chunks are gathered in windows of memory and compressed there, by worker
// threads where there are some, while the next ones are read. Blocks are stored in the order in which they came.

import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { CODEC_DAG_CBOR } from '../format/cid.ts'
import { CHECK_BYTES, DIGEST_BYTES } from '../format/limits.ts'
import type { Kind } from '../format/pack.ts'
import { createLanes } from '../persist/lanes.ts'
import { addFailures, type Compressed, type CompressFailures, NO_FAILURES } from '../workers/frames.ts'
import { openWindows, type Window } from '../workers/windows.ts'

interface BlockStage {
  /** Copies the bytes. */
  chunk(bytes: Uint8Array, digest: Uint8Array): Promise<void>
  /** A block other than a chunk. Its bytes must not change any more. */
  block(bytes: Uint8Array, digest: Uint8Array, kind: Kind): void
  /** Stores all that came. Answers what could not be compressed. */
  finish(): Promise<CompressFailures>
  /** Waits until nothing uses the memory. After a failure, too. */
  release(): Promise<void>
}

/** What is stored together. */
interface Batch {
  window: Window
  chunks: number
  bytes: number
  /** A chunk that no window has room for. Then there is no other one. */
  large: { bytes: Uint8Array; digest: Uint8Array } | null
  blocks: { bytes: Uint8Array; digest: Uint8Array; kind: Kind }[]
}

export function createBlockStage(dedup: DedupWriter, compress: boolean, signal: AbortSignal): BlockStage {
  // Chunks come as they were cut: windows take any.
  const windows = openWindows({ kind: 'fixed', size: 512 }, null)
  const lanes = createLanes()
  const busy: Promise<unknown>[] = []
  let turn = 0
  let batch = emptyBatch()
  let storing: Promise<void> = Promise.resolve()
  let skip = { chunks: 0, next: 1 }
  let failures = NO_FAILURES

  function emptyBatch(): Batch {
    return { window: windows.at(turn), chunks: 0, bytes: 0, large: null, blocks: [] }
  }

  async function compressed({ window, chunks }: Batch): Promise<Compressed | null> {
    if (!compress || chunks === 0) return null
    // An empty range stands for a chunk that the store has.
    const ranges = new Uint32Array(2 * chunks)
    let at = 0
    for (let i = 0; i < chunks; i++) {
      if (!dedup.has(window.digests, i * DIGEST_BYTES)) ranges.set([at, window.ends[i]!], 2 * i)
      at = window.ends[i]!
    }
    const result = await windows.compress(window, ranges, skip)
    skip = result.skip
    failures = addFailures(failures, result.failures)
    return result
  }

  async function store(full: Batch, before: Promise<void>): Promise<void> {
    const frames = await compressed(full)
    await before
    signal.throwIfAborted()
    storeChunks(full, frames)
    if (full.large !== null && !dedup.reuse(full.large.digest, 0, full.large.bytes.length)) {
      dedup.chunk(full.large.bytes, full.large.digest)
    }
    for (const { bytes, digest, kind } of full.blocks) dedup.block(bytes, digest, CODEC_DAG_CBOR, kind)
    await dedup.flush()
  }

  function storeChunks({ window, chunks }: Batch, frames: Compressed | null): void {
    let at = 0
    let frameAt = 0
    for (let i = 0; i < chunks; i++) {
      const end = window.ends[i]!
      const digest = window.digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)
      const frameEnd = frameAt + (frames?.lengths[i] ?? 0)
      if (!dedup.reuse(digest, 0, end - at)) {
        const check = frames?.checks.subarray(i * CHECK_BYTES, (i + 1) * CHECK_BYTES)
        const frame = frameEnd === frameAt ? null : { bytes: frames!.stored.subarray(frameAt, frameEnd), check: check! }
        dedup.chunk(window.bytes.subarray(at, end), digest, frame)
      }
      frameAt = frameEnd
      at = end
    }
  }

  /** Stores the batch while the next one is filled, once the memory of that one is free. */
  async function next(): Promise<void> {
    const stored = lanes.track(store(batch, storing))
    storing = stored
    // Whoever comes next hears of it.
    stored.catch(() => undefined)
    const written = lanes.track(stored.then(() => dedup.written()))
    written.catch(() => undefined)
    busy[turn % windows.count] = written
    turn += 1
    await busy[turn % windows.count]
    batch = emptyBatch()
  }

  return {
    async chunk(bytes, digest) {
      const { length } = windows.at(turn).bytes
      if (bytes.length > length) {
        await next()
        batch.large = { bytes: bytes.slice(), digest: digest.slice() }
        await next()
        return
      }
      if (batch.bytes + bytes.length > length || batch.chunks === batch.window.ends.length) await next()
      const { window } = batch
      window.bytes.set(bytes, batch.bytes)
      window.digests.set(digest, batch.chunks * DIGEST_BYTES)
      batch.bytes += bytes.length
      window.ends[batch.chunks] = batch.bytes
      batch.chunks += 1
    },
    block(bytes, digest, kind) {
      batch.blocks.push({ bytes, digest: digest.slice(), kind })
    },
    async finish() {
      await next()
      await storing
      return failures
    },
    async release() {
      await lanes.drain()
      await dedup.drain().catch(() => undefined)
      windows.release()
    },
  }
}
