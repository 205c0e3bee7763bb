// One step of a garbage collection, done while holding the writer lock: some packs are dropped or rewritten, and HEAD
// is swapped once.
//
// The order protects what every write protects: the new pack is durable before HEAD names it, and the old ones are
// deleted only after both HEADs say that nothing needs them. What a snapshot needs was marked under this lock, so a
// persist that reused a block since is seen.

import { BadBlock, type BlockSource, entryOf, packNumberOf } from '../blocks/block-source.ts'
import { appendCommitRecord } from '../blocks/commit-record.ts'
import { assertCopyIsWhole, copyInOrder, type WindowMemory } from '../blocks/copy-blocks.ts'
import { createDigestMap, type DigestMap } from '../blocks/digest-map.ts'
import type { OpenPack } from '../blocks/pack-cache.ts'
import { createPackWriter, type PackWriter, type WrittenPack } from '../blocks/pack-writer.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { isDamage, isHoldfastError } from '../errors.ts'
import { createYielder, LOOKUP_STEPS, runYielding } from '../event-loop.ts'
import { parseCid } from '../format/cid.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { PACK_BLOCKS_MAX, STORE_ID_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import { sortingKeys } from '../format/sort-keys.ts'
import { cleanUpAfter, type Seen } from '../gc/collect.ts'
import type { PackAction } from '../gc/plan-gc.ts'
import type { Reach } from '../gc/reach.ts'
import { nextHead } from '../history/next-head.ts'
import type { WriteSession } from '../storage/port.ts'
import { PACK_OVERHEAD_BYTES } from './pack-use.ts'

/**
 * A step holds the lock for about so long, or until it has moved so many bytes: then others have their turn. Blocks are
 * moved in windows of 8 MiB.
 */
const STEP_MS = 700
const STEP_BYTES = 56 * 1024 * 1024
/** Nobody asked for it: a save that comes meanwhile waits for so long at most. */
const AUTOMATIC_STEP_MS = 100
const AUTOMATIC_STEP_BYTES = 16 * 1024 * 1024

interface StepOptions {
  session: WriteSession
  seen: Seen | null
  source: BlockSource
  reach: Reach
  /** What is to be done, in this order. */
  actions: readonly PackAction[]
  packBytesMax: number
  /** In shorter steps. */
  automatic: boolean
  /** Of all steps of a collection. */
  memory: WindowMemory
  signal: AbortSignal
  onMoved: (bytes: number) => void
}

interface StepResult {
  /** In order. Of the last one only a part may be done. */
  began: PackAction[]
  done: PackAction[]
  /** While this pack was worked on, a block of it or another copy of one was found bad. Nothing was changed. */
  damagedAt: string | null
}

/** What was taken out of one pack. */
interface Taken {
  action: PackAction
  id: number
  packNumber: number
  /** Nothing that is needed is left in it. */
  all: boolean
}

interface TakenAll {
  taken: Taken[]
  /** The new pack of each block, by id. */
  moved: DigestMap
}

export async function gcStep(ctx: StoreContext, options: StepOptions): Promise<StepResult> {
  const { session } = options
  const { head } = session.stored!
  const writer = createPackWriter({
    storeId: fromHex(head.storeId, STORE_ID_BYTES),
    revision: head.revision + 1,
    firstPackId: firstIdAfter(head),
    packBytesMax: options.packBytesMax,
    createPack: session.createPack,
  })
  const progress = { pack: options.actions[0]!.pack }
  try {
    const all = await take(ctx, head, writer, options, progress)
    options.signal.throwIfAborted()
    await commit(ctx, head, writer, all, options)
    const done = all.taken.filter((each) => each.all).map(({ action }) => action)
    return { began: all.taken.map(({ action }) => action), done, damagedAt: null }
  } catch (error) {
    // After COMMIT_UNKNOWN HEAD may name the new packs.
    if (!isHoldfastError(error, 'COMMIT_UNKNOWN')) await writer.discard()
    const isBad = error instanceof BadBlock || isDamage(error)
    if (!isBad) throw error
    return { began: [], done: [], damagedAt: progress.pack }
  }
}

/** Copies what is needed out of the packs, until the step is long enough. */
async function take(
  ctx: StoreContext,
  head: Head,
  writer: PackWriter,
  { source, reach, actions, automatic, memory, signal, onMoved }: StepOptions,
  progress: { pack: string },
): Promise<TakenAll> {
  const stepBytes = automatic ? AUTOMATIC_STEP_BYTES : STEP_BYTES
  const untilMs = clock.monotonicMs() + (automatic ? AUTOMATIC_STEP_MS : STEP_MS)
  const turn = createYielder(signal)
  const taken: Taken[] = []
  const moved = createDigestMap()
  let movedBytes = 0
  const isEnough = (more: number): boolean => movedBytes + more >= stepBytes || clock.monotonicMs() >= untilMs
  for (const action of actions) {
    if (taken.length > 0 && isEnough(0)) break
    progress.pack = action.pack
    signal.throwIfAborted()
    const { id } = head.packs.find(({ name }) => name === action.pack)!
    const packNumber = source.packs.findIndex(({ name }) => name === action.pack)
    const pack = { file: source.packs[packNumber]!, index: source.indexes[packNumber]! }
    const { order } = reach.pack(action.pack)!
    await assertOtherCopies(ctx, source, reach, packNumber, signal)
    const entries = await neededInOrder(order)
    const copied = await copyInOrder(pack, entries, writer, moved, {
      signal,
      isEnough,
      onBadBlock: ctx.badBlocks.note,
      turn,
      memory,
      reads: source.reads,
    })
    movedBytes += copied.bytes
    onMoved(copied.bytes)
    taken.push({ action, id, packNumber, all: copied.entries === entries.length })
    if (copied.entries < entries.length) break
  }
  return { taken, moved }
}

/** The entries that are needed, in the order in which the newest snapshot reads them. */
export async function neededInOrder(order: Uint32Array): Promise<Uint32Array> {
  // A number holds both, so that typed arrays sort them.
  const keys = new Float64Array(order.length)
  let count = 0
  for (let entry = 0; entry < order.length; entry++) {
    if (order[entry]! > 0) keys[count++] = order[entry]! * PACK_BLOCKS_MAX + entry
  }
  const sorted = await runYielding(sortingKeys(keys.subarray(0, count)))
  return Uint32Array.from(sorted, (key) => key % PACK_BLOCKS_MAX)
}

/** Of a block that goes with this pack another copy is relied on. It may have rotted, and nobody has read it. */
export async function assertOtherCopies(
  ctx: StoreContext,
  source: BlockSource,
  reach: Reach,
  packNumber: number,
  signal: AbortSignal,
): Promise<void> {
  const index = source.indexes[packNumber]!
  const { order } = reach.pack(source.packs[packNumber]!.name)!
  const turn = createYielder(signal)
  const reading: Promise<void>[] = []
  for (let entry = 0; entry < index.blocks; entry++) {
    if (entry % LOOKUP_STEPS === 0) await turn()
    if (order[entry]! > 0) continue
    const place = source.find(index.bytes, index.digestAt(entry))
    if (place === -1 || packNumberOf(place) === packNumber) continue
    const other = packNumberOf(place)
    const file = source.packs[other]!
    if ((reach.pack(file.name)?.order[entryOf(place)] ?? 0) === 0) continue
    const read = assertCopyIsWhole({ file, index: source.indexes[other]! }, entryOf(place), ctx.badBlocks.note)
    read.catch(() => undefined)
    reading.push(read)
    if (reading.length === source.reads.copiesAtOnce) await allOf(reading.splice(0))
  }
  await allOf(reading)
}

async function commit(
  ctx: StoreContext,
  head: Head,
  writer: PackWriter,
  { taken, moved }: TakenAll,
  { session, seen, source, reach }: StepOptions,
): Promise<void> {
  const firstId = firstIdAfter(head)
  const gone = new Set(taken.filter(({ all }) => all).map(({ id }) => id))
  const touched = new Set(taken.map(({ id }) => id))
  // The records are in the last pack, so each snapshot that has one there needs it.
  const into = range(firstId, writer.packId)
  const ids = new Map(head.packs.map(({ id, name }) => [name, id]))
  const changed: HeadSnapshot[] = []
  const snapshots = head.snapshots.map((snapshot) => {
    if (!snapshot.packs.some((id) => touched.has(id))) return snapshot
    const marked = [...reach.packsOf(snapshot.manifest)!].map((name) => ids.get(name)!)
    const packs = new Set([...snapshot.packs, ...marked].filter((id) => !gone.has(id)))
    const manifest = manifestIn(snapshot, moved, source, reach)
    const relocated = {
      ...snapshot,
      packs: [...new Set([...packs, ...into])].sort((a, b) => a - b),
      pack: typeof manifest === 'number' ? manifest : ids.get(manifest)!,
    }
    changed.push(relocated)
    return relocated
  })
  const names = new Map([...head.packs, ...writer.packs].map(({ id, name }) => [id, name]))
  for (const snapshot of changed) appendCommitRecord(writer, head.storeId, snapshot, names)
  const { packs: written, last, seal } = await writer.finish()
  const ready = seal()
  ready.catch(() => undefined)
  const present = seen?.packs ?? new Set(await session.listPacks())
  const next = nextHead(head, {
    snapshots,
    written: written.map((pack) => ({ ...pack, live: pack.bytes })),
    live: liveOf(head, reach, gone),
    damaged: ctx.badBlocks.noted,
    gone: new Set(head.retired.map(({ name }) => name).filter((name) => !present.has(name))),
  })
  await session.swapHead(next, () => ready)
  ctx.badBlocks.clear()
  const newest = written.at(-1)
  if (newest !== undefined && last !== null) ctx.packCache.put(newest.name, last, newest.bytes)
  await noteMoved(ctx, head, written, taken, source, reach)
  await cleanUpAfter(ctx, session, seen)
}

/** Nobody reads any more when it rejects. */
async function allOf(reading: readonly Promise<void>[]): Promise<void> {
  for (const read of await Promise.allSettled(reading)) if (read.status === 'rejected') throw read.reason
}

/**
 * Where the copy of the manifest is that is relied on: a number of `moved`, or the name of a pack from which it was not
 * moved.
 */
export function manifestIn(
  { manifest }: HeadSnapshot,
  moved: DigestMap,
  source: BlockSource,
  reach: Reach,
): number | string {
  const { digest } = parseCid(manifest)
  const now = moved.get(digest, 0)
  if (now !== -1) return now
  const packNumber = source.packs.findIndex(({ name }, i) => {
    const entry = source.indexes[i]!.find(digest, 0)
    return entry !== -1 && (reach.pack(name)?.order[entry] ?? 0) > 0
  })
  return source.packs[packNumber]!.name
}

/** What was measured, for the plans of later persists. */
export function liveOf(head: Head, reach: Reach, gone: ReadonlySet<number>): Map<number, number> {
  const measured = head.packs.flatMap(({ id, name }): [number, number][] => {
    const marks = reach.pack(name)
    return marks === undefined || gone.has(id) ? [] : [[id, PACK_OVERHEAD_BYTES + marks.liveBytes]]
  })
  return new Map(measured)
}

/** The marks go on with the copies. If the new packs cannot be read now, they are made anew. */
async function noteMoved(
  ctx: StoreContext,
  head: Head,
  written: readonly WrittenPack[],
  taken: readonly Taken[],
  source: BlockSource,
  reach: Reach,
): Promise<void> {
  const opened: OpenPack[] = []
  try {
    const into: { name: string; index: PackIndex }[] = []
    for (const { name } of written) {
      const pack = await ctx.packCache.open(name, fromHex(head.storeId, STORE_ID_BYTES))
      opened.push(pack)
      into.push({ name, index: await pack.index() })
    }
    for (const { action, packNumber, all } of taken) {
      await reach.moved(action.pack, source.indexes[packNumber]!, into, all)
    }
  } catch {
    reach.reset()
  } finally {
    for (const pack of opened) await pack.release()
  }
}

function firstIdAfter(head: Head): number {
  return head.packs.reduce((largest, { id }) => Math.max(largest, id), 0) + 1
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}
