// What is typed: snapshots, durations, sizes, chunkings, and blobs with their sources. Pure.

import type { Chunking } from '../index.ts'
import { usage } from './failure.ts'

/** How a snapshot was written. */
type SnapshotName =
  | { kind: 'sequence'; sequence: number }
  | { kind: 'tag'; tag: string }
  /** So many snapshots before the current one; what a rollback stepped over is not counted. */
  | { kind: 'current'; back: number }

/**
 * `41` is a sequence, `current` the current snapshot, and `current~2` the second before it. Everything else is a tag.
 * `tag:` before it makes a tag of anything: `tag:41`, `tag:current`.
 */
export function parseSnapshot(text: string): SnapshotName {
  if (text.startsWith('tag:')) {
    const tag = text.slice('tag:'.length)
    if (tag === '') throw usage('tag: needs the name of a tag after it, as in tag:v1')
    return { kind: 'tag', tag }
  }
  if (/^\d+$/.test(text)) {
    const sequence = Number(text)
    if (!Number.isSafeInteger(sequence)) throw usage(`${text} is too large for the number of a snapshot`)
    if (sequence === 0) throw usage('snapshots are numbered from 1: there is no snapshot 0')
    return { kind: 'sequence', sequence }
  }
  // A tag that begins so is written tag:-1.
  if (/^-\d/.test(text)) {
    throw usage(
      `${text} is no number of a snapshot: they are numbered from 1; current~1 is the one before the current one`,
    )
  }
  const current = /^current(?:~(\d*))?$/.exec(text)
  if (current !== null) {
    const [whole, count] = current
    const back = whole === 'current' ? 0 : count === '' ? 1 : Number(count)
    return { kind: 'current', back: Math.min(back, Number.MAX_SAFE_INTEGER) }
  }
  if (text.startsWith('current~')) throw usage(`${text}: after ~ comes a number in digits, as in current~2`)
  if (text === '') throw usage('a snapshot is a number, a tag, current, or current~2; got nothing')
  return { kind: 'tag', tag: text }
}

const MS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** `90s`, `15m`, `1h30m`, `2d`, in ms. A unit is needed. */
export function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|min|m|h|d|w)/gy)]
  const taken = parts.reduce((length, [part]) => length + part.length, 0)
  if (taken === 0 || taken !== text.length) {
    throw usage(`${JSON.stringify(text)} is no duration: write 500ms, 90s, 15m, 1h30m, 2d or 1w`)
  }
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * MS[unit!]!, 0)
}

/** `4096`, `64KiB`, `1.5GiB`, in bytes; `kB` and `MB` are powers of 1000. */
export function parseSize(text: string): number {
  const [, count, unit = 'B'] = /^(\d+(?:\.\d+)?) ?([a-z]+)?$/i.exec(text) ?? []
  const prefix = /^(k|m|g|t)?(i)?(b)?$/i.exec(unit)
  if (count === undefined || prefix === null) {
    throw usage(`${JSON.stringify(text)} is no size: write 4096, 64KiB, 100MB or 1.5GiB`)
  }
  const power = prefix[1] === undefined ? 0 : 'kmgt'.indexOf(prefix[1].toLowerCase()) + 1
  // A letter alone is binary, as tools that copy and split files take it.
  const isDecimal = prefix[2] === undefined && prefix[3] !== undefined
  const bytes = Math.round(Number(count) * (isDecimal ? 1000 : 1024) ** power)
  if (!Number.isSafeInteger(bytes)) throw usage(`${text} is too large for a size`)
  return bytes
}

/** A whole number from `min` on. */
export function parseCount(text: string, min: number): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(count) && count >= min) return count
  throw usage(`${JSON.stringify(text)} is not a whole number from ${min} on`)
}

/** `content`, `content:64KiB` (the average) or `fixed:4KiB`. */
export function parseChunking(text: string): { kind: Chunking['kind']; bytes: number | null } {
  const [, kind, size] = /^(content|fixed)(?::(.+))?$/.exec(text) ?? []
  if (kind === undefined || (kind === 'fixed' && size === undefined)) {
    throw usage(`${JSON.stringify(text)} is no chunking: write content, content:16KiB or fixed:4KiB`)
  }
  return { kind: kind as Chunking['kind'], bytes: size === undefined ? null : parseSize(size) }
}

/** `name=file`, where the file may be `-`. The name ends at the first `=`. */
export function parseSource(text: string): { name: string; path: string } {
  const at = text.indexOf('=')
  if (at < 1 || at === text.length - 1) {
    throw usage(`${JSON.stringify(text)}: write <name>=<file>, <name>=<directory>, or <name>=- for standard input`)
  }
  return { name: text.slice(0, at), path: text.slice(at + 1) }
}
