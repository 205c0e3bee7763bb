// An open snapshot. It keeps its packs open until it is disposed, so that deletes meanwhile do not matter.

import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import { openPacks, packsByLikelihood, sourceOf } from '../blocks/open-packs.ts'
import type { OpenPack } from '../blocks/pack-cache.ts'
import { peekBlock } from '../blocks/peek-block.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import { digestsEqual } from '../format/blake3.ts'
import { parseCid } from '../format/cid.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import type { Manifest } from '../format/manifest.ts'
import { pathOf } from '../location.ts'
import type { Offline, StoredHead } from '../storage/port.ts'
import { type BlobContext, type BlobReadOptions, createBlob, type SnapshotBlob } from './blob.ts'
import { type BlobDirectory, createBlobDirectory } from './blob-directory.ts'
import { isMostlyRepeats, readDistinctChunks } from './distinct-chunks.ts'
import { ageMsOf } from './fallback.ts'
import type { Freshness } from './freshness.ts'
import { otherPacks } from './other-packs.ts'
import { noteBlocks } from './snapshot-blocks.ts'
import { type Resources, release, releaseWhenForgotten } from './snapshot-resources.ts'
import { writeBlob } from './write-out.ts'

/** One line of a store's history. */
export interface SnapshotInfo {
  /** Unique in this store, growing, never given twice. */
  sequence: number
  /** CID of the manifest. */
  manifest: string
  /** When it was committed, by the writer's clock. */
  time: Date
  message?: string
  tags: readonly string[]
  /** It is what `load` gives. */
  current: boolean
  /** A rollback stepped over it; `fallback` never chooses it. */
  abandoned: boolean
  /** Sum of the blobs' sizes in bytes. */
  size: number
  /** The last entry of the journal that it holds the effect of; absent in a store without a journal. */
  covers?: number
}

/** A snapshot that was looked at and not taken. */
export interface SkippedSnapshot {
  sequence: number
  manifest: string
  /** How old it is, in ms, by the clock of its writer. */
  ageMs: number
  error: HoldfastError
}

/**
 * An open snapshot. The packs it lies in stay readable until it is disposed, whatever is persisted or deleted
 * meanwhile. `Names` are the blobs known to be there; `Metadata` is what the schema made of the metadata.
 */
export interface Snapshot<Names extends string = string, Metadata = Record<string, unknown>> extends SnapshotInfo {
  readonly metadata: Metadata
  /** As given to `persist`; undefined if none was. */
  readonly watermark: unknown
  /** Names of all blobs, in the manifest's order. */
  readonly names: readonly string[]
  /** How `watermark` compares with the `source` given to load; `unknown` without one. */
  readonly freshness: Freshness
  /** Which snapshot was the current one when this one was loaded; null when a repair left none. */
  readonly currentSequence: number | null
  /** How old it was when it was loaded, in ms, by the clock of its writer. 0 when that clock is ahead. */
  readonly ageMs: number
  /**
   * From a cache, because the server of the store cannot be reached: since when, and why. Null: it is what the store
   * has.
   */
  readonly offline: Offline | null
  /** Newer snapshots that `fallback` skipped, and why. */
  readonly skipped: readonly SkippedSnapshot[]
  has(name: string): boolean
  /** `BLOB_NOT_FOUND` names those that there are. */
  blob(name: Names): SnapshotBlob
  /** The blobs that came from `{ directory }` under this name. */
  directory(name: string): BlobDirectory
  /** Gives up the packs and laid-out files it holds. Reads after that are `SNAPSHOT_DISPOSED`. */
  dispose(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** A snapshot as it was opened, before a schema and a choice of blobs type it. */
export interface OpenedSnapshot extends Snapshot {
  /** The first damage that reading it met, or `SNAPSHOT_GONE`. */
  damage(): HoldfastError | null
  /** Reads and verifies a blob, and gives nothing. */
  check(name: string, options: BlobReadOptions): Promise<void>
  /**
   * Warns of packs of this snapshot that are missing, or in which blocks are known to be bad. For who reads no blob.
   */
  warnOfBadPacks(): void
}

/**
 * Opens the snapshot `entry` of `stored`: pins its packs, reads its manifest. Damage of the manifest is
 * `SNAPSHOT_DAMAGED`; packs that are missing are only blamed when a block is in no other.
 */
export async function openSnapshot(
  ctx: StoreContext,
  stored: StoredHead,
  entry: HeadSnapshot,
  skipped: readonly SkippedSnapshot[] = [],
): Promise<OpenedSnapshot> {
  const { head } = stored
  const names = packsByLikelihood(head, entry).slice(0, new Set(entry.packs).size)
  const { packs, failures } = await openPacks(ctx, stored, names)
  const { location } = ctx.storage
  const resources: Resources = { sequence: entry.sequence, location, packs, files: [], disposed: false }
  try {
    const source = sourceOf(ctx, packs, failures, { others: otherPacks(ctx, stored, entry, resources) })
    const damageContext: DamageContext = {
      code: 'SNAPSHOT_DAMAGED',
      what: `snapshot ${entry.sequence} of ${ctx.storage.location}`,
      details: { location: ctx.storage.location, sequence: entry.sequence, manifest: entry.manifest },
    }
    const { digest } = parseCid(entry.manifest)
    const peeked = await peekManifest(packs, head, entry, digest)
    const first = peeked === null ? source : { ...source, read: readOr(source, digest, peeked) }
    const manifest = await readManifest(first, digest, damageContext)
    return assemble(ctx, {
      stored,
      entry,
      skipped,
      manifest,
      source,
      resources,
      packsMissing: failures.length,
      damageContext,
    })
  } catch (error) {
    await release(resources)
    throw error
  }
}

/** Blocks of a pack from which on reading its index takes longer than a few small reads. */
const PEEK_BLOCKS_MIN = 4096

/** The manifest's block, where its pack is large. An engine that is restored from an image needs nothing else of it. */
async function peekManifest(
  packs: readonly OpenPack[],
  { packs: known }: Head,
  entry: HeadSnapshot,
  digest: Uint8Array,
): Promise<Uint8Array | null> {
  const named = known.find(({ id }) => id === entry.pack)
  const pack = packs.find(({ name }) => name === named?.name)
  if (named === undefined || pack === undefined || named.blocks < PEEK_BLOCKS_MIN) return null
  return await peekBlock(pack, digest)
}

function readOr(source: BlockSource, known: Uint8Array, block: Uint8Array): BlockSource['read'] {
  return async (digest, damageContext) =>
    digestsEqual(digest, 0, known, 0) ? block : await source.read(digest, damageContext)
}

/** What a snapshot is made of when its packs are open and its manifest is read. */
interface Parts {
  stored: StoredHead
  entry: HeadSnapshot
  skipped: readonly SkippedSnapshot[]
  manifest: Manifest
  source: BlockSource
  resources: Resources
  /** Packs that the snapshot names and that cannot be opened. */
  packsMissing: number
  damageContext: DamageContext
}

function assemble(
  ctx: StoreContext,
  { stored, entry, skipped, manifest, source, resources, packsMissing, damageContext }: Parts,
): OpenedSnapshot {
  let damage: HoldfastError | null = null
  let reading = 0
  let idle: (() => void) | null = null

  const context: BlobContext = {
    location: ctx.storage.location,
    files: ctx.local.files,
    noteChecked: (blob) => ctx.checkedBlobs.note(blob),
    source() {
      assertOpen()
      return source
    },
    async use(read) {
      assertOpen()
      reading += 1
      try {
        return await read(source)
      } catch (error) {
        if (isDamage(error) || isHoldfastError(error, 'SNAPSHOT_GONE')) damage ??= error
        throw error
      } finally {
        reading -= 1
        if (reading === 0) idle?.()
      }
    },
    hold(file) {
      resources.files.push(file)
    },
    writeFile: (path, parts, laidOut) =>
      writeBlob(ctx.fs, pathOf(path, 'writeTo'), parts, ctx.storage.location, laidOut),
  }

  function assertOpen(): void {
    if (!resources.disposed) return
    throw new HoldfastError('SNAPSHOT_DISPOSED', `snapshot ${entry.sequence} was disposed; load it again`, {
      details: { sequence: entry.sequence },
    })
  }

  function damageOf(name: string): DamageContext {
    return {
      code: 'BLOB_DAMAGED',
      what: `blob ${JSON.stringify(name)} of snapshot ${entry.sequence} in ${ctx.storage.location}`,
      details: { location: ctx.storage.location, sequence: entry.sequence, blob: name },
    }
  }

  const blobs = new Map<string, SnapshotBlob>()
  for (const [name, blob] of manifest.blobs) blobs.set(name, createBlob(name, blob, damageOf(name), context))

  async function check(name: string, options: BlobReadOptions): Promise<void> {
    const blob = manifest.blobs.get(name)!
    const repeats = await context.use(async (source) => {
      if (!(await isMostlyRepeats(source, blob, damageOf(name)))) return false
      await readDistinctChunks(source, blob, damageOf(name), options.signal)
      return true
    })
    if (repeats) return
    for await (const _part of snapshot.blob(name).stream(options)) options.signal?.throwIfAborted()
  }

  function warnOfBadPacks(): void {
    const bad = badPacks(ctx, stored.head, entry)
    if (packsMissing === 0 && bad.length === 0) return
    ctx.warn({
      code: 'IMAGE_ALONE',
      message:
        `${ctx.storage.location}: the engine of snapshot ${entry.sequence} was restored from its image, and blobs of it are damaged ` +
        `(${packsMissing} packs cannot be opened, ${bad.length} have blocks that are known to be bad): persist it again soon`,
      details: { sequence: entry.sequence, packsMissing, packs: bad },
    })
  }

  async function dispose(): Promise<void> {
    if (resources.disposed) return
    resources.disposed = true
    // A read in flight keeps its files until it is done.
    if (reading > 0) {
      await new Promise<void>((resolve) => {
        idle = resolve
      })
    }
    await release(resources)
  }

  const snapshot: OpenedSnapshot = {
    ...describe(entry, stored.head),
    currentSequence: stored.head.current,
    ageMs: ageMsOf(entry),
    offline: stored.offline ?? null,
    metadata: manifest.metadata,
    watermark: manifest.watermark,
    freshness: { state: 'unknown' },
    names: [...blobs.keys()],
    skipped,
    has: (name) => blobs.has(name),
    blob(name) {
      const blob = blobs.get(name)
      if (blob !== undefined) return blob
      throw blobNotFound(entry.sequence, name, blobs)
    },
    directory: (name) => createBlobDirectory(ctx.fs, name, blobs),
    damage: () => damage,
    check,
    warnOfBadPacks,
    dispose,
    [Symbol.asyncDispose]: dispose,
  }
  noteBlocks(snapshot, {
    root: parseCid(entry.manifest).digest,
    read: (digest) => context.use((source) => source.read(digest, damageContext)),
    damageContext,
  })
  releaseWhenForgotten(context, resources)
  return snapshot
}

/** Names of the packs of a snapshot in which blocks are known to be bad. */
function badPacks(ctx: StoreContext, head: Head, { packs }: HeadSnapshot): string[] {
  const recorded = new Set(head.damaged.map(({ pack }) => pack))
  const names = head.packs.filter(({ id }) => packs.includes(id)).map(({ name }) => name)
  return names.filter((name) => recorded.has(name) || ctx.badBlocks.noted.has(name))
}

export function blobNotFound(sequence: number, name: string, blobs: ReadonlyMap<string, unknown>): HoldfastError {
  const names = [...blobs.keys()].slice(0, 20)
  return new HoldfastError(
    'BLOB_NOT_FOUND',
    `snapshot ${sequence} has no blob ${JSON.stringify(name)}; it has ${names.map((n) => JSON.stringify(n)).join(', ') || 'none'}` +
      (blobs.size > names.length ? ` and ${blobs.size - names.length} more` : ''),
    { details: { sequence, blob: name, blobs: names } },
  )
}

export function describe(entry: HeadSnapshot, { current, journal }: Pick<Head, 'current' | 'journal'>): SnapshotInfo {
  // Of another journal, which was before this one or is another store's, it says nothing.
  const isCovering = entry.covers !== undefined && entry.covers.journal === journal?.id
  return {
    sequence: entry.sequence,
    manifest: entry.manifest,
    time: new Date(entry.time),
    ...(entry.message === undefined ? {} : { message: entry.message }),
    tags: [...entry.tags],
    current: entry.sequence === current,
    abandoned: entry.abandoned,
    size: entry.size,
    ...(isCovering ? { covers: entry.covers!.sequence } : {}),
  }
}
