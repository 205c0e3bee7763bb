// One step of a garbage collection where there are other writers: some packs are rewritten without their garbage, and
// HEAD is swapped once. Nothing is deleted: a pack that is given up stays for the readers' grace.
//
// Invariants, for every HEAD that is made here from a base:
//
//  1. a pack is given up only if each snapshot of the base that needs it was marked. What others need of it is not
//     known: a snapshot that was committed since may have reused a block that was garbage. Such a pack stays;
//  2. each block that is needed of a pack that is given up is in a new pack, which was uploaded before and is above the
//     base's floor;
//  3. each pack that has a copy which is relied on is named by the base;
//  4. the current snapshot and a random one of the new HEAD are walked first, and all that is touched must be in packs
//     that it names.

import { BadBlock, type BlockSource } from '../blocks/block-source.ts'
import { copyInOrder, type WindowMemory } from '../blocks/copy-blocks.ts'
import { createDigestMap, type DigestMap } from '../blocks/digest-map.ts'
import { createPackWriter, type PackWriter, type WrittenPack } from '../blocks/pack-writer.ts'
import { writeRecords } from '../blocks/record-pack.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { isDamage, isHoldfastError } from '../errors.ts'
import { createYielder } from '../event-loop.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { PackAction } from '../gc/plan-gc.ts'
import type { Reach } from '../gc/reach.ts'
import { assertNothingNeededIsRetired } from '../history/collect-given-up.ts'
import { nextHead } from '../history/next-head.ts'
import { assertWritable } from '../history/write-guards.ts'
import type { StoredHead, WriteSession } from '../storage/port.ts'
import { assertOtherCopies, liveOf, manifestIn, neededInOrder } from './gc-step.ts'

/**
 * A step ends behind the pack with which it has moved so many bytes. Other writers go on meanwhile, and this process's
 * own wait.
 */
const STEP_BYTES = 56 * 1024 * 1024

interface RewriteOptions {
  session: WriteSession
  /** Over the packs of the session's HEAD, whose snapshots are marked. */
  source: BlockSource
  reach: Reach
  /** What is to be done, in this order. */
  actions: readonly PackAction[]
  packBytesMax: number
  memory: WindowMemory
  signal: AbortSignal
  onMoved: (bytes: number) => void
}

interface RewriteResult {
  /**
   * Empty: other writers were faster. What was uploaded is named by no HEAD, and goes as what writers that died have
   * left.
   */
  done: PackAction[]
  /** While this pack was worked on, a block of it or another copy of one was found bad. Nothing was changed. */
  damagedAt: string | null
}

export async function rewriteShared(ctx: StoreContext, options: RewriteOptions): Promise<RewriteResult> {
  const { session } = options
  const { head } = session.stored!
  const revision = head.revision + 1
  const writer = createPackWriter({
    storeId: fromHex(head.storeId, STORE_ID_BYTES),
    revision,
    firstPackId: 0,
    packBytesMax: options.packBytesMax,
    createPack: session.createPack,
  })
  const progress = { pack: options.actions[0]!.pack }
  try {
    const moved = createDigestMap()
    const taken = await take(ctx, writer, moved, options, progress)
    const { packs, last, seal } = await writer.finish()
    await seal()
    const newest = packs.at(-1)
    if (newest !== undefined && last !== null) ctx.packCache.put(newest.name, last, newest.bytes)
    const made = { head, taken: new Map(taken.map((action) => [action.pack, action])), moved, packs, revision }
    return { done: await swap(ctx, made, options), damagedAt: null }
  } catch (error) {
    if (!isHoldfastError(error, 'COMMIT_UNKNOWN')) await writer.discard()
    if (!(error instanceof BadBlock) && !isDamage(error)) throw error
    return { done: [], damagedAt: progress.pack }
  }
}

/** Copies what is needed out of the packs, each of them whole. */
async function take(
  ctx: StoreContext,
  writer: PackWriter,
  moved: DigestMap,
  { source, reach, actions, memory, signal, onMoved }: RewriteOptions,
  progress: { pack: string },
): Promise<PackAction[]> {
  const taken: PackAction[] = []
  let movedBytes = 0
  for (const action of actions) {
    if (taken.length > 0 && movedBytes >= STEP_BYTES) break
    progress.pack = action.pack
    signal.throwIfAborted()
    const packNumber = source.packs.findIndex(({ name }) => name === action.pack)
    const pack = { file: source.packs[packNumber]!, index: source.indexes[packNumber]! }
    await assertOtherCopies(ctx, source, reach, packNumber, signal)
    const entries = await neededInOrder(reach.pack(action.pack)!.order)
    const { bytes } = await copyInOrder(pack, entries, writer, moved, {
      signal,
      isEnough: () => false,
      onBadBlock: ctx.badBlocks.note,
      turn: createYielder(signal),
      memory,
      reads: source.reads,
    })
    movedBytes += bytes
    onMoved(bytes)
    taken.push(action)
  }
  return taken
}

/** What was copied, and from which HEAD. */
interface Copies {
  head: Head
  /** By the name of the pack. */
  taken: ReadonlyMap<string, PackAction>
  /** Which of `packs` has a block now. */
  moved: DigestMap
  packs: readonly WrittenPack[]
  /** That the packs are meant for. */
  revision: number
}

/** Answers what was given up. */
async function swap(ctx: StoreContext, copies: Copies, options: RewriteOptions): Promise<PackAction[]> {
  const { session } = options
  let done: PackAction[] = []
  await session.swapHead(async (stored) => {
    options.signal.throwIfAborted()
    assertWritable(ctx, stored)
    done = givenUpOn(stored, copies, options.reach)
    return done.length === 0 ? null : await makeHead(ctx, stored.head, copies, done, options)
  })
  if (done.length > 0) ctx.badBlocks.clear()
  return done
}

/** The packs that the HEAD after this one need not name: rules 1 to 3. */
function givenUpOn({ head: base }: StoredHead, { taken, revision }: Copies, reach: Reach): PackAction[] {
  if (revision <= (base.floor ?? 0)) return []
  const names = new Map(base.packs.map(({ id, name }) => [id, name]))
  const named = new Set(names.values())
  const needed = new Set<string>()
  for (const { manifest, packs } of base.snapshots) {
    // A manifest names its blocks, so what was marked for it is what it needs, in whatever packs another writer has
    // found that since.
    const marked = reach.packsOf(manifest)
    const isThere = marked !== undefined && [...marked].every((name) => named.has(name) || taken.has(name))
    if (!isThere) for (const id of packs) needed.add(names.get(id)!)
  }
  return [...taken.values()].filter(({ pack }) => named.has(pack) && !needed.has(pack))
}

async function makeHead(
  ctx: StoreContext,
  base: Head,
  copies: Copies,
  done: readonly PackAction[],
  { session, source, reach }: RewriteOptions,
): Promise<Head> {
  const ids = new Map(base.packs.map(({ id, name }) => [name, id]))
  const gone = new Set(done.map(({ pack }) => ids.get(pack)!))
  const firstId = 1 + base.packs.reduce((largest, { id }) => Math.max(largest, id), 0)
  const added = copies.packs.map((pack, i) => ({ ...pack, id: firstId + i, live: pack.bytes }))
  const recordId = firstId + added.length
  const changed: HeadSnapshot[] = []
  const snapshots = base.snapshots.map((snapshot) => {
    if (!snapshot.packs.some((id) => gone.has(id))) return snapshot
    const marked = [...reach.packsOf(snapshot.manifest)!].flatMap((name) => ids.get(name) ?? [])
    const stay = [...snapshot.packs, ...marked].filter((id) => !gone.has(id))
    const manifest = manifestIn(snapshot, copies.moved, source, reach)
    const relocated = {
      ...snapshot,
      packs: [...new Set([...stay, ...added.map(({ id }) => id), recordId])].sort((a, b) => a - b),
      pack: typeof manifest === 'number' ? firstId + manifest : ids.get(manifest)!,
    }
    changed.push(relocated)
    return relocated
  })
  const names = new Map([...base.packs, ...added].map(({ id, name }) => [id, name]))
  const record = await writeRecords(session, base, changed, names, recordId)
  ctx.packCache.put(record.pack.name, record.index, record.pack.bytes)
  const next = nextHead(base, {
    snapshots,
    written: [...added, { ...record.pack, live: record.pack.bytes }],
    // What a newer snapshot needs was not measured.
    ...(base.revision === copies.head.revision ? { live: liveOf(base, reach, gone) } : {}),
    damaged: ctx.badBlocks.noted,
  })
  await assertNothingNeededIsRetired(ctx, next)
  return next
}
