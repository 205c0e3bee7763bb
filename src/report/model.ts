// What a page shows: of the facts so much that the page stays below a megabyte, with names as they are to be shown.
// Pure.

import { printable } from '../text.ts'
import { AGES, type AgeMap, backsOf, MAP_COLUMNS } from './chunk-ages.ts'
import { type Facts, MAPS_MAX, type Verified } from './facts.ts'

/** Rows that a page has of each. The others are counted. */
const PACKS_SHOWN = 120
const CHANGES_SHOWN = 20
const PROBLEMS_SHOWN = 50

/** Characters of one name, and of all messages and all tags together. */
const NAME_SHOWN = 160
const MESSAGES_SHOWN = 16_000
const TAGS_SHOWN = 10_000

export interface SnapshotRow {
  sequence: number
  time: Date
  state: 'current' | 'abandoned' | 'kept'
  size: number
  addedBytes: number
  freesBytes: number
  damaged: boolean
  tags: readonly string[]
  message: string
}

export interface PackRow {
  name: string
  bytes: number
  liveBytes: number
  garbageBytes: number
}

export interface BlobRow {
  name: string
  size: number
  map: AgeMap | null
}

interface ChangeRow {
  name: string
  change: 'added' | 'removed' | 'changed'
  sizeBefore: number
  size: number
  newBytes: number
}

interface ProblemRow {
  code: string
  what: string
  blockCount: number | null
  hasGoodCopy: boolean
  recorded: boolean
}

/** One age of chunks: which snapshots are of it. */
export interface AgeRow {
  age: number
  /** Sequences, of the newest and of the oldest. */
  newest: number
  oldest: number
}

/** Some rows, and how many there are. */
interface Some<Row> {
  rows: readonly Row[]
  count: number
}

export interface Model extends Pick<Facts, 'time' | 'stats' | 'currentBytes'> {
  isRedacted: boolean
  current: SnapshotRow | null
  /** Oldest first. */
  snapshots: readonly SnapshotRow[]
  packs: Some<PackRow> & { others: PackRow | null }
  /** Null: the current snapshot cannot be read. */
  blobs: Some<BlobRow> | null
  ages: readonly AgeRow[]
  diff: (Some<ChangeRow> & { from: number; to: number; unchanged: number; newBytes: number }) | null
  verified: (Omit<Verified, 'problems' | 'snapshots'> & { problems: Some<ProblemRow>; lost: Some<LostRow> }) | null
}

/** A snapshot that cannot be loaded whole. */
interface LostRow {
  sequence: number
  /** Empty: its manifest is lost, and with it everything. */
  blobs: readonly string[]
}

export function modelOf(facts: Facts, isRedacted: boolean): Model {
  const names = createNames(isRedacted)
  const { stats, time, currentBytes } = facts
  const snapshots = snapshotRows(facts, names)
  const diff = facts.diff
  // Before what changed, so that with `redact` the largest blobs have the first numbers.
  const blobs = facts.blobs === null ? null : some(facts.blobs, MAPS_MAX, (blob) => named(blob, names))
  return {
    isRedacted,
    time,
    stats,
    currentBytes,
    current: snapshots.find(({ state }) => state === 'current') ?? null,
    snapshots,
    packs: packRows(facts, names),
    blobs,
    ages: agesOf(snapshots),
    diff:
      diff === null
        ? null
        : {
            ...some(
              [...diff.blobs].sort((a, b) => b.newBytes - a.newBytes || b.size + b.sizeBefore - a.size - a.sizeBefore),
              CHANGES_SHOWN,
              (blob) => named(blob, names),
            ),
            from: diff.from,
            to: diff.to,
            unchanged: diff.unchanged,
            newBytes: diff.newBytes,
          },
    verified: facts.verified === null ? null : verifiedRows(facts.verified, names),
  }
}

/** What names, tags and packs are called on the page. */
interface Names {
  blob(name: string): string
  tag(name: string): string
  pack(name: string): string
  message(text: string, room: number): string
}

function createNames(isRedacted: boolean): Names {
  if (!isRedacted) {
    return {
      blob: (name) => cut(printable(name), NAME_SHOWN),
      tag: (name) => cut(printable(name), NAME_SHOWN),
      pack: (name) => cut(printable(name), 13),
      message: (text, room) => cut(printable(text), room),
    }
  }
  return { blob: numbered('blob'), tag: numbered('tag'), pack: numbered('pack'), message: () => '' }
}

/** `blob 1`, `blob 2`: the same name has the same number. */
function numbered(kind: string): (name: string) => string {
  const known = new Map<string, string>()
  return (name) => {
    const label = known.get(name) ?? `${kind} ${known.size + 1}`
    known.set(name, label)
    return label
  }
}

/** Cuts between characters. */
function cut(text: string, length: number): string {
  if (text.length <= length) return text
  return `${text.slice(0, Math.max(length - 1, 0)).replace(/[\ud800-\udbff]$/, '')}…`
}

function some<In, Row>(all: readonly In[], shown: number, row: (item: In) => Row): Some<Row> {
  return { rows: all.slice(0, shown).map(row), count: all.length }
}

function named<Row extends { name: string }>(row: Row, names: Names): Row {
  return { ...row, name: names.blob(row.name) }
}

function snapshotRows({ stats, snapshots }: Facts, names: Names): SnapshotRow[] {
  const room = Math.floor(MESSAGES_SHOWN / Math.max(snapshots.length, 80))
  let tagRoom = TAGS_SHOWN
  const tagsOf = (tags: readonly string[]): string[] => {
    const shown: string[] = []
    for (const tag of tags) {
      const text = names.tag(tag)
      tagRoom -= text.length
      // What is cut off is seen to be cut off.
      if (tagRoom < 0) return [...shown, `… ${tags.length - shown.length} more`]
      shown.push(text)
    }
    return shown
  }
  const rows = stats.snapshots.map((numbers, i): SnapshotRow => {
    const { time, tags, message = '', current, abandoned } = snapshots[i]!
    return {
      ...numbers,
      time,
      state: current ? 'current' : abandoned ? 'abandoned' : 'kept',
      tags: tagsOf(tags),
      message: names.message(message, room),
    }
  })
  return rows.reverse()
}

function packRows({ stats }: Facts, names: Names): Model['packs'] {
  const packs = [...stats.packs].sort((a, b) => b.bytes - a.bytes || (a.pack < b.pack ? -1 : 1))
  const rest = packs.slice(PACKS_SHOWN)
  const sum = (field: 'bytes' | 'liveBytes' | 'garbageBytes'): number =>
    rest.reduce((total, pack) => total + pack[field], 0)
  return {
    ...some(packs, PACKS_SHOWN, ({ pack, ...numbers }) => ({ name: names.pack(pack), ...numbers })),
    others:
      rest.length === 0
        ? null
        : {
            name: `${rest.length} others`,
            bytes: sum('bytes'),
            liveBytes: sum('liveBytes'),
            garbageBytes: sum('garbageBytes'),
          },
  }
}

/** The ages that there are, newest first. */
function agesOf(snapshots: readonly SnapshotRow[]): AgeRow[] {
  const newest = snapshots.findIndex(({ state }) => state === 'current')
  return Array.from({ length: AGES }, (_, age) => age).flatMap((age) => {
    const [first, last] = backsOf(age)
    if (newest - first < 0) return []
    const oldest = Math.max(newest - last, 0)
    return { age, newest: snapshots[newest - first]!.sequence, oldest: snapshots[oldest]!.sequence }
  })
}

function verifiedRows({ problems, snapshots, ...rest }: Verified, names: Names): NonNullable<Model['verified']> {
  const lost = snapshots.filter(({ intact }) => !intact)
  return {
    ...rest,
    problems: some(problems, PROBLEMS_SHOWN, ({ code, what, pack, blockCount, hasGoodCopy, recorded }) => ({
      code,
      what: pack === undefined ? subject(what) : `pack ${names.pack(pack).replace(/^pack /, '')}`,
      blockCount: blockCount ?? null,
      hasGoodCopy: hasGoodCopy === true,
      recorded: recorded === true,
    })),
    lost: some(lost, PROBLEMS_SHOWN, ({ sequence, manifestLost, damagedBlobs }) => ({
      sequence,
      blobs: manifestLost ? [] : shortList(damagedBlobs.map(names.blob)),
    })),
  }
}

/** A problem's message has paths in it, and so may its subject: of that only what is known to be none is shown. */
function subject(what: string): string {
  return /^(snapshot \d+|journal|(HEAD|STORE|HEAD\.prev)\.json)$/.test(what) ? what : 'a part of the store'
}

function shortList(texts: readonly string[]): string[] {
  return texts.length <= 5 ? [...texts] : [...texts.slice(0, 4), `${texts.length - 4} more`]
}

/** How the bytes of one age are spread. */
interface Spread {
  bytes: number
  chunks: number
  /** Columns of the map in which there are any. */
  columns: number
}

export function spreadOf({ columns, chunks }: AgeMap, age: number): Spread {
  let bytes = 0
  let touched = 0
  for (let column = 0; column < MAP_COLUMNS; column++) {
    const here = columns[column * AGES + age]!
    bytes += here
    if (here > 0) touched += 1
  }
  return { bytes: Math.round(bytes), chunks: chunks[age]!, columns: touched }
}
