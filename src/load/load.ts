// Chooses a snapshot and opens it; with `fallback`, goes on to older ones when damage is met. It takes no lock and
// changes nothing.

import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { type OptionTable, refusePromise } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import type { StoredHead } from '../storage/port.ts'
import { ageInWords, ageMsOf, assertFallback, type FallbackLimits, fallbackLimits, isWithin } from './fallback.ts'
import { assertFresh, assertSource, compareWatermarks, type Freshness, type SourcePosition } from './freshness.ts'
import { type StandardSchema, validate } from './metadata-schema.ts'
import { blobNotFound, type OpenedSnapshot, openSnapshot, type SkippedSnapshot, type Snapshot } from './snapshot.ts'

/** Which snapshot to load, and what it must have. */
export interface LoadOptions<Names extends string = string, Metadata = Record<string, unknown>> {
  /** A sequence or a tag; default the current one. */
  at?: number | string | undefined
  /** Blobs that must be there; types `blob(name)`. `BLOB_NOT_FOUND` otherwise. */
  blobs?: readonly Names[] | undefined
  /** Any Standard Schema; types `metadata`. `SCHEMA_MISMATCH` when it does not fit. */
  metadataSchema?: StandardSchema<unknown, Metadata> | undefined
  /**
   * When the snapshot is damaged, take the newest intact one before it; when HEAD.json is, go on from HEAD.prev.json.
   * `load` then reads every blob (of `blobs`, if given) once to know; `restore` finds out as it goes. Limits say how
   * far back it may go.
   */
  fallback?: boolean | FallbackLimits | undefined
  /** `NO_SNAPSHOT` instead of null when nothing was ever persisted. */
  required?: boolean | undefined
  /**
   * `STORE_ROLLED_BACK` when the current snapshot is older than this sequence, `NO_SNAPSHOT` when there is none at all;
   * `fallback` does not go below it.
   */
  minSequence?: number | undefined
  /** Where the source of truth stands: compared with the snapshot's watermark, with a policy for each outcome. */
  source?: SourcePosition | undefined
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

/** Checked before anything is read. */
export const LOAD_OPTIONS: OptionTable<LoadOptions> = {
  at: 'any',
  blobs: 'list',
  metadataSchema: 'schema',
  fallback: 'any',
  required: 'boolean',
  minSequence: 'count',
  source: 'any',
  signal: 'signal',
  onProgress: 'function',
}

/** How often HEAD is read again when a pack that it named is gone because a writer has committed since. */
const HEAD_READS_MAX = 16

export async function load<Names extends string, Metadata>(
  ctx: StoreContext,
  options: LoadOptions<Names, Metadata> = {},
): Promise<Snapshot<Names, Metadata> | null> {
  return await tryCandidates(ctx, options, async (snapshot, opened) => {
    if (fallbackLimits(options.fallback) !== null) await readAll(opened, options)
    return snapshot
  })
}

/** What `restore` made of a snapshot. */
export interface Restored<Value, Names extends string, Metadata> {
  value: Value
  /** Still open: dispose of it when the engine needs its files no more. */
  snapshot: Snapshot<Names, Metadata>
  /** Newer snapshots that were damaged, and how. */
  skipped: readonly SkippedSnapshot[]
}

/**
 * The start-up call: gives `use` the snapshot, and with `fallback` the next older one when what it reads is damaged.
 */
export async function restore<Value, Names extends string, Metadata>(
  ctx: StoreContext,
  use: (snapshot: Snapshot<Names, Metadata>) => Value | Promise<Value>,
  options: LoadOptions<Names, Metadata> = {},
): Promise<Restored<Value, Names, Metadata> | null> {
  return await tryCandidates(ctx, options, async (snapshot, opened) => {
    try {
      return { value: await use(snapshot), snapshot, skipped: snapshot.skipped }
    } catch (error) {
      // Engines wrap errors or fail in their own words, so the damage that the snapshot itself met decides.
      const damage = opened.damage()
      if (damage !== null && !isDamage(error)) throw new DamageBehind(damage, error)
      throw error
    }
  })
}

/** Internal: `use` failed because of damage, with an error of its own. */
class DamageBehind extends Error {
  readonly damage: HoldfastError
  constructor(damage: HoldfastError, cause: unknown) {
    super(damage.message, { cause })
    this.damage = damage
  }
}

/** Opens the snapshot asked for and hands it to `take`; on damage, and only then, goes on to older ones if told to. */
async function tryCandidates<Result, Names extends string, Metadata>(
  ctx: StoreContext,
  options: LoadOptions<Names, Metadata>,
  take: (snapshot: Snapshot<Names, Metadata>, opened: OpenedSnapshot) => Promise<Result>,
): Promise<Result | null> {
  assertChoices(options)
  for (let reads = 1; ; reads++) {
    options.signal?.throwIfAborted()
    const stored = await readHeadOrSpare(ctx, fallbackLimits(options.fallback))
    const wanted = stored === null ? null : choose(ctx, stored.head, options)
    if (stored === null || wanted === null) {
      // A caller that gives `minSequence` has seen snapshots here, so this is not a fresh start.
      if (options.required !== true && !((options.minSequence ?? 0) > 0)) {
        if (options.at === undefined) return null
        throw nothingThere(ctx.storage.location)
      }
      throw new HoldfastError(
        'NO_SNAPSHOT',
        `no snapshot was ever persisted to ${ctx.storage.location}; is the right volume mounted there?`,
        { details: { location: ctx.storage.location } },
      )
    }
    try {
      return await tryOne(ctx, stored, wanted, options, take)
    } catch (error) {
      if (!isHoldfastError(error, 'SNAPSHOT_GONE') || reads >= HEAD_READS_MAX) throw error
    }
  }
}

async function tryOne<Result, Names extends string, Metadata>(
  ctx: StoreContext,
  stored: StoredHead,
  wanted: HeadSnapshot,
  options: LoadOptions<Names, Metadata>,
  take: (snapshot: Snapshot<Names, Metadata>, opened: OpenedSnapshot) => Promise<Result>,
): Promise<Result> {
  const limits = fallbackLimits(options.fallback)
  const older = limits !== null || options.source?.ahead === 'fallback' ? olderThan(stored.head, wanted) : []
  const within = older.filter((each) => each.sequence >= (options.minSequence ?? 0) && isWithin(limits ?? {}, each))
  const candidates = [wanted, ...within]
  const skipped: SkippedSnapshot[] = []
  for (const [i, candidate] of candidates.entries()) {
    try {
      const taken = await openAndTake(ctx, stored, candidate, skipped, options, take)
      if (options.at === undefined) await ctx.loaded?.(stored.head, candidate)
      return taken
    } catch (error) {
      const damage = error instanceof DamageBehind ? error.damage : error
      const ahead = isHoldfastError(damage, 'SNAPSHOT_AHEAD') && options.source?.ahead === 'fallback'
      if (!isDamage(damage) && !ahead) throw damage
      if (!ahead) await assertStillThere(ctx, stored, damage, limits)
      if (!ahead && limits === null) throw damage
      const { sequence, manifest } = candidate
      skipped.push({ sequence, manifest, ageMs: ageMsOf(candidate), error: damage })
      warnOfSkipped(ctx, skipped.at(-1)!, candidates[i + 1])
    }
  }
  const first = skipped[0]!.error
  const beyond = older.find((each) => !within.includes(each))
  const refused =
    beyond === undefined
      ? ''
      : `; snapshot ${beyond.sequence}, ${ageInWords(ageMsOf(beyond))} old, is beyond what may be taken`
  throw new HoldfastError(
    first.code,
    `${first.message}; no older snapshot could be used either (${skipped.length} tried)${refused}`,
    { details: { ...first.details, skipped }, cause: first },
  )
}

function warnOfSkipped(ctx: StoreContext, { sequence, error }: SkippedSnapshot, next: HeadSnapshot | undefined): void {
  const goesOn = next === undefined ? '' : `. Goes on with snapshot ${next.sequence}, ${ageInWords(ageMsOf(next))} old`
  ctx.warn({
    code: 'FALLBACK',
    message: `${ctx.storage.location}: snapshot ${sequence} is skipped: ${error.message}${goesOn}`,
    details: { sequence, error, ...(next === undefined ? {} : { next: next.sequence, ageMs: ageMsOf(next) }) },
  })
}

async function openAndTake<Result, Names extends string, Metadata>(
  ctx: StoreContext,
  stored: StoredHead,
  entry: HeadSnapshot,
  skipped: readonly SkippedSnapshot[],
  options: LoadOptions<Names, Metadata>,
  take: (snapshot: Snapshot<Names, Metadata>, opened: OpenedSnapshot) => Promise<Result>,
): Promise<Result> {
  const opened = await openSnapshot(ctx, stored, entry, [...skipped])
  try {
    const names = new Map(opened.names.map((name) => [name, true]))
    for (const name of options.blobs ?? []) if (!names.has(name)) throw blobNotFound(entry.sequence, name, names)
    const metadata =
      options.metadataSchema === undefined
        ? (opened.metadata as Metadata)
        : await validate(options.metadataSchema, opened.metadata, entry.sequence)
    const { source } = options
    const freshness: Freshness =
      source === undefined ? opened.freshness : compareWatermarks(opened.watermark, source.watermark)
    if (source !== undefined) assertFresh(freshness, source, entry.sequence)
    // The same object, so that disposing of either is disposing of both.
    const snapshot = Object.assign(opened, { metadata, freshness }) as unknown as Snapshot<Names, Metadata>
    return await take(snapshot, opened)
  } catch (error) {
    await opened.dispose()
    throw error
  }
}

/**
 * HEAD; or, when it is damaged or missing and only with `fallback`, the one before. All that this one names is still
 * there: a pack goes only when both know that it is retired.
 */
async function readHeadOrSpare(
  ctx: StoreContext,
  limits: FallbackLimits | null,
  warn = ctx.warn,
): Promise<StoredHead | null> {
  try {
    return await ctx.storage.readHead()
  } catch (error) {
    if (limits === null || !isHoldfastError(error, 'HEAD_DAMAGED', 'HEAD_MISSING')) throw error
    const { store, previous } = await ctx.storage.inspect()
    if (previous.state !== 'good' || store.state !== 'good' || previous.value.head.storeId !== store.value) throw error
    const { revision, current, snapshots } = previous.value.head
    // HEAD.prev.json has no snapshot to fall back to, and a fresh start would be wrong.
    const spare = snapshots.find(({ sequence }) => sequence === current)
    if (spare === undefined || !isWithin(limits, spare)) throw error
    warn({
      code: 'FALLBACK',
      message:
        `${error.message} (HEAD.prev.json is of revision ${revision}, and its snapshot ${current}, ${ageInWords(ageMsOf(spare))} old; ` +
        'newer ones are not seen)',
      details: { sequence: null, revision, error, next: current, ageMs: ageMsOf(spare) },
    })
    return previous.value
  }
}

/** Checks whether the snapshot was dropped while it was read; that is not damage. */
async function assertStillThere(
  ctx: StoreContext,
  stored: StoredHead,
  damage: HoldfastError,
  limits: FallbackLimits | null,
): Promise<void> {
  const now = await readHeadOrSpare(ctx, limits, () => undefined)
  if (now === null || now.head.revision === stored.head.revision) return
  const packs = new Set(now.head.packs.map(({ name }) => name))
  if (stored.head.packs.every(({ name }) => packs.has(name))) return
  throw new HoldfastError('SNAPSHOT_GONE', `${ctx.storage.location} was written to while it was read`, {
    details: { revision: now.head.revision },
    cause: damage,
  })
}

function choose(ctx: StoreContext, head: Head, options: LoadOptions<string, unknown>): HeadSnapshot | null {
  if (head.current === null) {
    if (head.sequence === 0) return null
    throw new HoldfastError(
      'SNAPSHOT_DAMAGED',
      `${ctx.storage.location} had snapshots up to ${head.sequence}, and a repair found none of them whole; what is left of them is in ` +
        'quarantine. Rebuild the engine and persist again',
      { details: { location: ctx.storage.location, sequence: head.sequence } },
    )
  }
  // Not the last sequence given out: a repair moves that far ahead of what it could save.
  if (options.minSequence !== undefined && head.current < options.minSequence) {
    throw new HoldfastError(
      'STORE_ROLLED_BACK',
      `${ctx.storage.location}: the current snapshot is ${head.current}, but ${options.minSequence} was seen before: an old copy was put in its ` +
        'place, or a repair could not save the newer ones',
      { details: { sequence: head.current, minSequence: options.minSequence } },
    )
  }
  return find(ctx.storage.location, head, options.at ?? head.current)
}

/** What was asked for by sequence, tag or change cannot be in a store that has nothing. */
export function nothingThere(location: string): HoldfastError {
  return new HoldfastError(
    'SNAPSHOT_NOT_FOUND',
    `nothing was ever persisted to ${location}: persist first, or check the path and that its volume is mounted`,
    { details: { location } },
  )
}

/** A snapshot by sequence or tag; `SNAPSHOT_NOT_FOUND` says what there is. */
export function find(location: string, head: Head, at: number | string): HeadSnapshot {
  if (typeof at !== 'string' && !Number.isSafeInteger(at)) {
    refusePromise(at, 'what names a snapshot')
    throw new TypeError(`a snapshot is named by its sequence or a tag, got ${String(at)}`)
  }
  const found = head.snapshots.find(({ sequence, tags }) =>
    typeof at === 'number' ? sequence === at : tags.includes(at),
  )
  if (found !== undefined) return found
  const sequences = head.snapshots.map(({ sequence }) => sequence)
  const tags = head.snapshots.flatMap((snapshot) => snapshot.tags)
  throw new HoldfastError(
    'SNAPSHOT_NOT_FOUND',
    typeof at === 'number'
      ? `${location} has no snapshot ${at}; it keeps ${sequences.slice(0, 10).join(', ') || 'none'}`
      : `${location} has no snapshot tagged ${JSON.stringify(at)}; tags are ${tags.slice(0, 20).join(', ') || 'none'}`,
    { details: { at, sequences: sequences.slice(0, 20), tags: tags.slice(0, 20) } },
  )
}

function olderThan(head: Head, wanted: HeadSnapshot): HeadSnapshot[] {
  return head.snapshots.filter(({ sequence, abandoned }) => sequence < wanted.sequence && !abandoned)
}

async function readAll(snapshot: OpenedSnapshot, options: LoadOptions<string, unknown>): Promise<void> {
  const { signal, onProgress } = options
  for (const name of options.blobs ?? snapshot.names) await snapshot.check(name, { signal, onProgress })
}

function assertChoices(options: LoadOptions<string, unknown>): void {
  const { at, fallback, source } = options
  assertFallback(fallback)
  if (at !== undefined && typeof at !== 'string' && !Number.isSafeInteger(at)) {
    throw new TypeError(`load: at is a sequence or a tag, got ${String(at)}`)
  }
  if (source !== undefined) assertSource(source)
}
