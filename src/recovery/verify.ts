// Verifies a whole store: its structure, and at level `full` every stored byte. It changes nothing.

import { type BlockSource, entryOf, openBlockSource, packNumberOf } from '../blocks/block-source.ts'
import type { OpenPack } from '../blocks/pack-cache.ts'
import { BLOCK, type BlockState, scanPack } from '../blocks/scan-pack.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { type HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { DIGEST_BYTES, ENTRY_BYTES, FANOUT_BYTES, FOOTER_BYTES, HEADER_BYTES } from '../format/limits.ts'
import type { PackIndex } from '../format/pack.ts'
import type { OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import { term } from '../terms.ts'
import { type CheckJournal, type JournalCheck, noJournal } from './check-journal.ts'
import { checkRecords } from './check-records.ts'
import { createSnapshotCheck, listingCheck, type SnapshotHealth } from './examine.ts'
import { type Pinned, pinStore } from './pin-store.ts'
import { type BadBlocksOf, blockProblems, noteBadBlocks, type Problem, packProblem } from './problem.ts'

/** How much `verify` reads. */
export interface VerifyOptions {
  /** `quick`: every structure, but no blob bytes. `full` (default): every stored byte, too. */
  level?: 'quick' | 'full' | undefined
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export const VERIFY_OPTIONS: OptionTable<VerifyOptions> = { level: 'any', signal: 'signal', onProgress: 'function' }

/** What `verify` found. It changes nothing. */
export interface VerifyReport {
  /**
   * Every snapshot can be loaded, and nothing is wrong except what HEAD already records (problems with `recorded`). No
   * persist reuses those blocks, and no snapshot needs them.
   */
  ok: boolean
  location: string
  level: 'quick' | 'full'
  /** The verified revision of HEAD; null if there is no store or no readable HEAD. */
  revision: number | null
  problems: Problem[]
  /** Newest first. */
  snapshots: SnapshotHealth[]
  /** `blocks` and their stored `bytes` are counted at level `full` only. */
  checked: { packs: number; blocks: number; bytes: number }
  /**
   * `none`: there is no journal. `skipped`: its owner has it open and wrote while it was looked at; the owner looked
   * when it opened it.
   */
  journal: JournalCheck['state']
  /** What to do, in words; empty if there is nothing to do. */
  advice: string
  durationMs: number
}

/**
 * Verifies the whole store and changes nothing. Damaged, missing and unreadable files are in the report; it throws only
 * if there is nothing to verify. Packs are read from the disk even if this process has them in memory. It holds every
 * pack open, and keeps their indexes (40 to 52 bytes a block) and a few MiB more in memory.
 */
export async function verify(
  ctx: StoreContext,
  options: VerifyOptions = {},
  checkJournal: CheckJournal = noJournal,
): Promise<VerifyReport> {
  const startMs = clock.monotonicMs()
  const level = options.level ?? 'full'
  if (level !== 'quick' && level !== 'full') {
    throw new TypeError(`verify: level is 'quick' or 'full', got ${String(level)}`)
  }
  options.signal?.throwIfAborted()
  const pinned = await pinStore(ctx)
  const { stored } = pinned
  const report: VerifyReport = {
    ok: false,
    location: ctx.storage.location,
    level,
    revision: stored?.head.revision ?? null,
    problems: pinned.problems,
    snapshots: [],
    checked: { packs: 0, blocks: 0, bytes: 0 },
    journal: 'none',
    advice: '',
    durationMs: 0,
  }
  try {
    if (stored !== null) await verifyPacks(ctx, stored.head, pinned, report, options)
  } finally {
    for (const pack of pinned.packs) await pack.release()
  }
  if (stored !== null) {
    const { state, problems } = await checkJournal()
    report.journal = state
    report.problems.push(...problems)
  }
  report.ok = report.problems.every(({ recorded: known }) => known === true)
  report.advice = adviceFor(report)
  report.durationMs = clock.monotonicMs() - startMs
  return report
}

async function verifyPacks(
  ctx: StoreContext,
  head: Head,
  pinned: Pinned,
  report: VerifyReport,
  options: VerifyOptions,
): Promise<void> {
  const { packs, failures } = pinned
  for (const { pack, error } of failures) {
    if (isDamage(error)) ctx.badBlocks.notePack(pack)
    report.problems.push(packProblem(head, pack, error))
  }
  const marks = createBadMarks(() => source)
  const source: BlockSource = await openBlockSource(packs, {
    failures: failures.map(({ error }) => error),
    onBadBlock(pack, digest, error) {
      const packNumber = packs.findIndex(({ name }) => name === pack)
      const entry = source.indexes[packNumber]!.find(digest, 0)
      if (marks.has(packNumber, entry)) return
      if (isHoldfastError(error, 'IO_FAILED')) marks.add(packNumber, entry, BLOCK.unreadable, error)
      else marks.add(packNumber, entry, BLOCK.wrong)
    },
  })
  await source.expectLookups(Number.POSITIVE_INFINITY)
  for (const [packNumber, pack] of packs.entries()) comparePack(head, pack, source.indexes[packNumber]!, report)
  if (report.level === 'full') await scanAll(source, marks, report, options)
  else markRecorded(head, source, marks)

  const listing = listingCheck(head.packs, source)
  const examine = createSnapshotCheck(source, {
    location: ctx.storage.location,
    signal: options.signal,
    isGood: (place) => !marks.has(packNumberOf(place), entryOf(place)),
    ...(failures.length > 0 ? {} : { onBlock: listing.onBlock }),
  })
  /**
   * A block that is in no pack may be in one that cannot be read now. A load then says that, and not that it is lost.
   */
  function mayBeInUnread({ details }: HoldfastError): boolean {
    const { block } = details as { block?: string }
    if (block === undefined || !failures.some(({ error }) => isHoldfastError(error, 'IO_FAILED'))) return false
    return source.find(fromHex(block, DIGEST_BYTES), 0) === -1
  }
  for (const snapshot of head.snapshots) {
    options.signal?.throwIfAborted()
    const { health, errors, size } = await examine(snapshot)
    report.snapshots.push(health)
    const what = `snapshot ${snapshot.sequence}`
    for (const error of errors) {
      const code = mayBeInUnread(error) ? 'IO_FAILED' : error.code
      report.problems.push({ code, what, message: error.message })
    }
    if (!health.manifestLost && size !== snapshot.size) {
      const message = `its blobs have ${size} bytes, HEAD says ${snapshot.size}`
      report.problems.push({ code: 'HEAD_DAMAGED', what, message })
    }
  }
  for (const [sequence, message] of listing.wrong()) {
    report.problems.push({ code: 'HEAD_DAMAGED', what: `snapshot ${sequence}`, message })
  }
  const isGood = (slot: number, entry: number): boolean => !marks.has(slot, entry)
  report.problems.push(...(await checkRecords(ctx, head, source, { isGood, signal: options.signal })))
  reportBadBlocks(ctx, head, source, marks, report)
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
  const totalBytes = source.packs.reduce(
    (sum, { file }, packNumber) => sum + dataBytes(file.bytes, source.indexes[packNumber]!),
    0,
  )
  for (const [packNumber, { file }] of source.packs.entries()) {
    for await (const step of scanPack(file, source.indexes[packNumber]!)) {
      signal?.throwIfAborted()
      checked.blocks += step.blocks
      checked.bytes += step.bytes
      for (const [entry, state] of step.bad) marks.add(packNumber, entry, state, step.failure)
      onProgress?.({ phase: 'verifying', bytes: checked.bytes, totalBytes })
    }
    checked.packs += 1
  }
}

function dataBytes(fileBytes: number, { blocks }: PackIndex): number {
  return fileBytes - HEADER_BYTES - FANOUT_BYTES - blocks * ENTRY_BYTES - FOOTER_BYTES
}

/** Marks the blocks that HEAD records as bad. At level `quick` their bytes are not read. */
function markRecorded(head: Head, source: BlockSource, marks: BadMarks): void {
  for (const { pack, digests } of head.damaged) {
    const packNumber = source.packs.findIndex(({ name }) => name === pack)
    if (packNumber === -1) continue
    for (const hex of digests) {
      const entry = source.indexes[packNumber]!.find(Buffer.from(hex, 'hex'), 0)
      if (entry !== -1) marks.add(packNumber, entry, BLOCK.wrong)
    }
  }
}

function hasGoodCopy(source: BlockSource, marks: BadMarks, digests: Uint8Array, at: number): boolean {
  return source.indexes.some((index, packNumber) => {
    const entry = index.find(digests, at)
    return entry !== -1 && !marks.has(packNumber, entry)
  })
}

/** Reports bad blocks. From now on persists of this store object do not reuse them, and record them in HEAD. */
function reportBadBlocks(
  ctx: StoreContext,
  head: Head,
  source: BlockSource,
  marks: BadMarks,
  report: VerifyReport,
): void {
  for (const [packNumber, bad] of marks.all()) {
    const { name } = source.packs[packNumber]!
    const index = source.indexes[packNumber]!
    noteBadBlocks(ctx, head, name, index, bad.states)
    const isCopied = (entry: number): boolean => hasGoodCopy(source, marks, index.bytes, index.digestAt(entry))
    report.problems.push(...blockProblems(head, { name, index }, bad, isCopied))
  }
}

/** Bad blocks, by the number of their pack. */
interface BadMarks {
  add(packNumber: number, entry: number, state: BlockState, failure?: unknown): void
  has(packNumber: number, entry: number): boolean
  all(): Iterable<[number, BadBlocksOf]>
}

function createBadMarks(source: () => BlockSource): BadMarks {
  const byPack = new Map<number, BadBlocksOf>()
  return {
    add(packNumber, entry, state, failure = null) {
      const bad = byPack.get(packNumber) ?? {
        states: new Uint8Array(source().indexes[packNumber]!.blocks),
        failure: null,
      }
      bad.states[entry] = state
      bad.failure ??= failure
      byPack.set(packNumber, bad)
    },
    has: (packNumber, entry) => byPack.size > 0 && (byPack.get(packNumber)?.states[entry] ?? BLOCK.good) !== BLOCK.good,
    all: () => byPack,
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
  if (problems.some(({ what, code, recorded }) => what === 'journal' && code !== 'IO_FAILED' && recorded !== true)) {
    const rest = problems.filter(({ what }) => what !== 'journal')
    const others = rest.length === 0 ? '' : ` ${adviceFor({ ...report, problems: rest })}`
    const start = 'A start needs only the entries after the current snapshot.'
    return `Something is wrong with the journal; its problem says what is lost and how to go on. ${start}${others}`
  }
  if (problems.some(({ obstacle }) => obstacle === true)) {
    const rest = problems.filter(({ obstacle }) => obstacle !== true)
    const others = rest.every(({ recorded }) => recorded === true) ? '' : ` ${adviceFor({ ...report, problems: rest })}`
    const parts = problems.flatMap(({ obstacle, what }) => (obstacle === true ? [what] : []))
    return `Snapshots are loaded without ${parts.join(', ')}, but something else is in that place: put right what its problem names before anything is written or repaired.${others}`
  }
  if (problems.some(({ code }) => code === 'STORE_ROLLED_BACK')) {
    return `HEAD is older than what lies beside it. Nothing can be persisted until ${term('repairNewer')} or ${term('repairOlder')} says how to go on.`
  }
  if (revision === null) {
    return (
      `HEAD cannot be read, so nothing loads. ${term('repairDryRun')} shows what can be rebuilt from HEAD.prev.json and the packs, ` +
      `${term('repair')} does it.`
    )
  }
  if (snapshots.every(({ intact }) => intact)) {
    return `Every snapshot can be loaded in full. The next persist stops counting on what is bad; ${term('repair')} replaces it now.`
  }
  const intact = snapshots.filter((snapshot) => snapshot.intact).map(({ sequence }) => sequence)
  const loads =
    intact.length > 0 ? `Snapshots ${intact.join(', ')} can be loaded in full` : 'No snapshot can be loaded in full'
  return (
    `${loads}. Persisting the same content again puts back what is missing of it. ${term('repair')} rescues good blocks from damaged packs and ` +
    `drops the snapshots that stay incomplete: what is intact of those (${term('damagedBlobs')}) can be loaded only before that.`
  )
}
