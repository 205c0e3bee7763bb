// An open store: its operations over any storage, with the settings and caches that they share.

import { channel } from 'node:diagnostics_channel'
import { createBadBlocks } from './blocks/bad-blocks.ts'
import { createCheckedBlobs } from './blocks/checked-blobs.ts'
import { createCheckedBlocks } from './blocks/checked-blocks.ts'
import { createLinkCache } from './blocks/link-cache.ts'
import { createPackCache } from './blocks/pack-cache.ts'
import type { StoreContext } from './blocks/store-context.ts'
import { clock } from './clock.ts'
import { HoldfastError } from './errors.ts'
import { blake3Implementation } from './format/blake3.ts'
import type { FileSystem } from './fs/port.ts'
import { createReach } from './gc/reach.ts'
import {
  HISTORY_OPTIONS,
  type HistoryOptions,
  listSnapshots,
  ROLLBACK_OPTIONS,
  type RollbackOptions,
  rollback,
  tag,
  untag,
} from './history/history.ts'
import { DEFAULT_POLICY, type Keep, policyOf } from './history/keep.ts'
import { noteInside } from './inside.ts'
import { LOAD_OPTIONS, type LoadOptions, load, type Restored, restore } from './load/load.ts'
import { MATERIALIZE_OPTIONS, type Materialized, type MaterializeOptions, materialize } from './load/materialize.ts'
import type { Snapshot, SnapshotInfo } from './load/snapshot.ts'
import { withImages } from './local/images.ts'
import type { Local } from './local/local.ts'
import { noteRoom } from './local/room.ts'
import { assertOptions, type OptionTable } from './misuse.ts'
import { PERSIST_OPTIONS, type PersistOptions, type PersistResult } from './persist/options.ts'
import { persist } from './persist/persist.ts'
import { emitProcessWarning, type OnWarning } from './progress.ts'
import { type RepairReport, repair } from './recovery/repair.ts'
import { type PlanJournal, REPAIR_OPTIONS, type RepairOptions } from './recovery/repair-plan.ts'
import { SCRUB_OPTIONS, type ScrubOptions, type ScrubReport, scrub } from './recovery/scrub.ts'
import { VERIFY_OPTIONS, type VerifyOptions, type VerifyReport, verify } from './recovery/verify.ts'
import { REPORT_OPTIONS, type Report, type ReportOptions } from './report/options.ts'
import { COPY_OPTIONS, type Copied, type CopyOptions, copyStore } from './space/copy.ts'
import { DIFF_OPTIONS, type Diff, type DiffOptions, diff } from './space/diff.ts'
import { FORGET_OPTIONS, type ForgetOptions, type ForgetWhich, type Forgotten, forget } from './space/forget.ts'
import { collectGarbage } from './space/gc.ts'
import { GC_OPTIONS, type GcOptions, type GcResult } from './space/gc-options.ts'
import { createHousekeeping } from './space/housekeeping.ts'
import { createQuarantine, type Quarantine } from './space/quarantine.ts'
import { STATS_OPTIONS, type Stats, type StatsOptions, stats } from './space/stats.ts'
import type { Storage } from './storage/port.ts'
import { sameStore } from './storage/same-store.ts'
import { withJournalEnd, withJournalLocked } from './store-journal/guard.ts'
import { aheadWarning, checkStoreJournal } from './store-journal/look.ts'
import { openStoreJournal } from './store-journal/open.ts'
import { JOURNAL_OPTIONS, type Journal, type JournalOptions } from './store-journal/options.ts'
import type { JournalFiles } from './store-journal/place.ts'
import { planJournalRepair } from './store-journal/repair.ts'

/** Settings of one open store. Nothing of them is kept on disk. */
export interface StoreOptions {
  /**
   * Which snapshots a persist keeps beside tagged ones; default `{ last: 3, hourly: 2, daily: 2 }`. The counts are 1 to
   * 1,000 together.
   */
  keep?: Keep | undefined
  /** Short for `keep: { last: n }`. */
  keepLast?: number | undefined
  /** How long to wait for another writer, in ms; default 30,000. Then `STORE_LOCKED`. */
  lockWaitMs?: number | undefined
  /**
   * `zstd` for chunks that shrink, in worker threads; `auto` (default): where it can be written, which is almost
   * everywhere.
   */
  compression?: 'auto' | 'none' | 'zstd' | undefined
  /** A pack is completed at this size in bytes; default 256 MiB, 1 MiB to 1 GiB. */
  packBytesMax?: number | undefined
  /** Default: `process.emitWarning`. */
  onWarning?: OnWarning | undefined
}

export const STORE_OPTIONS: OptionTable<StoreOptions> = {
  keep: 'any',
  keepLast: 'any',
  lockWaitMs: 'ms',
  compression: 'any',
  packBytesMax: 'any',
  onWarning: 'function',
}

const TAG_OPTIONS: OptionTable<HistoryOptions & { at?: number | string | undefined }> = {
  ...HISTORY_OPTIONS,
  at: 'any',
}
const REPAIR_CALL_OPTIONS: OptionTable<
  RepairOptions & { dryRun?: boolean | undefined; lockWaitMs?: number | undefined }
> = {
  ...REPAIR_OPTIONS,
  dryRun: 'boolean',
  lockWaitMs: 'ms',
}

/** A store of snapshots. An interface, so that tests of users can fake it. */
export interface Store {
  /** Where it is: a path, or `memory`. */
  readonly location: string
  /** Makes a snapshot. When this resolves it survives power loss. `dryRun` says what would be written and dropped. */
  persist(options: PersistOptions): Promise<PersistResult>
  /** The current snapshot, or the one asked for; null when nothing was ever persisted. */
  load<Names extends string = string, Metadata = Record<string, unknown>>(
    options?: LoadOptions<Names, Metadata>,
  ): Promise<Snapshot<Names, Metadata> | null>
  /**
   * Gives `use` the current snapshot and answers what it made of it; null when nothing was ever persisted. With
   * `fallback`, damage that `use` meets moves on to the next older intact snapshot. Other errors do not.
   */
  restore<Value, Names extends string = string, Metadata = Record<string, unknown>>(
    use: (snapshot: Snapshot<Names, Metadata>) => Value | Promise<Value>,
    options?: LoadOptions<Names, Metadata>,
  ): Promise<Restored<Value, Names, Metadata> | null>
  /** Kept snapshots, newest first. */
  snapshots(): Promise<SnapshotInfo[]>
  /** Tags the current snapshot, or `at`; a tag of that name moves. Tagged snapshots are kept. */
  tag(name: string, options?: HistoryOptions & { at?: number | string | undefined }): Promise<SnapshotInfo>
  untag(name: string, options?: HistoryOptions): Promise<SnapshotInfo>
  /** Makes an older snapshot, by sequence or tag, the current one again. */
  rollback(to: number | string, options?: RollbackOptions): Promise<SnapshotInfo>
  /**
   * Drops snapshots by sequence or tag, or with `{ keep }` those that a policy does not keep. Tags name the snapshot; a
   * tagged one cannot be named by its number (`SNAPSHOT_TAGGED`), nor can the current one (`SNAPSHOT_CURRENT`). Its
   * bytes go with later persists, or with `gc`.
   */
  forget(which: ForgetWhich, options?: ForgetOptions): Promise<Forgotten>
  /**
   * Gives back the space of what no snapshot needs. Works in steps, between which waiting writers have their turn, so
   * that it may run beside a service. `complete` erases what was dropped; `dryRun` says what would be done.
   */
  gc(options?: GcOptions): Promise<GcResult>
  /** What the store takes and why: what each snapshot added and would free, garbage, and what lies beside the packs. */
  stats(options?: StatsOptions): Promise<Stats>
  /**
   * A self-contained HTML page for people: why the store is this large, what changed, what would be given back, and
   * whether it is well.
   */
  report(options?: ReportOptions): Promise<Report>
  /** What differs between two snapshots, by sequence or tag: blobs added, removed and changed, bytes shared and new. */
  diff(from: number | string, to: number | string, options?: DiffOptions): Promise<Diff>
  /**
   * Copies the store into another directory while it is in use: a back-up that is restored by opening it. Only packs
   * that the target lacks travel, and each is read back. Entries of a journal that are in no snapshot are not copied.
   */
  copy(to: string | URL, options?: CopyOptions): Promise<Copied>
  /** What was moved aside. */
  readonly quarantine: Quarantine
  /**
   * Lays blobs out as plain files, so that `file()` finds them there: for containers that are built once and read-only
   * later. With `images`, also the file of a native engine, which a restore then loads.
   */
  materialize(options?: MaterializeOptions): Promise<Materialized>
  /** Looks at everything, changes nothing; damage is in the report. */
  verify(options?: VerifyOptions): Promise<VerifyReport>
  /** Verifies a slice of the stored bytes, going on where the slice before stopped. */
  scrub(options?: ScrubOptions): Promise<ScrubReport>
  /**
   * Brings a damaged store back: rebuilds HEAD, rescues good blocks, drops only snapshots that are truly incomplete.
   * Nothing is deleted. `dryRun` answers what would be done. `STORE_ROLLED_BACK` asks which way to go on when an old
   * HEAD was put back.
   */
  repair(
    options?: RepairOptions & { dryRun?: boolean | undefined; lockWaitMs?: number | undefined },
  ): Promise<RepairReport>
  /**
   * Opens the store's journal, a log of entries between snapshots, and makes it with the first append. From then on
   * only this store object persists, and says what its snapshots cover.
   */
  openJournal(options?: JournalOptions): Promise<Journal>
  /** Waits for what is under way, and closes the journal. Open snapshots stay usable. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** In ms. */
export const LOCK_WAIT_MS = 30_000
const PACK_BYTES = 256 * 1024 * 1024
const PACK_BYTES_MIN = 1024 * 1024
const PACK_BYTES_LIMIT = 1024 * 1024 * 1024

const persistChannel = channel('holdfast:persist')
const loadChannel = channel('holdfast:load')

let warnedOfSlowHash = false

/** Where a store is: its storage, and the machine that opens it. */
export interface Place {
  storage: Storage
  /** For the caller's own files. */
  fs: FileSystem
  local: Local
  /** Null: there can be no journal. */
  journal: JournalFiles | null
  /** A storage to copy into. Null: packs of this store cannot be copied into a directory. */
  storageAt: ((to: string | URL) => Storage | Promise<Storage>) | null
}

/** A store over any storage. */
export function createStore({ storage, fs, local, journal, storageAt }: Place, options: StoreOptions = {}): Store {
  const defaults = {
    policy: policyOf('openStore', options) ?? DEFAULT_POLICY,
    lockWaitMs: options.lockWaitMs ?? LOCK_WAIT_MS,
    packBytesMax: options.packBytesMax ?? PACK_BYTES,
    compression: options.compression ?? 'auto',
  }
  if (!(defaults.packBytesMax >= PACK_BYTES_MIN && defaults.packBytesMax <= PACK_BYTES_LIMIT)) {
    throw new RangeError(
      `packBytesMax must be from ${PACK_BYTES_MIN} to ${PACK_BYTES_LIMIT}, got ${defaults.packBytesMax}`,
    )
  }
  if (!['auto', 'none', 'zstd'].includes(defaults.compression)) {
    throw new TypeError(`compression must be 'auto', 'none' or 'zstd', got ${JSON.stringify(defaults.compression)}`)
  }
  const ctx: StoreContext = {
    storage: sameStore(storage),
    fs,
    local,
    packCache: createPackCache(storage),
    warn: options.onWarning ?? emitProcessWarning,
    badBlocks: createBadBlocks(),
    checkedBlobs: createCheckedBlobs(),
    checkedBlocks: createCheckedBlocks(),
    links: createLinkCache(),
    lastPersisted: null,
    journal: null,
  }
  ctx.loaded = aheadWarning(ctx, journal)
  const running = new Set<Promise<unknown>>()
  let closed = false
  let scrubbed: string | null = null
  const reach = createReach(ctx.links)
  const closing = new AbortController()
  const quarantine = createQuarantine(ctx, defaults.lockWaitMs)
  /** Two collections at a time would only wait for each other. */
  let collecting: Promise<unknown> = Promise.resolve()
  const housekeeping = createHousekeeping(
    ctx,
    run,
    (signal) =>
      inTurn(() => collectGarbage(ctx, reach, { signal }, { ...defaults, automatic: true, pause: housekeeping.pause })),
    closing.signal,
  )
  let openedJournal: Journal | null = null

  function inTurn<T>(collect: () => Promise<T>): Promise<T> {
    const result = collecting.then(collect)
    collecting = result.catch(() => undefined)
    return result
  }

  async function run<T>(operation: () => Promise<T>): Promise<T> {
    if (closed) {
      throw storeClosed(storage.location)
    }
    warnOfSlowHash(ctx.warn)
    const promise = operation()
    running.add(promise)
    try {
      return await promise
    } finally {
      running.delete(promise)
    }
  }

  /** An operation whose options are checked before anything else. */
  function runChecked<Options, T>(
    where: string,
    options: Options,
    table: OptionTable<NonNullable<Options>>,
    operation: () => Promise<T>,
  ): Promise<T> {
    return run(async () => {
      assertOptions(where, options, table)
      return await operation()
    })
  }

  async function close(): Promise<void> {
    if (closed) return
    closed = true
    closing.abort(storeClosed(storage.location))
    await Promise.allSettled(running)
    await openedJournal?.close()
    await local.close()
  }

  const store: Store = {
    location: storage.location,
    persist: (request) =>
      runChecked('persist', request, PERSIST_OPTIONS, async () => {
        const result = await housekeeping.during(() => persist(ctx, request ?? {}, defaults))
        if (request.dryRun === true) return result
        noteCommit(result)
        persistChannel.publish({ location: storage.location, ...result })
        return result
      }),
    load: (request) =>
      runChecked('load', request, LOAD_OPTIONS, async () => {
        const startMs = clock.monotonicMs()
        const snapshot = await load(ctx, request)
        if (snapshot !== null) {
          const { sequence, manifest, skipped } = snapshot
          const durationMs = clock.monotonicMs() - startMs
          loadChannel.publish({ location: storage.location, sequence, manifest, skipped, durationMs })
        }
        return snapshot
      }),
    restore: (use, request) =>
      runChecked('restore', request, LOAD_OPTIONS, async () => {
        if (typeof use !== 'function')
          throw new TypeError('restore: give a function that uses the snapshot, then the options')
        const startMs = clock.monotonicMs()
        const restored = await restore(ctx, use, request)
        if (restored !== null) {
          const { sequence, manifest, skipped } = restored.snapshot
          const durationMs = clock.monotonicMs() - startMs
          loadChannel.publish({ location: storage.location, sequence, manifest, skipped, durationMs })
        }
        return restored
      }),
    snapshots: () => run(() => listSnapshots(ctx)),
    tag: (name, request = {}) =>
      runChecked('tag', request, TAG_OPTIONS, () => tag(ctx, name, request.at, { ...request, ...lockWait(request) })),
    untag: (name, request = {}) =>
      runChecked('untag', request, HISTORY_OPTIONS, () => untag(ctx, name, { ...request, ...lockWait(request) })),
    rollback: (to, request = {}) =>
      runChecked('rollback', request, ROLLBACK_OPTIONS, () =>
        withJournalEnd(ctx, journal, (journalEnd) =>
          rollback(ctx, to, { ...request, ...lockWait(request), journalEnd }),
        ),
      ),
    forget: (which, request = {}) => runChecked('forget', request, FORGET_OPTIONS, () => forgetNow(which, request)),
    gc: (request = {}) =>
      runChecked('gc', request, GC_OPTIONS, async () => {
        const { lockWaitMs, packBytesMax } = defaults
        const signal = AbortSignal.any([closing.signal, ...(request.signal === undefined ? [] : [request.signal])])
        // Its timers keep no process alive: one that awaits this behind such a timer would end without a word. And this
        // does all that it would do.
        housekeeping.interrupt()
        return await inTurn(() => collectGarbage(ctx, reach, { ...request, signal }, { lockWaitMs, packBytesMax }))
      }),
    stats: (request) => runChecked('stats', request, STATS_OPTIONS, () => stats(ctx, request)),
    report: (request = {}) =>
      runChecked('report', request, REPORT_OPTIONS, async () => {
        // Few programs ever make one.
        const { report } = await import('./report/report.ts')
        return await report(ctx, request, (options) => verify(ctx, options, () => checkStoreJournal(ctx, journal)))
      }),
    diff: (from, to, request) => runChecked('diff', request, DIFF_OPTIONS, () => diff(ctx, from, to, request)),
    copy: (to, request = {}) =>
      runChecked('copy', request, COPY_OPTIONS, async () => {
        if (storageAt === null)
          throw new TypeError(`copy: ${storage.location} is no directory: copy its objects by other means`)
        return await copyStore(ctx, await storageAt(to), { ...request, ...lockWait(request) })
      }),
    quarantine: {
      list: () => run(() => quarantine.list()),
      show: (name) => run(() => quarantine.show(name)),
      extract: (name, path) => run(() => quarantine.extract(name, path)),
      discard: (which) => run(() => quarantine.discard(which)),
    },
    verify: (request) =>
      runChecked('verify', request, VERIFY_OPTIONS, () => verify(ctx, request, () => checkStoreJournal(ctx, journal))),
    scrub: (request = {}) =>
      runChecked('scrub', request, SCRUB_OPTIONS, async () => {
        const cursor = request.cursor === undefined ? scrubbed : request.cursor
        const report = await scrub(ctx, { ...request, cursor }, () => checkStoreJournal(ctx, journal))
        scrubbed = report.cursor
        return report
      }),
    repair: (request = {}) =>
      runChecked('repair', request, REPAIR_CALL_OPTIONS, async () => {
        const planJournal: PlanJournal = (question) => planJournalRepair(journal, question)
        const settings = { ...request, ...lockWait(request), packBytesMax: defaults.packBytesMax, planJournal }
        if (request.dryRun === true) return await repair(ctx, settings)
        return await withJournalLocked(ctx, journal, () => repair(ctx, settings))
      }),
    materialize: (request = {}) =>
      runChecked('materialize', request, MATERIALIZE_OPTIONS, () => materialize(ctx, request)),
    openJournal: (request = {}) =>
      runChecked('openJournal', request, JOURNAL_OPTIONS, async () => {
        openedJournal = await openStoreJournal(ctx, journal, request, defaults.lockWaitMs)
        return openedJournal
      }),
    close,
    [Symbol.asyncDispose]: close,
  }
  noteRoom(store, local.room)
  const all = withImages(store, local.images)
  noteInside(all, { ctx, defaults, run, housekeeping, noteCommit })
  return all

  function noteCommit({ bytes, dropped }: Pick<PersistResult, 'bytes' | 'dropped'>): void {
    housekeeping.noteWrite(bytes.written + bytes.compacted, dropped.length > 0)
  }

  async function forgetNow(which: ForgetWhich, request: ForgetOptions): Promise<Forgotten> {
    const forgotten = await forget(ctx, which, { ...request, ...lockWait(request) })
    if (request.dryRun !== true) housekeeping.noteWrite(0, forgotten.dropped.length > 0)
    return forgotten
  }

  function lockWait(request: { lockWaitMs?: number | undefined }): { lockWaitMs: number } {
    return { lockWaitMs: request.lockWaitMs ?? defaults.lockWaitMs }
  }
}

/** Said once per process: everything works, but three to ten times slower. */
function warnOfSlowHash(warn: OnWarning): void {
  if (warnedOfSlowHash) return
  const { name, reason } = blake3Implementation()
  if (name === 'native' || reason === undefined) return
  warnedOfSlowHash = true
  warn({
    code: 'SLOW_HASH',
    message: `the native BLAKE3 package cannot be loaded here, using WebAssembly, which is slower: ${(reason as Error).message}`,
    details: { reason },
  })
}

function storeClosed(location: string): HoldfastError {
  return new HoldfastError('STORE_CLOSED', `the store at ${location} was closed; open it again`, {
    details: { location },
  })
}
