// HEAD.json: a sealed JSON file (json-file.ts) with
//
//    format      "holdfast-head"
//    version     3
//    requires    []
//    storeId     32 hex digits
//    revision    +1 with every write
//    sequence    last one given out
//    current     sequence of the current snapshot, or null
//    snapshots   newest first
//    packs       every pack that exists
//    retired     packs awaiting deletion
//    damaged     blocks known to be bad
//    writes      ids of the last 64 writes, newest first
//    floor?      packs meant for this revision or an earlier one, which HEAD does not name, are given up
//    journal?    the journal's segments, as far as HEAD names them

import type { ZodMiniType } from 'zod/mini'
import { HoldfastError } from '../errors.ts'
import { damagedShape, type FileSnapshot, lists, packShape, retiredShape, single, snapshotShape } from './head-shape.ts'
import { openJson, sealJson } from './json-file.ts'
import { COUNTER_MAX, HEAD_VERSION, JSON_BYTES_MAX, PACK_ID_MAX, PACK_IDS_MAX, SNAPSHOTS_MAX } from './limits.ts'
import { countIds, fromIdRanges, toIdRanges } from './pack-ids.ts'
import { check, checked } from './shape.ts'
import { assertSupported, notAStore } from './store-file.ts'

/** A frame of the journal at which a reading may begin. */
export interface HeadMark {
  /** A segment's file name without `.log`. */
  segment: string
  offset: number
  /** Sequence of its first entry. */
  first: number
}

/** Which entries of the journal a snapshot holds the effect of. */
export interface HeadCovers {
  /** Journal id, 32 hex digits. */
  journal: string
  /** Every entry up to this one, apart from those in `skips`. */
  sequence: number
  /** At or before the entry `sequence`; null: none is known. */
  mark: HeadMark | null
  /** Ranges of entries, first and last, that rollbacks stepped over. */
  skips: [number, number][]
}

/** Damage to the journal that a repair recorded, so that the journal is read in spite of it. */
interface HeadLost {
  /** Entries that cannot be read: ranges, first and last, ascending. */
  entries: [number, number][]
  /** The last place that was damaged. Damage behind it is not recorded. */
  segment: string
  offset: number
}

/** What HEAD says of the journal. */
export interface HeadJournal {
  /** 32 hex digits. */
  id: string
  /** The first segment that is needed, a file name without `.log`. */
  first: string
  /** The newest segment that HEAD names; next frames lead on from it. */
  tail: string
  /** Up to where it was durable when HEAD was written. */
  seen: { segment: string; offset: number; sequence: number } | null
  /** Absent: nothing is known to be lost. */
  lost?: HeadLost
}

export interface HeadSnapshot {
  sequence: number
  /** CID as text. */
  manifest: string
  time: string
  message?: string
  /** Ascending by UTF-16 code units. */
  tags: string[]
  /** A rollback stepped over it. */
  abandoned: boolean
  /** Id of the pack that holds the manifest. */
  pack: number
  /** Ids of all packs that it needs, ascending. */
  packs: number[]
  /** Sum of the blobs' sizes in bytes. */
  size: number
  /** Absent: it covers no journal. */
  covers?: HeadCovers
}

export interface HeadPack {
  /** Unique among the packs of one HEAD. */
  id: number
  name: string
  /** Of the file. */
  bytes: number
  blocks: number
  /** Bytes of blocks that kept snapshots needed when last measured; null: never. */
  live: number | null
  /** In an object store: what its object is called. */
  key?: string
}

interface RetiredPack {
  name: string
  bytes: number
  /** That retired it. */
  revision: number
  /** In an object store: what its object is called. */
  key?: string
}

export interface DamagedBlocks {
  /** A pack's name. */
  pack: string
  /** Hex; none: no block of the pack is counted on. */
  digests: string[]
}

/** The one mutable cell. What it does not name does not exist. */
export interface Head {
  /** 32 hex digits. */
  storeId: string
  revision: number
  sequence: number
  current: number | null
  snapshots: HeadSnapshot[]
  packs: HeadPack[]
  retired: RetiredPack[]
  damaged: DamagedBlocks[]
  /** 16 hex digits each, newest first. */
  writes: string[]
  /** Absent: there is no journal. */
  journal?: HeadJournal
  /** Absent: 0. */
  floor?: number
}

const FORMAT = 'holdfast-head'

/**
 * The file. Throws `LIMIT_EXCEEDED` with too many snapshots or more than 16 MiB; a plain `Error` when HEAD contradicts
 * itself, which is a bug and must never reach the disk.
 */
export function encodeHead(head: Head): Uint8Array {
  if (head.snapshots.length > SNAPSHOTS_MAX) throw beyond('snapshots', SNAPSHOTS_MAX, head.snapshots.length)
  assertCountable(head)
  const { writes, journal, ...fields } = checked(single, head, 'HEAD')
  const wrong = wrongHead(head)
  if (wrong !== null) throw new Error(`bug: HEAD is wrong: ${wrong}`)
  const bytes = sealJson({
    format: FORMAT,
    version: HEAD_VERSION,
    requires: [],
    ...fields,
    snapshots: head.snapshots.map((entry) => cleanEntry(snapshotShape, entry, withRanges)),
    packs: head.packs.map((entry) => cleanEntry(packShape, entry)),
    retired: head.retired.map((entry) => cleanEntry(retiredShape, entry)),
    damaged: head.damaged.map((entry) => cleanEntry(damagedShape, entry)),
    ...(journal === undefined ? {} : { journal }),
    writes,
  })
  if (bytes.length > JSON_BYTES_MAX) throw beyond('headBytes', JSON_BYTES_MAX, bytes.length)
  return bytes
}

/**
 * The text of an entry in the file. It is cached: most entries stay from one HEAD to the next, and entries are frozen.
 */
const cleanEntries = new WeakMap<object, object>()

function cleanEntry<T extends object>(part: ZodMiniType<object>, entry: T, toFile?: (entry: T) => object): object {
  const known = cleanEntries.get(entry)
  if (known !== undefined) return known
  const clean = checked(part, toFile === undefined ? entry : toFile(entry), 'HEAD')
  cleanEntries.set(frozen(entry), frozen(clean))
  return clean
}

function withRanges(entry: HeadSnapshot): object {
  return { ...entry, packs: toIdRanges(entry.packs) }
}

function frozen(entry: object): object {
  for (const value of Object.values(entry)) if (Array.isArray(value)) Object.freeze(value)
  return Object.freeze(entry)
}

/**
 * The contents of HEAD.json or HEAD.prev.json. `unknown` lists the fields that this version does not know: a reader
 * ignores them, a writer must refuse. Throws `HEAD_DAMAGED`, `NOT_A_STORE`, `VERSION_UNSUPPORTED`.
 */
export function parseHead(bytes: Uint8Array, where: string): { head: Head; unknown: string[] } {
  const opened = openJson(bytes)
  if (!opened.ok) throw damagedHead(where, opened.reason)
  const { fields } = opened
  if (fields.format !== FORMAT) throw notAStore(where, fields.format)
  assertSupported(fields, HEAD_VERSION, where, (reason) => damagedHead(where, reason))
  const head = parseFields(fields, (reason) => damagedHead(where, reason))
  const wrong = wrongHead(head)
  if (wrong !== null) throw damagedHead(where, wrong)
  return { head, unknown: unknownFields(fields) }
}

/** The fields and lists of the format, up to the first that is wrong. */
function parseFields(fields: Record<string, unknown>, damaged: (reason: string) => HoldfastError): Head {
  const parsed = check(single, fields)
  if (!parsed.ok) throw damaged(parsed.reason)
  const entries: Record<string, unknown[]> = {}
  for (const [name, part] of Object.entries(lists)) {
    const list = fields[name]
    if (!Array.isArray(list)) throw damaged(`its '${name}' is no list`)
    if (name === 'snapshots' && list.length > SNAPSHOTS_MAX) throw damaged(`it has ${list.length} snapshots`)
    entries[name] = list.map((entry: unknown, i) => {
      const item = check<object>(part, entry)
      if (!item.ok) throw damaged(`${name}[${i}]: ${item.reason}`)
      return item.value
    })
  }
  return { ...parsed.value, ...entries, snapshots: withIds(entries.snapshots as FileSnapshot[], damaged) } as Head
}

/** The snapshots with the ids that their ranges stand for. */
function withIds(snapshots: readonly FileSnapshot[], damaged: (reason: string) => HoldfastError): HeadSnapshot[] {
  const ids = snapshots.reduce((sum, { packs }) => sum + countIds(packs), 0)
  if (ids > PACK_IDS_MAX) throw damaged(`its snapshots need ${ids} packs in all`)
  return snapshots.map((entry) => ({ ...entry, packs: fromIdRanges(entry.packs) }) as HeadSnapshot)
}

/** Throws `LIMIT_EXCEEDED` when a number of the HEAD to be written is beyond what any reader takes. */
function assertCountable({ revision, sequence, packs, snapshots }: Head): void {
  if (revision > COUNTER_MAX) throw beyond('revision', COUNTER_MAX, revision)
  if (sequence > COUNTER_MAX) throw beyond('sequence', COUNTER_MAX, sequence)
  for (const { id } of packs) if (id > PACK_ID_MAX) throw beyond('packId', PACK_ID_MAX, id)
  const ids = snapshots.reduce((sum, { packs }) => sum + packs.length, 0)
  if (ids > PACK_IDS_MAX) throw beyond('packIds', PACK_IDS_MAX, ids)
}

/** What HEAD says that contradicts itself; null when nothing does. Asserted on both ways. */
function wrongHead(head: Head): string | null {
  const ids = new Set<number>()
  const names = new Set<string>()
  for (const { id, name } of head.packs) {
    if (ids.has(id)) return `two packs have the id ${id}`
    if (names.has(name)) return `pack ${name} is listed twice`
    ids.add(id)
    names.add(name)
  }
  for (const { name, revision } of head.retired) {
    if (names.has(name)) return `retired pack ${name} is listed twice`
    names.add(name)
    if (revision > head.revision) return `pack ${name} was retired by a later revision`
  }
  if ((head.floor ?? 0) > head.revision) return `its floor ${head.floor} is beyond its revision`
  let newer = Number.POSITIVE_INFINITY
  for (const { sequence, pack, packs } of head.snapshots) {
    if (sequence >= newer) return `snapshot ${sequence} is not older than the one before it`
    if (sequence > head.sequence) return `snapshot ${sequence} is beyond the last sequence, ${head.sequence}`
    newer = sequence
    for (const id of packs) if (!ids.has(id)) return `snapshot ${sequence} needs a pack ${id} that is not there`
    if (!packs.includes(pack)) return `snapshot ${sequence} does not need the pack of its own manifest`
  }
  if (head.current === null) return head.snapshots.length === 0 ? null : 'there are snapshots, but none is current'
  if (!head.snapshots.some(({ sequence }) => sequence === head.current)) return `snapshot ${head.current} is not there`
  return null
}

const known = new Set(['format', 'version', 'requires', ...Object.keys(single.shape), ...Object.keys(lists)])
const knownInside = new Map(
  Object.entries(lists).map(([name, inside]) => [name, new Set<string>(Object.keys(inside.shape))]),
)

function unknownFields(fields: Record<string, unknown>): string[] {
  const unknown = new Set<string>()
  for (const [name, value] of Object.entries(fields)) {
    if (!known.has(name)) unknown.add(name)
    const inside = knownInside.get(name)
    if (inside === undefined) continue
    for (const entry of value as object[]) {
      for (const key of Object.keys(entry)) if (!inside.has(key)) unknown.add(`${name}[].${key}`)
    }
  }
  return [...unknown]
}

function beyond(limit: string, max: number, actual: number): HoldfastError {
  return new HoldfastError('LIMIT_EXCEEDED', `HEAD may have ${limit} up to ${max}, not ${actual}`, {
    details: { limit, max, actual },
  })
}

function damagedHead(where: string, reason: string): HoldfastError {
  return new HoldfastError('HEAD_DAMAGED', `${where} is damaged: ${reason}`, { details: { where, reason } })
}
