// `holdfast/durable`: the durable file operations that the store is built on, for files outside a store. This entry
// knows nothing of snapshots and loads none of the store's code.

import { resolve } from 'node:path'
import { clock } from './clock.ts'
import { nodeFileSystem } from './fs/node.ts'
import { orphanPattern, type ReapedOrphans, reapSiblings } from './fs/orphans.ts'
import { quarantinePath } from './fs/quarantine.ts'
import { findLagging, type Stale } from './fs/stale.ts'
import { type DurableData, type SaveToTemp, type TextEncoding, writeFile } from './fs/write-file.ts'
import { pathOf } from './location.ts'
import { assertOptions, type OptionTable, refusePromise } from './misuse.ts'

export { type ErrorCode, type ErrorDetails, type ErrorKind, HoldfastError, isHoldfastError } from './errors.ts'
export type { DurableData, ReapedOrphans, SaveToTemp, Stale, TextEncoding }

/** How `writeFileDurable` writes. */
export interface WriteFileDurableOptions {
  /** Permission bits of a new file, given exactly, whatever the umask; default 0o600. */
  mode?: number | undefined
  /** Whether a file that is replaced passes on its permission bits (default), or gets `mode` too. */
  keepMode?: boolean | undefined
  /**
   * When the path is a symbolic link: `follow` (default) replaces the file behind it, which must exist, and the link
   * stays; `refuse` is IO_FAILED. Links among the directories above are followed in any case.
   */
  symlinks?: 'follow' | 'refuse' | undefined
  /** Of strings; default `utf8`. What it cannot hold (a lone surrogate) is a TypeError, not a replacement character. */
  encoding?: TextEncoding | undefined
  /**
   * When the function given as data leaves other files beside `tempPath`: `refuse` (default) is SOURCE_FAILED, since
   * they may belong to it and cannot be replaced together with it; `remove` removes them (journals, locks).
   */
  extraFiles?: 'refuse' | 'remove' | undefined
  /** Makes missing directories above, mode 0700, each durable before anything is put into it. Default false. */
  makeDirectories?: boolean | undefined
  /** Rejects with `signal.reason`, and nothing is replaced. A function given as data is waited for first. */
  signal?: AbortSignal | undefined
}

const WRITE_OPTIONS: OptionTable<WriteFileDurableOptions> = {
  mode: 'any',
  keepMode: 'boolean',
  symlinks: 'any',
  encoding: 'any',
  extraFiles: 'any',
  makeDirectories: 'boolean',
  signal: 'signal',
}

/** What was written. */
export interface WrittenFile {
  /** The file that was replaced or made; behind a link, where the link leads. */
  path: string
  /** Its length. */
  bytes: number
}

/**
 * Replaces a file, durably: after a crash at any instant it has the old content or the new, all of it; when this
 * resolves, the new one survives power loss (as far as the file system keeps what fsync promises; see
 * `checkDirectory`). Writers that race each replace all of it, and the last one wins.
 *
 * `data` is the content, or a function that saves into a path, for engines that can do only that:
 *
 *     await writeFileDurable('index.bin', (tempPath) => index.save(tempPath))
 *
 * `tempPath` ends in the file's own name, in an otherwise empty directory beside the file. The engine may write there
 * in place, or rename files of its own over it; it must be done when the function returns or its promise resolves.
 *
 * The order is: a temp beside the file, under a name of its own for each writer and locked while its writer lives; all
 * the content; fsync; rename over the file; fsync of the directory. When anything fails the temp is removed, the old
 * file is as it was, and what the caller's function or stream threw is thrown as it is. Whoever is killed leaves the
 * temp: see `reapOrphans`.
 *
 * The file becomes another file of the same name (another inode). That keeps its permission bits, and does not keep
 *
 * - the owner and group: they become this process's. When root replaces another user's file of mode 0600, that user
 *   cannot read it any more;
 * - ACLs, extended attributes, SELinux labels, file flags, the set-user-ID, set-group-ID and sticky bits;
 * - hard links: other names go on leading to the old content;
 * - locks, watches and open descriptors: whoever has the old file open goes on reading the old content, all of it;
 * - a bind mount of that single file (a container's `-v file:file`): the rename fails with EBUSY. Mount its directory.
 *
 * Memory: what a stream gives at a time, plus 256 KiB. Bytes given must not be changed before this resolves.
 *
 * @throws HoldfastError NO_SPACE, IO_FAILED (`details.code` is the system's); SOURCE_FAILED: the function answered
 * false, left no file at `tempPath`, or files beside it; COMMIT_UNKNOWN: replaced, but the directory could not be
 * fsynced, so write it again. Also `signal.reason`, what `data` throws, and TypeError.
 */
export async function writeFileDurable(
  path: string | URL,
  data: DurableData | SaveToTemp,
  options: WriteFileDurableOptions = {},
): Promise<WrittenFile> {
  const where = 'writeFileDurable'
  assertOptions(where, options, WRITE_OPTIONS)
  const { mode = 0o600, keepMode = true, symlinks = 'follow', encoding = 'utf8', extraFiles = 'refuse' } = options
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o777) {
    throw new TypeError(`${where}: mode is permission bits, 0 to 0o777, got ${String(mode)}`)
  }
  assertOneOf(where, 'symlinks', symlinks, ['follow', 'refuse'])
  assertOneOf(where, 'encoding', encoding, ['utf8', 'utf16le', 'latin1'])
  assertOneOf(where, 'extraFiles', extraFiles, ['refuse', 'remove'])
  assertData(data)
  return await writeFile(nodeFileSystem, pathAt(where, path), data, {
    mode,
    keepMode,
    symlinks,
    encoding,
    extraFiles,
    makeDirectories: options.makeDirectories ?? false,
    signal: options.signal ?? new AbortController().signal,
  })
}

/** Which temps `reapOrphans` removes. */
export interface ReapOrphansOptions {
  /** Not written to for so long, in ms; default an hour. A writer that lives is never older than its last write. */
  olderThanMs?: number | undefined
  /**
   * How other programs name temps of a file, for what they left before: `{name}` stands for the file's name, `{digits}`
   * and `{hex}` for one or more digits, `*` for anything; all else is literal. `'{name}.{digits}'` are
   * write-file-atomic's, `'.{name}.tmp'` steno's, `'{name}.tmp-*'` atomically's. Each must contain `{name}` and a
   * letter or a mark beside it.
   */
  patterns?: readonly string[] | undefined
}

/**
 * Removes the temps that killed writers left beside a file or directory: those of `writeFileDurable` and of a
 * snapshot's `writeTo`, and those that match `patterns`. The name of the file is taken literally, whatever characters
 * are in it.
 *
 * A temp of ours is removed when nobody wrote to it for `olderThanMs` and its writer's lock is gone (where there are
 * no locks, by age alone); one of another program when it is that old. Only regular files (and our own work
 * directories) are removed; never the file itself, links, what is in quarantine, or our temps of another file. Call it
 * at start-up, for each file that is written.
 *
 * @param path the file that was to be written; it need not exist
 * @throws HoldfastError IO_FAILED when the directory cannot be read; what cannot be removed is in `kept`
 */
export async function reapOrphans(path: string | URL, options: ReapOrphansOptions = {}): Promise<ReapedOrphans> {
  assertOptions('reapOrphans', options, { olderThanMs: 'any', patterns: 'any' })
  const { olderThanMs = 60 * 60 * 1000, patterns = [] } = options
  assertMs('reapOrphans', 'olderThanMs', olderThanMs)
  if (!Array.isArray(patterns)) throw new TypeError('reapOrphans: patterns is an array of patterns')
  return await reapSiblings(nodeFileSystem, pathAt('reapOrphans', path), {
    olderThanMs,
    nowMs: clock.nowMs(),
    patterns: patterns.map(orphanPattern),
  })
}

/** Why and where to `quarantine`. */
export interface QuarantineOptions {
  /** A few words; in the name, what does not fit a file name becomes `-`. */
  reason: string
  /** Where to, on the same file system; made when missing. Default: the directory that it is in. */
  directory?: string | URL | undefined
  /** Facts for the note beside it; plain data. */
  details?: Readonly<Record<string, unknown>> | undefined
}

/**
 * Moves a doubtful file or directory out of the way, to be looked at later: it is renamed to
 * `<name>.<reason>.<UTC time, no colons>.<16 hex digits>`, and a `.json` of that name says why. Nothing is deleted or
 * overwritten. A link is moved itself, not what it leads to. Both names are durable when this resolves.
 *
 * @returns the new path; null when there was nothing; `path` itself when it is in quarantine already
 * @throws HoldfastError IO_FAILED, NO_SPACE: it is still where it was; COMMIT_UNKNOWN: it was moved, perhaps not
 * durably
 */
export async function quarantine(path: string | URL, options: QuarantineOptions): Promise<string | null> {
  assertOptions('quarantine', options, { reason: 'any', directory: 'any', details: 'any' })
  assertReason('quarantine', options?.reason)
  const { reason, directory, details = {} } = options
  return await quarantinePath(nodeFileSystem, pathAt('quarantine', path), {
    reason,
    directory: directory === undefined ? undefined : pathAt('quarantine', directory),
    details,
    now: clock.now(),
  })
}

type Paths = string | URL | readonly (string | URL)[]

/** What to compare. */
export interface FindStaleOptions {
  /** Index directories (or files), each of which is compared with the source. */
  derived: Paths
  /** What they are made from. With SQLite in WAL mode: the database and its `-wal`, where the latest writes are. */
  source: Paths
  /** How far behind is suspect, in ms. More than the time between two saves of the index. */
  olderThanMs: number
  /**
   * Which files of a derived directory count, by path below it with `/`; default all. To be given when the engine
   * touches some file (a log, a lock) without saving.
   */
  files?: ((path: string) => boolean) | undefined
  /** Told of each that is stale. Default: `process.emitWarning`. */
  log?: ((message: string, stale: Stale) => void) | undefined
}

const STALE_OPTIONS: OptionTable<FindStaleOptions> = {
  derived: 'any',
  source: 'any',
  olderThanMs: 'any',
  files: 'function',
  log: 'function',
}

/**
 * Finds indexes that lag behind what they are made from: the newest file of `source` was written more than
 * `olderThanMs` after the newest file of `derived`. What is missing or has no files is passed over. Nothing is changed.
 *
 * Modification times are all that it looks at: it tells of an index that was not saved for long, or was restored from
 * an older backup; it cannot know whether what was written to the source concerns the index. Where the index is kept in
 * a store, compare watermarks instead.
 *
 * @returns those that are stale, with times in ms since 1970
 * @throws HoldfastError IO_FAILED when something cannot be read
 */
export async function findStale(options: FindStaleOptions): Promise<Stale[]> {
  assertOptions('findStale', options, STALE_OPTIONS)
  return await findStaleFor('findStale', options)
}

/** What to compare, and what to do with what is stale. */
export interface QuarantineStaleOptions extends FindStaleOptions {
  /** Default `stale`. */
  reason?: string | undefined
  /** As for `quarantine`. */
  directory?: string | URL | undefined
}

/**
 * Moves what `findStale` finds into quarantine, so that the engine builds it anew. Nothing may have it open: this does
 * not know the engine's locks.
 *
 * @returns what was stale, and where it went; `to` is null when another process moved it first
 * @throws as `findStale` and `quarantine`
 */
export async function quarantineStale(options: QuarantineStaleOptions): Promise<(Stale & { to: string | null })[]> {
  const where = 'quarantineStale'
  assertOptions(where, options, { ...STALE_OPTIONS, reason: 'any', directory: 'any' })
  const reason = options?.reason ?? 'stale'
  assertReason(where, reason)
  const directory = options.directory === undefined ? undefined : pathAt(where, options.directory)
  const moved: (Stale & { to: string | null })[] = []
  for (const stale of await findStaleFor(where, options)) {
    const details = { ...stale, olderThanMs: options.olderThanMs }
    const to = await quarantinePath(nodeFileSystem, stale.path, { reason, directory, details, now: clock.now() })
    moved.push({ ...stale, to })
  }
  return moved
}

async function findStaleFor(where: string, options: FindStaleOptions): Promise<Stale[]> {
  assertMs(where, 'olderThanMs', options?.olderThanMs)
  const stale = await findLagging(nodeFileSystem, {
    derived: pathsAt(where, options.derived),
    source: pathsAt(where, options.source),
    olderThanMs: options.olderThanMs,
    files: options.files ?? (() => true),
  })
  const log = options.log ?? warn
  for (const each of stale) log(describe(each, options.olderThanMs), each)
  return stale
}

function describe({ path, source, lagMs }: Stale, olderThanMs: number): string {
  return `${path} was last written ${seconds(lagMs)} before ${source}, from which it is made (${seconds(olderThanMs)} are allowed)`
}

function seconds(ms: number): string {
  return `${Math.round(ms) / 1000} s`
}

function warn(message: string): void {
  process.emitWarning(message, { type: 'HoldfastWarning', code: 'STALE' })
}

function pathsAt(where: string, paths: Paths): string[] {
  return (Array.isArray(paths) ? paths : [paths as string | URL]).map((path) => pathAt(where, path))
}

function pathAt(where: string, path: string | URL): string {
  return resolve(pathOf(path, where))
}

function assertMs(where: string, name: string, value: unknown): void {
  if (typeof value === 'number' && value >= 0) return
  throw new TypeError(`${where}: ${name} is a number of milliseconds, 0 or more, got ${String(value)}`)
}

function assertReason(where: string, reason: unknown): void {
  if (typeof reason !== 'string' || reason === '') throw new TypeError(`${where}: give a reason, a few words`)
}

function assertOneOf(where: string, name: string, value: unknown, allowed: readonly string[]): void {
  if (allowed.includes(value as string)) return
  throw new TypeError(`${where}: ${name} is one of ${allowed.join(', ')}, got ${String(value)}`)
}

function assertData(data: unknown): void {
  refusePromise(data, 'writeFileDurable: the content')
  const content =
    typeof data === 'string' ||
    typeof data === 'function' ||
    (typeof data === 'object' &&
      data !== null &&
      (ArrayBuffer.isView(data) ||
        data instanceof ArrayBuffer ||
        data instanceof Blob ||
        Symbol.asyncIterator in data ||
        Symbol.iterator in data))
  if (content) return
  throw new TypeError(
    'writeFileDurable: give a string, bytes, a Blob, a stream, an iterable of strings or Uint8Arrays, or a function that ' +
      `saves into a path; got ${data === null ? 'null' : typeof data}${typeof data === 'object' ? ' (is it to be JSON.stringify()ed?)' : ''}`,
  )
}
