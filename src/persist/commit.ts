import { BadBlock, type BlockSource } from '../blocks/block-source.ts'
import { appendCommitRecord } from '../blocks/commit-record.ts'
import { createIntake, type Intake } from '../blocks/dedup-writer.ts'
import { type BlockWriter, createBlockWriter } from '../blocks/pack-writer.ts'
import { type Environment, noteBadBlock, noteBadPack } from '../blocks/store-context.ts'
import { HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import { blake3 } from '../format/blake3.ts'
import { CODEC_DAG_CBOR, cidText } from '../format/cid.ts'
import type { Head, HeadPack, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import { encodeManifest } from '../format/manifest.ts'
import { KIND } from '../format/pack.ts'
import { cleanUpAfter, type Seen } from '../gc/collect.ts'
import { type Folded, foldPacks } from '../gc/compact.ts'
import { planFold } from '../gc/plan-compaction.ts'
import { walksOf } from '../gc/reachable-cache.ts'
import { mergeDamaged, nextHead } from '../history/next-head.ts'
import { planRetention } from '../history/retention.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { captureBlobs, isReadable, rememberBlobs } from './ingest.ts'
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
  env: Environment,
  session: WriteSession,
  stored: StoredHead,
  { source, seen, release }: KnownPacks,
  options: CommitOptions,
): Promise<Omit<PersistResult, 'durationMs'>> {
  const { head } = stored
  const current = head.snapshots.find(({ sequence }) => sequence === head.head) ?? null
  const damaged = mergeDamaged(head.damaged, env.badBlocks)
  const writer = createBlockWriter({
    storeId: fromHex(head.storeId, STORE_ID_BYTES),
    revision: head.revision + 1,
    firstPackId: Math.max(0, ...head.packs.map(({ id }) => id)) + 1,
    packBytesMax: options.packBytesMax,
    createPack: () => session.createPack(),
  })
  const ids = new Map(head.packs.map(({ id, name }) => [name, id]))
  const intake = createIntake({ source, ids, damaged: [damaged, env.badBlocks], writer })
  try {
    const blobs = await captureBlobs(env, {
      sources: options.sources,
      previous: current === null ? null : { snapshot: current, source },
      intake,
      chunking: options.chunking,
      compress: options.compress,
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

    // What was not read from the disk may be damaged there; then it is written again.
    if (current?.manifest === manifest && writer.bytes === 0 && !(await isReadable(source, id.digest))) {
      intake.block(block, id.digest, CODEC_DAG_CBOR, KIND.manifest)
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
    const folded = plan.measure ? await tryFold(env, head, kept, source, intake, writer, damaged, plan, options) : null
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
    options.onProgress?.({ phase: 'committing' })
    const { packs: written, last, seal } = await writer.finish()
    // Its packs become durable while the new HEAD is made and written in `tmp/`, and before that gets its name.
    const ready = Promise.all([seal(), assertPacksPresent(env, session, head.packs, intake)])
    ready.catch(() => undefined)
    const released = release()

    const snapshots = (folded?.snapshots ?? kept).map((s) =>
      folded?.changed.has(s.sequence) && !s.packs.includes(lastPack) ? { ...s, packs: [...s.packs, lastPack] } : s,
    )
    const gone = await missing(session, head, seen)
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
        gone,
      }),
      () => ready,
    )
    env.badBlocks.clear()
    const newest = written.at(-1)
    if (newest !== undefined && last !== null) env.shelf.know(newest.name, last, newest.bytes)
    rememberBlobs(env, manifest, blobs)
    await cleanUpAfter(env, session, seen)
    await released
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
  options: CommitOptions,
): Promise<Folded | null> {
  try {
    await source.locateAll()
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
      onBadBlock: (pack, digest) => noteBadBlock(env, pack, digest),
      walks: walksOf(env),
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
  await Promise.all(packs.filter(({ id }) => needed.has(id)).map((pack) => assertPackPresent(env, session, pack)))
}

async function assertPackPresent(
  env: Environment,
  session: WriteSession,
  { name, bytes }: Pick<HeadPack, 'name' | 'bytes'>,
): Promise<void> {
  const found = await session.packBytes(name)
  if (found === bytes) return
  // The next try writes anew what was in it.
  noteBadPack(env, name)
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
