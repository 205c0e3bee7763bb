import { randomBytes } from 'node:crypto'
import { HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import { blake3 } from '../format/blake3.ts'
import { assertChunking, type Chunking } from '../format/chunking.ts'
import { CODEC_DAG_CBOR, cidText } from '../format/cid.ts'
import { zstdAvailable } from '../format/compression.ts'
import type { Head, HeadPack, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import { encodeManifest } from '../format/manifest.ts'
import { KIND } from '../format/pack.ts'
import { decodeValue, encodeValue, isWellFormed } from '../format/value.ts'
import type { OnProgress } from '../progress.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { type BlockWriter, createBlockWriter } from './block-writer.ts'
import { BadBlock, type BlockSource } from './blocks.ts'
import { captureBlobs } from './capture.ts'
import { cleanUp, collectFiles } from './clean-up.ts'
import { appendCommitRecord } from './commit-record.ts'
import {
  assertExpected,
  assertWritable,
  type Environment,
  lazySourceOf,
  noteBadPack,
  packsByLikelihood,
} from './environment.ts'
import { type Folded, foldPacks } from './fold.ts'
import { createIntake, type Intake } from './intake.ts'
import { mergeDamaged, nextHead } from './next-head.ts'
import type { OpenPack } from './packs.ts'
import { planFold } from './plan-fold.ts'
import { planRetention } from './retention.ts'
import { type BlobInput, type NamedSource, nameSources } from './sources.ts'

/** What to persist, and how. */
export interface PersistOptions {
  /** Blobs by name. */
  blobs: Readonly<Record<string, BlobInput>> | Iterable<readonly [string, BlobInput]>
  /** The caller's data: plain values, bytes, links. `METADATA_INVALID` names the field that cannot be kept faithfully. */
  metadata?: Record<string, unknown>
  /** Any comparable position of the source of truth. */
  watermark?: unknown
  /** For people reading the history. */
  message?: string
  /** How blobs are cut that do not say so themselves; default `content()`. */
  chunking?: Chunking
  /** Overrides the store's. */
  keepLast?: number
  /** `HEAD_CONFLICT` unless this is the current sequence (null: no snapshot yet). */
  expectedHead?: number | null
  /** Called before and after the blobs are read; another answer is `SOURCE_CHANGED` and nothing is committed. */
  unchanged?: () => unknown
  /** How long to wait for another writer, in ms; default 30,000. */
  lockWaitMs?: number
  /** Rejects with `signal.reason`; nothing is committed. */
  signal?: AbortSignal
  onProgress?: OnProgress
}

export interface PersistResult {
  sequence: number
  /** CID of the manifest: equal content under equal chunking has an equal one. */
  manifest: string
  /** The store already had exactly this as its current snapshot; nothing was written. */
  unchanged: boolean
  bytes: {
    /** Of all blobs. */
    total: number
    /** Written into packs for this snapshot, indexes included. */
    written: number
    /** Of blob bytes that were in the store already. */
    reused: number
    /** Of older blocks, copied so that their packs can go. */
    folded: number
  }
  blobs: Record<string, { cid: string; size: number }>
  durationMs: number
}

/** The store's settings that a persist follows. */
export interface PersistDefaults {
  keepLast: number
  lockWaitMs: number
  packBytesMax: number
  compression: 'auto' | 'none' | 'zstd'
}

/**
 * The order is what keeps the promises:
 *
 *  1. the lock: one writer;
 *  2. HEAD is read and made durable, before anything is built on it;
 *  3. blobs are taken in, from our own copy; new blocks go into a pack in `tmp/`;
 *  4. the pack is fsynced, renamed, and its directory fsynced: what HEAD will name is durable before HEAD names it;
 *  5. HEAD is replaced and made durable: from here on the snapshot exists, and only now may the caller be told;
 *  6. only now is anything deleted.
 */
export async function persist(
  env: Environment,
  options: PersistOptions,
  defaults: PersistDefaults,
): Promise<PersistResult> {
  const startMs = performance.now()
  const signal = options.signal ?? new AbortController().signal
  signal.throwIfAborted()
  const compress = wantsCompression(defaults.compression)
  const keepLast = options.keepLast ?? defaults.keepLast
  assertKeepLast(keepLast)
  if (options.chunking !== undefined) assertChunking(options.chunking)
  if (options.message !== undefined) assertMessage(options.message)
  // Refused before anything is read or locked, and copied: what the caller changes meanwhile is for the next snapshot.
  const metadata = strictClone(options.metadata ?? {}, 'metadata') as Record<string, unknown>
  const watermark = options.watermark === undefined ? undefined : strictClone(options.watermark, 'watermark')
  const sources = await nameSources(env.fs, options.blobs)

  return await env.storage.write(
    {
      waitMs: options.lockWaitMs ?? defaults.lockWaitMs,
      signal: options.signal,
      onWait: (waitedMs) => options.onProgress?.({ phase: 'waiting', waitedMs }),
    },
    async (session) => {
      const stored = await readyStore(env, session, options)
      const opened = await openKnownPacks(env, stored)
      try {
        const result = await persistLocked(env, session, stored, opened, {
          ...options,
          metadata,
          watermark,
          signal,
          keepLast,
          sources,
          compress,
          packBytesMax: defaults.packBytesMax,
        })
        return { ...result, durationMs: performance.now() - startMs }
      } finally {
        for (const pack of opened.packs) await pack.release()
      }
    },
  )
}

function wantsCompression(compression: PersistDefaults['compression']): boolean {
  if (compression === 'zstd' && !zstdAvailable()) {
    throw new HoldfastError(
      'COMPRESSION_UNSUPPORTED',
      `zstd needs Node 22.15 or later to write (this is ${process.version}); use compression: 'auto' or 'none'`,
      { details: { node: process.version } },
    )
  }
  return compression !== 'none' && zstdAvailable()
}

export function assertKeepLast(keepLast: unknown): void {
  if (typeof keepLast !== 'number' || !Number.isInteger(keepLast) || keepLast < 1 || keepLast > 1000) {
    throw new RangeError(`keepLast is the number of snapshots to keep, 1 to 1,000; got ${String(keepLast)}`)
  }
}

function strictClone(value: unknown, root: string): unknown {
  return decodeValue(encodeValue(value, root))
}

function assertMessage(message: unknown): void {
  if (typeof message === 'string' && isWellFormed(message)) return
  throw new TypeError(`persist: message must be well-formed text, got ${JSON.stringify(message)}`)
}

/** Steps 1 and 2: a store that is there, durable, swept and ours to write. */
async function readyStore(env: Environment, session: WriteSession, options: PersistOptions): Promise<StoredHead> {
  if (session.stored !== null) assertWritable(env, session.stored)
  assertExpected(env, session.stored?.head ?? null, options.expectedHead)
  await cleanUp(env, session)
  if (session.stored === null) {
    await session.create(randomBytes(STORE_ID_BYTES).toString('hex'), new Date().toISOString())
  }
  return session.stored!
}

interface KnownPacks {
  /** Packs that have been opened. */
  packs: OpenPack[]
  source: BlockSource
}

/** Up to so many blocks, all indexes are read at once: 2 ms, and nothing is stored twice. */
const EAGER_BLOCKS = 20_000

/** Packs that cannot be read are left where they are; what only they hold is written again. */
async function openKnownPacks(env: Environment, { head }: StoredHead): Promise<KnownPacks> {
  const storeId = fromHex(head.storeId, STORE_ID_BYTES)
  const current = head.snapshots.find(({ sequence }) => sequence === head.head)
  const packs: OpenPack[] = []
  const openers = (current === undefined ? [] : packsByLikelihood(head, current)).map((name) => async () => {
    const pack = await env.shelf.open(name, storeId)
    packs.push(pack)
    return pack
  })
  const source = lazySourceOf(env, openers, [])
  try {
    if (head.packs.reduce((sum, { blocks }) => sum + blocks, 0) <= EAGER_BLOCKS) await source.locateAll()
    return { packs, source }
  } catch (error) {
    for (const pack of packs) await pack.release()
    throw error
  }
}

interface LockedOptions extends PersistOptions {
  signal: AbortSignal
  keepLast: number
  sources: readonly NamedSource[]
  compress: boolean
  packBytesMax: number
}

async function persistLocked(
  env: Environment,
  session: WriteSession,
  stored: StoredHead,
  known: KnownPacks,
  options: LockedOptions,
): Promise<Omit<PersistResult, 'durationMs'>> {
  const { head } = stored
  const current = head.snapshots.find(({ sequence }) => sequence === head.head) ?? null
  const damaged = mergeDamaged(head.damaged, env.badBlocks)
  const writer = createBlockWriter({
    storeId: fromHex(head.storeId, STORE_ID_BYTES),
    revision: head.revision + 1,
    firstPackId: Math.max(0, ...head.packs.map(({ id }) => id)) + 1,
    packBytesMax: options.packBytesMax,
    compress: options.compress,
    createPack: () => session.createPack(),
  })
  const ids = new Map(head.packs.map(({ id, name }) => [name, id]))
  const intake = createIntake({ source: known.source, ids, damaged, writer })
  try {
    const blobs = await captureBlobs(env, {
      sources: options.sources,
      previous: current === null ? null : { snapshot: current, source: known.source },
      intake,
      chunking: options.chunking,
      unchanged: options.unchanged,
      signal: options.signal,
      onProgress: options.onProgress,
      writtenBytes: () => writer.bytes,
    })
    const block = encodeManifest({
      blobs,
      metadata: options.metadata ?? {},
      ...(options.watermark === undefined ? {} : { watermark: options.watermark }),
    })
    const id = { codec: CODEC_DAG_CBOR, digest: blake3(block) } as const
    intake.block(block, id.digest, CODEC_DAG_CBOR, KIND.manifest)
    const manifest = cidText(id)
    const total = [...blobs.values()].reduce((sum, { size }) => sum + size, 0)
    const result = {
      manifest,
      blobs: Object.fromEntries([...blobs].map(([name, { root, size }]) => [name, { cid: cidText(root), size }])),
    }

    if (current?.manifest === manifest && writer.bytes === 0) {
      await assertPacksPresent(env, session, head.packs, intake)
      // An uncertain commit is not acknowledged again: the same content gets a new revision.
      if (session.uncertain) await session.swapHead(nextHead(head, {}))
      const bytes = { total, written: 0, reused: total, folded: 0 }
      return { ...result, sequence: current.sequence, unchanged: true, bytes }
    }

    const snapshot: HeadSnapshot = {
      sequence: head.sequence + 1,
      manifest,
      time: new Date().toISOString(),
      ...(options.message === undefined ? {} : { message: options.message }),
      tags: [],
      abandoned: false,
      pack: intake.packOf(id.digest),
      packs: [],
      size: total,
    }
    const kept = planRetention([snapshot, ...head.snapshots], snapshot.sequence, options.keepLast).slice(1)
    const plan = planFold(head.packs, new Set(damaged.keys()))
    const folded = plan.measure
      ? await tryFold(env, head, kept, known.source, intake, writer, damaged, plan, options)
      : null
    await intake.flush()
    await intake.settled()
    options.signal.throwIfAborted()

    // Folding may have moved a manifest that the store already had.
    snapshot.pack = intake.packOf(id.digest)
    snapshot.packs = [...intake.needed()].sort((a, b) => a - b)
    const names = new Map([...head.packs, ...writer.packs].map(({ id, name }) => [id, name]))
    const renewed = (folded?.snapshots ?? kept).filter(({ sequence }) => folded?.changed.has(sequence))
    for (const record of [...renewed, snapshot]) appendCommitRecord(writer, head.storeId, record, names)
    // The records are in the last pack, so every snapshot they speak of needs it.
    snapshot.packs = [...new Set([...snapshot.packs, writer.packId])].sort((a, b) => a - b)
    const lastPack = writer.packId
    const foldedBytes = folded?.movedBytes ?? 0
    const written = await writer.finish()
    options.onProgress?.({ phase: 'committing' })
    await assertPacksPresent(env, session, head.packs, intake)

    const snapshots = (folded?.snapshots ?? kept).map((s) =>
      folded?.changed.has(s.sequence) && !s.packs.includes(lastPack) ? { ...s, packs: [...s.packs, lastPack] } : s,
    )
    await session.swapHead(
      nextHead(head, {
        head: snapshot.sequence,
        snapshots: [snapshot, ...snapshots],
        // All of a first pack is alive; of others it is not known once snapshots go.
        written: written.map((pack) => ({
          ...pack,
          live: folded === null && head.packs.length > 0 ? null : pack.bytes,
        })),
        ...(folded === null ? {} : { live: folded.live }),
        damaged: env.badBlocks,
        gone: await missing(session, head),
      }),
    )
    env.badBlocks.clear()
    await afterCommit(env, session)
    const bytes = {
      total,
      written: writer.bytes - foldedBytes,
      reused: intake.reusedBytes,
      folded: foldedBytes,
    }
    return { ...result, sequence: snapshot.sequence, unchanged: false, bytes }
  } catch (error) {
    await intake.settled().catch(() => undefined)
    // Whether HEAD names them is not known then.
    if (!isHoldfastError(error, 'COMMIT_UNKNOWN')) await writer.discard()
    throw error
  }
}

/** Folding is housekeeping: when it meets damage the persist goes on without it. */
async function tryFold(
  env: Environment,
  head: Head,
  kept: readonly HeadSnapshot[],
  source: BlockSource,
  intake: Intake,
  writer: BlockWriter,
  damaged: ReadonlyMap<string, unknown>,
  plan: ReturnType<typeof planFold>,
  options: LockedOptions,
): Promise<Folded | null> {
  try {
    await source.locateAll()
    // What cannot be read cannot be measured: a pack that only looks unneeded must not be retired.
    if (source.packs.length < head.packs.length) return null
    return await foldPacks({
      plan,
      packs: source.packs.map(({ name }) => head.packs.find((pack) => pack.name === name)!),
      source,
      damaged: new Set(damaged.keys()),
      snapshots: kept,
      intake,
      writer,
      signal: options.signal,
      onProgress: options.onProgress,
    })
  } catch (error) {
    if (!isDamage(error) && !(error instanceof BadBlock)) throw error
    env.warn({
      code: 'COPY_DAMAGED',
      message: `${env.storage.location}: old packs were not merged, because one of them is damaged: ${error.message}`,
      details: { error },
    })
    return null
  }
}

/** Packs that this snapshot builds on must still lie there with their full length, or it would be broken from birth. */
async function assertPacksPresent(
  env: Environment,
  session: WriteSession,
  packs: readonly HeadPack[],
  intake: Intake,
): Promise<void> {
  const needed = intake.needed()
  for (const { id, name, bytes } of packs) {
    if (!needed.has(id)) continue
    const found = await session.packBytes(name)
    if (found === bytes) continue
    // The next try writes anew what was in it.
    noteBadPack(env, name)
    throw new HoldfastError(
      found === null ? 'PACK_MISSING' : 'PACK_DAMAGED',
      `pack ${name} ${found === null ? 'is missing' : `has ${found} bytes`}, HEAD says ${bytes}; nothing was committed, persist again`,
      { details: { pack: name, bytes, found } },
    )
  }
}

async function missing(session: WriteSession, head: Head): Promise<Set<string>> {
  const gone = new Set<string>()
  for (const { name } of head.retired) if ((await session.packBytes(name)) === null) gone.add(name)
  return gone
}

/** The snapshot is durable and stays so: what fails from here on is a warning. */
async function afterCommit(env: Environment, session: WriteSession): Promise<void> {
  try {
    await cleanUp(env, session)
    await collectFiles(env, session)
  } catch (error) {
    env.warn({
      code: 'SWEEP_FAILED',
      message: `${env.storage.location}: some files that nobody needs could not be removed: ${(error as Error).message}`,
      details: { error },
    })
  }
}
