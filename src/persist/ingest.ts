// Ingests all blobs of a persist, one after the other, each against the same blob of the snapshot before.

import { join } from 'node:path'
import { type ChunkRun, chunkRuns } from '../blocks/blob-dag.ts'
import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import type { DedupWriter } from '../blocks/dedup-writer.ts'
import type { PackWriter } from '../blocks/pack-writer.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isDamage } from '../errors.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { type Chunking, content } from '../format/chunking.ts'
import { parseCid } from '../format/cid.ts'
import type { HeadSnapshot } from '../format/head.ts'
import type { FileStat } from '../fs/port.ts'
import { readSegments } from '../load/read-blob.ts'
import type { OnProgress, OnWarning } from '../progress.ts'
import { addFailures, type CompressFailures, NO_FAILURES } from '../workers/frames.ts'
import { openSource } from './open-source.ts'
import { ingestBlob } from './pipeline.ts'
import type { PreviousBlob } from './previous-blob.ts'
import { assertUnchanged, goneSinceListed } from './source-directory.ts'
import type { NamedSource } from './sources.ts'
import { takeOver } from './take-over.ts'

/** The blobs to ingest, and how. */
interface IngestRequest {
  sources: readonly NamedSource[]
  chunking: Chunking | undefined
  compress: boolean
  /** Called before and after: the state that the blobs are read from must not change meanwhile. */
  sourceVersion: (() => unknown) | undefined
  /** Names of blobs that are known to be the same in the snapshot before. */
  sameBlobs: ((current: { metadata: Record<string, unknown> }) => Iterable<string>) | undefined
  signal: AbortSignal
  onProgress: OnProgress | undefined
}

/** Where blobs are stored, and what is known of the snapshot before. */
export interface IngestTarget {
  dedup: DedupWriter
  writer: PackWriter
  /** The snapshot before, and the blocks that it is in. */
  previous: { snapshot: HeadSnapshot; source: BlockSource } | null
}

/** Ingests every blob, and returns the manifest's entries. */
export async function ingestBlobs(
  ctx: StoreContext,
  target: IngestTarget,
  request: IngestRequest,
): Promise<Map<string, BlobEntry>> {
  const { sources, signal, onProgress, sourceVersion, sameBlobs } = request
  const current = await currentManifest(ctx, target.previous)
  const previous = current?.blobs
  const same = new Set(current === null ? [] : sameBlobs?.(current))
  const blobs = new Map<string, BlobEntry>()
  /** Files of directories, as they were when they were opened. */
  const opened = new Map<string, FileStat>()
  let failures = NO_FAILURES
  const before = await sourceVersion?.()
  for (const named of sources) {
    const chunking = named.chunking ?? request.chunking ?? content()
    const there = same.has(named.name) ? previous?.get(named.name) : undefined
    if (there !== undefined && isCutAlike(there, chunking, named.type)) {
      if (await takeOver(ctx, { ...target, source: target.previous!.source }, there, signal)) {
        blobs.set(named.name, there)
        continue
      }
    }
    const reader = await openSource(ctx.fs, named, signal, () => ctx.local.workDirectory()).catch((error: unknown) => {
      throw named.directory === undefined ? error : goneSinceListed(error, named.directory, named.name)
    })
    try {
      const entry = await ingestBlob({
        name: named.name,
        reader,
        chunking,
        compress: request.compress,
        previous: await previousBlob(ctx, target.previous?.source, previous?.get(named.name), chunking),
        dedup: target.dedup,
        signal,
        onBytes: (bytes) =>
          onProgress?.({
            phase: 'reading',
            blob: named.name,
            bytes,
            totalBytes: reader.size,
            writtenBytes: target.writer.bytes,
          }),
        onCompressFailures: (more) => {
          failures = addFailures(failures, more)
        },
      })
      // Segments and chunks come from one copy of the bytes.
      ctx.checkedBlobs.note(entry)
      if (named.type !== undefined) entry.type = named.type
      if (named.directory !== undefined && reader.opened !== undefined) {
        opened.set(join(named.directory.root, named.name.slice(named.directory.name.length + 1)), reader.opened)
      }
      blobs.set(named.name, entry)
    } finally {
      await reader.close()
    }
  }
  if (failures.chunks > 0) warnOfFailures(ctx.warn, failures)
  const directories = new Set(sources.flatMap(({ directory }) => directory ?? []))
  for (const directory of directories) await assertUnchanged(ctx.fs, directory, opened)
  const after = await sourceVersion?.()
  if (!Object.is(before, after)) {
    throw new HoldfastError(
      'SOURCE_CHANGED',
      `the source changed while it was being persisted (sourceVersion() gave ${String(before)}, then ${String(after)}); try again`,
      { details: { before, after } },
    )
  }
  return blobs
}

export function warnOfFailures(warn: OnWarning, { chunks, reason }: CompressFailures): void {
  warn({
    code: 'COMPRESSION_FAILED',
    message: `${chunks} chunks could not be compressed and were stored as they are: ${reason}`,
    details: { chunks, reason },
  })
}

/** Whether the store has a good copy of the block. A bad copy is noted and not reused. */
export async function isReadable(source: BlockSource, digest: Uint8Array): Promise<boolean> {
  const damageContext = { code: 'SNAPSHOT_DAMAGED' as const, what: 'the snapshot before', details: {} }
  return (await unlessDamaged(() => source.read(digest, damageContext))) !== null
}

async function currentManifest(
  ctx: StoreContext,
  previous: IngestTarget['previous'],
): Promise<{ blobs: ReadonlyMap<string, BlobEntry>; metadata: Record<string, unknown> } | null> {
  if (previous === null) return null
  const known = ctx.lastPersisted
  if (known?.manifest === previous.snapshot.manifest) return known
  const { snapshot, source } = previous
  return await unlessDamaged(async () => {
    const damageContext = {
      code: 'SNAPSHOT_DAMAGED' as const,
      what: `snapshot ${snapshot.sequence}`,
      details: { sequence: snapshot.sequence },
    }
    return await readManifest(source, parseCid(snapshot.manifest).digest, damageContext)
  })
}

async function previousBlob(
  ctx: StoreContext,
  source: BlockSource | undefined,
  entry: BlobEntry | undefined,
  chunking: Chunking,
): Promise<PreviousBlob | null> {
  if (source === undefined || entry === undefined || !sameChunking(entry.chunking, chunking)) return null
  const damageContext = { code: 'BLOB_DAMAGED' as const, what: 'the blob before', details: {} }
  return await unlessDamaged(async () => {
    await source.expectLookups(Math.ceil(entry.size / (chunking.kind === 'fixed' ? chunking.size : chunking.average)))
    return {
      size: entry.size,
      chunks: located(source, entry, damageContext),
      segments: await readSegments(source, entry, damageContext),
      isChecked: ctx.checkedBlobs.has(entry),
    }
  })
}

/**
 * Yields the chunks node by node, and looks them up in the store. It ends at a damaged node; the rest of the blob is
 * cut and hashed again.
 */
async function* located(
  source: BlockSource,
  entry: BlobEntry,
  damageContext: DamageContext,
): AsyncGenerator<ChunkRun, void> {
  try {
    for await (const run of chunkRuns(source, entry, damageContext)) {
      await source.loadIndexesFor(run.digests, run.count)
      yield run
    }
  } catch (error) {
    if (!isDamage(error)) throw error
  }
}

/** Returns null if the previous snapshot is damaged there. Its content is then ingested as new, which repairs it. */
async function unlessDamaged<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read()
  } catch (error) {
    if (!isDamage(error)) throw error
    return null
  }
}

function isCutAlike(entry: BlobEntry, chunking: Chunking, type: string | undefined): boolean {
  return sameChunking(entry.chunking, chunking) && entry.type === type
}

function sameChunking(a: Chunking, b: Chunking): boolean {
  return a.kind === 'fixed' ? b.kind === 'fixed' && a.size === b.size : b.kind === 'content' && a.average === b.average
}
