// Makes one snapshot: ingests the blobs, merges small packs, completes the new packs, swaps HEAD, and collects garbage.
// `persist.ts` says what the order protects. This file knows nothing of the options of a persist.

import { BadBlock, type BlockSource } from '../blocks/block-source.ts'
import { appendCommitRecord } from '../blocks/commit-record.ts'
import { createDedupWriter, type DedupWriter } from '../blocks/dedup-writer.ts'
import { createPackWriter, type PackWriter, type WrittenPack } from '../blocks/pack-writer.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { isDamage, isHoldfastError } from '../errors.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import type { ListBlock } from '../format/blob-list.ts'
import { CODEC_DAG_CBOR, cidText } from '../format/cid.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { EncodedManifest } from '../format/manifest.ts'
import { KIND } from '../format/pack.ts'
import { cleanUpAfter, type Seen } from '../gc/collect.ts'
import { type Compaction, compactPacks } from '../gc/compact.ts'
import { planCompaction } from '../gc/plan-compaction.ts'
import type { Policy } from '../history/keep.ts'
import { mergeDamaged, nextHead } from '../history/next-head.ts'
import { noteSave } from '../history/own-saves.ts'
import type { OnProgress } from '../progress.ts'
import type { PackSink, WriteSession } from '../storage/port.ts'
import { commitShared } from './commit-shared.ts'
import { coversOf, journalAfter } from './covers.ts'
import { assertReusedIsGood, assertReusedIsReadable, scanDamagedPacks } from './damaged-packs.ts'
import { type IngestTarget, isReadable } from './ingest.ts'
import { type KeptReasons, planKept, warnOfManyDropped } from './kept.ts'
import { openKnownPacks } from './known-packs.ts'
import { makingRoom } from './make-room.ts'
import { assertPacksPresent } from './packs-present.ts'

/** Where the content of a snapshot comes from. */
export interface ContentSource {
  /** Stores the blobs. The blocks of the manifest are stored by the commit. */
  ingest(target: IngestTarget, signal: AbortSignal): Promise<Ingested>
  /** Called when the new packs, of these names, are complete and durable, before HEAD names them. */
  checkStored?: ((head: Head, written: readonly string[]) => Promise<void>) | undefined
}

/** What a commit makes a snapshot of. */
interface CommitRequest extends ContentSource {
  message: string | undefined
  /** The last entry of the journal that the blobs hold the effect of. */
  covers: number | undefined
  /** See `PersistOptions`. Another writer's snapshot may become current while this one is made. */
  expectedHead: number | null | undefined
  policy: Policy
  packBytesMax: number
  signal: AbortSignal
  onProgress: OnProgress | undefined
}

interface Committed {
  sequence: number
  manifest: string
  /** The current snapshot already had exactly this content: nothing was written. */
  unchanged: boolean
  dropped: number[]
  kept: KeptReasons
  blobs: ReadonlyMap<string, BlobEntry>
  bytes: { total: number; written: number; reused: number; compacted: number }
}

/** The blocks of the store and those that this commit writes. */
interface Blocks {
  source: BlockSource
  dedup: DedupWriter
  writer: PackWriter
  damaged: ReadonlyMap<string, ReadonlySet<string>>
}

/** Blobs that are stored or being written, and the manifest that names them. */
export interface Ingested {
  blobs: ReadonlyMap<string, BlobEntry>
  metadata: Record<string, unknown>
  encoded: EncodedManifest
}

/** The content of the new snapshot. Its blocks are stored or being written. */
interface Content extends Ingested {
  manifest: string
  total: number
}

/**
 * Steps 3 to 6 of a persist. `seen` is the result of the clean-up before it. Without a session it is a dry run: nothing
 * is written.
 */
export async function commitSnapshot(
  ctx: StoreContext,
  session: WriteSession | null,
  head: Head,
  seen: Seen | null,
  request: CommitRequest,
): Promise<Committed> {
  const known = await openKnownPacks(ctx, head, seen)
  try {
    await scanDamagedPacks(ctx, head, request.signal)
    const blocks = openBlocks(ctx, session, head, known.source, request.packBytesMax)
    try {
      return await commit(ctx, session, head, seen, blocks, request, known.release)
    } catch (error) {
      await blocks.dedup.drain().catch(() => undefined)
      // After COMMIT_UNKNOWN HEAD may name the new packs.
      if (!isHoldfastError(error, 'COMMIT_UNKNOWN')) await blocks.writer.discard()
      throw error
    }
  } finally {
    await known.release()
  }
}

/** Of a dry run: packs are made as always, and go nowhere. */
const NOWHERE: PackSink = {
  write: async () => undefined,
  commit: async () => undefined,
  discard: async () => undefined,
}

function openBlocks(
  ctx: StoreContext,
  session: WriteSession | null,
  head: Head,
  source: BlockSource,
  packBytesMax: number,
): Blocks {
  const damaged = mergeDamaged(head.damaged, ctx.badBlocks.noted)
  const writer = createPackWriter({
    storeId: fromHex(head.storeId, STORE_ID_BYTES),
    revision: head.revision + 1,
    firstPackId: head.packs.reduce((largest, { id }) => Math.max(largest, id), 0) + 1,
    packBytesMax,
    createPack: async (revision) => (session === null ? NOWHERE : makingRoom(ctx, await session.createPack(revision))),
  })
  const ids = new Map(head.packs.map(({ id, name }) => [name, id]))
  const dedup = createDedupWriter({ source, ids, damaged: [damaged, ctx.badBlocks.noted], writer })
  return { source, dedup, writer, damaged }
}

async function commit(
  ctx: StoreContext,
  session: WriteSession | null,
  head: Head,
  seen: Seen | null,
  blocks: Blocks,
  request: CommitRequest,
  releaseKnown: () => Promise<void>,
): Promise<Committed> {
  const { dedup, writer } = blocks
  const current = head.snapshots.find(({ sequence }) => sequence === head.current) ?? null
  const content = await ingest(current, blocks, request)
  await assertReusedIsReadable(ctx, blocks, request.signal)
  await assertReusedIsGood(ctx, head, blocks, request.signal)
  if (await isCurrent(current, content, blocks)) {
    if (session === null) return unchanged(current!, content)
    return await acknowledge(ctx, session, head, current!, content, dedup, request.covers)
  }

  const sequence = head.sequence + 1
  const time = clock.now().toISOString()
  const { kept, dropped, reasons } = planKept(head, { sequence, time }, request.policy)
  const compaction = await mergeSmallPacks(ctx, head, kept, blocks, request)
  const manifestPack = packOfManifest(dedup, content)
  await dedup.flush()
  await dedup.drain()
  request.signal.throwIfAborted()

  if (session !== null && !ctx.storage.supports.alone) {
    const { blobs, metadata, manifest, encoded, total } = content
    const draft = { manifest, digest: encoded.digest, manifestPack, total, time, compaction }
    const made = await commitShared(ctx, session, head, blocks, { ...draft, ...request })
    ctx.lastPersisted = { manifest, blobs, metadata }
    const compacted = compaction?.movedBytes ?? 0
    const bytes = { total, written: made.writtenBytes - compacted, reused: dedup.reusedBytes, compacted }
    const { sequence: given, dropped: gone, reasons: why } = made
    return { sequence: given, manifest, unchanged: false, dropped: gone, kept: why, blobs, bytes }
  }
  const covers = coversOf(ctx, head, request.covers)
  // The records are in the last pack, so each snapshot that has one there needs it.
  const lastPack = writer.packId
  const renewed = (compaction?.snapshots ?? []).filter((old) => compaction!.changed.has(old.sequence))
  const snapshot: HeadSnapshot = {
    sequence,
    manifest: content.manifest,
    time,
    ...(request.message === undefined ? {} : { message: request.message }),
    tags: [],
    abandoned: false,
    pack: manifestPack,
    packs: withPack(dedup.needed(), lastPack),
    size: content.total,
    ...(covers === undefined ? {} : { covers }),
  }
  const names = new Map([...head.packs, ...writer.packs].map(({ id, name }) => [id, name]))
  for (const record of [...renewed, snapshot]) appendCommitRecord(writer, head.storeId, record, names)

  request.onProgress?.({ phase: 'committing' })
  const { packs: written, last, seal } = await writer.finish()
  const compacted = compaction?.movedBytes ?? 0
  const bytes = { total: content.total, written: writer.bytes - compacted, reused: dedup.reusedBytes, compacted }
  const { manifest, blobs } = content
  const committed = { sequence, manifest, unchanged: false, dropped, kept: reasons, blobs, bytes }
  if (session === null) return committed
  // The packs become durable while the new HEAD is written in `tmp/`. HEAD is renamed only after that.
  const stored = seal().then(() => request.checkStored?.(head, namesOf(written)))
  const ready = Promise.all([stored, assertPacksPresent(ctx, session, head.packs, dedup.needed())])
  ready.catch(() => undefined)
  const released = releaseKnown()
  const older = (compaction?.snapshots ?? kept).map((old) =>
    compaction?.changed.has(old.sequence) ? { ...old, packs: withPack(old.packs, lastPack) } : old,
  )
  // All of a first pack is alive. Of later packs this is unknown once snapshots go.
  const isAllAlive = compaction === null && head.packs.length === 0
  const gone = await missing(session, head, seen)
  const next = nextHead(head, {
    current: sequence,
    snapshots: [snapshot, ...older],
    written: written.map((pack) => ({ ...pack, live: isAllAlive ? pack.bytes : null })),
    ...(compaction === null ? {} : { live: compaction.live }),
    damaged: ctx.badBlocks.noted,
    gone,
    journal: journalAfter(ctx, head, [snapshot, ...older]),
  })
  const save = noteSave(next, head.current)
  await session.swapHead(next, () => ready)
  save.done()
  warnOfManyDropped(ctx, head, dropped, request.policy)
  for (const digest of dedup.writtenBlocks) ctx.checkedBlocks.note(digest)
  if (covers !== undefined) await ctx.journal?.committed(covers.sequence, sequence, head.journal?.first ?? null)

  ctx.badBlocks.clear()
  const newest = written.at(-1)
  if (newest !== undefined && last !== null) ctx.packCache.put(newest.name, last, newest.bytes)
  ctx.lastPersisted = { manifest: content.manifest, blobs: content.blobs, metadata: content.metadata }
  await cleanUpAfter(ctx, session, seen)
  await released
  return committed
}

async function ingest(
  current: HeadSnapshot | null,
  { source, dedup, writer }: Blocks,
  request: CommitRequest,
): Promise<Content> {
  const previous = current === null ? null : { snapshot: current, source }
  const ingested = await request.ingest({ dedup, writer, previous }, request.signal)
  const { blobs, encoded } = ingested
  for (const { block, digest } of blocksOf(encoded)) dedup.block(block, digest, CODEC_DAG_CBOR, KIND.manifest)
  const total = [...blobs.values()].reduce((sum, { size }) => sum + size, 0)
  return { ...ingested, manifest: cidText({ codec: CODEC_DAG_CBOR, digest: encoded.digest }), total }
}

/** Its blob list, then the manifest. */
function blocksOf(encoded: EncodedManifest): ListBlock[] {
  return [...encoded.list, encoded]
}

/**
 * The id of the pack that has the manifest. Merging may have moved one that the store had, and it may have met an error
 * that makes a block that was to be reused one that is not trusted: such a one is written again.
 */
function packOfManifest(dedup: DedupWriter, { encoded }: Content): number {
  for (const { block, digest } of blocksOf(encoded)) {
    if (dedup.packOf(digest) === -1) dedup.block(block, digest, CODEC_DAG_CBOR, KIND.manifest)
  }
  return dedup.packOf(encoded.digest)
}

/** Whether the current snapshot has exactly this content, and no block of it had to be written again. */
async function isCurrent(
  current: HeadSnapshot | null,
  { manifest, encoded }: Content,
  { source, dedup, writer }: Blocks,
): Promise<boolean> {
  if (current?.manifest !== manifest || writer.bytes > 0) return false
  for (const { block, digest } of blocksOf(encoded)) {
    if (await isReadable(source, digest)) continue
    // The manifest was known from memory, and this block of it is damaged on the disk: `block` writes it again.
    dedup.block(block, digest, CODEC_DAG_CBOR, KIND.manifest)
  }
  return writer.bytes === 0
}

function unchanged({ sequence }: HeadSnapshot, { blobs, manifest, total }: Content): Committed {
  const bytes = { total, written: 0, reused: total, compacted: 0 }
  return { sequence, manifest, unchanged: true, dropped: [], kept: [], blobs, bytes }
}

async function acknowledge(
  ctx: StoreContext,
  session: WriteSession,
  head: Head,
  current: HeadSnapshot,
  content: Content,
  dedup: DedupWriter,
  covers: number | undefined,
): Promise<Committed> {
  await assertPacksPresent(ctx, session, head.packs, dedup.needed())
  const answer = unchanged(current, content)
  if (await raiseCovers(ctx, session, head, current, covers)) return answer
  // An uncertain commit is not acknowledged again: the same content gets a new revision.
  // Where another writer has moved HEAD meanwhile, the uncertain one can take effect no more.
  if (session.uncertain) {
    await session.swapHead((stored) => (stored.head.revision === head.revision ? nextHead(head, {}) : null))
  }
  return answer
}

/** The same content may hold the effect of more entries than it did. Answers whether HEAD was replaced. */
async function raiseCovers(
  ctx: StoreContext,
  session: WriteSession,
  head: Head,
  current: HeadSnapshot,
  sequence: number | undefined,
): Promise<boolean> {
  const covers = coversOf(ctx, head, sequence)
  if (covers === undefined) return false
  const before = current.covers
  const isSame = before?.skips.length === covers.skips.length
  if (before?.journal === covers.journal && covers.sequence <= before.sequence && isSame) return false
  const snapshots = head.snapshots.map((each) => (each === current ? { ...each, covers } : each))
  await session.swapHead(nextHead(head, { snapshots, journal: journalAfter(ctx, head, snapshots) }))
  await ctx.journal?.committed(covers.sequence, current.sequence, head.journal?.first ?? null)
  return true
}

function namesOf(packs: readonly WrittenPack[]): string[] {
  return packs.map(({ name }) => name)
}

/** Ascending, `pack` included. */
function withPack(packs: Iterable<number>, pack: number): number[] {
  return [...new Set([...packs, pack])].sort((a, b) => a - b)
}

/**
 * Null when there is nothing to merge. Compaction is housekeeping: when it meets damage the persist goes on without it.
 */
async function mergeSmallPacks(
  ctx: StoreContext,
  head: Head,
  kept: readonly HeadSnapshot[],
  { source, dedup, writer, damaged }: Blocks,
  { signal, onProgress }: Pick<CommitRequest, 'signal' | 'onProgress'>,
): Promise<Compaction | null> {
  const badPacks = new Set(damaged.keys())
  // An open store rewrites behind its persists (`space/housekeeping.ts`). One that persists for the first time may be
  // closed right after it.
  const rewrite = !ctx.storage.supports.alone || ctx.lastPersisted === null
  const plan = planCompaction(head.packs, badPacks, rewrite)
  if (!plan.measure) return null
  try {
    await source.loadAllIndexes()
    return await compactPacks({
      plan,
      packs: source.packs.map(({ name }) => head.packs.find((pack) => pack.name === name)!),
      source,
      damaged: badPacks,
      snapshots: kept,
      blocks: dedup,
      writer,
      signal,
      onProgress,
      onBadBlock: ctx.badBlocks.note,
      links: ctx.links,
    })
  } catch (error) {
    if (!isDamage(error) && !(error instanceof BadBlock)) throw error
    ctx.warn({
      code: 'COMPACTION_SKIPPED',
      message: `${ctx.storage.location}: old packs were not merged, because one of them is damaged: ${error.message}`,
      details: { error },
    })
    return null
  }
}

/** Retired packs whose files are gone. */
async function missing(session: WriteSession, head: Head, seen: Seen | null): Promise<Set<string>> {
  const present = seen?.packs ?? new Set(await session.listPacks())
  return new Set(head.retired.map(({ name }) => name).filter((name) => !present.has(name)))
}
