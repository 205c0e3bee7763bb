import { HoldfastError } from '../errors.ts'
import { parseCid } from '../format/cid.ts'
import type { Head, HeadPack, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { WriteSession } from '../storage/port.ts'
import { type BlockWriter, createBlockWriter, type WrittenPack } from './block-writer.ts'
import { appendCommitRecord } from './commit-record.ts'
import { createDigestMap, type DigestMap } from './digest-map.ts'
import type { Environment } from './environment.ts'
import { liveBytes, movePack } from './fold.ts'
import { nextHead } from './next-head.ts'
import {
  type PreparedRepair,
  prepareRepair,
  REVISION_JUMP,
  type RepairOptions,
  type RepairPlan,
  SEQUENCE_JUMP,
} from './plan-repair.ts'

export interface RepairReport extends RepairPlan {
  /** The plan was carried out; false for a dry run, and when there was nothing to do. */
  applied: boolean
  /** Where things were moved to, by what they were. */
  quarantined: Record<string, string>
}

const PACK_BYTES_MAX = 256 * 1024 * 1024

/**
 * Brings a damaged store back to where it loads and can be written. Nothing is deleted: what is bad moves to quarantine. A healthy
 * store is left exactly as it is. With `dryRun` the answer is what would be done.
 */
export async function repair(
  env: Environment,
  options: RepairOptions & { dryRun?: boolean; lockWaitMs: number; signal?: AbortSignal | undefined },
): Promise<RepairReport> {
  if (options.dryRun === true) {
    const prepared = await prepareRepair(env, options)
    await prepared.release()
    return { ...prepared.plan, applied: false, quarantined: {} }
  }
  return await env.storage.write(
    { waitMs: options.lockWaitMs, signal: options.signal, repair: true },
    async (session) => {
      const prepared = await prepareRepair(env, options)
      try {
        if (prepared.plan.choice !== null) throw mustChoose(env)
        if (prepared.plan.ok) return { ...prepared.plan, applied: false, quarantined: {} }
        const quarantined = await applyRepair(session, prepared)
        env.badBlocks.clear()
        return { ...prepared.plan, applied: true, quarantined }
      } finally {
        await prepared.release()
      }
    },
  )
}

function mustChoose(env: Environment): HoldfastError {
  return new HoldfastError(
    'STORE_ROLLED_BACK',
    `${env.storage.location}: HEAD is older than the packs beside it. Repair with rolledBack: 'newer' to adopt the snapshots written after ` +
      "it, or 'older' to go on from it (the newer packs move to quarantine)",
    { details: { location: env.storage.location } },
  )
}

/**
 * Rescued blocks are durable in a new pack before the packs they come from are touched; those go to quarantine before HEAD stops naming
 * them, because what HEAD does not name is garbage to the next writer. A crash in between is repaired by another repair.
 */
async function applyRepair(session: WriteSession, prepared: PreparedRepair): Promise<Record<string, string>> {
  const { base, surveyed, rescue, plan, intact, jump } = prepared
  const revision = jump ? newestRevision(prepared) + REVISION_JUMP : base.revision
  const taken = Math.max(0, ...base.packs.map(({ id }) => id))
  const ids = surveyed.map(({ name }, slot) => base.packs.find((pack) => pack.name === name)?.id ?? taken + 1 + slot)
  const writer = createBlockWriter({
    storeId: fromHex(base.storeId, STORE_ID_BYTES),
    revision: revision + 1,
    firstPackId: taken + 1 + surveyed.length,
    packBytesMax: PACK_BYTES_MAX,
    compress: false,
    createPack: () => session.createPack(),
  })
  let rescued: Rescued
  try {
    rescued = await rescueBlocks(prepared, ids, writer)
  } catch (error) {
    await writer.discard()
    throw error
  }
  const quarantined: Record<string, string> = {}
  for (const action of plan.actions) {
    if (action.action !== 'quarantine-pack') continue
    quarantined[action.pack] = await session.quarantinePack(action.pack, action.reason, { why: action.why })
  }
  const next = repairedHead(prepared, ids, rescue, rescued, revision)
  if (intact && !jump) await session.swapHead(next)
  else await session.restoreHead(next)
  return quarantined
}

interface Rescued {
  written: WrittenPack[]
  snapshots: HeadSnapshot[]
}

/** Copies what is needed of damaged packs, and says of each kept snapshot which packs it needs from now on. */
async function rescueBlocks(prepared: PreparedRepair, ids: readonly number[], writer: BlockWriter): Promise<Rescued> {
  const { base, surveyed, rescue, source, marks, slots, kept } = prepared
  const moved = createDigestMap()
  const from = writer.packId
  for (const slot of rescue) {
    const pack = { file: source.packs[slot]!, index: source.indexes[slot]!, marks: marks[slot]! }
    await movePack(pack, writer, moved, flush, new AbortController().signal)
  }
  const into = moved.size === 0 ? [] : Array.from({ length: writer.packId - from + 1 }, (_, i) => from + i)
  const names = new Map([...surveyed.map(({ name }, slot) => [ids[slot]!, name] as const)])
  const snapshots = kept.map((snapshot) => {
    const of = [...slots.get(snapshot.sequence)!]
    const stay = of.filter((slot) => !rescue.has(slot)).map((slot) => ids[slot]!)
    const packs = [...stay, ...(stay.length < of.length ? into : [])].sort((a, b) => a - b)
    return { ...snapshot, packs, pack: packOf(prepared, ids, moved, snapshot) }
  })
  if (into.length > 0) {
    for (const snapshot of snapshots) appendCommitRecord(writer, base.storeId, snapshot, names)
    for (const snapshot of snapshots) {
      if (!snapshot.packs.includes(into.at(-1)!)) snapshot.packs.push(into.at(-1)!)
    }
  }
  return { written: await writer.finish(), snapshots }

  async function flush(): Promise<void> {
    await writer.flush()
    await writer.rollOver()
  }
}

function packOf(prepared: PreparedRepair, ids: readonly number[], moved: DigestMap, snapshot: HeadSnapshot): number {
  const { digest } = parseCid(snapshot.manifest)
  const now = moved.get(digest, 0)
  if (now !== -1) return now
  const slot = prepared.source.indexes.findIndex(
    (index, slot) => !prepared.rescue.has(slot) && index.find(digest, 0) !== -1,
  )
  return ids[slot]!
}

function repairedHead(
  prepared: PreparedRepair,
  ids: readonly number[],
  rescue: ReadonlySet<number>,
  rescued: Rescued,
  revision: number,
): Head {
  const { base, surveyed, marks, kept, current, jump } = prepared
  const quarantined = new Set(
    prepared.plan.actions.flatMap((action) => (action.action === 'quarantine-pack' ? [action.pack] : [])),
  )
  const packs: HeadPack[] = surveyed.flatMap(({ name, bytes, good }, slot) => {
    if (rescue.has(slot) || quarantined.has(name)) return []
    return [{ id: ids[slot]!, name, bytes, blocks: good.blocks, live: liveBytes(good, bytes, marks[slot]!) }]
  })
  const sequence = Math.max(base.sequence, ...kept.map((snapshot) => snapshot.sequence)) + (jump ? SEQUENCE_JUMP : 0)
  const there = new Set(surveyed.map(({ name }) => name))
  const next = nextHead(
    {
      ...base,
      revision,
      sequence,
      head: current,
      snapshots: [],
      packs,
      retired: base.retired.filter(({ name }) => there.has(name) && !quarantined.has(name)),
      // Bad blocks are in quarantine now, with the packs they were in.
      damaged: [],
    },
    { snapshots: rescued.snapshots, written: rescued.written.map((pack) => ({ ...pack, live: pack.bytes })) },
  )
  return { ...next, head: current }
}

/** No revision that was ever given out is given out again, as far as packs tell. */
function newestRevision({ base, surveyed }: PreparedRepair): number {
  return Math.max(base.revision, ...surveyed.map(({ header }) => header?.revision ?? 0))
}
