// Applies the plan of a repair: moves files to quarantine, copies good blocks, writes commit records and a new HEAD.
// Nothing is deleted.

import { packNumberOf } from '../blocks/block-source.ts'
import { appendCommitRecord } from '../blocks/commit-record.ts'
import { copyBlocks } from '../blocks/copy-blocks.ts'
import { createDigestMap } from '../blocks/digest-map.ts'
import { createPackWriter, type PackWriter, type WrittenPack } from '../blocks/pack-writer.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import { CODEC_DAG_CBOR, parseCid } from '../format/cid.ts'
import type { Head, HeadPack, HeadSnapshot } from '../format/head.ts'
import { KIND } from '../format/pack.ts'
import { nextHead } from '../history/next-head.ts'
import type { WriteSession } from '../storage/port.ts'
import { term } from '../terms.ts'
import { BEFORE_REPAIR, prepareRepair } from './plan-repair.ts'
import type { PlanJournal, PreparedRepair, RepairOptions, RepairPlan } from './repair-plan.ts'

/** The plan of a repair, and whether it was applied. */
export interface RepairReport extends RepairPlan {
  /** The plan was applied. False for a dry run, and when there was nothing to do. */
  applied: boolean
  /** The new paths of quarantined files, by the name of the file or pack. */
  quarantined: Record<string, string>
}

/** The settings that `repair` takes from its store. */
interface RepairSettings {
  dryRun?: boolean | undefined
  lockWaitMs: number
  packBytesMax: number
}

/** A rebuilt HEAD skips this many numbers, because the lost HEAD may have given out some that nothing records. */
const REVISION_JUMP = 1_000_000
const SEQUENCE_JUMP = 1_000

/**
 * Makes a damaged store loadable and writable again. Nothing is deleted: damaged files move to quarantine. An intact
 * store is not changed at all. With `dryRun`, only returns what would be done.
 */
export async function repair(
  ctx: StoreContext,
  options: RepairOptions & RepairSettings & { planJournal: PlanJournal },
): Promise<RepairReport> {
  assertChoices(options)
  const planned = await planUnlocked(ctx, options)
  if (options.dryRun === true && planned === null) {
    throw new HoldfastError('HEAD_CONFLICT', `${ctx.storage.location} is written to while its repair is planned`, {
      details: { location: ctx.storage.location },
    })
  }
  const isDone = planned?.ok === true && ctx.storage.uncertain?.() !== true
  if (planned !== null && (options.dryRun === true || isDone)) return unchanged(planned)
  if (planned !== null) assertMayDrop(planned, options)
  return await ctx.storage.write(
    { waitMs: options.lockWaitMs, signal: options.signal, repair: true },
    async (session) => {
      const prepared = await prepareRepair(ctx, options)
      if (prepared === null) return unchanged(nothingThere(ctx))
      try {
        const { plan } = prepared
        if (plan.choice !== null) throw mustChoose(plan)
        if (plan.ok) return unchanged(plan)
        assertMayDrop(plan, options)
        options.signal?.throwIfAborted()
        const quarantined = await applyRepair(session, prepared, options.packBytesMax)
        ctx.badBlocks.clear()
        return { ...plan, applied: true, quarantined }
      } finally {
        await prepared.release()
      }
    },
  )
}

function assertChoices({ rolledBack, unreadable, mayDrop, journal }: RepairOptions): void {
  if (rolledBack !== undefined && rolledBack !== 'newer' && rolledBack !== 'older') {
    throw new TypeError(`repair: rolledBack is 'newer' or 'older', got ${String(rolledBack)}`)
  }
  if (unreadable !== undefined && unreadable !== 'lost') {
    throw new TypeError(`repair: unreadable is 'lost' or not given, got ${String(unreadable)}`)
  }
  if (journal !== undefined && journal !== 'skip') {
    throw new TypeError(`repair: journal is 'skip' or not given, got ${String(journal)}`)
  }
  if (mayDrop !== undefined && typeof mayDrop !== 'boolean') {
    throw new TypeError(`repair: mayDrop is true or false, got ${String(mayDrop)}`)
  }
}

/** Missing packs may be on another disk, so the caller may want to look for them before their snapshots are dropped. */
function assertMayDrop({ location, actions }: RepairPlan, { mayDrop }: RepairOptions): void {
  if (mayDrop !== false) return
  const sequences = actions.flatMap((action) => (action.action === 'drop-snapshot' ? [action.sequence] : []))
  if (sequences.length === 0) return
  throw new HoldfastError(
    'SNAPSHOT_DAMAGED',
    `${location}: a repair would drop snapshot ${sequences.slice(0, 10).join(', ')}, which cannot be completed; nothing was changed. Put missing ` +
      `packs back from a copy of the store, or ${term('repairAndDrop')}`,
    { details: { location, sequences } },
  )
}

function unchanged(plan: RepairPlan): RepairReport {
  return { ...plan, applied: false, quarantined: {} }
}

const PLAN_TRIES = 4

/** Plans without the lock, because taking the lock is a write. Null if other writers kept committing meanwhile. */
async function planUnlocked(
  ctx: StoreContext,
  options: RepairOptions & { planJournal: PlanJournal },
): Promise<RepairPlan | null> {
  for (let tries = 0; tries < PLAN_TRIES; tries++) {
    const before = await headBytes(ctx)
    let plan: RepairPlan | null = null
    let failure: unknown = null
    try {
      const prepared = await prepareRepair(ctx, options)
      await prepared?.release()
      plan = prepared?.plan ?? nothingThere(ctx)
    } catch (error) {
      failure = error
    }
    if (Buffer.compare(before, await headBytes(ctx)) !== 0) continue
    if (plan === null) throw failure
    return plan
  }
  return null
}

async function headBytes(ctx: StoreContext): Promise<Uint8Array> {
  const { head } = await ctx.storage.inspect()
  return head.state === 'good' ? head.value.bytes : new Uint8Array(0)
}

function nothingThere(ctx: StoreContext): RepairPlan {
  return { location: ctx.storage.location, ok: true, actions: [], snapshots: [], choice: null, offers: null }
}

function mustChoose({ location, offers }: RepairPlan): HoldfastError {
  const { newer, older } = offers!
  return new HoldfastError(
    'STORE_ROLLED_BACK',
    `${location}: HEAD is older than what lies beside it. ${term('repairNewer')} adopts the snapshots made after it and keeps ${listed(
      newer,
    )}; ${term('repairOlder')} goes on without them (they move to quarantine) and keeps ${listed(older)}`,
    { details: { location, newer, older } },
  )
}

function listed(sequences: readonly number[]): string {
  if (sequences.length === 0) return 'none'
  return `${sequences.slice(0, 5).join(', ')}${sequences.length > 5 ? ` and ${sequences.length - 5} more` : ''}`
}

/**
 * The order ensures that what was readable before is readable after a crash at any point, and that the next writer does
 * not delete evidence as garbage:
 *
 *  1. needed blocks of packs that HEAD will not name are copied, and become durable in new packs;
 *  2. damaged files move to quarantine, and so do copies of good HEADs;
 *  3. a good HEAD gets the new packs added: without that they would be orphans, and the packs that they were copied
 *     from would have to stay;
 *  4. packs move to quarantine before HEAD stops naming them, because the next writer deletes packs that HEAD does not
 *     name;
 *  5. the repaired HEAD replaces the old one;
 *  6. segments of the journal that are given up move to quarantine: only now HEAD records that their sequences were
 *     used. Until they are all gone, the journal does not open, and the next repair moves the rest.
 *
 * A HEAD that is older than its spare moves to quarantine in step 2. A crash before step 5 then leaves no HEAD; the
 * next repair rebuilds it.
 */
async function applyRepair(
  session: WriteSession,
  prepared: PreparedRepair,
  packBytesMax: number,
): Promise<Record<string, string>> {
  const { start, direction, packs, plan } = prepared
  const { currentHead: there } = start
  const far = numbersFarAhead(prepared)
  const firstFree = 1 + largest([direction.base, ...(there === null ? [] : [there])].flatMap(packIds))
  const ids = packs.map(
    ({ name }, packNumber) => direction.base.packs.find((pack) => pack.name === name)?.id ?? firstFree + packNumber,
  )
  const rescued = await writeRescued(session, prepared, ids, {
    revision: there === null ? far.revision : there.revision + 1,
    firstPackId: firstFree + packs.length,
    packBytesMax,
  })
  const quarantined: Record<string, string> = {}
  for (const action of plan.actions) {
    if (action.action !== 'quarantine-file') continue
    const { file, reason, why } = action
    quarantined[file] = await session.quarantineFile(file, reason, { why }, { copy: reason === BEFORE_REPAIR })
  }
  let numbers = far
  if (there !== null) {
    numbers = direction.jump ? far : { revision: there.revision + 1, sequence: there.sequence }
    if (rescued.written.length > 0 || direction.jump) {
      await session.restoreHead(withRescued(there, rescued.written, numbers.sequence))
      if (!direction.jump) numbers = { ...numbers, revision: there.revision + 2 }
    }
  }
  for (const action of plan.actions) {
    if (action.action !== 'quarantine-pack') continue
    const { pack, reason, why } = action
    quarantined[pack] = await session.quarantinePack(pack, reason, { why })
  }
  await session.restoreHead(repairedHead(prepared, ids, rescued, numbers))
  for (const action of plan.actions) {
    if (action.action !== 'quarantine-segment') continue
    const { segment, reason, why } = action
    quarantined[segment] = await prepared.journal.setAside(segment, reason, why)
  }
  return quarantined
}

function packIds({ packs }: Head): number[] {
  return packs.map(({ id }) => id)
}

interface Numbers {
  revision: number
  sequence: number
}

/** Numbers above all those that HEADs and packs record. */
function numbersFarAhead({ start, direction, packs }: PreparedRepair): Numbers {
  const heads = [direction.base, start.currentHead, start.previous].filter((head) => head !== null)
  const revisions = packs.map(({ intact: whole, header }) => (whole ? header!.revision : 0))
  const sequences = packs.flatMap(({ records }) => records.map((record) => record.sequence))
  return {
    revision: largest([...heads.map(({ revision }) => revision), ...revisions]) + REVISION_JUMP,
    sequence: largest([...heads.map(({ sequence }) => sequence), ...sequences]) + SEQUENCE_JUMP,
  }
}

function largest(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => Math.max(a, b), 0)
}

interface Rescued {
  written: WrittenPack[]
  /** The kept snapshots, with the packs that they need now. */
  snapshots: HeadSnapshot[]
}

/** Copies the needed blocks of packs that HEAD will not name, and gives each kept snapshot its new list of packs. */
async function writeRescued(
  session: WriteSession,
  prepared: PreparedRepair,
  ids: readonly number[],
  options: { revision: number; firstPackId: number; packBytesMax: number },
): Promise<Rescued> {
  const writer = createPackWriter({
    storeId: prepared.start.storeId,
    ...options,
    createPack: session.createPack,
  })
  try {
    return await rescueBlocks(prepared, ids, writer)
  } catch (error) {
    await writer.discard()
    throw error
  }
}

async function rescueBlocks(prepared: PreparedRepair, ids: readonly number[], writer: PackWriter): Promise<Rescued> {
  const { direction, packs, source, marks, kept, packPlan } = prepared
  const moved = createDigestMap()
  const firstId = writer.packId
  for (const packNumber of packPlan.rescued) {
    const pack = { file: source.packs[packNumber]!, index: source.indexes[packNumber]!, marks: marks[packNumber]! }
    await copyBlocks(pack, writer, moved, flush, new AbortController().signal)
  }
  for (const { block, digest } of prepared.rebuilt) {
    writer.append(block, digest, CODEC_DAG_CBOR, KIND.segments, null)
    await flush()
  }
  const named = new Set([...packPlan.named].map((packNumber) => ids[packNumber]!))
  const lastId = writer.packId
  const into = Array.from({ length: lastId - firstId + 1 }, (_, i) => firstId + i)
  const snapshots = kept.map(({ snapshot, packNumbers, needsRebuilt }) => {
    const stay = [...snapshot.packs, ...[...packNumbers].map((packNumber) => ids[packNumber]!)].filter((id) =>
      named.has(id),
    )
    const copied = needsRebuilt || [...packNumbers].some((packNumber) => packPlan.rescued.has(packNumber))
    // The records are in the last pack, so every snapshot with a record there needs it.
    const written = copied ? into : prepared.renewRecords ? [lastId] : []
    const packIds = [...new Set([...stay, ...written])].sort((a, b) => a - b)
    const { digest } = parseCid(snapshot.manifest)
    const packNumber = packNumberOf(source.find(digest, 0))
    return {
      ...snapshot,
      packs: packIds,
      pack: packPlan.rescued.has(packNumber) ? moved.get(digest, 0) : ids[packNumber]!,
    }
  })
  if (prepared.renewRecords) {
    const names = new Map([...packs.map(({ name }, packNumber) => [ids[packNumber]!, name] as const)])
    for (const { id, name } of writer.packs) names.set(id, name)
    for (const snapshot of snapshots) appendCommitRecord(writer, direction.base.storeId, snapshot, names)
  }
  const { packs: written, seal } = await writer.finish()
  await seal()
  return { written, snapshots }

  async function flush(): Promise<void> {
    await writer.flush()
    await writer.rollOver()
  }
}

/** The existing HEAD, with the new packs added: everything that loaded before still loads. */
function withRescued(there: Head, written: readonly WrittenPack[], sequence: number): Head {
  const ids = written.map(({ id }) => id)
  return {
    ...nextHead(there, {}),
    sequence,
    snapshots: there.snapshots.map((snapshot) => ({ ...snapshot, packs: [...snapshot.packs, ...ids] })),
    packs: [...there.packs, ...written.map((pack) => ({ ...pack, live: null }))],
    retired: there.retired,
    damaged: there.damaged,
  }
}

function repairedHead(prepared: PreparedRepair, ids: readonly number[], rescued: Rescued, numbers: Numbers): Head {
  const { direction, packs, current, packPlan, journal } = prepared
  const { base } = direction
  const lives = new Map(base.packs.map(({ name, live }) => [name, live]))
  const named: HeadPack[] = [...packPlan.named].map((packNumber) => {
    const { name, bytes, intactIndex: good } = packs[packNumber]!
    return { id: ids[packNumber]!, name, bytes, blocks: good.blocks, live: lives.get(name) ?? null }
  })
  const there = new Set(packs.map(({ name }) => name))
  const next = nextHead(
    {
      ...base,
      revision: numbers.revision - 1,
      sequence: numbers.sequence,
      snapshots: [],
      packs: named,
      retired: base.retired.filter(({ name }) => there.has(name)),
      // All packs that HEAD will name are intact.
      damaged: [],
    },
    {
      snapshots: rescued.snapshots,
      written: rescued.written.map((pack) => ({ ...pack, live: pack.bytes })),
      journal: journal.journal,
    },
  )
  return { ...next, current: current }
}
