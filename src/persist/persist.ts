// Checks the options of a persist, takes the lock, and readies the store for the commit.

import { randomBytes } from 'node:crypto'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { HoldfastError } from '../errors.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { assertChunking } from '../format/chunking.ts'
import { cidText } from '../format/cid.ts'
import { prepareCompression } from '../format/compression.ts'
import { emptyHead } from '../format/empty-head.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import { assertManifestCanFit, encodeManifest } from '../format/manifest.ts'
import { decodeValue, encodeValue, isWellFormed } from '../format/value.ts'
import { cleanUp, type Seen } from '../gc/collect.ts'
import { policyOf } from '../history/keep.ts'
import { settleHead } from '../history/settle-head.ts'
import { assertExpected, assertWritable, watchWait } from '../history/write-guards.ts'
import { storedWatermark } from '../load/watermark.ts'
import { refusePromise } from '../misuse.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { type ContentSource, commitSnapshot } from './commit.ts'
import { assertCovers, settleCovers } from './covers.ts'
import { ingestBlobs } from './ingest.ts'
import type { CommitOptions, PersistDefaults, PersistOptions, PersistResult } from './options.ts'
import { nameSources } from './sources.ts'

/** @throws what `persistContent` throws, and what is wrong about the sources */
export async function persist(
  ctx: StoreContext,
  options: PersistOptions,
  defaults: PersistDefaults,
): Promise<PersistResult> {
  assertAwaited(options)
  options.signal?.throwIfAborted()
  assertCommitOptions('persist', options)
  if (options.chunking !== undefined) assertChunking(options.chunking)
  // Refused before anything is read or locked, and copied: what the caller changes meanwhile is for the next snapshot.
  const metadata = strictClone(options.metadata ?? {}, 'metadata') as Record<string, unknown>
  const watermark =
    options.watermark === undefined ? undefined : strictClone(storedWatermark(options.watermark), 'watermark')
  const sources = await nameSources(ctx, options.blobs)
  // To load a compressor takes a turn of the event loop by itself.
  await clock.nextTurn()
  const compress = wantsCompression(defaults.compression)
  const rest = watermark === undefined ? { metadata } : { metadata, watermark }
  assertManifestCanFit(sources, rest)
  const { chunking, sourceVersion, sameBlobs, onProgress } = options
  const run = options.dryRun === true ? dryRun : persistContent
  return await run(ctx, 'persist', options, defaults, {
    async ingest(target, signal) {
      const request = { sources, chunking, compress, sourceVersion, sameBlobs, signal, onProgress }
      const blobs = await ingestBlobs(ctx, target, request)
      return { blobs, metadata, encoded: encodeManifest({ blobs, ...rest }) }
    },
  })
}

/** Refuses what is wrong about the options of a commit, before anything is read. */
function assertCommitOptions(where: string, options: CommitOptions): void {
  policyOf(where, options)
  if (options.message !== undefined) assertMessage(where, options.message)
}

/**
 * Makes a snapshot of content, from wherever it comes. The order is what keeps the promises:
 *
 *  1. the lock: one writer;
 *  2. HEAD is read and made durable, before anything is built on it;
 *  3. blobs are ingested from our own copy; new blocks go into a pack in `tmp/`;
 *  4. the pack is fsynced, renamed, and its directory fsynced: what HEAD will name is durable before HEAD names it;
 *  5. HEAD is replaced and made durable: from here on the snapshot exists, and only now may the caller be told;
 *  6. only now is anything deleted.
 */
export async function persistContent(
  ctx: StoreContext,
  where: string,
  options: CommitOptions,
  defaults: PersistDefaults,
  source: ContentSource,
): Promise<PersistResult> {
  const startMs = clock.monotonicMs()
  const signal = options.signal ?? new AbortController().signal
  signal.throwIfAborted()
  assertCommitOptions(where, options)
  const policy = policyOf(where, options) ?? defaults.policy
  await settleCovers(ctx, options.covers)

  // What the first write of a process loads takes a turn of the event loop by itself.
  await clock.nextTurn()
  return await ctx.storage.write(
    {
      waitMs: options.lockWaitMs ?? defaults.lockWaitMs,
      signal: options.signal,
      onWait: watchWait(ctx, options.onProgress),
    },
    async (session) => {
      const { stored, seen } = await readyStore(ctx, session, options)
      const request = { ...source, ...commitRequest(options, defaults), policy, signal }
      const { blobs, ...committed } = await commitSnapshot(ctx, session, stored.head, seen, request)
      return { ...committed, blobs: describeBlobs(blobs), durationMs: clock.monotonicMs() - startMs }
    },
  )
}

/**
 * The same up to where a pack would become durable, as a reader, and without the lock: another persist meanwhile does
 * not wait, and is not seen. Nothing is noted that a later persist would rely on.
 */
async function dryRun(
  ctx: StoreContext,
  where: string,
  options: CommitOptions,
  defaults: PersistDefaults,
  source: ContentSource,
): Promise<PersistResult> {
  const startMs = clock.monotonicMs()
  const stored = await ctx.storage.readHead()
  if (stored !== null) assertWritable(ctx, stored)
  assertExpected(ctx, stored?.head ?? null, options.expectedHead)
  const head = stored?.head ?? emptyHead(randomBytes(STORE_ID_BYTES).toString('hex'))
  const policy = policyOf(where, options) ?? defaults.policy
  const signal = options.signal ?? new AbortController().signal
  const request = { ...source, ...commitRequest(options, defaults), policy, covers: undefined, signal }
  const { blobs, ...committed } = await commitSnapshot(ctx, null, head, null, request)
  return { ...committed, blobs: describeBlobs(blobs), durationMs: clock.monotonicMs() - startMs }
}

/** What a commit takes from the options as they are. */
function commitRequest(
  { message, covers, expectedHead, onProgress }: CommitOptions,
  { packBytesMax }: PersistDefaults,
) {
  return { message, covers, expectedHead, packBytesMax, onProgress }
}

function describeBlobs(blobs: ReadonlyMap<string, BlobEntry>): PersistResult['blobs'] {
  return Object.fromEntries([...blobs].map(([name, { root, size }]) => [name, { cid: cidText(root), size }]))
}

/** @throws COMPRESSION_UNSUPPORTED */
export function wantsCompression(compression: PersistDefaults['compression']): boolean {
  if (compression === 'none') return false
  const prepared = prepareCompression()
  if (compression === 'zstd' && !prepared.ready) {
    throw new HoldfastError(
      'COMPRESSION_UNSUPPORTED',
      `compression: 'zstd' is not possible: this Node (${process.version}) cannot write zstd itself, as 22.15 can, and ${(prepared.reason as Error).message}. ` +
        "Or use compression: 'auto' or 'none'",
      { details: { node: process.version }, cause: prepared.reason },
    )
  }
  return prepared.ready
}

/** A Promise has no entries: it would be kept as nothing. */
function assertAwaited({ blobs, metadata, watermark }: PersistOptions): void {
  for (const [name, value] of Object.entries({ blobs, metadata, watermark })) refusePromise(value, `persist: ${name}`)
}

function strictClone(value: unknown, root: string): unknown {
  return decodeValue(encodeValue(value, root))
}

function assertMessage(where: string, message: unknown): void {
  if (typeof message === 'string' && isWellFormed(message)) return
  throw new TypeError(`${where}: message must be well-formed text, got ${JSON.stringify(message)}`)
}

/** Steps 1 and 2: a store that is there, durable, swept and ours to write. */
async function readyStore(
  ctx: StoreContext,
  session: WriteSession,
  options: CommitOptions,
): Promise<{ stored: StoredHead; seen: Seen | null }> {
  if (session.stored !== null) assertWritable(ctx, session.stored)
  assertExpected(ctx, session.stored?.head ?? null, options.expectedHead)
  assertCovers(ctx, session.stored?.head ?? null, options.covers)
  const seen = await cleanUp(ctx, session)
  await settleHead(session)
  if (session.stored === null) {
    await session.create(randomBytes(STORE_ID_BYTES).toString('hex'), clock.now().toISOString())
  }
  return { stored: session.stored!, seen }
}
