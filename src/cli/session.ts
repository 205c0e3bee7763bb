// What a verb is given: the store that was named, the signal that stops it, where its progress goes, and the warnings
// that it met. Stores in buckets are opened by `bucket.ts`, which is loaded for them alone.

import { lstatSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { OpenOptions, RemoteLocation, Snapshot, SnapshotInfo, Store, Warning } from '../index.ts'
import { commandLine, Refusal, usage } from './failure.ts'
import type { Target } from './no-space.ts'
import { parseSnapshot } from './notation.ts'
import type { Stage } from './progress-line.ts'
import { countText } from './screen.ts'

/** The options that every verb takes. */
export interface CommonOptions {
  store?: string | undefined
  json?: boolean | undefined
  quiet?: boolean | undefined
  lockWait?: number | undefined
}

export interface Session {
  readonly verb: string
  readonly json: boolean
  readonly quiet: boolean
  /** Aborted by Ctrl-C and by SIGTERM, with an `Interrupted`. */
  readonly signal: AbortSignal
  readonly onProgress: (stage: Stage) => void
  readonly warnings: readonly Warning[]
  /** The store's directory, absolute, or `s3://bucket/prefix`. @throws a usage error if none was given */
  readonly location: string
  /** As `location`; null if none was given. */
  readonly place: string | null
  /**
   * What the command writes outside of the store, for whoever explains a disk that is full. A verb sets it before it
   * writes.
   */
  target: Target | null
  /** The store is in a bucket. */
  readonly isRemote: boolean
  /** Refuses what cannot be done with a store in a bucket. @throws a usage error */
  assertDirectory(what: string, next: string): void
  /** A command on the same store, to be typed next. */
  commandLine(command: string): string
  /** Opens the store for reading. It takes no lock and writes nothing. @throws STORE_NOT_FOUND */
  read(options?: { init?: boolean }): Promise<Store>
  /** Opens the store for writing, with `init` also where there is none yet. @throws STORE_NOT_FOUND, OTHER_OWNER */
  write(options?: OpenOptions & { init?: boolean | undefined }): Promise<Store>
  /** Opens another store for writing; it is made if there is none. @throws OTHER_OWNER */
  writeTo(location: string, options: OpenOptions): Promise<Store>
  close(): Promise<void>
}

interface SessionParts {
  verb: string
  options: CommonOptions
  signal: AbortSignal
  onProgress: (stage: Stage) => void
  onWarning(warning: Warning): void
}

export function createSession({ verb, options, signal, onProgress, onWarning }: SessionParts): Session {
  const opened: Store[] = []
  const warnings: Warning[] = []
  const location = (): string => storeLocation(options.store)

  async function open(openOptions: OpenOptions, at = location()): Promise<Store> {
    const { openStore } = await import('../index.ts')
    const place = isRemote(at) ? await bucket(at) : at
    const store = await openStore(place, {
      onWarning(warning) {
        warnings.push(warning)
        onWarning(warning)
      },
      ...(options.lockWait === undefined ? {} : { lockWaitMs: options.lockWait }),
      ...openOptions,
    })
    opened.push(store)
    return store
  }

  return {
    verb,
    json: options.json === true,
    quiet: options.quiet === true,
    signal,
    onProgress,
    warnings,
    target: null,
    get place() {
      try {
        return location()
      } catch {
        return null
      }
    },
    get location() {
      return location()
    },
    get isRemote() {
      return isRemote(location())
    },
    assertDirectory(what, next) {
      if (isRemote(location()))
        throw usage(`${location()} is in a bucket, and ${what} is for stores in directories; ${next}`)
    },
    commandLine: (command) => commandLine(command, options.store ?? null),
    async read({ init = false } = {}) {
      if (!init) await assertStoreThere(location(), verb)
      return await open({ readOnly: true })
    },
    async write({ init = false, ...openOptions } = {}) {
      if (!init) await assertStoreThere(location(), verb)
      if (!isRemote(location())) assertMayWrite(location())
      return await open(openOptions)
    },
    async writeTo(to, openOptions) {
      if (!isRemote(to)) assertMayWrite(to)
      return await open(openOptions, to)
    },
    async close() {
      for (const store of opened.splice(0)) await store.close()
    },
  }
}

async function bucket(url: string): Promise<RemoteLocation> {
  const { bucketAt } = await import('./bucket.ts')
  return await bucketAt(url)
}

/** Whether it names a store in a bucket. */
export function isRemote(location: string): boolean {
  return /^s3:\/\//i.test(location)
}

/** What `--store`, or else HOLDFAST_STORE, names: a directory or a bucket. */
function storeLocation(given: string | undefined): string {
  const path = given ?? process.env.HOLDFAST_STORE
  if (path === undefined || path === '') {
    throw usage('no store was named: give --store <dir>, or set HOLDFAST_STORE')
  }
  return placeOf(path)
}

/** A directory as an absolute path, or a bucket as it is. @throws a usage error for other URLs */
export function placeOf(path: string): string {
  if (isRemote(path)) return path
  if (/^~[\w.-]*([/\\]|$)/.test(path) || /^[a-z][a-z0-9+.-]+:\/\//i.test(path)) {
    throw usage(
      `${path} is no path: a shell replaces ~ only where it is not quoted, and of URLs there is s3://bucket/prefix`,
    )
  }
  return resolve(path)
}

/** What every store has, damaged ones too. */
const SIGNS = ['HEAD.json', 'STORE.json', 'HEAD.prev.json', 'packs']

/** Whether the directory holds a store, be it damaged. */
export function hasSigns(path: string): boolean {
  return SIGNS.some((name) => lstatSync(join(path, name), { throwIfNoEntry: false }) !== undefined)
}

/** A mistyped path must say so, and never become a store or an empty list. */
async function assertStoreThere(path: string, verb: string): Promise<void> {
  try {
    if (isRemote(path)) {
      const { hasStore } = await import('./bucket.ts')
      if (await hasStore(path)) return
    } else if (hasSigns(path)) return
  } catch (error) {
    if (isRemote(path)) throw error
    // ENOTDIR, EACCES: opening the store says what is wrong.
    if ((error as NodeJS.ErrnoException).code !== 'ENOTDIR') return
  }
  throw new Refusal('STORE_NOT_FOUND', 'input', `there is no store at ${path}`, {
    details: { path },
    next: verb === 'import' ? 'import --init <file>' : 'persist --init <name>=<file>',
  })
}

/**
 * What another user makes in a store its owner may not be able to read or replace. Root gives each file to the owner;
 * others are refused, before anything is changed.
 */
export function assertMayWrite(path: string): void {
  const user = process.geteuid?.()
  if (user === undefined || user === 0) return
  const owner = ownerOf(path)
  if (owner === null || owner === user) return
  throw new Refusal(
    'OTHER_OWNER',
    'input',
    `${path} belongs to user ${owner}, and this command runs as user ${user}, whose files that user may not be able to read; run it as ` +
      `user ${owner}, or as root, which gives each file that it makes to the owner`,
    { details: { path, owner, user } },
  )
}

/** Who writes the store: the owner of HEAD, or of the directory while there is none. */
function ownerOf(path: string): number | null {
  for (const place of [join(path, 'HEAD.json'), join(path, 'STORE.json'), path]) {
    try {
      return statSync(place).uid
    } catch {
      // Not there, or not to be looked at: writing it fails with a better message.
    }
  }
  return null
}

/** The snapshot that was written down. @throws SNAPSHOT_NOT_FOUND */
export async function findSnapshot(store: Store, text: string): Promise<SnapshotInfo> {
  const name = parseSnapshot(text)
  const snapshots = await store.snapshots()
  const found = pick(snapshots, name)
  if (found !== undefined) return found
  if (snapshots.length === 0) throw nothingKept(store, text)
  const sequences = snapshots.slice(0, 10).map(({ sequence }) => sequence)
  const tags = snapshots.flatMap((snapshot) => snapshot.tags).slice(0, 20)
  const older = snapshots.length > sequences.length ? ' and older ones' : ''
  const message = {
    sequence: `there is no snapshot ${text}; ${store.location} keeps ${sequences.join(', ')}${older}`,
    tag: `no snapshot is tagged ${JSON.stringify(name.kind === 'tag' ? name.tag : '')}; ${store.location} ${
      tags.length > 0 ? `has the tags ${tags.join(', ')}` : 'has no tags'
    }, and keeps ${sequences.join(', ')}${older}`,
    current: `${text} is not there: before the current snapshot, ${store.location} keeps ${countText(
      Math.max(lineOf(snapshots).length - 1, 0),
      'snapshot',
    )}`,
  }[name.kind]
  throw new Refusal('SNAPSHOT_NOT_FOUND', 'input', message, {
    details: { at: text, sequences, tags },
    next: 'snapshots',
  })
}

function nothingKept(store: Store, text: string): Refusal {
  return new Refusal('SNAPSHOT_NOT_FOUND', 'input', `there is no snapshot ${text}; ${store.location} keeps none`, {
    details: { at: text, sequences: [], tags: [] },
    next: 'snapshots',
  })
}

/** The current snapshot and those before it, without what a rollback stepped over. */
function lineOf(snapshots: readonly SnapshotInfo[]): readonly SnapshotInfo[] {
  const current = snapshots.findIndex((snapshot) => snapshot.current)
  return current === -1 ? [] : snapshots.slice(current).filter((snapshot) => snapshot.current || !snapshot.abandoned)
}

function pick(snapshots: readonly SnapshotInfo[], name: ReturnType<typeof parseSnapshot>): SnapshotInfo | undefined {
  if (name.kind === 'sequence') return snapshots.find(({ sequence }) => sequence === name.sequence)
  if (name.kind === 'tag') return snapshots.find(({ tags }) => tags.includes(name.tag))
  return lineOf(snapshots)[name.back]
}

/**
 * What `--expected-head` says, as the methods take it: the current snapshot that the change is meant for, or `none`.
 */
export async function expectedHead(store: Store, text: string | undefined): Promise<{ expectedHead?: number | null }> {
  if (text === undefined) return {}
  const name = parseSnapshot(text)
  if (text === 'none') return { expectedHead: null }
  // A number is compared under the lock, also one that is gone by now.
  if (name.kind === 'sequence') return { expectedHead: name.sequence }
  return { expectedHead: (await findSnapshot(store, text)).sequence }
}

/** The flag for it. */
export const EXPECTED_HEAD = ['--expected-head <snapshot>', 'fail if another snapshot is the current one'] as const

/** Opens the snapshot that was written down, gives it to `use`, and disposes of it. */
export async function withSnapshot<T>(
  session: Session,
  text: string | undefined,
  use: (snapshot: Snapshot, store: Store) => Promise<T>,
): Promise<T> {
  // What is no snapshot is refused before anything is opened.
  parseSnapshot(text ?? 'current')
  const store = await session.read()
  const { sequence } = await findSnapshot(store, text ?? 'current')
  const snapshot = await store.load({ at: sequence, required: true, signal: session.signal })
  try {
    return await use(snapshot!, store)
  } finally {
    await snapshot!.dispose()
  }
}
