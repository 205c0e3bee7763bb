import { type BlockSource, openBlockSource } from '../blocks/block-source.ts'
import { createPackShelf } from '../blocks/pack-cache.ts'
import type { Environment } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import { toHex } from '../format/hex.ts'
import { markSnapshots } from '../gc/compact.ts'
import { findStart, type StartingPoint, withoutHead } from './base-head.ts'
import { decideFates, inOrderOfTrust, knownPacks } from './plan-packs.ts'
import { type Candidates, examineCandidates } from './plan-snapshots.ts'
import type { Direction, KeptSnapshot, PreparedRepair, RepairAction, RepairOptions, RepairPlan } from './repair-plan.ts'
import { type SurveyedPack, surveyPack } from './salvage.ts'

/** Reads everything, changes nothing. Null when no store was ever made here. */
export async function prepareRepair(env: Environment, options: RepairOptions): Promise<PreparedRepair | null> {
  if (await isUnmade(env)) return null
  const inspection = await env.storage.inspect()
  const found = await findStart(env, inspection, { unreadableIsLost: options.unreadable === 'lost' })
  const surveyed: SurveyedPack[] = []
  async function release(): Promise<void> {
    for (const { pack } of surveyed) await pack.release()
  }
  try {
    await surveyAll(env, found, inspection.packs, surveyed, options)
    const { start, ...direction } = chooseDirection(found, surveyed, options)
    const { base, adopting } = direction
    const packs = inOrderOfTrust(surveyed, base)
    const source = await openBlockSource(packs.map(({ pack, good }) => ({ ...pack, index: async () => good })))
    await source.expect(Number.POSITIVE_INFINITY)
    const candidates = await examineCandidates(env.storage.location, source, packs, base, adopting)
    const marks = packs.map(({ good }) => new Uint8Array(good.blocks))
    const kept = await needsOf(candidates, source, marks)
    const fates = decideFates(packs, direction, marks, kept)
    const current = chooseCurrent(direction, kept)
    const prepared = { start, direction, packs, source, marks, kept, current: current.to, fates, release }
    const renewRecords = kept.some(
      ({ snapshot, slots }) =>
        snapshot.packs.some((id) => fates.lost.has(id)) || [...slots].some((slot) => !fates.named.has(slot)),
    )
    const plan = describePlan(env.storage.location, { ...prepared, renewRecords }, candidates, current)
    return { ...prepared, renewRecords, plan }
  } catch (error) {
    await release()
    throw error
  }
}

/** A creation that was cut short is none either: the next persist finishes it. */
async function isUnmade(env: Environment): Promise<boolean> {
  try {
    return (await env.storage.readHead()) === null
  } catch (error) {
    if (error instanceof HoldfastError) return false
    throw error
  }
}

/** Those that HEAD knows, that say they are this store's, or that a commit record of this store names. */
async function surveyAll(
  env: Environment,
  start: StartingPoint,
  there: readonly { name: string; bytes: number }[],
  into: SurveyedPack[],
  { signal, onProgress, unreadable }: RepairOptions,
): Promise<void> {
  // A shelf of its own: what this process has in memory says nothing about the disk.
  const shelf = createPackShelf(env.storage)
  const heads = [start.previous, start.there].filter((head) => head !== null)
  const said = new Map(heads.flatMap((head) => head.packs.map((pack) => [pack.name, pack] as const)))
  const totalBytes = there.reduce((sum, { bytes }) => sum + bytes, 0)
  let readBytes = 0

  async function survey(name: string): Promise<void> {
    const pack = await surveyPack(name, {
      shelf,
      storeId: start.storeId,
      said: said.get(name),
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

function chooseDirection(
  start: StartingPoint,
  surveyed: readonly SurveyedPack[],
  { rolledBack: way }: RepairOptions,
): Direction & { start: StartingPoint } {
  const { there, previous, base } = start
  if (there === null) return { start, base, rolledBack: false, choice: null, adopting: true, jump: true }
  const known = knownPacks(there)
  const isNewer = ({ name, whole, header }: SurveyedPack): boolean =>
    !known.has(name) && whole && header!.revision > there.revision + 1
  const spareIsNewer = previous !== null && previous.revision > there.revision
  const rolledBack = spareIsNewer || surveyed.some(isNewer)
  const adopting = rolledBack && way === 'newer'
  if (adopting && spareIsNewer) return chooseDirection(withoutHead(start, previous), surveyed, {})
  const choice = rolledBack && way === undefined ? 'newer-or-older' : null
  return { start, base, rolledBack, choice, adopting, jump: rolledBack }
}

async function needsOf(
  { kept }: Candidates,
  source: BlockSource,
  marks: readonly Uint8Array[],
): Promise<KeptSnapshot[]> {
  const snapshots = kept.map(({ snapshot }) => snapshot)
  const { slots } = await markSnapshots(source, snapshots, [...marks])
  return kept.map(({ snapshot, record }) => {
    const needed = slots.get(snapshot.sequence)!
    return { snapshot, slots: record === null ? needed : new Set([...needed, record]) }
  })
}

interface Current {
  to: number | null
  why: string
}

/** As before, unless it is lost or newer ones come in: then the newest that no rollback stepped over. */
function chooseCurrent({ base, adopting }: Direction, kept: readonly KeptSnapshot[]): Current {
  const isThere = kept.some(({ snapshot }) => snapshot.sequence === base.head)
  if (isThere && !adopting) return { to: base.head, why: '' }
  const newest = kept.find(({ snapshot }) => !snapshot.abandoned)
  if (newest !== undefined) return { to: newest.snapshot.sequence, why: 'it is the newest that is whole' }
  if (kept.length === 0) return { to: null, why: 'no snapshot is whole' }
  const why = 'a rollback stepped over it, but no other is whole: look at it before you use it'
  return { to: kept[0]!.snapshot.sequence, why }
}

function describePlan(
  location: string,
  prepared: Omit<PreparedRepair, 'plan' | 'release'>,
  candidates: Candidates,
  current: Current,
): RepairPlan {
  const { start, direction, packs, marks, kept, fates } = prepared
  const snapshots = kept.map(({ snapshot }) => snapshot.sequence)
  if (direction.choice !== null) return { location, ok: false, actions: [], snapshots, choice: direction.choice }
  const { base } = direction
  const nameOf = (slot: number): string => packs[slot]!.name
  const changes: RepairAction[] = [
    ...fates.aside.map(({ slot, reason, why }) => ({
      action: 'quarantine-pack' as const,
      pack: nameOf(slot),
      reason,
      why,
    })),
    ...restoreActions(prepared),
    ...fates.adopted.map((slot) => ({
      action: 'adopt-pack' as const,
      pack: nameOf(slot),
      blocks: packs[slot]!.good.blocks,
    })),
    ...fates.missing.map((pack) => ({ action: 'forget-pack' as const, pack })),
    ...[...fates.wrong, ...candidates.wrong].map((why) => ({ action: 'correct-head' as const, why })),
    ...candidates.dropped.map(({ sequence, manifest, why }) => ({
      action: 'drop-snapshot' as const,
      sequence,
      manifest,
      why,
    })),
  ]
  if (current.to !== base.head) {
    changes.push({ action: 'set-current', from: base.head, to: current.to, why: current.why })
  }
  const rescues = [...fates.rescued].map((slot) => ({
    action: 'rescue-blocks' as const,
    pack: nameOf(slot),
    blocks: marks[slot]!.reduce((sum, mark) => sum + mark, 0),
  }))
  if (changes.length === 0 && rescues.length === 0 && start.aside.length === 0) {
    return { location, ok: true, actions: [], snapshots, choice: null }
  }
  const records = prepared.renewRecords ? [{ action: 'renew-records' as const, snapshots: kept.length }] : []
  const files = [...start.aside, ...beforeRepair(start)].map((file) => ({
    action: 'quarantine-file' as const,
    ...file,
  }))
  return { location, ok: false, actions: [...rescues, ...records, ...files, ...changes], snapshots, choice: null }
}

/** The reason of files of which a copy is put aside. */
export const BEFORE_REPAIR = 'before-repair'

/** A repair takes things out of HEAD that are nowhere else: both HEADs are kept as they were. */
function beforeRepair({ there, previous }: StartingPoint) {
  if (there === null) return []
  const facts = { reason: BEFORE_REPAIR, why: 'as it was before the repair' }
  const head = { file: 'HEAD.json' as const, ...facts }
  return previous === null ? [head] : [head, { file: 'HEAD.prev.json' as const, ...facts }]
}

function restoreActions({ start, direction }: Omit<PreparedRepair, 'plan' | 'release'>): RepairAction[] {
  const actions: RepairAction[] = []
  const { from, there, whyNoHead } = start
  if (there === null) {
    const loses =
      from === 'HEAD.prev.json'
        ? 'tags and rollbacks made after that HEAD'
        : 'all tags and rollbacks; snapshots that retention had dropped may come back'
    actions.push({ action: 'restore-head', from, why: whyNoHead, loses })
  } else if (direction.rolledBack) {
    const loses = direction.adopting ? 'tags and rollbacks made after that HEAD' : 'the snapshots made after that HEAD'
    actions.push({ action: 'restore-head', from, why: 'HEAD.json is older than what lies beside it', loses })
  }
  if (!start.storeFileIsGood) {
    actions.push({ action: 'restore-store-file', why: 'STORE.json is missing, damaged, or of another store' })
  }
  return actions
}
