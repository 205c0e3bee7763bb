import { HoldfastError, isDamage } from '../errors.ts'
import { type Chunking, content } from '../format/chunking.ts'
import { parseCid } from '../format/cid.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { type BlobEntry, decodeManifest, type Manifest } from '../format/manifest.ts'
import type { OnProgress } from '../progress.ts'
import type { BlockSource } from './blocks.ts'
import { listChunks } from './chunks.ts'
import type { Environment } from './environment.ts'
import { ingestBlob, type PreviousBlob } from './ingest.ts'
import type { Intake } from './intake.ts'
import { readSegments } from './read-blob.ts'
import { type NamedSource, openSource } from './sources.ts'

export interface CaptureOptions {
  sources: readonly NamedSource[]
  /** The snapshot before, and the blocks it lies in. */
  previous: { snapshot: HeadSnapshot; source: BlockSource } | null
  intake: Intake
  chunking: Chunking | undefined
  compress: boolean
  /** Compared before and after: the state the blobs were taken from must not have moved. */
  unchanged: (() => unknown) | undefined
  signal: AbortSignal
  onProgress: OnProgress | undefined
  writtenBytes: () => number
}

/** Takes every blob in. Answers the manifest's blobs. */
export async function captureBlobs(env: Environment, options: CaptureOptions): Promise<Map<string, BlobEntry>> {
  const { sources, intake, signal, onProgress } = options
  const previous = await previousManifest(options.previous)
  const blobs = new Map<string, BlobEntry>()
  const before = await options.unchanged?.()
  for (const named of sources) {
    const chunking = named.chunking ?? options.chunking ?? content()
    const reader = await openSource(env.fs, named, signal, () => env.storage.workDirectory())
    try {
      const entry = await ingestBlob({
        name: named.name,
        reader,
        chunking,
        compress: options.compress,
        previous: await previousBlob(options.previous?.source, previous?.blobs.get(named.name), chunking),
        intake,
        signal,
        onBytes: (bytes) =>
          onProgress?.({
            phase: 'reading',
            blob: named.name,
            bytes,
            totalBytes: reader.size,
            writtenBytes: options.writtenBytes(),
          }),
      })
      if (named.type !== undefined) entry.type = named.type
      blobs.set(named.name, entry)
    } finally {
      await reader.close()
    }
  }
  const after = await options.unchanged?.()
  if (!Object.is(before, after)) {
    throw new HoldfastError(
      'SOURCE_CHANGED',
      `the source changed while it was being persisted (unchanged() gave ${String(before)}, then ${String(after)}); try again`,
      { details: { before, after } },
    )
  }
  return blobs
}

async function previousManifest(previous: CaptureOptions['previous']): Promise<Manifest | null> {
  if (previous === null) return null
  const { snapshot, source } = previous
  return await unlessDamaged(async () => {
    const blame = {
      code: 'SNAPSHOT_DAMAGED' as const,
      what: `snapshot ${snapshot.sequence}`,
      details: { sequence: snapshot.sequence },
    }
    return decodeManifest(await source.read(parseCid(snapshot.manifest).digest, blame))
  })
}

async function previousBlob(
  source: BlockSource | undefined,
  entry: BlobEntry | undefined,
  chunking: Chunking,
): Promise<PreviousBlob | null> {
  if (source === undefined || entry === undefined || !sameChunking(entry.chunking, chunking)) return null
  const blame = { code: 'BLOB_DAMAGED' as const, what: 'the blob before', details: {} }
  return await unlessDamaged(async () => {
    const chunks = await listChunks(source, entry, blame)
    // All of it is cut and hashed anew then; what the store has is still not written again.
    if (chunks === null) return null
    await source.expect(chunks.count)
    await source.locate(chunks.digests, chunks.count)
    return { size: entry.size, chunks, segments: await readSegments(source, entry, blame) }
  })
}

/** What cannot be read of the snapshot before is taken in afresh: a persist heals what it can. */
async function unlessDamaged<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read()
  } catch (error) {
    if (!isDamage(error)) throw error
    return null
  }
}

function sameChunking(a: Chunking, b: Chunking): boolean {
  return a.kind === 'fixed' ? b.kind === 'fixed' && a.size === b.size : b.kind === 'content' && a.average === b.average
}
