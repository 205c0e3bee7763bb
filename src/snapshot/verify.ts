import { basename } from 'node:path'
import { HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { ENTRY_BYTES, FANOUT_BYTES, FOOTER_BYTES, HEADER_BYTES, STORE_ID_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import type { OnProgress } from '../progress.ts'
import type { Inspection, StoredHead } from '../storage/port.ts'
import { type BlockSource, entryOf, openBlockSource, slotOf } from './blocks.ts'
import { type Environment, noteBadPack } from './environment.ts'
import { examiner, type SnapshotHealth } from './health.ts'
import { createPackShelf, type OpenPack } from './packs.ts'
import { type BadBlocksOf, blockProblems, noteBadBlocks, type Problem, packProblem } from './problem.ts'
import { BLOCK, type BlockState, scanPack } from './scan-pack.ts'
import { claimIn, type PackClaim, planSweep, rolledBack } from './sweep.ts'

export interface VerifyOptions {
  /** `quick`: every structure, no blob bytes. `full` (default): every stored byte as well. */
  level?: 'quick' | 'full'
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal
  onProgress?: OnProgress
}

export interface VerifyReport {
  /**
   * Every snapshot can be loaded, and nothing is wrong but, at most, what HEAD records already (problems that are `known`): those blocks are
   * not counted on any more, and every snapshot does without them.
   */
  ok: boolean
  location: string
  level: 'quick' | 'full'
  /** HEAD's revision that was verified; null when there is no store, or no HEAD that can be read. */
  revision: number | null
  problems: Problem[]
  /** Newest first. */
  snapshots: SnapshotHealth[]
  /** `blocks` and their stored `bytes`: at level `full` only. */
  checked: { packs: number; blocks: number; bytes: number }
  /** What to do, in words; empty when there is nothing. */
  advice: string
  durationMs: number
}

/**
 * Looks at everything and changes nothing. What is damaged, missing or unreadable is in the report; it throws only when there is nothing to
 * look at. Packs are read from the disk even when this process has them in memory. Holds every pack open, and in memory their
 * indexes (56 bytes a block) and a few MiB more.
 */
export async function verify(env: Environment, options: VerifyOptions = {}): Promise<VerifyReport> {
  const startMs = performance.now()
  const level = options.level ?? 'full'
  if (level !== 'quick' && level !== 'full') {
    throw new TypeError(`verify: level is 'quick' or 'full', got ${String(level)}`)
  }
  options.signal?.throwIfAborted()
  const pinned = await pinStore(env)
  const { stored } = pinned
  const report: VerifyReport = {
    ok: false,
    location: env.storage.location,
    level,
    revision: stored?.head.revision ?? null,
    problems: pinned.problems,
    snapshots: [],
    checked: { packs: 0, blocks: 0, bytes: 0 },
    advice: '',
    durationMs: 0,
  }
  try {
    if (stored !== null) await verifyPacks(env, stored.head, pinned, report, options)
  } finally {
    for (const pack of pinned.packs) await pack.release()
  }
  report.ok = (stored !== null || pinned.unmade) && report.problems.every(({ known }) => known === true)
  report.advice = adviceFor(report)
  report.durationMs = performance.now() - startMs
  return report
}

interface Pinned {
  problems: Problem[]
  stored: StoredHead | null
  /** No store was ever made here. */
  unmade: boolean
  /** Open, with a good index. */
  packs: OpenPack[]
  /** All others that HEAD names. */
  failures: { pack: string; error: HoldfastError }[]
}

/** A writer that moves on while we open what HEAD names makes packs look missing; then HEAD is read again. */
const PIN_TRIES = 16

async function pinStore(env: Environment): Promise<Pinned> {
  for (let tries = 1; ; tries++) {
    const pinned: Pinned = { ...(await readHeads(env)), packs: [], failures: [] }
    const { stored } = pinned
    if (stored === null) return pinned
    await openAll(env, stored.head, pinned)
    const missing = pinned.failures.some(({ error }) => error.code === 'PACK_MISSING')
    if (!missing || !(await hasMoved(env, stored))) return pinned
    for (const pack of pinned.packs) await pack.release()
    if (tries < PIN_TRIES) continue
    throw new HoldfastError('SNAPSHOT_GONE', `${env.storage.location} is written to faster than it can be verified`, {
      details: { revision: stored.head.revision },
    })
  }
}

async function hasMoved(env: Environment, stored: StoredHead): Promise<boolean> {
  const now = await env.storage.readHead()
  return now?.head.revision !== stored.head.revision
}

async function readHeads(env: Environment): Promise<Pick<Pinned, 'problems' | 'stored' | 'unmade'>> {
  const problems: Problem[] = []
  let found: Inspection | null = null
  try {
    // Before HEAD is read: what lies there now is no newer than that HEAD.
    found = await env.storage.inspect()
    const stored = await env.storage.readHead()
    if (stored !== null) problems.push(...(await besideHead(env, found, stored.head)))
    return { problems, stored, unmade: stored === null }
  } catch (error) {
    if (!isHoldfastError(error) || !isVerdict(error, found)) throw error
    const path = (error.details.path ?? error.details.where) as string | undefined
    problems.push({ code: error.code, what: path === undefined ? 'HEAD.json' : basename(path), message: error.message })
    return { problems, stored: null, unmade: false }
  }
}

/** Whether the error says something about a store; otherwise there is none to look at. */
function isVerdict(error: HoldfastError, found: Inspection | null): boolean {
  const isStore = found !== null && (found.store.state === 'good' || found.previous.state === 'good')
  if (isHoldfastError(error, 'NOT_A_STORE', 'LIMIT_EXCEEDED')) return isStore
  return error.kind === 'damaged' || error.code === 'IO_FAILED'
}

/** The spare HEAD, and the packs that HEAD does not name. */
async function besideHead(env: Environment, found: Inspection, head: Head): Promise<Problem[]> {
  const problems: Problem[] = []
  const { previous } = found
  const what = 'HEAD.prev.json'
  const spare = 'it is only a spare, the next write replaces it'
  if (previous.state === 'damaged') {
    problems.push({ code: 'HEAD_DAMAGED', what, message: `${previous.error.message}; ${spare}` })
  } else if (previous.state === 'good' && previous.value.head.storeId !== head.storeId) {
    problems.push({ code: 'STORE_DAMAGED', what, message: `${what} belongs to another store; ${spare}` })
  }
  const known = new Set([...head.packs, ...head.retired].map(({ name }) => name))
  const claims = new Map<string, PackClaim | null>()
  for (const { name } of found.packs) claims.set(name, known.has(name) ? null : await claimOf(env, name))
  const before = previous.state === 'good' && previous.value.head.storeId === head.storeId ? previous.value.head : null
  const plan = planSweep(head, before, claims)
  if (plan.future.length > 0) {
    const { code, message } = rolledBack(env.storage.location, head, plan)
    problems.push({ code, what: 'HEAD.json', message })
  }
  return problems
}

/** Null: it went meanwhile, as an orphan may. */
async function claimOf(env: Environment, name: string): Promise<PackClaim | null> {
  try {
    const file = await env.storage.openPack(name)
    try {
      const bytes = new Uint8Array(Math.min(HEADER_BYTES, file.bytes))
      await file.read(bytes, 0)
      return claimIn(bytes, name)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isDamage(error)) return null
    throw error
  }
}

/** Past what this process has in memory: an index that has been read already says nothing about the disk. */
async function openAll(env: Environment, head: Head, into: Pick<Pinned, 'packs' | 'failures'>): Promise<void> {
  const shelf = createPackShelf(env.storage)
  const storeId = fromHex(head.storeId, STORE_ID_BYTES)
  for (const { name } of head.packs) {
    let pack: OpenPack | null = null
    try {
      pack = await shelf.open(name, storeId)
      await pack.index()
      into.packs.push(pack)
    } catch (error) {
      await pack?.release()
      if (!isHoldfastError(error)) throw error
      into.failures.push({ pack: name, error })
    }
  }
}

async function verifyPacks(
  env: Environment,
  head: Head,
  pinned: Pinned,
  report: VerifyReport,
  options: VerifyOptions,
): Promise<void> {
  const { packs, failures } = pinned
  for (const { pack, error } of failures) {
    if (isDamage(error)) noteBadPack(env, pack)
    report.problems.push(packProblem(head, pack, error))
  }
  const marks = createBadMarks(() => source)
  const source: BlockSource = await openBlockSource(packs, {
    failures: failures.map(({ error }) => error),
    onBadBlock(pack, digest) {
      const slot = packs.findIndex(({ name }) => name === pack)
      const entry = source.indexes[slot]!.find(digest, 0)
      if (!marks.has(slot, entry)) marks.add(slot, entry, BLOCK.wrong)
    },
  })
  await source.expect(Number.POSITIVE_INFINITY)
  for (const [slot, pack] of packs.entries()) comparePack(head, pack, source.indexes[slot]!, report)
  if (report.level === 'full') await scanAll(source, marks, report, options)
  else markRecorded(head, source, marks)

  const unlisted = new Map<HeadSnapshot, Set<string>>()
  const examine = examiner(source, {
    location: env.storage.location,
    signal: options.signal,
    isGood: (place, digests, at) => !marks.has(slotOf(place), entryOf(place)) || hasGoodCopy(source, marks, digests, at),
    ...(failures.length > 0 ? {} : { onBlock: listingCheck(head, source, unlisted) }),
  })
  for (const snapshot of head.snapshots) {
    options.signal?.throwIfAborted()
    const { health, errors, size } = await examine(snapshot)
    report.snapshots.push(health)
    const what = `snapshot ${snapshot.sequence}`
    for (const { code, message } of errors) report.problems.push({ code, what, message })
    if (!health.manifestLost && size !== snapshot.size) {
      const message = `its blobs have ${size} bytes, HEAD says ${snapshot.size}`
      report.problems.push({ code: 'HEAD_DAMAGED', what, message })
    }
  }
  for (const [{ sequence }, names] of unlisted) {
    const message = `HEAD does not say that snapshot ${sequence} needs pack ${[...names].join(', ')}, which could be deleted therefore`
    report.problems.push({ code: 'HEAD_DAMAGED', what: `snapshot ${sequence}`, message })
  }
  reportBadBlocks(env, head, source, marks, report)
}

function comparePack(head: Head, { name, file }: OpenPack, index: PackIndex, report: VerifyReport): void {
  const said = head.packs.find((pack) => pack.name === name)!
  if (said.bytes === file.bytes && said.blocks === index.blocks) return
  const message = `it has ${file.bytes} bytes and ${index.blocks} blocks, HEAD says ${said.bytes} and ${said.blocks}`
  report.problems.push({ code: 'HEAD_DAMAGED', what: `pack ${name}`, message, pack: name })
}

async function scanAll(
  source: BlockSource,
  marks: BadMarks,
  report: VerifyReport,
  { signal, onProgress }: VerifyOptions,
): Promise<void> {
  const { checked } = report
  const totalBytes = source.packs.reduce((sum, { file }, slot) => sum + dataBytes(file.bytes, source.indexes[slot]!), 0)
  for (const [slot, { file }] of source.packs.entries()) {
    for await (const step of scanPack(file, source.indexes[slot]!)) {
      signal?.throwIfAborted()
      checked.blocks += step.blocks
      checked.bytes += step.bytes
      for (const [entry, state] of step.bad) marks.add(slot, entry, state, step.failure)
      onProgress?.({ phase: 'verifying', bytes: checked.bytes, totalBytes })
    }
    checked.packs += 1
  }
}

function dataBytes(fileBytes: number, { blocks }: PackIndex): number {
  return fileBytes - HEADER_BYTES - FANOUT_BYTES - blocks * ENTRY_BYTES - FOOTER_BYTES
}

/** Nothing is read that could tell, so HEAD is believed. */
function markRecorded(head: Head, source: BlockSource, marks: BadMarks): void {
  for (const { pack, digests } of head.damaged) {
    const slot = source.packs.findIndex(({ name }) => name === pack)
    if (slot === -1) continue
    for (const hex of digests) {
      const entry = source.indexes[slot]!.find(Buffer.from(hex, 'hex'), 0)
      if (entry !== -1) marks.add(slot, entry, BLOCK.wrong)
    }
  }
}

/** Notes packs that hold blocks of a snapshot when none of those that HEAD lists for it does. */
function listingCheck(head: Head, source: BlockSource, unlisted: Map<HeadSnapshot, Set<string>>) {
  const idOf = new Map(head.packs.map(({ name, id }) => [name, id]))
  const ids = source.packs.map(({ name }) => idOf.get(name)!)
  return (snapshot: HeadSnapshot, digests: Uint8Array, at: number): void => {
    const place = source.find(digests, at)
    if (place === -1 || snapshot.packs.includes(ids[slotOf(place)]!)) return
    if (ids.some((id, slot) => snapshot.packs.includes(id) && source.indexes[slot]!.find(digests, at) !== -1)) return
    const names = unlisted.get(snapshot) ?? new Set()
    unlisted.set(snapshot, names.add(source.packs[slotOf(place)]!.name))
  }
}

function hasGoodCopy(source: BlockSource, marks: BadMarks, digests: Uint8Array, at: number): boolean {
  return source.indexes.some((index, slot) => {
    const entry = index.find(digests, at)
    return entry !== -1 && !marks.has(slot, entry)
  })
}

/** From now on persists of this store object do not count on these blocks, and record them. */
function reportBadBlocks(
  env: Environment,
  head: Head,
  source: BlockSource,
  marks: BadMarks,
  report: VerifyReport,
): void {
  for (const [slot, bad] of marks.all()) {
    const { name } = source.packs[slot]!
    const index = source.indexes[slot]!
    noteBadBlocks(env, head, name, index, bad.states)
    const isCopied = (entry: number): boolean => hasGoodCopy(source, marks, index.bytes, index.digestAt(entry))
    report.problems.push(...blockProblems(head, { name, index }, bad, isCopied))
  }
}

/** Bad blocks, by the slot of their pack. */
interface BadMarks {
  add(slot: number, entry: number, state: BlockState, failure?: unknown): void
  has(slot: number, entry: number): boolean
  all(): Iterable<[number, BadBlocksOf]>
}

function createBadMarks(source: () => BlockSource): BadMarks {
  const bySlot = new Map<number, BadBlocksOf>()
  return {
    add(slot, entry, state, failure = null) {
      const bad = bySlot.get(slot) ?? { states: new Uint8Array(source().indexes[slot]!.blocks), failure: null }
      bad.states[entry] = state
      bad.failure ??= failure
      bySlot.set(slot, bad)
    },
    has: (slot, entry) => bySlot.size > 0 && (bySlot.get(slot)?.states[entry] ?? BLOCK.good) !== BLOCK.good,
    all: () => bySlot,
  }
}

function adviceFor(report: VerifyReport): string {
  const { problems, snapshots, revision } = report
  if (report.ok) return ''
  if (problems.some(({ code }) => code === 'IO_FAILED')) {
    return (
      'Something could not be read, which says nothing about what is in it: look at the disk, the mount and the permissions first, and ' +
      'verify again before anything is repaired.'
    )
  }
  if (problems.some(({ code }) => code === 'STORE_ROLLED_BACK')) {
    return "HEAD is older than what lies beside it. Nothing can be persisted until repair({ rolledBack: 'newer' }) or ('older') says how to go on."
  }
  if (revision === null) {
    return (
      'HEAD cannot be read, so nothing loads. repair({ dryRun: true }) shows what can be rebuilt from HEAD.prev.json and the packs, ' +
      'repair() does it.'
    )
  }
  if (snapshots.every(({ intact }) => intact)) {
    return 'Every snapshot can be loaded in full. The next persist stops counting on what is bad; repair() replaces it now.'
  }
  const intact = snapshots.filter((snapshot) => snapshot.intact).map(({ sequence }) => sequence)
  const loads = intact.length > 0 ? `Snapshots ${intact.join(', ')} can be loaded in full` : 'No snapshot can be loaded in full'
  return (
    `${loads}. Persisting the same content again puts back what is missing of it. repair() rescues good blocks from damaged packs and ` +
    'drops the snapshots that stay incomplete: what is intact of those (see damagedBlobs) can be loaded only before that.'
  )
}
