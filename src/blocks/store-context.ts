import { HoldfastError, isDamage } from '../errors.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { FileSystem } from '../fs/port.ts'
import type { Local } from '../local/local.ts'
import type { OnProgress, OnWarning } from '../progress.ts'
import type { Storage, StoredHead } from '../storage/port.ts'
import {
  type BlockSource,
  type BlockSourceOptions,
  lazyBlockSource,
  openBlockSource,
  type PackOpener,
} from './block-source.ts'
import type { OpenPack, PackCache } from './pack-cache.ts'

/** What every operation of one open store works with. */
export interface StoreContext {
  storage: Storage
  /** For the caller's own files: blob sources and targets. */
  fs: FileSystem
  /** What this machine keeps beside the storage. */
  local: Local
  packCache: PackCache
  warn: OnWarning
  badBlocks: BadBlocks
}

/**
 * Blocks that reads of this process found to be bad; the next write records them in HEAD. Pack name → hex digests; an empty set: no block
 * of that pack is counted on.
 */
type BadBlocks = Map<string, ReadonlySet<string>>

export function noteBadBlock(ctx: StoreContext, pack: string, digest: Uint8Array): void {
  const noted = ctx.badBlocks.get(pack)
  ctx.badBlocks.set(pack, joinBad(noted, new Set([Buffer.from(digest).toString('hex')])))
}

/** Its index cannot be read, or it is gone. */
export function noteBadPack(ctx: StoreContext, pack: string): void {
  ctx.badBlocks.set(pack, new Set())
}

/** HEAD is read and written with every persist: of a pack with more bad blocks than this, none is counted on. */
const BAD_BLOCKS_LISTED_MAX = 256

export function joinBad(a: ReadonlySet<string> | undefined, b: ReadonlySet<string>): ReadonlySet<string> {
  if (a === undefined) return b
  if (a.size === 0 || b.size === 0) return new Set()
  const all = new Set([...a, ...b])
  return all.size > BAD_BLOCKS_LISTED_MAX ? new Set() : all
}

/** Opens packs by name. Damaged and missing ones are answered apart: their blocks may be elsewhere. */
export async function openPacks(
  ctx: StoreContext,
  stored: StoredHead,
  names: readonly string[],
): Promise<{ packs: OpenPack[]; failures: HoldfastError[] }> {
  const storeId = fromHex(stored.head.storeId, STORE_ID_BYTES)
  const opened = await Promise.allSettled(names.map((name) => ctx.packCache.open(name, storeId)))
  const packs = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failures: HoldfastError[] = []
  for (const result of opened) {
    if (result.status === 'fulfilled') continue
    if (isDamage(result.reason)) {
      failures.push(result.reason)
      continue
    }
    for (const pack of packs) await pack.release()
    throw result.reason
  }
  return { packs, failures }
}

export async function openSourceOf(
  ctx: StoreContext,
  packs: readonly OpenPack[],
  failures: readonly unknown[],
  others?: () => Promise<BlockSource | null>,
): Promise<BlockSource> {
  return await openBlockSource(packs, sourceOptions(ctx, failures, others))
}

/** As `openSourceOf`, but each index is read, and each pack opened, when a look-up needs it. */
export function lazySourceOf(
  ctx: StoreContext,
  openers: readonly PackOpener[],
  failures: readonly unknown[],
  others?: () => Promise<BlockSource | null>,
): BlockSource {
  return lazyBlockSource(openers, sourceOptions(ctx, failures, others))
}

function sourceOptions(
  ctx: StoreContext,
  failures: readonly unknown[],
  others: (() => Promise<BlockSource | null>) | undefined,
): BlockSourceOptions {
  return { failures, others, onBadBlock: (pack, digest) => noteBadBlock(ctx, pack, digest) }
}

/** Names of packs in the order in which a snapshot's blocks are likely to be found: its manifest's, then the newest first. */
export function packsByLikelihood(head: Head, snapshot: HeadSnapshot): string[] {
  const rank = (id: number): number => (id === snapshot.pack ? 2 : snapshot.packs.includes(id) ? 1 : 0)
  return [...head.packs].sort((a, b) => rank(b.id) - rank(a.id) || b.id - a.id).map(({ name }) => name)
}

const LONG_WAIT_MS = 5_000

/** Tells of waiting for another writer: as progress all along, and as a warning once it is long. */
export function watchWait(ctx: StoreContext, onProgress: OnProgress | undefined): (waitedMs: number) => void {
  let warned = false
  return (waitedMs) => {
    onProgress?.({ phase: 'waiting', waitedMs })
    if (warned || waitedMs < LONG_WAIT_MS) return
    warned = true
    ctx.warn({
      code: 'LONG_LOCK_WAIT',
      message: `${ctx.storage.location}: still waiting for another writer after ${Math.round(waitedMs / 1000)} s`,
      details: { location: ctx.storage.location, waitedMs },
    })
  }
}

/** A store written by a newer version is read, not written. */
export function assertWritable(ctx: StoreContext, stored: StoredHead): void {
  if (stored.unknown.length === 0) return
  throw new HoldfastError(
    'VERSION_UNSUPPORTED',
    `${ctx.storage.location} was written by a newer holdfast (HEAD has ${stored.unknown.join(', ')}): it can be read, not written`,
    { details: { unknown: stored.unknown } },
  )
}

/** Optimistic concurrency: the caller says which snapshot it believes to be the current one. */
export function assertExpected(ctx: StoreContext, head: Head | null, expected: number | null | undefined): void {
  const current = head?.current ?? null
  if (expected === undefined || expected === current) return
  throw new HoldfastError(
    'HEAD_CONFLICT',
    `${ctx.storage.location}: expected snapshot ${expected} to be the current one, but it is ${current}; load it and try again`,
    { details: { expected, current } },
  )
}
