// Makes a snapshot of a CAR file that `exportCar` wrote. The file is hostile until all of it was checked: the walk from
// its root says which block comes next and what it may be, and nothing is committed before that walk has ended and the
// file with it.

import { channel } from 'node:diagnostics_channel'
import { openPacks, sourceOf } from '../blocks/open-packs.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { chunkId, walkSnapshot } from '../blocks/walk-snapshot.ts'
import { isHoldfastError } from '../errors.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import type { ListBlock } from '../format/blob-list.ts'
import type { Head } from '../format/head.ts'
import type { EncodedManifest } from '../format/manifest.ts'
import { KIND } from '../format/pack.ts'
import type { PersistResult, Store } from '../index.ts'
import { insideOf } from '../inside.ts'
import { isMostlyRepeats } from '../load/distinct-chunks.ts'
import { readShared } from '../load/read-blob.ts'
import { assertOptions } from '../misuse.ts'
import type { Ingested } from '../persist/commit.ts'
import { type IngestTarget, warnOfFailures } from '../persist/ingest.ts'
import { openSource } from '../persist/open-source.ts'
import { COMMIT_OPTIONS, type CommitOptions } from '../persist/options.ts'
import { persistContent, wantsCompression } from '../persist/persist.ts'
import { nameSources } from '../persist/sources.ts'
import { carInvalid } from './invalid.ts'
import { type CarReader, openCar } from './read-car.ts'
import { createBlockStage } from './stage-blocks.ts'

/** How a snapshot is imported: as a persist commits it. */
export type ImportOptions = CommitOptions

/** Where a CAR file comes from. A stream or iterator gives it only once. */
export type CarSource =
  | { file: string | URL }
  | Uint8Array
  | ArrayBuffer
  | Blob
  | AsyncIterable<Uint8Array>
  | Iterable<Uint8Array>
  | ReadableStream<Uint8Array>

export const IMPORT_OPTIONS = COMMIT_OPTIONS

/** In messages about the source. */
const NAME = 'CAR file'

const persistChannel = channel('holdfast:persist')

/**
 * Makes the snapshot of a CAR file the current one. Takes only what `exportCar` wrote, of whatever store: one root,
 * which is a manifest, and each block below it once, depth-first. Every block is checked against its CID, and the whole
 * against the format. Nothing is committed unless all is as it should be. Tags, message and time are not in the file.
 *
 * @throws CAR_INVALID, VERSION_UNSUPPORTED (a manifest of a newer holdfast), SOURCE_FAILED, PACKAGE_MISSING, and what
 * `persist` throws
 */
export async function importCar(store: Store, source: CarSource, options: ImportOptions = {}): Promise<PersistResult> {
  const { ctx, defaults, run, noteCommit } = insideOf(store, 'importCar')
  assertOptions('importCar', options, IMPORT_OPTIONS)
  if (typeof source === 'string')
    throw new TypeError('importCar: a text is no CAR file: for a file of that name, pass { file }')
  return await run(async () => {
    const signal = options.signal ?? new AbortController().signal
    signal.throwIfAborted()
    const compress = wantsCompression(defaults.compression)
    const [named] = await nameSources(ctx, [[NAME, source]])
    const reader = await openSource(ctx.fs, named!, signal, () => ctx.local.workDirectory())
    try {
      // Most files that are none are told from CAR files before anybody waits for the lock.
      const car = await openCar(reader, signal)
      const onRead = (): void => options.onProgress?.({ phase: 'importing', bytes: car.bytes, totalBytes: reader.size })
      let imported: readonly BlobEntry[] = []
      const result = await persistContent(ctx, 'importCar', options, defaults, {
        async ingest(target) {
          const ingested = await ingestCar(ctx, target, car, { compress, signal, onRead })
          await reader.settle()
          imported = [...ingested.blobs.values()]
          return ingested
        },
        checkStored: (head, written) => checkSegments(ctx, head, written, imported, car, signal),
      })
      noteCommit(result)
      persistChannel.publish({ location: store.location, ...result })
      return result
    } finally {
      await reader.close()
    }
  })
}

interface IngestOptions {
  compress: boolean
  signal: AbortSignal
  onRead: () => void
}

async function ingestCar(
  ctx: StoreContext,
  { dedup, previous }: IngestTarget,
  car: CarReader,
  { compress, signal, onRead }: IngestOptions,
): Promise<Ingested> {
  // What the store has is not written again.
  await previous?.source.loadAllIndexes()
  const stage = createBlockStage(dedup, compress, signal)
  /** The manifest, and then its list. */
  const own: ListBlock[] = []
  try {
    const walked = walkSnapshot(
      car.root,
      {
        async block(id, kind) {
          const block = (await car.next(id, null)).slice()
          const digest = id.digest.slice()
          if (kind === KIND.manifest) own.push({ block, digest })
          else stage.block(block, digest, kind)
          onRead()
          return block
        },
        async chunks(run) {
          for (let i = 0; i < run.count; i++) {
            const id = chunkId(run, i)
            await stage.chunk(await car.next(id, run.lengths[i]!), id.digest)
            onRead()
          }
        },
      },
      { code: 'SNAPSHOT_DAMAGED', what: 'the snapshot in the file', details: {} },
    )
    const { blobs, metadata } = await walked.catch((error: unknown) => {
      if (!isHoldfastError(error, 'SNAPSHOT_DAMAGED')) throw error
      throw carInvalid('structure', car.bytes, error.message, error)
    })
    await car.end()
    const failures = await stage.finish()
    if (failures.chunks > 0) warnOfFailures(ctx.warn, failures)
    const [{ block, digest }, ...list] = own as [ListBlock, ...ListBlock[]]
    const encoded: EncodedManifest = { block, digest, list }
    return { blobs, metadata, encoded }
  } finally {
    await stage.release()
  }
}

/**
 * Segments make a blob quick to verify, and a writer must not say that they agree with its chunks unless it has seen
 * it. Blobs are read back from where they are stored now. Not those that are far longer than their chunks: a small file
 * may claim two terabytes. Of those the chunks decide.
 */
async function checkSegments(
  ctx: StoreContext,
  head: Head,
  written: readonly string[],
  entries: readonly BlobEntry[],
  car: CarReader,
  signal: AbortSignal,
): Promise<void> {
  const unchecked = entries.filter((entry) => entry.segments !== undefined && !ctx.checkedBlobs.has(entry))
  if (unchecked.length === 0) return
  const names = [...written, ...head.packs.map(({ name }) => name)]
  const { packs, failures } = await openPacks(ctx, { head }, names)
  try {
    const source = sourceOf(ctx, packs, failures)
    for (const entry of unchecked) {
      const context = { code: 'BLOB_DAMAGED', what: 'a blob that was imported', details: {} } as const
      if (ctx.checkedBlobs.has(entry) || (await isMostlyRepeats(source, entry, context))) continue
      let agree = false
      const onAgree = (): void => {
        agree = true
      }
      for await (const _ of readShared(source, entry, context, 0, entry.size, { signal, onAgree })) {
        signal.throwIfAborted()
      }
      if (!agree) throw carInvalid('segments', car.bytes, 'the segments of a blob are not those of its chunks')
      ctx.checkedBlobs.note(entry)
    }
  } finally {
    for (const pack of packs) await pack.release()
  }
}
