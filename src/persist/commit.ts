import { BadBlock, type BlockSource } from '../blocks/block-source.ts'
import { appendCommitRecord } from '../blocks/commit-record.ts'
import { createDedupWriter, type DedupWriter } from '../blocks/dedup-writer.ts'
import { createPackWriter, type PackWriter } from '../blocks/pack-writer.ts'
import { noteBadBlock, noteBadPack, type StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import { blake3 } from '../format/blake3.ts'
import { CODEC_DAG_CBOR, cidText } from '../format/cid.ts'
import type { Head, HeadPack, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import { encodeManifest } from '../format/manifest.ts'
import { KIND } from '../format/pack.ts'
import { cleanUpAfter, type Seen } from '../gc/collect.ts'
import { type Compaction, compactPacks } from '../gc/compact.ts'
import { planCompaction } from '../gc/plan-compaction.ts'
import { reachableCacheOf } from '../gc/reachable-cache.ts'
import { mergeDamaged, nextHead } from '../history/next-head.ts'
import { planRetention } from '../history/retention.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { ingestBlobs, isReadable, rememberBlobs } from './ingest.ts'
import type { KnownPacks } from './known-packs.ts'
import type { PersistOptions, PersistResult } from './options.ts'
import type { NamedSource } from './sources.ts'

/** A persist whose options are checked and whose sources are named. */
interface CommitOptions extends PersistOptions {
  signal: AbortSignal
  keepLast: number
  sources: readonly NamedSource[]
  compress: boolean
  packBytesMax: number
}

/** Steps 3 to 6 of a persist: takes the blobs in, completes the packs, replaces HEAD, tidies up. */
export async function commitSnapshot(
  ctx: StoreContext,
  session: WriteSession,
  stored: StoredHead,
  { source, seen, release }: KnownPacks,
  options: CommitOptions,
): Promise<Omit<PersistResult, 'durationMs'>> {
  const { head } = stored
  const current = head.snapshots.find(({ sequence }) => sequence === head.current) ?? null
  const damaged = mergeDamaged(head.damaged, ctx.badBlocks)
  const writer = createPackWriter({
    storeId: fromHex(head.storeId, STORE_ID_BYTES),
    revision: head.revision + 1,
    firstPackId: Math.max(0, ...head.packs.map(({ id }) => id)) + 1,
    packBytesMax: options.packBytesMax,
    createPack: () => session.createPack(),
  })
  const ids = new Map(head.packs.map(({ id, name }) => [name, id]))
  const dedup = createDedupWriter({ source, ids, damaged: [damaged, ctx.badBlocks], writer })
  try {
    const blobs = await ingestBlobs(ctx, {
      sources: options.sources,
      previous: current === null ? null : { snapshot: current, source },
      dedup,
      chunking: options.chunking,
      compress: options.compress,
      unchanged: options.sourceVersion,
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
    dedup.block(block, id.digest, CODEC_DAG_CBOR, KIND.manifest)
    const manifest = cidText(id)
    const total = [...blobs.values()].reduce((sum, { size }) => sum + size, 0)
    const result = {
      manifest,
      blobs: Object.fromEntries([...blobs].map(([name, { root, size }]) => [name, { cid: cidText(root), size }])),
    }

    // What was not read from the disk may be damaged there; then it is written again.
    if (current?.manifest === manifest && writer.bytes === 0 && !(await isReadable(source, id.digest))) {
      dedup.block(block, id.digest, CODEC_DAG_CBOR, KIND.manifest)
    }
    if (current?.manifest === manifest && writer.bytes === 0) {
      await assertPacksPresent(ctx, session, head.packs, dedup)
      // An uncertain commit is not acknowledged again: the same content gets a new revision.
      if (session.uncertain) await session.swapHead(nextHead(head, {}))
      const bytes = { total, written: 0, reused: total, compacted: 0 }
      return { ...result, sequence: current.sequence, unchanged: true, bytes }
    }

    const snapshot: HeadSnapshot = {
      sequence: head.sequence + 1,
      manifest,
      time: new Date().toISOString(),
      ...(options.message === undefined ? {} : { message: options.message }),
      tags: [],
      abandoned: false,
      pack: dedup.packOf(id.digest),
      packs: [],
      size: total,
    }
    const kept = planRetention([snapshot, ...head.snapshots], snapshot.sequence, options.keepLast).slice(1)
    const plan = planCompaction(head.packs, new Set(damaged.keys()))
    const compaction = plan.measure
      ? await tryCompact(ctx, head, kept, source, dedup, writer, damaged, plan, options)
      : null
    await dedup.flush()
    await dedup.drain()
    options.signal.throwIfAborted()

    // Compaction may have moved a manifest that the store already had.
    snapshot.pack = dedup.packOf(id.digest)
    snapshot.packs = [...dedup.needed()].sort((a, b) => a - b)
    const names = new Map([...head.packs, ...writer.packs].map(({ id, name }) => [id, name]))
    const renewed = (compaction?.snapshots ?? kept).filter(({ sequence }) => compaction?.changed.has(sequence))
    for (const record of [...renewed, snapshot]) appendCommitRecord(writer, head.storeId, record, names)
    // The records are in the last pack, so every snapshot they speak of needs it.
    snapshot.packs = [...new Set([...snapshot.packs, writer.packId])].sort((a, b) => a - b)
    const lastPack = writer.packId
    const compactedBytes = compaction?.movedBytes ?? 0
    options.onProgress?.({ phase: 'committing' })
    const { packs: written, last, seal } = await writer.finish()
    // Its packs become durable while the new HEAD is made and written in `tmp/`, and before that gets its name.
    const ready = Promise.all([seal(), assertPacksPresent(ctx, session, head.packs, dedup)])
    ready.catch(() => undefined)
    const released = release()

    const snapshots = (compaction?.snapshots ?? kept).map((s) =>
      compaction?.changed.has(s.sequence) && !s.packs.includes(lastPack) ? { ...s, packs: [...s.packs, lastPack] } : s,
    )
    const gone = await missing(session, head, seen)
    await session.swapHead(
      nextHead(head, {
        current: snapshot.sequence,
        snapshots: [snapshot, ...snapshots],
        // All of a first pack is alive; of others it is not known once snapshots go.
        written: written.map((pack) => ({
          ...pack,
          live: compaction === null && head.packs.length > 0 ? null : pack.bytes,
        })),
        ...(compaction === null ? {} : { live: compaction.live }),
        damaged: ctx.badBlocks,
        gone,
      }),
      () => ready,
    )
    ctx.badBlocks.clear()
    const newest = written.at(-1)
    if (newest !== undefined && last !== null) ctx.packCache.put(newest.name, last, newest.bytes)
    rememberBlobs(ctx, manifest, blobs)
    await cleanUpAfter(ctx, session, seen)
    await released
    const bytes = {
      total,
      written: writer.bytes - compactedBytes,
      reused: dedup.reusedBytes,
      compacted: compactedBytes,
    }
    return { ...result, sequence: snapshot.sequence, unchanged: false, bytes }
  } catch (error) {
    await dedup.drain().catch(() => undefined)
    // Whether HEAD names them is not known then.
    if (!isHoldfastError(error, 'COMMIT_UNKNOWN')) await writer.discard()
    throw error
  }
}

/** Compaction is housekeeping: when it meets damage the persist goes on without it. */
async function tryCompact(
  ctx: StoreContext,
  head: Head,
  kept: readonly HeadSnapshot[],
  source: BlockSource,
  dedup: DedupWriter,
  writer: PackWriter,
  damaged: ReadonlyMap<string, unknown>,
  plan: ReturnType<typeof planCompaction>,
  options: CommitOptions,
): Promise<Compaction | null> {
  try {
    await source.loadAllIndexes()
    return await compactPacks({
      plan,
      packs: source.packs.map(({ name }) => head.packs.find((pack) => pack.name === name)!),
      source,
      damaged: new Set(damaged.keys()),
      snapshots: kept,
      blocks: dedup,
      writer,
      signal: options.signal,
      onProgress: options.onProgress,
      onBadBlock: (pack, digest) => noteBadBlock(ctx, pack, digest),
      reachable: reachableCacheOf(ctx),
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

/** Packs that this snapshot builds on must still lie there with their full length, or it would be broken from birth. */
async function assertPacksPresent(
  ctx: StoreContext,
  session: WriteSession,
  packs: readonly HeadPack[],
  dedup: DedupWriter,
): Promise<void> {
  const needed = dedup.needed()
  await Promise.all(packs.filter(({ id }) => needed.has(id)).map((pack) => assertPackPresent(ctx, session, pack)))
}

async function assertPackPresent(
  ctx: StoreContext,
  session: WriteSession,
  { name, bytes }: Pick<HeadPack, 'name' | 'bytes'>,
): Promise<void> {
  const found = await session.packBytes(name)
  if (found === bytes) return
  // The next try writes anew what was in it.
  noteBadPack(ctx, name)
  throw new HoldfastError(
    found === null ? 'PACK_MISSING' : 'PACK_DAMAGED',
    `pack ${name} ${found === null ? 'is missing' : `has ${found} bytes`}, HEAD says ${bytes}; nothing was committed, persist again`,
    { details: { pack: name, bytes, found } },
  )
}

/** Retired packs whose files are gone. */
async function missing(session: WriteSession, head: Head, seen: Seen | null): Promise<Set<string>> {
  const there = seen?.packs ?? new Set(await session.listPacks())
  return new Set(head.retired.map(({ name }) => name).filter((name) => !there.has(name)))
}
