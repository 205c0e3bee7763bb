// Reads a damaged store and plans its repair. It changes nothing; `repair.ts` applies the plan.

import type { BlockSource } from '../blocks/block-source.ts'
import { createPackCache } from '../blocks/pack-cache.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import { digestsEqual } from '../format/blake3.ts'
import { toHex } from '../format/hex.ts'
import { markSnapshots } from '../gc/mark.ts'
import { type BaseHead, findBaseHead } from './base-head.ts'
import { lacksRecord } from './check-records.ts'
import { candidatesOf, chooseDirection } from './choose-direction.ts'
import { onLineOf } from './plan-line.ts'
import { knownPacks, planPacks } from './plan-packs.ts'
import type { SnapshotPlan } from './plan-snapshots.ts'
import { type RebuiltSegments, rebuildSegments } from './rebuild-segments.ts'
import type {
  Direction,
  KeptSnapshot,
  PlanJournal,
  PreparedRepair,
  RepairAction,
  RepairOptions,
  RepairPlan,
} from './repair-plan.ts'
import { type SalvagedPack, salvagePack } from './salvage.ts'

/** Reads the whole store and changes nothing. Null if no store was ever made here. */
export async function prepareRepair(
  ctx: StoreContext,
  options: RepairOptions & { planJournal: PlanJournal },
): Promise<PreparedRepair | null> {
  if (await isUnmade(ctx)) return null
  const inspection = await ctx.storage.inspect()
  const found = await findBaseHead(ctx, inspection, { unreadableIsLost: options.unreadable === 'lost' })
  const salvaged: SalvagedPack[] = []
  async function release(): Promise<void> {
    for (const { pack } of salvaged) await pack.release()
  }
  try {
    await salvageAll(ctx, found, inspection.packs, salvaged, options)
    const { start, offers, ...direction } = await chooseDirection(ctx.storage.location, found, salvaged, options)
    const { base, adopting } = direction
    const { packs, source, candidates } = await candidatesOf(ctx.storage.location, salvaged, direction)
    const marks = packs.map(({ intactIndex: good }) => new Uint8Array(good.blocks))
    const rebuilt = await rebuildSegments(
      source,
      candidates.kept.flatMap(({ lostSegments }) => lostSegments),
    )
    const needs = await needsOf(candidates, source, marks, rebuilt)
    const journal = await options.planJournal({
      base,
      snapshots: needs.map(({ snapshot }) => snapshot),
      rebuild: start.currentHead === null || adopting || options.rolledBack === 'newer',
      older: options.rolledBack === 'older',
      skip: options.journal === 'skip',
      unreadableIsLost: options.unreadable === 'lost',
    })
    const kept = needs.map((each) => ({ ...each, snapshot: onLineOf(journal, each.snapshot) }))
    const packPlan = planPacks(packs, direction, marks, kept)
    const current = chooseCurrent(direction, kept)
    const prepared = {
      start,
      direction,
      packs,
      source,
      marks,
      kept,
      rebuilt,
      current: current.to,
      packPlan,
      journal,
      release,
    }
    const records = packs.flatMap((pack) => pack.records)
    const hasOddRecords = packs.some((pack) => pack.hasOddRecords)
    const wrongRecords = kept.some(({ snapshot }) => lacksRecord(snapshot, records, hasOddRecords))
    const renewRecords =
      wrongRecords ||
      kept.some(
        ({ snapshot, packNumbers }) =>
          snapshot.packs.some((id) => packPlan.lost.has(id)) ||
          [...packNumbers].some((packNumber) => !packPlan.named.has(packNumber)),
      )
    const plan = describePlan(
      ctx.storage.location,
      { ...prepared, wrongRecords, renewRecords },
      candidates,
      current,
      offers,
    )
    return { ...prepared, wrongRecords, renewRecords, plan }
  } catch (error) {
    await release()
    throw error
  }
}

/** A creation that was interrupted counts as no store: the next persist finishes it. */
async function isUnmade(ctx: StoreContext): Promise<boolean> {
  try {
    return (await ctx.storage.readHead()) === null
  } catch (error) {
    if (error instanceof HoldfastError) return false
    throw error
  }
}

/**
 * Salvages the packs that HEAD names, whose header has this store's id, or that a commit record of this store names.
 */
async function salvageAll(
  ctx: StoreContext,
  start: BaseHead,
  there: readonly { name: string; bytes: number }[],
  into: SalvagedPack[],
  { signal, onProgress, unreadable }: RepairOptions,
): Promise<void> {
  // Uses a cache of its own, because what this process has in memory says nothing about the disk.
  const packCache = createPackCache(ctx.storage)
  const heads = [start.previous, start.currentHead, start.relaid].filter((head) => head !== null)
  const said = new Map(heads.flatMap((head) => head.packs.map((pack) => [pack.name, pack] as const)))
  const totalBytes = there.reduce((sum, { bytes }) => sum + bytes, 0)
  let readBytes = 0

  async function survey(name: string): Promise<void> {
    const pack = await salvagePack(name, {
      packCache,
      storeId: start.storeId,
      recorded: said.get(name),
      unreadableIsLost: unreadable === 'lost',
      onBytes(bytes) {
        signal?.throwIfAborted()
        readBytes += bytes
        onProgress?.({ phase: 'verifying', bytes: readBytes, totalBytes })
      },
    })
    if (pack !== null) into.push(pack)
  }

  const known = new Set(heads.flatMap((head) => [...knownPacks(head)]))
  const isOurs = (name: string): boolean => known.has(name) || start.owners.get(name) === toHex(start.storeId)
  const names = there.map(({ name }) => name)
  for (const name of names) if (isOurs(name)) await survey(name)
  const recorded = new Set(into.flatMap(({ records }) => records.flatMap(({ packs }) => packs.map(toHex))))
  for (const name of names) if (!isOurs(name) && recorded.has(name)) await survey(name)
}

async function needsOf(
  { kept }: SnapshotPlan,
  source: BlockSource,
  marks: readonly Uint8Array[],
  rebuilt: readonly RebuiltSegments[],
): Promise<KeptSnapshot[]> {
  const snapshots = kept.map(({ snapshot }) => snapshot)
  const { packNumbers } = await markSnapshots(source, snapshots, [...marks])
  return kept.map(({ snapshot, record, lostSegments }) => {
    const needed = packNumbers.get(snapshot.sequence)!
    const needsRebuilt = lostSegments.some(({ segments }) =>
      rebuilt.some(({ digest }) => digestsEqual(digest, 0, segments!, 0)),
    )
    return { snapshot, packNumbers: record === null ? needed : new Set([...needed, record]), needsRebuilt }
  })
}

interface Current {
  to: number | null
  why: string
}

/**
 * Chooses the current snapshot. It stays, unless it is lost or newer snapshots are adopted. Then the newest snapshot
 * that no rollback stepped over is chosen.
 */
function chooseCurrent({ base, adopting }: Direction, kept: readonly KeptSnapshot[]): Current {
  const isThere = kept.some(({ snapshot }) => snapshot.sequence === base.current)
  if (isThere && !adopting) return { to: base.current, why: '' }
  const newest = kept.find(({ snapshot }) => !snapshot.abandoned)
  if (newest !== undefined) return { to: newest.snapshot.sequence, why: 'it is the newest that is whole' }
  if (kept.length === 0) return { to: null, why: 'no snapshot is whole' }
  const why = 'a rollback stepped over it, but no other is whole: look at it before you use it'
  return { to: kept[0]!.snapshot.sequence, why }
}

function describePlan(
  location: string,
  prepared: Omit<PreparedRepair, 'plan' | 'release'>,
  candidates: SnapshotPlan,
  current: Current,
  offers: RepairPlan['offers'],
): RepairPlan {
  const { start, direction, packs, marks, kept, packPlan, journal } = prepared
  const snapshots = kept.map(({ snapshot }) => snapshot.sequence)
  if (direction.choice !== null) {
    return { location, ok: false, actions: [], snapshots, choice: direction.choice, offers }
  }
  const { base } = direction
  const nameOf = (packNumber: number): string => packs[packNumber]!.name
  const changes: RepairAction[] = [
    ...packPlan.toQuarantine.map(({ packNumber, reason, why }) => ({
      action: 'quarantine-pack' as const,
      pack: nameOf(packNumber),
      reason,
      why,
    })),
    ...restoreActions(prepared),
    ...packPlan.adopted.map((packNumber) => ({
      action: 'adopt-pack' as const,
      pack: nameOf(packNumber),
      blocks: packs[packNumber]!.intactIndex.blocks,
    })),
    ...packPlan.missing.map((pack) => ({ action: 'forget-pack' as const, pack })),
    ...[...packPlan.wrong, ...candidates.wrong].map((why) => ({ action: 'correct-head' as const, why })),
    ...candidates.dropped.map(({ sequence, manifest, why }) => ({
      action: 'drop-snapshot' as const,
      sequence,
      manifest,
      why,
    })),
    ...journal.actions,
  ]
  if (current.to !== base.current) {
    changes.push({ action: 'set-current', from: base.current, to: current.to, why: current.why })
  }
  const rescues = [...packPlan.rescued].map((packNumber) => ({
    action: 'rescue-blocks' as const,
    pack: nameOf(packNumber),
    blocks: marks[packNumber]!.reduce((sum, mark) => sum + mark, 0),
  }))
  const rebuilds =
    prepared.rebuilt.length === 0 ? [] : [{ action: 'rebuild-segments' as const, blocks: prepared.rebuilt.length }]
  if (!prepared.wrongRecords && [changes, rescues, rebuilds, start.toQuarantine].every(({ length }) => length === 0)) {
    return { location, ok: true, actions: [], snapshots, choice: null, offers: null }
  }
  const records = prepared.renewRecords ? [{ action: 'renew-records' as const, snapshots: kept.length }] : []
  const files = [...start.toQuarantine, ...beforeRepair(start)].map((file) => ({
    action: 'quarantine-file' as const,
    ...file,
  }))
  return {
    location,
    ok: false,
    actions: [...rescues, ...rebuilds, ...records, ...files, ...changes],
    snapshots,
    choice: null,
    offers: null,
  }
}

/** The quarantine reason of copies made before the repair. */
export const BEFORE_REPAIR = 'before-repair'

/** A repair may remove entries from HEAD that exist nowhere else, so copies of both HEADs are kept. */
function beforeRepair({ currentHead: there, previous }: BaseHead) {
  if (there === null) return []
  const facts = { reason: BEFORE_REPAIR, why: 'as it was before the repair' }
  const head = { file: 'HEAD.json' as const, ...facts }
  return previous === null ? [head] : [head, { file: 'HEAD.prev.json' as const, ...facts }]
}

const LOSES: Record<BaseHead['from'], string> = {
  'HEAD.json': 'nothing: only its line ends or its layout were changed',
  'HEAD.prev.json': 'tags and rollbacks made after that HEAD',
  'commit records': 'all tags and rollbacks; snapshots that retention had dropped may come back',
}

function restoreActions({ start, direction }: Omit<PreparedRepair, 'plan' | 'release'>): RepairAction[] {
  const actions: RepairAction[] = []
  const { from, currentHead: there, whyNoHead } = start
  if (there === null) {
    actions.push({ action: 'restore-head', from, why: whyNoHead, loses: LOSES[from] })
  } else if (direction.rolledBack) {
    const loses = direction.adopting ? 'tags and rollbacks made after that HEAD' : 'the snapshots made after that HEAD'
    actions.push({ action: 'restore-head', from, why: 'HEAD.json is older than what lies beside it', loses })
  }
  if (!start.storeFileIsGood) {
    actions.push({ action: 'restore-store-file', why: 'STORE.json is missing, damaged, or of another store' })
  }
  return actions
}
