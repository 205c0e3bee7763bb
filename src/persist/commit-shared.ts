// Swaps HEAD where other writers may have swapped it meanwhile: what depends on HEAD is computed anew for each HEAD
// that is met.
//
// Invariants, for every HEAD that is made here from a base:
//
//  1. each pack that it adds is meant for a revision above the base's floor. What is meant for the floor or below may
//     be deleted by anybody at any time, so such a pack is written again under a new name;
//  2. each block that the snapshot needs is in a pack that the base names, or in one that is added. Blocks in packs
//     that were retired meanwhile are copied while they can be read;
//  3. the commit record names this sequence and these packs. It is in a small pack of its own, for a record in a data
//     pack would be wrong after the first conflict;
//  4. merging of small packs counts only for the HEAD that it was planned from.

import type { BlockSource } from '../blocks/block-source.ts'
import { copyBlocks } from '../blocks/copy-blocks.ts'
import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { createDigestMap } from '../blocks/digest-map.ts'
import { createPackWriter, type PackWriter, type WrittenPack } from '../blocks/pack-writer.ts'
import { type RecordPack, writeRecords } from '../blocks/record-pack.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { Compaction } from '../gc/compact.ts'
import type { Policy } from '../history/keep.ts'
import { nextHead } from '../history/next-head.ts'
import { noteSave } from '../history/own-saves.ts'
import { assertExpected, assertWritable } from '../history/write-guards.ts'
import type { OnProgress } from '../progress.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { type KeptReasons, planKept, warnOfManyDropped } from './kept.ts'

/** A snapshot that has its content, and neither a sequence nor pack ids yet. */
interface Draft {
  manifest: string
  /** Of the manifest. */
  digest: Uint8Array
  /** The id of the pack that has it, among those of the HEAD that this began with and those that were written. */
  manifestPack: number
  total: number
  message: string | undefined
  expectedHead: number | null | undefined
  compaction: Compaction | null
  time: string
  policy: Policy
  packBytesMax: number
  signal: AbortSignal
  onProgress: OnProgress | undefined
  /** See `ContentSource`. */
  checkStored?: ((head: Head, written: readonly string[]) => Promise<void>) | undefined
}

/** A pack that this commit wrote, or one of the store whose blocks it reuses. */
interface NeededPack {
  name: string
  /** Of one that this commit wrote; null: HEAD named it when the commit began. */
  own: { bytes: number; blocks: number; revision: number } | null
}

interface Shared {
  source: BlockSource
  dedup: DedupWriter
  writer: PackWriter
}

/** Steps 4 to 6 of a persist where there are other writers. Answers the sequence that the snapshot got. */
export async function commitShared(
  ctx: StoreContext,
  session: WriteSession,
  head: Head,
  blocks: Shared,
  draft: Draft,
): Promise<{ sequence: number; dropped: number[]; reasons: KeptReasons; writtenBytes: number }> {
  const { writer, dedup } = blocks
  const { packs: written, last, seal } = await writer.finish()
  // The commit record is uploaded beside the packs. HEAD waits for both.
  const names = written.map(({ name }) => name)
  const sealed = seal().then(() => draft.checkStored?.(head, names))
  sealed.catch(() => undefined)
  const needs = createNeeds(ctx, session, head, blocks, draft, written, sealed)
  let writtenBytes = writer.bytes
  let sequence = 0
  let dropped: number[] = []
  let reasons: KeptReasons = []
  let before = head
  let save = { done: (): void => undefined }
  let record: RecordPack | null = null
  draft.onProgress?.({ phase: 'committing' })
  async function make(stored: StoredHead): Promise<Head> {
    const base = stored.head
    assertWritable(ctx, stored)
    assertExpected(ctx, base, draft.expectedHead)
    draft.signal.throwIfAborted()
    await needs.renew(base)
    const compaction = base.revision === head.revision ? draft.compaction : null
    const made = await makeHead(ctx, session, base, needs.packs(), needs.manifestIn(), compaction, draft)
    sequence = made.sequence
    dropped = made.dropped
    reasons = made.reasons
    before = base
    record = made.record
    writtenBytes += record.pack.bytes
    save = noteSave(made.next, base.current)
    return made.next
  }
  try {
    await session.swapHead(make, () => sealed)
  } catch (error) {
    // What is being uploaded is not discarded under way.
    await sealed.catch(() => undefined)
    throw error
  }
  save.done()
  for (const digest of dedup.writtenBlocks) ctx.checkedBlocks.note(digest)
  ctx.badBlocks.clear()
  // Their indexes need not be read.
  if (record !== null) cacheIndex(ctx, record)
  const newest = written.at(-1)
  if (newest !== undefined && last !== null) ctx.packCache.put(newest.name, last, newest.bytes)
  warnOfManyDropped(ctx, before, dropped, draft.policy)
  return { sequence, dropped, reasons, writtenBytes: writtenBytes + needs.copiedBytes() }
}

function cacheIndex(ctx: StoreContext, { pack, index }: RecordPack): void {
  ctx.packCache.put(pack.name, index, pack.bytes)
}

async function makeHead(
  ctx: StoreContext,
  session: WriteSession,
  base: Head,
  packs: readonly NeededPack[],
  manifestIn: string,
  compaction: Compaction | null,
  draft: Draft,
): Promise<{ next: Head; sequence: number; dropped: number[]; reasons: KeptReasons; record: RecordPack }> {
  const ids = new Map(base.packs.map(({ id, name }) => [name, id]))
  const added: WrittenPack[] = []
  let nextId = 1 + base.packs.reduce((largest, { id }) => Math.max(largest, id), 0)
  for (const { name, own } of packs) {
    if (own === null) continue
    added.push({ id: nextId, name, bytes: own.bytes, blocks: own.blocks })
    ids.set(name, nextId)
    nextId += 1
  }
  const recordId = nextId
  const sequence = base.sequence + 1
  const snapshot: HeadSnapshot = {
    sequence,
    manifest: draft.manifest,
    time: draft.time,
    ...(draft.message === undefined ? {} : { message: draft.message }),
    tags: [],
    abandoned: false,
    pack: ids.get(manifestIn)!,
    packs: ascending([...packs.map(({ name }) => ids.get(name)!), recordId]),
    size: draft.total,
  }
  const changed = compaction?.changed ?? new Set<number>()
  const { kept, dropped, reasons } = planKept(base, snapshot, draft.policy)
  const older = (compaction?.snapshots ?? kept).map((old) =>
    changed.has(old.sequence) ? { ...old, packs: ascending([...old.packs, recordId]) } : old,
  )
  const record = await writeRecords(
    session,
    base,
    [...older.filter((old) => changed.has(old.sequence)), snapshot],
    new Map([...ids].map(([name, id]) => [id, name])),
    recordId,
  )
  // All of a first pack is alive. Of later packs this is unknown once snapshots go.
  const isAllAlive = base.packs.length === 0
  const next = nextHead(base, {
    current: sequence,
    snapshots: [snapshot, ...older],
    written: [...added, record.pack].map((pack) => ({ ...pack, live: isAllAlive ? pack.bytes : null })),
    ...(compaction === null ? {} : { live: compaction.live }),
    damaged: ctx.badBlocks.noted,
  })
  return { next, sequence, dropped, reasons, record }
}

interface Needs {
  packs(): readonly NeededPack[]
  /** The pack that has the manifest. */
  manifestIn(): string
  /** Copies what the snapshot needs out of packs that the base does not name and will not name. */
  renew(base: Head): Promise<void>
  copiedBytes(): number
}

/** The packs that the snapshot needs, whatever HEAD it is added to. */
function createNeeds(
  ctx: StoreContext,
  session: WriteSession,
  head: Head,
  { source, dedup }: Shared,
  { digest, manifestPack, packBytesMax, signal }: Draft,
  written: readonly WrittenPack[],
  sealed: Promise<unknown>,
): Needs {
  const storeId = fromHex(head.storeId, STORE_ID_BYTES)
  const names = new Map([...head.packs, ...written].map(({ id, name }) => [id, name]))
  const needed = new Set([...dedup.needed()].map((id) => names.get(id)!))
  let packs: NeededPack[] = head.packs.filter(({ name }) => needed.has(name)).map(({ name }) => ({ name, own: null }))
  for (const { name, bytes, blocks } of written)
    packs.push({ name, own: { bytes, blocks, revision: head.revision + 1 } })
  let manifestIn = names.get(manifestPack)!
  let copied = 0

  async function renew(base: Head): Promise<void> {
    const named = new Set(base.packs.map(({ name }) => name))
    const stale = packs.filter(({ name, own }) => (own === null ? !named.has(name) : own.revision <= (base.floor ?? 0)))
    if (stale.length === 0) return
    // One of them may be a pack that is being uploaded.
    await sealed
    const revision = base.revision + 1
    const copies = createPackWriter({ storeId, revision, firstPackId: 0, packBytesMax, createPack: session.createPack })
    try {
      const moved = createDigestMap()
      for (const { name } of stale) await copyPack(name, copies, moved)
      const { packs: made, seal } = await copies.finish()
      await seal()
      copied += copies.bytes
      const movedTo = moved.get(digest, 0)
      if (movedTo !== -1 && stale.some(({ name }) => name === manifestIn)) manifestIn = made[movedTo]!.name
      const gone = new Set(stale.map(({ name }) => name))
      packs = [
        ...packs.filter(({ name }) => !gone.has(name)),
        ...made.map(({ name, bytes, blocks }) => ({ name, own: { bytes, blocks, revision } })),
      ]
    } catch (error) {
      await copies.discard()
      throw isHoldfastError(error, 'PACK_MISSING') ? gone(error) : error
    }
  }

  async function copyPack(name: string, into: PackWriter, moved: ReturnType<typeof createDigestMap>): Promise<void> {
    const file = await ctx.packCache.open(name, storeId)
    try {
      const index = await file.index()
      const packNumber = source.packs.findIndex((pack) => pack.name === name)
      // Of a pack that this commit wrote, all.
      const marks = packNumber === -1 ? new Uint8Array(index.blocks).fill(1) : dedup.marks(packNumber)
      await copyBlocks({ file, index, marks }, into, moved, flush, signal)
    } finally {
      await file.release()
    }

    async function flush(): Promise<void> {
      await into.flush()
      await into.rollOver()
    }
  }

  function gone(cause: HoldfastError): HoldfastError {
    return new HoldfastError(
      'PACK_GONE',
      `${ctx.storage.location}: a pack that this snapshot was to build on was given up by another writer and is deleted (${cause.message}); ` +
        'nothing was committed, persist again',
      { details: { ...cause.details, location: ctx.storage.location }, cause },
    )
  }

  return { packs: () => packs, manifestIn: () => manifestIn, renew, copiedBytes: () => copied }
}

function ascending(ids: readonly number[]): number[] {
  return [...new Set(ids)].sort((a, b) => a - b)
}
