import { setImmediate } from 'node:timers/promises'
import { visitBlob } from '../blocks/blob-dag.ts'
import {
  BadBlock,
  type BlockSource,
  type DamageContext,
  decompressStored,
  entryOf,
  packNumberOf,
} from '../blocks/block-source.ts'
import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { createDigestMap, type DigestMap } from '../blocks/digest-map.ts'
import type { OpenPack } from '../blocks/pack-cache.ts'
import type { PackWriter } from '../blocks/pack-writer.ts'
import { isDamage } from '../errors.ts'
import { blake3, digestsEqual } from '../format/blake3.ts'
import { parseCid } from '../format/cid.ts'
import type { HeadPack, HeadSnapshot } from '../format/head.ts'
import { DIGEST_BYTES, ENTRY_BYTES } from '../format/limits.ts'
import { decodeManifest } from '../format/manifest.ts'
import type { Kind, PackIndex } from '../format/pack.ts'
import type { OnProgress } from '../progress.ts'
import { type CompactionPlan, chooseCompacted } from './plan-compaction.ts'
import { REACHABLE_BLOCKS_MAX, type ReachableCache } from './reachable-cache.ts'

/** What a compaction did, for the HEAD that is to name it. */
export interface Compaction {
  /** Snapshots as given, with the packs they need now. */
  snapshots: HeadSnapshot[]
  /** Newly measured, by pack id. */
  live: Map<number, number>
  /** Sequences of snapshots whose packs changed: their commit records are written anew. */
  changed: Set<number>
  movedBytes: number
}

interface CompactOptions {
  plan: CompactionPlan
  /** As HEAD names them, in the order of `source`'s packs. */
  packs: readonly HeadPack[]
  source: BlockSource
  /** Names of packs with blocks known to be bad: evidence, left as they are. */
  damaged: ReadonlySet<string>
  /** Kept snapshots but the one being written. */
  snapshots: readonly HeadSnapshot[]
  blocks: DedupWriter
  writer: PackWriter
  signal: AbortSignal
  onProgress: OnProgress | undefined
  /** Told of a block that is not what was written: its pack is evidence from the next persist on. */
  onBadBlock: OnBadBlock
  reachable: ReachableCache
}

type OnBadBlock = (pack: string, digest: Uint8Array) => void

/**
 * Measures which blocks are alive and copies those of small and mostly dead packs into the pack being written, so that the old ones
 * can be retired by the same HEAD swap. A snapshot that cannot be read whole stays as it is, with all its packs: what of them is alive is
 * not known, and the others must not grow without bound for its sake. Damage met while copying is thrown: then nothing is compaction this
 * time.
 */
export async function compactPacks(options: CompactOptions): Promise<Compaction> {
  const { plan, packs, source, damaged, snapshots, blocks: dedup, writer, signal } = options
  const readable = new Set(packs.map(({ id }) => id))
  const broken = new Set(snapshots.filter((snapshot) => !snapshot.packs.every((id) => readable.has(id))))
  const { marks, packNumbers: slots } = await markSnapshots(
    source,
    snapshots.filter((snapshot) => !broken.has(snapshot)),
    packs.map((_, slot) => dedup.marks(slot)),
    { onDamage: (snapshot) => void broken.add(snapshot), reachable: options.reachable },
  )
  const unmeasured = new Set([...broken].flatMap((snapshot) => snapshot.packs))
  const live = new Map(
    packs.flatMap(({ id, bytes }, slot) =>
      unmeasured.has(id) ? [] : [[id, liveBytes(source.indexes[slot]!, bytes, marks[slot]!)]],
    ),
  )
  const small = plan.small.filter((id) => live.has(id))
  const chosen = new Set(chooseCompacted({ ...plan, small }, packs, live, damaged))
  const totalBytes = [...chosen].reduce((total, id) => total + live.get(id)!, 0)
  let from = writer.packId
  let movedBytes = 0
  const moved = createDigestMap()

  /** What this persist wrote itself, because it had not looked everywhere, is there already: a pack has no digest twice. */
  function writtenIn(digest: Uint8Array): number {
    const id = dedup.ownPack(digest)
    if (id !== -1) from = Math.min(from, id)
    return id
  }

  for (const [slot, { id }] of packs.entries()) {
    if (!chosen.has(id)) continue
    const pack = { file: source.packs[slot]!, index: source.indexes[slot]!, marks: marks[slot]! }
    movedBytes += await movePack(pack, writer, moved, dedup.flush, signal, {
      writtenIn,
      onBadBlock: options.onBadBlock,
    })
    options.onProgress?.({ phase: 'compacting', bytes: movedBytes, totalBytes })
  }
  await dedup.drain()
  // Only now that all of them are moved: a failure half-way leaves every snapshot where it was.
  const into = chosen.size === 0 ? [] : range(from, writer.packId)
  dedup.moved(chosen, moved)
  for (const id of into) dedup.needed().add(id)
  for (const id of chosen) live.delete(id)

  /** By the copy that was marked: another one may lie in a pack that the snapshot does not need. */
  function packOf(manifest: string): number {
    const { digest } = parseCid(manifest)
    const { id } = packs[packNumberOf(source.find(digest, 0))]!
    return chosen.has(id) ? moved.get(digest, 0) : id
  }

  const changed = new Set<number>()
  const relocated = snapshots.map((snapshot) => {
    if (broken.has(snapshot)) return snapshot
    const ids = [...slots.get(snapshot.sequence)!].map((slot) => packs[slot]!.id)
    const needsMoved = ids.some((id) => chosen.has(id))
    const needed = [...ids.filter((id) => !chosen.has(id)), ...(needsMoved ? into : [])].sort((a, b) => a - b)
    if (needed.join() === snapshot.packs.join()) return snapshot
    changed.add(snapshot.sequence)
    return { ...snapshot, packs: needed, pack: packOf(snapshot.manifest) }
  })
  return { snapshots: relocated, live, changed, movedBytes }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}

/** A millisecond or two. */
const MARKED_AT_ONCE = 4096

/** Which blocks of which packs the kept snapshots need. `marks[slot][entry]` is 1 for those. */
interface Marks {
  marks: Uint8Array[]
  /** Slots that each snapshot needs, by sequence. */
  packNumbers: Map<number, Set<number>>
}

/**
 * Walks `snapshots` and marks what they need. Those with the same manifest are walked once. Damage is thrown, unless `onDamage` wants to
 * hear of it: then the snapshot has no `slots`.
 */
export async function markSnapshots(
  source: BlockSource,
  snapshots: readonly HeadSnapshot[],
  marks: Uint8Array[],
  { onDamage, reachable }: { onDamage?: (snapshot: HeadSnapshot) => void; reachable?: ReachableCache } = {},
): Promise<Marks> {
  const slots = new Map<number, Set<number>>()
  const walked = new Map<string, Set<number>>()
  let unturned = 0
  await source.expectLookups(Number.POSITIVE_INFINITY)

  for (const snapshot of snapshots) {
    let mine = walked.get(snapshot.manifest)
    if (mine === undefined) {
      mine = new Set()
      try {
        await markSnapshot(snapshot, mine)
      } catch (error) {
        if (onDamage === undefined || (!isDamage(error) && !(error instanceof BadBlock))) throw error
        onDamage(snapshot)
        continue
      }
      walked.set(snapshot.manifest, mine)
    }
    slots.set(snapshot.sequence, mine)
  }
  return { marks, packNumbers: slots }

  async function markSnapshot(snapshot: HeadSnapshot, mine: Set<number>): Promise<void> {
    const damageContext: DamageContext = {
      code: 'SNAPSHOT_DAMAGED',
      what: `snapshot ${snapshot.sequence}`,
      details: { sequence: snapshot.sequence },
    }
    const noted = reachable?.get(snapshot.manifest)
    if (noted !== undefined) {
      for (let at = 0; at < noted.length; at += DIGEST_BYTES) mark(noted, at)
      // Nothing is read that would give the event loop its turn.
      unturned += noted.length / DIGEST_BYTES
      if (unturned > MARKED_AT_ONCE) {
        unturned = 0
        await setImmediate()
      }
      return
    }
    const { digest } = parseCid(snapshot.manifest)
    const seen = createDigestMap()
    const notes = new Uint8Array(REACHABLE_BLOCKS_MAX * DIGEST_BYTES)
    let marked = 0
    mark(digest, 0)
    for (const entry of decodeManifest(await source.read(digest, damageContext)).blobs.values()) {
      if (entry.segments !== undefined) mark(entry.segments, 0)
      await visitBlob(source, entry.root, damageContext, {
        node(node) {
          mark(node, 0)
          // Once is enough: a few nodes that name each other over and over may stand for terabytes.
          return seen.add(node, 0, 0)
        },
        chunks(digests, count) {
          for (let i = 0; i < count; i++) mark(digests, i * DIGEST_BYTES)
        },
      })
    }
    if (marked <= REACHABLE_BLOCKS_MAX) reachable?.add(snapshot.manifest, notes.slice(0, marked * DIGEST_BYTES))

    function mark(digests: Uint8Array, at: number): void {
      const place = source.find(digests, at)
      // A snapshot with a hole is not a reason to call its other blocks garbage, nor to stop.
      if (place === -1) throw new BadBlock(`${damageContext.what} needs a block that no pack has`)
      marks[packNumberOf(place)]![entryOf(place)] = 1
      mine.add(packNumberOf(place))
      if (noted === undefined) note(digests, at)
    }

    function note(digests: Uint8Array, at: number): void {
      if (marked < REACHABLE_BLOCKS_MAX) notes.set(digests.subarray(at, at + DIGEST_BYTES), marked * DIGEST_BYTES)
      marked += 1
    }
  }
}

/** Bytes of a pack that are alive: all of it less its unmarked blocks and their index entries. */
function liveBytes(index: PackIndex, fileBytes: number, marks: Uint8Array): number {
  let dead = 0
  for (let entry = 0; entry < index.blocks; entry++) {
    if (marks[entry] === 0) dead += index.storedLength(entry) + ENTRY_BYTES
  }
  return fileBytes - dead
}

function isWhole(index: PackIndex, entry: number, stored: Uint8Array): boolean {
  try {
    return digestsEqual(blake3(decompressStored(index, entry, stored)), 0, index.digest(entry), 0)
  } catch (error) {
    if (error instanceof BadBlock) return false
    throw error
  }
}

const MOVE_READ_BYTES = 4 * 1024 * 1024

/**
 * Appends the marked blocks of a pack to the one being written, in the order in which they lie. Each is verified first: rot must
 * not be copied into a pack that looks fresh. Answers the stored bytes moved.
 *
 * @param moved takes in where each block is now
 * @param options.writtenIn the pack that the writer has put a block into already, or -1
 */
export async function movePack(
  pack: { file: OpenPack; index: PackIndex; marks: Uint8Array },
  writer: PackWriter,
  moved: DigestMap,
  flush: () => Promise<void>,
  signal: AbortSignal,
  options: { writtenIn?: (digest: Uint8Array) => number; onBadBlock?: OnBadBlock } = {},
): Promise<number> {
  const { file, index, marks } = pack
  const entries: number[] = []
  for (let entry = 0; entry < index.blocks; entry++) if (marks[entry] === 1) entries.push(entry)
  entries.sort((a, b) => index.offset(a) - index.offset(b))
  let movedBytes = 0
  for (let first = 0; first < entries.length; ) {
    signal.throwIfAborted()
    const start = index.offset(entries[first]!)
    let last = first
    let end = start
    while (last < entries.length) {
      const entry = entries[last]!
      const entryEnd = index.offset(entry) + index.storedLength(entry)
      if (last > first && entryEnd - start > MOVE_READ_BYTES) break
      end = Math.max(end, entryEnd)
      last += 1
    }
    const bytes = Buffer.allocUnsafeSlow(end - start)
    const together = await file.file.read(bytes, start).catch((error: unknown) => ({ error }))
    for (const entry of entries.slice(first, last)) {
      const at = index.offset(entry) - start
      const stored = bytes.subarray(at, at + index.storedLength(entry))
      // A bad sector between the blocks that are needed is no reason to lose them.
      if (together !== undefined) await file.file.read(stored, start + at)
      const digest = index.digest(entry)
      if (!isWhole(index, entry, stored)) {
        options.onBadBlock?.(file.name, digest)
        throw new BadBlock(`a block of pack ${file.name} is not what was written`)
      }
      const written = options.writtenIn?.(digest) ?? -1
      if (!moved.add(digest, 0, written === -1 ? writer.packId : written) || written !== -1) continue
      const compression = index.compression(entry)
      writer.appendStored(stored, digest, {
        rawLength: index.rawLength(entry),
        codec: index.codec(entry),
        compression,
        kind: index.kind(entry) as Kind,
        check: compression === 0 ? null : index.check(entry),
      })
      movedBytes += stored.length
    }
    await flush()
    first = last
  }
  return movedBytes
}
