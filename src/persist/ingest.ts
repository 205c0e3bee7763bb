import { type ChunkRun, chunkRuns } from '../blocks/blob-dag.ts'
import type { Blame, BlockSource } from '../blocks/block-source.ts'
import type { Intake } from '../blocks/dedup-writer.ts'
import type { Environment } from '../blocks/store-context.ts'
import { HoldfastError, isDamage } from '../errors.ts'
import { type Chunking, content } from '../format/chunking.ts'
import { parseCid } from '../format/cid.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { type BlobEntry, decodeManifest } from '../format/manifest.ts'
import { readSegments } from '../load/read-blob.ts'
import type { OnProgress } from '../progress.ts'
import { ingestBlob } from './pipeline.ts'
import type { PreviousBlob } from './previous-blob.ts'
import { type NamedSource, openSource } from './sources.ts'

interface CaptureOptions {
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
  const previous = await previousBlobs(env, options.previous)
  const blobs = new Map<string, BlobEntry>()
  const before = await options.unchanged?.()
  let failedChunks = 0
  for (const named of sources) {
    const chunking = named.chunking ?? options.chunking ?? content()
    const reader = await openSource(env.fs, named, signal, () => env.local.workDirectory())
    try {
      const entry = await ingestBlob({
        name: named.name,
        reader,
        chunking,
        compress: options.compress,
        previous: await previousBlob(options.previous?.source, previous?.get(named.name), chunking),
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
        onCompressionFailed: (chunks) => {
          failedChunks += chunks
        },
      })
      if (named.type !== undefined) entry.type = named.type
      blobs.set(named.name, entry)
    } finally {
      await reader.close()
    }
  }
  if (failedChunks > 0) warnOfCompressor(env, failedChunks)
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

function warnOfCompressor(env: Environment, chunks: number): void {
  env.warn({
    code: 'COMPRESSION_FAILED',
    message:
      `${env.storage.location}: zstd did not give ${chunks} chunks back as they were; they are stored uncompressed, and nothing is lost. ` +
      'Memory of this process may be damaged: restart it, and check the machine if this comes back',
    details: { location: env.storage.location, chunks },
  })
}

type Blobs = ReadonlyMap<string, BlobEntry>

/** What the snapshot that a store wrote last has: the next persist mostly follows it. */
const lastBlobs = new WeakMap<Environment, { manifest: string; blobs: Blobs }>()

export function rememberBlobs(env: Environment, manifest: string, blobs: Blobs): void {
  lastBlobs.set(env, { manifest, blobs })
}

/** Whether the store has the block as it was written. What is found to be bad is noted, and counts no more. */
export async function isReadable(source: BlockSource, digest: Uint8Array): Promise<boolean> {
  const blame = { code: 'SNAPSHOT_DAMAGED' as const, what: 'the snapshot before', details: {} }
  return (await unlessDamaged(() => source.read(digest, blame))) !== null
}

async function previousBlobs(env: Environment, previous: CaptureOptions['previous']): Promise<Blobs | null> {
  if (previous === null) return null
  const known = lastBlobs.get(env)
  if (known?.manifest === previous.snapshot.manifest) return known.blobs
  const { snapshot, source } = previous
  return await unlessDamaged(async () => {
    const blame = {
      code: 'SNAPSHOT_DAMAGED' as const,
      what: `snapshot ${snapshot.sequence}`,
      details: { sequence: snapshot.sequence },
    }
    return decodeManifest(await source.read(parseCid(snapshot.manifest).digest, blame)).blobs
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
    await source.expect(Math.ceil(entry.size / (chunking.kind === 'fixed' ? chunking.size : chunking.average)))
    return {
      size: entry.size,
      chunks: located(source, entry, blame),
      segments: await readSegments(source, entry, blame),
    }
  })
}

/** Its chunks node by node, looked up as they come. What is damaged ends them: from there on all is cut and hashed anew. */
async function* located(source: BlockSource, entry: BlobEntry, blame: Blame): AsyncGenerator<ChunkRun, void> {
  try {
    for await (const run of chunkRuns(source, entry, blame)) {
      await source.locate(run.digests, run.count)
      yield run
    }
  } catch (error) {
    if (!isDamage(error)) throw error
  }
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
