// Writes a snapshot as a CAR file: every block once, depth-first, uncompressed. The bytes depend on the content alone,
// not on packs.

import { disagrees } from '../blocks/blob-dag.ts'
import { chunkId, type NewChunks, walkSnapshot } from '../blocks/walk-snapshot.ts'
import { CODEC_DAG_CBOR, cidOf } from '../format/cid.ts'
import type { OnProgress, Snapshot } from '../index.ts'
import { blocksOf, type SnapshotBlocks } from '../load/snapshot-blocks.ts'
import { assertOptions, type OptionTable, refusePromise } from '../misuse.ts'
import { type CarWriter, loadCarWriter } from './package.ts'

/** How a snapshot is exported. */
export interface ExportOptions {
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
  /**
   * Phase `exporting`: bytes of blobs. What occurs several times in a snapshot is exported, and counted, once, so it
   * may end early.
   */
  onProgress?: OnProgress | undefined
}

export const EXPORT_OPTIONS: OptionTable<ExportOptions> = { signal: 'signal', onProgress: 'function' }

/** Chunks are read ahead up to so many and so many bytes. */
const AHEAD_CHUNKS = 32
const AHEAD_BYTES = 8 * 1024 * 1024
/** What is given at once. */
const GATHERED_BYTES = 256 * 1024

/**
 * The bytes of a CAR (version 1) with an open snapshot. Its root is the snapshot's manifest. Equal snapshots give equal
 * bytes. Each block is checked before it is given, and nothing is kept in memory but some 45 bytes for each block. The
 * snapshot must stay open meanwhile.
 *
 * @throws SNAPSHOT_DAMAGED, SNAPSHOT_DISPOSED, SNAPSHOT_GONE, IO_FAILED, PACKAGE_MISSING (`@ipld/car` is not installed)
 */
export function exportCar(snapshot: Snapshot, options: ExportOptions = {}): AsyncGenerator<Uint8Array, void> {
  assertOptions('exportCar', options, EXPORT_OPTIONS)
  refusePromise(snapshot, 'exportCar: the snapshot')
  const blocks = blocksOf(snapshot)
  if (blocks === null) throw new TypeError('exportCar: give a snapshot that a store of holdfast loaded')
  return carOf(blocks, snapshot.size, options)
}

async function* carOf(
  blocks: SnapshotBlocks,
  totalBytes: number,
  { signal, onProgress }: ExportOptions,
): AsyncGenerator<Uint8Array, void> {
  signal?.throwIfAborted()
  const { CarWriter } = await loadCarWriter()
  const { writer, out } = CarWriter.create([cidOf({ codec: CODEC_DAG_CBOR, digest: blocks.root })])
  const parts = out[Symbol.asyncIterator]()
  const stopped = new AbortController()
  const either = AbortSignal.any([stopped.signal, ...(signal === undefined ? [] : [signal])])
  const onBytes = (bytes: number): void => onProgress?.({ phase: 'exporting', bytes, totalBytes })
  // Closed in any case, so that whoever reads the other end comes to its end.
  const written = writeAll(writer, blocks, either, onBytes).finally(() => writer.close())
  written.catch(() => undefined)
  try {
    yield* gathered(parts)
    await written
  } finally {
    stopped.abort(new Error('the reader of the export has gone'))
    // A block that waits to be taken is taken, so that no read is left running.
    while ((await parts.next()).done !== true);
  }
}

/** Joins parts, which are a few bytes for each block and then the block. */
async function* gathered(parts: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  let held: Uint8Array[] = []
  let bytes = 0
  for (let next = await parts.next(); next.done !== true; next = await parts.next()) {
    held.push(next.value)
    bytes += next.value.length
    if (bytes < GATHERED_BYTES) continue
    yield Buffer.concat(held)
    held = []
    bytes = 0
  }
  if (bytes > 0) yield Buffer.concat(held)
}

async function writeAll(
  writer: CarWriter,
  { root, read, damageContext }: SnapshotBlocks,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let done = 0

  async function chunks(run: NewChunks): Promise<void> {
    const ahead: Promise<Uint8Array>[] = []
    let aheadBytes = 0
    let next = 0
    try {
      for (let i = 0; i < run.count; i++) {
        while (next < run.count && (next === i || (ahead.length < AHEAD_CHUNKS && aheadBytes < AHEAD_BYTES))) {
          const reading = read(chunkId(run, next).digest)
          reading.catch(() => undefined)
          ahead.push(reading)
          aheadBytes += run.lengths[next]!
          next += 1
        }
        const bytes = await ahead.shift()!
        aheadBytes -= run.lengths[i]!
        if (bytes.length !== run.lengths[i]) {
          throw disagrees(damageContext, `a chunk of ${bytes.length} bytes is listed as ${run.lengths[i]}`)
        }
        signal.throwIfAborted()
        await writer.put({ cid: cidOf(chunkId(run, i)), bytes })
        done += bytes.length
        onBytes(done)
      }
    } finally {
      await Promise.allSettled(ahead)
    }
  }

  await walkSnapshot(
    root,
    {
      async block(id) {
        const bytes = await read(id.digest)
        signal.throwIfAborted()
        await writer.put({ cid: cidOf(id), bytes })
        return bytes
      },
      chunks,
    },
    damageContext,
  )
}
