// Verifies the stored bytes a slice at a time. Each slice starts where the previous one stopped.

import { createPackCache, type OpenPack } from '../blocks/pack-cache.ts'
import { scanPack } from '../blocks/scan-pack.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { type HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { OptionTable } from '../misuse.ts'
import { type CheckJournal, type JournalCheck, noJournal } from './check-journal.ts'
import { type BadBlocksOf, blockProblems, noteBadBlocks, type Problem, packProblem } from './problem.ts'

/** Limits of one slice. Without limits a slice is a whole round. */
export interface ScrubOptions {
  /** Stop after about this many stored bytes; at least one step of a few MiB is made. */
  maxBytes?: number | undefined
  /** Stop after about this many milliseconds. */
  maxMs?: number | undefined
  /**
   * Where the previous slice stopped; default: where this store object's last slice stopped. Keep it across restarts.
   * null: from the start.
   */
  cursor?: string | null | undefined
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
}

export const SCRUB_OPTIONS: OptionTable<ScrubOptions> = {
  maxBytes: 'any',
  maxMs: 'any',
  cursor: 'any',
  signal: 'signal',
}

/** The cursor of a slice that has only the journal left. */
const JOURNAL = 'journal'

/** The result of one slice of a scrub. */
export interface ScrubReport {
  /** Nothing is wrong in this slice, except what HEAD already records. */
  ok: boolean
  problems: Problem[]
  /** `bytes` are stored bytes. */
  checked: { blocks: number; bytes: number }
  /**
   * The journal is read whole, as the last step of a round. Null: this slice did not come to it. `skipped`: its owner
   * has it open and wrote while it was looked at.
   */
  journal: JournalCheck['state'] | null
  /** The cursor for the next slice; null when the round is complete. */
  cursor: string | null
}

/**
 * Verifies the stored bytes a slice at a time, in the order of the packs' names, so that a server can check a large
 * store over days. Packs that are added between slices are checked in this round or the next. Scrub changes nothing.
 * Later persists of the same store object do not reuse the bad blocks, and record them in HEAD. Scrub does not check
 * whether snapshots are complete; `verify` does.
 */
export async function scrub(
  ctx: StoreContext,
  options: ScrubOptions = {},
  checkJournal: CheckJournal = noJournal,
): Promise<ScrubReport> {
  const startMs = clock.monotonicMs()
  const { signal } = options
  const maxBytes = limit('maxBytes', options.maxBytes)
  const maxMs = limit('maxMs', options.maxMs)
  const from = parseCursor(options.cursor ?? null)
  signal?.throwIfAborted()
  const report: ScrubReport = { ok: true, problems: [], checked: { blocks: 0, bytes: 0 }, journal: null, cursor: null }
  const stored = await ctx.storage.readHead()
  const names = (stored?.head.packs ?? []).map(({ name }) => name).sort()
  const left = from === JOURNAL ? [] : names.filter((name) => from === null || name >= from.pack)
  const missing: MissingPack[] = []
  for (const [i, name] of left.entries()) {
    const first = from !== null && from !== JOURNAL && from.pack === name ? from.block : 0
    const done = await scrubPack(ctx, stored!.head, name, { first, report, missing, isEnough })
    const next = left[i + 1]
    const isLast = next === undefined && stored!.head.journal === undefined
    if (done === null && (isLast || !isEnough())) continue
    report.cursor = done !== null ? `${name}:${done}` : next === undefined ? JOURNAL : `${next}:0`
    break
  }
  await reportMissing(ctx, stored?.head, missing, report)
  if (report.cursor === null) await scrubJournal(report, checkJournal)
  report.ok = report.problems.every(({ recorded: known }) => known === true)
  return report

  function isEnough(): boolean {
    signal?.throwIfAborted()
    return report.checked.bytes >= maxBytes || clock.monotonicMs() - startMs >= maxMs
  }
}

async function scrubJournal(report: ScrubReport, checkJournal: CheckJournal): Promise<void> {
  const { state, problems } = await checkJournal()
  report.journal = state
  report.problems.push(...problems)
}

interface MissingPack {
  name: string
  error: HoldfastError
}

/** What the packs of one slice share, and the block of this pack that it begins with. */
interface Slice {
  first: number
  report: ScrubReport
  missing: MissingPack[]
  isEnough: () => boolean
}

/** Returns the number of the next block when `isEnough` stops it; null when the pack is done. */
async function scrubPack(
  ctx: StoreContext,
  head: Head,
  name: string,
  { first, report, missing, isEnough }: Slice,
): Promise<number | null> {
  let pack: OpenPack | null = null
  try {
    // Uses a cache of its own, because what this process has in memory says nothing about the disk.
    pack = await createPackCache(ctx.storage).open(name, fromHex(head.storeId, STORE_ID_BYTES))
    const index = await pack.index()
    const bad: BadBlocksOf = { states: new Uint8Array(index.blocks), failure: null }
    try {
      for await (const step of scanPack(pack.file, index, Math.min(first, index.blocks))) {
        report.checked.blocks += step.blocks
        report.checked.bytes += step.bytes
        for (const [entry, state] of step.bad) bad.states[entry] = state
        bad.failure ??= step.failure
        if (isEnough() && step.done < index.blocks) return step.done
      }
      return null
    } finally {
      noteBadBlocks(ctx, head, name, index, bad.states)
      report.problems.push(...blockProblems(head, { name, index }, bad, null))
    }
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    if (error.code === 'PACK_MISSING') missing.push({ name, error })
    else {
      if (isDamage(error)) ctx.badBlocks.notePack(name)
      report.problems.push(packProblem(head, name, error))
    }
    return null
  } finally {
    await pack?.release()
  }
}

/**
 * A pack that HEAD no longer names was deleted by a writer and is not missing. HEAD is read again once for all of them:
 * it may be large, and they may be many.
 */
async function reportMissing(
  ctx: StoreContext,
  head: Head | undefined,
  missing: readonly MissingPack[],
  report: ScrubReport,
): Promise<void> {
  if (head === undefined || missing.length === 0) return
  const now = await ctx.storage.readHead()
  const named = new Set(now?.head.packs.map(({ name }) => name))
  for (const { name, error } of missing) {
    if (!named.has(name)) continue
    ctx.badBlocks.notePack(name)
    report.problems.push(packProblem(head, name, error))
  }
}

function limit(name: string, value = Number.POSITIVE_INFINITY): number {
  if (typeof value === 'number' && value > 0) return value
  throw new RangeError(`scrub: ${name} is a number above 0, got ${String(value)}`)
}

function parseCursor(cursor: string | null): { pack: string; block: number } | typeof JOURNAL | null {
  if (cursor === null || cursor === JOURNAL) return cursor
  const match = /^([0-9a-f]{64}):(\d{1,10})$/.exec(cursor)
  if (match === null) throw new TypeError(`scrub: this is not a cursor of a slice before: ${JSON.stringify(cursor)}`)
  return { pack: match[1]!, block: Number(match[2]) }
}
