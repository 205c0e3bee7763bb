import { HoldfastError, isDamage } from '../errors.ts'
import { cidText, parseCid } from '../format/cid.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { SNAPSHOTS_MAX, STORE_ID_BYTES } from '../format/limits.ts'
import { decodeManifest } from '../format/manifest.ts'
import type { Inspection, PackFile } from '../storage/port.ts'
import { BadBlock, type BlockSource, openBlockSource } from './blocks.ts'
import { assertWritable, type Environment } from './environment.ts'
import { markSnapshots } from './fold.ts'
import { commitRecords, readHeader, type SurveyedPack, surveyPack } from './survey.ts'

/** One step of a repair. Nothing is ever deleted. */
export type RepairAction =
  /** HEAD (and STORE.json) are written anew. */
  | { action: 'restore-head'; from: 'HEAD.json' | 'HEAD.prev.json' | 'commit records'; why: string; loses: string }
  /** HEAD names a pack again that it did not name. */
  | { action: 'adopt-pack'; pack: string; blocks: number }
  /** Good blocks of a damaged pack are copied into a new one. */
  | { action: 'rescue-blocks'; pack: string; blocks: number }
  | { action: 'quarantine-pack'; pack: string; reason: string; why: string }
  /** A snapshot that cannot be completed leaves the history. */
  | { action: 'drop-snapshot'; sequence: number; manifest: string; why: string }
  /** Another snapshot becomes the current one. */
  | { action: 'set-current'; from: number | null; to: number | null }

export interface RepairPlan {
  location: string
  /** Nothing to do. */
  ok: boolean
  /** In the order in which they are carried out. */
  actions: RepairAction[]
  /** Sequences that will be there and whole, newest first. */
  snapshots: number[]
  /** HEAD is older than the packs beside it: say which way to go on. */
  choice: 'newer-or-older' | null
}

export interface RepairOptions {
  /** When an old HEAD was put back: `newer` adopts the snapshots written after it, `older` goes on from it. */
  rolledBack?: 'newer' | 'older'
}

/** A plan with what it takes to carry it out. */
export interface PreparedRepair {
  plan: RepairPlan
  base: Head
  /** HEAD.json and STORE.json need no replacement as such. */
  intact: boolean
  /** Revision and sequence go far ahead: numbers were given out that nobody remembers. */
  jump: boolean
  /** Packs of this store, in step with `source` and `marks`. */
  surveyed: SurveyedPack[]
  source: BlockSource
  marks: Uint8Array[]
  slots: Map<number, Set<number>>
  kept: HeadSnapshot[]
  current: number | null
  /** Slots of packs whose good blocks are copied, and that then go to quarantine. */
  rescue: Set<number>
  release(): Promise<void>
}

/** A rebuilt HEAD must not give out numbers that the lost one may have given. */
export const REVISION_JUMP = 1_000_000
export const SEQUENCE_JUMP = 1_000

/** Reads everything, changes nothing. */
export async function prepareRepair(env: Environment, options: RepairOptions = {}): Promise<PreparedRepair> {
  const found = await env.storage.inspect()
  const storeIdHex = await ownStoreId(env, found)
  const storeId = fromHex(storeIdHex, STORE_ID_BYTES)
  const start = startingPoint(env, found, storeIdHex)
  const surveyed: SurveyedPack[] = []
  const release = async (): Promise<void> => {
    for (const { pack } of surveyed) await pack.release()
  }
  try {
    for (const { name } of found.packs) {
      const pack = await surveyPack(env, storeId, name)
      if (pack !== null) surveyed.push(pack)
    }
    return { ...(await plan(env, options, found, start, surveyed, storeId)), release }
  } catch (error) {
    await release()
    throw error
  }
}

interface StartingPoint {
  base: Head
  from: 'HEAD.json' | 'HEAD.prev.json' | 'commit records'
  /** HEAD.json and STORE.json are what they should be. */
  intact: boolean
}

/** The newest HEAD that can be believed, or an empty one. */
function startingPoint(env: Environment, found: Inspection, storeId: string): StartingPoint {
  const { store, head, previous } = found
  if (head.state === 'good' && head.value.head.storeId === storeId) {
    assertWritable(env, head.value)
    const intact = store.state === 'good' && store.value === storeId
    return { base: head.value.head, from: 'HEAD.json', intact }
  }
  if (previous.state === 'good' && previous.value.head.storeId === storeId) {
    assertWritable(env, previous.value)
    return { base: previous.value.head, from: 'HEAD.prev.json', intact: false }
  }
  return { base: emptyHead(storeId), from: 'commit records', intact: false }
}

async function plan(
  env: Environment,
  options: RepairOptions,
  found: Inspection,
  { base, from, intact }: StartingPoint,
  surveyed: readonly SurveyedPack[],
  storeId: Uint8Array,
): Promise<Omit<PreparedRepair, 'release'>> {
  const headIsGood = from === 'HEAD.json'
  const known = new Set([...base.packs, ...base.retired].map(({ name }) => name))
  const future = new Set(surveyed.filter((pack) => !known.has(pack.name) && isFromTheFuture(pack, base, storeId)))
  const rolledBack = headIsGood && future.size > 0
  const choice = rolledBack && options.rolledBack === undefined ? ('newer-or-older' as const) : null
  const adopting = !headIsGood || (rolledBack && options.rolledBack === 'newer')
  const actions: RepairAction[] = []
  if (!intact || (rolledBack && choice === null)) actions.push(restoreAction(found, from, options))

  // What may serve blocks: all that is ours. A snapshot is only believed when HEAD, or a commit record, names it.
  const ours = surveyed.filter(({ name, header }) => known.has(name) || isOurs(header, storeId))
  const source = await openBlockSource(ours.map(({ pack, good }) => ({ ...pack, index: async () => good })))
  const candidates = [...base.snapshots, ...(adopting ? await recorded(ours, storeId, base) : [])]
  const marks = ours.map(({ good }) => new Uint8Array(good.blocks))
  const slots = new Map<number, Set<number>>()
  const kept: HeadSnapshot[] = []
  for (const snapshot of candidates.sort((a, b) => b.sequence - a.sequence)) {
    const { sequence, manifest } = snapshot
    const why = await incomplete(source, snapshot, marks, slots)
    if (why === null) kept.push(await withSize(source, snapshot))
    else actions.push({ action: 'drop-snapshot', sequence, manifest, why })
  }

  const rescue = new Set<number>()
  const named = new Set(base.packs.map(({ name }) => name))
  for (const [slot, pack] of ours.entries()) {
    const { name, whole, why, good } = pack
    const needed = marks[slot]!.reduce((sum, mark) => sum + mark, 0)
    const aside = (reason: string, because: string): void => {
      actions.push({ action: 'quarantine-pack', pack: name, reason, why: because })
    }
    if (!whole && (named.has(name) || needed > 0)) {
      rescue.add(slot)
      if (needed > 0) actions.push({ action: 'rescue-blocks', pack: name, blocks: needed })
      aside('damaged', why)
    } else if (!known.has(name) && needed > 0) {
      actions.push({ action: 'adopt-pack', pack: name, blocks: good.blocks })
    } else if (!known.has(name) && adopting) {
      aside('unneeded', 'no snapshot that could be rebuilt needs it')
    } else if (future.has(pack) && options.rolledBack === 'older') {
      aside('newer-than-head', 'going on from the older HEAD')
    }
  }
  const current = chooseCurrent(base, kept, adopting)
  if (current !== base.head) actions.push({ action: 'set-current', from: base.head, to: current })
  return {
    plan: {
      location: env.storage.location,
      ok: actions.length === 0 && choice === null,
      actions,
      snapshots: kept.map(({ sequence }) => sequence),
      choice,
    },
    base,
    intact,
    jump: !headIsGood || rolledBack,
    surveyed: ours,
    source,
    marks,
    slots,
    kept,
    current,
    rescue,
  }
}

function emptyHead(storeId: string): Head {
  return {
    storeId,
    revision: 0,
    sequence: 0,
    head: null,
    snapshots: [],
    packs: [],
    retired: [],
    damaged: [],
    writes: [],
  }
}

function isOurs(header: { storeId: Uint8Array } | null, storeId: Uint8Array): boolean {
  return header !== null && Buffer.compare(header.storeId, storeId) === 0
}

/** The store these files belong to: what STORE.json, HEAD and the packs agree on, the most votes first. */
async function ownStoreId(env: Environment, found: Inspection): Promise<string> {
  const votes = new Map<string, number>()
  const vote = (id: string): void => void votes.set(id, (votes.get(id) ?? 0) + 1)
  if (found.store.state === 'good') vote(found.store.value)
  if (found.head.state === 'good') vote(found.head.value.head.storeId)
  if (found.previous.state === 'good') vote(found.previous.value.head.storeId)
  for (const { name } of found.packs) {
    const file = await env.storage.openPack(name)
    const owner = await headerOf(file)
    await file.close()
    if (owner !== null) vote(owner)
  }
  const winner = [...votes].sort((a, b) => b[1] - a[1])[0]
  if (winner !== undefined) return winner[0]
  throw new HoldfastError('NOT_A_STORE', `there is nothing of a store in ${env.storage.location}`, {
    details: { location: env.storage.location },
  })
}

async function headerOf(file: PackFile): Promise<string | null> {
  const header = await readHeader(file)
  return header === null ? null : Buffer.from(header.storeId).toString('hex')
}

/** Meant for a HEAD that is not this one's next: this HEAD was put back. */
function isFromTheFuture({ header, whole }: SurveyedPack, base: Head, storeId: Uint8Array): boolean {
  return whole && isOurs(header, storeId) && header!.revision > base.revision + 1
}

function restoreAction(
  found: Inspection,
  from: 'HEAD.json' | 'HEAD.prev.json' | 'commit records',
  options: RepairOptions,
): RepairAction {
  if (from === 'HEAD.json') {
    const why =
      options.rolledBack === undefined
        ? `STORE.json is ${found.store.state === 'good' ? "another store's" : found.store.state}`
        : `HEAD.json is older than the packs beside it; going on from the ${options.rolledBack}`
    const loses = options.rolledBack === 'newer' ? 'tags and rollbacks made after the old HEAD' : ''
    return { action: 'restore-head', from, why, loses }
  }
  const why = found.head.state === 'damaged' ? found.head.error.message : `HEAD.json is ${found.head.state}`
  const loses =
    from === 'HEAD.prev.json'
      ? 'tags and rollbacks made by the last write'
      : 'all tags and rollbacks; snapshots that retention had dropped may come back'
  return { action: 'restore-head', from, why, loses }
}

/** Snapshots that commit records tell of and that `base` cannot know. */
async function recorded(packs: readonly SurveyedPack[], storeId: Uint8Array, base: Head): Promise<HeadSnapshot[]> {
  const bySequence = new Map<number, HeadSnapshot>()
  for (const pack of packs) {
    for (const { sequence, manifest, time, message } of await commitRecords(pack, storeId)) {
      if (sequence <= base.sequence) continue
      bySequence.set(sequence, {
        sequence,
        manifest: cidText(manifest),
        time,
        ...(message === undefined ? {} : { message }),
        tags: [],
        abandoned: false,
        pack: 0,
        packs: [],
        size: 0,
      })
    }
  }
  return [...bySequence.values()].slice(-SNAPSHOTS_MAX)
}

/** Why a snapshot cannot be read in full; null when it can. Marks what it needs. */
async function incomplete(
  source: BlockSource,
  snapshot: HeadSnapshot,
  marks: Uint8Array[],
  slots: Map<number, Set<number>>,
): Promise<string | null> {
  // Marked apart, so that a snapshot that is dropped does not keep blocks.
  const own = marks.map((of) => new Uint8Array(of.length))
  try {
    const result = await markSnapshots(source, [snapshot], own)
    for (const [slot, of] of own.entries()) for (let i = 0; i < of.length; i++) marks[slot]![i]! |= of[i]!
    slots.set(snapshot.sequence, result.slots.get(snapshot.sequence)!)
    return null
  } catch (error) {
    if (!isDamage(error) && !(error instanceof BadBlock)) throw error
    return error.message
  }
}

async function withSize(source: BlockSource, snapshot: HeadSnapshot): Promise<HeadSnapshot> {
  const blame = { code: 'SNAPSHOT_DAMAGED' as const, what: `snapshot ${snapshot.sequence}`, details: {} }
  const { blobs } = decodeManifest(await source.read(parseCid(snapshot.manifest).digest, blame))
  return { ...snapshot, size: [...blobs.values()].reduce((sum, { size }) => sum + size, 0) }
}

/** The newest that no rollback stepped over; after an adoption, the newest of all that is known. */
function chooseCurrent(base: Head, kept: readonly HeadSnapshot[], adopting: boolean): number | null {
  const isThere = kept.some(({ sequence }) => sequence === base.head)
  if (isThere && !adopting) return base.head
  return (kept.find(({ abandoned }) => !abandoned) ?? kept[0])?.sequence ?? null
}
