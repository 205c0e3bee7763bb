import { randomBytes } from 'node:crypto'
import { HoldfastError } from '../errors.ts'
import { assertChunking, type Chunking } from '../format/chunking.ts'
import { prepareCompression, ZSTD_PACKAGE } from '../format/compression.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import { decodeValue, encodeValue, isWellFormed } from '../format/value.ts'
import type { OnProgress } from '../progress.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import type { BlockSource } from './blocks.ts'
import { cleanUp, type Seen } from './clean-up.ts'
import { commitSnapshot } from './commit.ts'
import {
  assertExpected,
  assertWritable,
  type Environment,
  lazySourceOf,
  packsByLikelihood,
  watchWait,
} from './environment.ts'
import type { OpenPack } from './packs.ts'
import { type BlobInput, nameSources } from './sources.ts'

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
  const keepLast = options.keepLast ?? defaults.keepLast
  assertKeepLast(keepLast)
  if (options.chunking !== undefined) assertChunking(options.chunking)
  if (options.message !== undefined) assertMessage(options.message)
  // Refused before anything is read or locked, and copied: what the caller changes meanwhile is for the next snapshot.
  const metadata = strictClone(options.metadata ?? {}, 'metadata') as Record<string, unknown>
  const watermark = options.watermark === undefined ? undefined : strictClone(options.watermark, 'watermark')
  const compress = wantsCompression(defaults.compression)
  const sources = await nameSources(env.fs, options.blobs)

  return await env.storage.write(
    {
      waitMs: options.lockWaitMs ?? defaults.lockWaitMs,
      signal: options.signal,
      onWait: watchWait(env, options.onProgress),
    },
    async (session) => {
      const { stored, seen } = await readyStore(env, session, options)
      const known = await openKnownPacks(env, stored, seen)
      try {
        const result = await commitSnapshot(env, session, stored, known, {
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
        await known.release()
      }
    },
  )
}

function wantsCompression(compression: PersistDefaults['compression']): boolean {
  if (compression === 'none') return false
  const prepared = prepareCompression()
  if (compression === 'zstd' && !prepared.ready) {
    throw new HoldfastError(
      'COMPRESSION_UNSUPPORTED',
      `${ZSTD_PACKAGE} does not load, and this Node (${process.version}) cannot write zstd itself, as 22.15 can; install it, or use compression: 'auto' or 'none'`,
      { details: { node: process.version }, cause: prepared.reason },
    )
  }
  return prepared.ready
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
async function readyStore(
  env: Environment,
  session: WriteSession,
  options: PersistOptions,
): Promise<{ stored: StoredHead; seen: Seen | null }> {
  if (session.stored !== null) assertWritable(env, session.stored)
  assertExpected(env, session.stored?.head ?? null, options.expectedHead)
  const seen = await cleanUp(env, session)
  if (session.stored === null) {
    await session.create(randomBytes(STORE_ID_BYTES).toString('hex'), new Date().toISOString())
  }
  return { stored: session.stored!, seen }
}

/** Packs of the store that a persist builds on. */
export interface KnownPacks {
  source: BlockSource
  /** What the clean-up before saw. */
  seen: Seen | null
  /** Lets go of the packs that were opened; may be called before the commit, and twice. */
  release(): Promise<void>
}

/** Up to so many blocks, all indexes are read at once: 2 ms, and nothing is stored twice. */
const EAGER_BLOCKS = 20_000

/** Packs that cannot be read are left where they are; what only they hold is written again. */
async function openKnownPacks(env: Environment, { head }: StoredHead, seen: Seen | null): Promise<KnownPacks> {
  const storeId = fromHex(head.storeId, STORE_ID_BYTES)
  const current = head.snapshots.find(({ sequence }) => sequence === head.head)
  const packs: OpenPack[] = []
  const openers = (current === undefined ? [] : packsByLikelihood(head, current)).map((name) => async () => {
    const pack = await (seen?.packs.has(name) ? env.shelf.openLater(name, storeId) : env.shelf.open(name, storeId))
    packs.push(pack)
    return pack
  })
  async function release(): Promise<void> {
    await Promise.all(packs.map((pack) => pack.release()))
  }
  const source = lazySourceOf(env, openers, [])
  try {
    if (head.packs.reduce((sum, { blocks }) => sum + blocks, 0) <= EAGER_BLOCKS) await source.locateAll()
    return { source, seen, release }
  } catch (error) {
    await release()
    throw error
  }
}
