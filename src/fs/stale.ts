// Finds derived files that were last written long before their sources.

import { basename, join } from 'node:path'
import { ignoreMissing, ioError } from './io.ts'
import { isAsideName } from './move-aside.ts'
import type { FileStat, FileSystem } from './port.ts'
import { isTempName } from './sibling-temps.ts'

/** A derived file or directory that was last written long before its source. */
export interface Stale {
  /** What lags. */
  path: string
  /** The file of the source that was written last. */
  source: string
  /** When that was, in ms since 1970. */
  sourceMs: number
  /** When a file of `path` was last written, in ms since 1970. */
  derivedMs: number
  /** The difference. */
  lagMs: number
}

interface StaleOptions {
  derived: readonly string[]
  source: readonly string[]
  olderThanMs: number
  files: (path: string) => boolean
}

/** See `findStale` in `src/durable.ts`. */
export async function findLagging(fs: FileSystem, options: StaleOptions): Promise<Stale[]> {
  const { derived, source, olderThanMs, files } = options
  const newest = latest(await Promise.all(source.map((path) => lastWritten(fs, path, () => true))))
  if (newest === null) return []
  const stale: Stale[] = []
  for (const path of derived) {
    if (isAsideName(basename(path))) continue
    const written = await lastWritten(fs, path, files)
    if (written === null) continue
    const lagMs = newest.ms - written.ms
    if (lagMs > olderThanMs) {
      stale.push({ path, source: newest.path, sourceMs: newest.ms, derivedMs: written.ms, lagMs })
    }
  }
  return stale
}

interface Written {
  path: string
  ms: number
}

/** The newest regular file at or below `root`, which may be a link; links below it are not followed. */
async function lastWritten(fs: FileSystem, root: string, files: (path: string) => boolean): Promise<Written | null> {
  async function visit(path: string, name: string, stat: FileStat): Promise<Written | null> {
    if (stat.kind === 'file') return files(name) ? { path, ms: Number(stat.mtimeNs / 1_000n) / 1_000 } : null
    if (stat.kind !== 'directory') return null
    const found: (Written | null)[] = []
    for (const entry of (await ignoreMissing(fs.readdir(path))) ?? []) {
      // Temps and quarantined files do not count: nobody uses them.
      if (isTempName(entry.name) || isAsideName(entry.name)) continue
      const below = join(path, entry.name)
      const there = await ignoreMissing(fs.lstat(below))
      if (there !== undefined) found.push(await visit(below, name === '' ? entry.name : `${name}/${entry.name}`, there))
    }
    return latest(found)
  }
  try {
    const stat = await ignoreMissing(fs.stat(root))
    return stat === undefined ? null : await visit(root, stat.kind === 'file' ? basename(root) : '', stat)
  } catch (error) {
    throw ioError(error, `looking when ${root} was last written to`)
  }
}

function latest(all: readonly (Written | null)[]): Written | null {
  return all.reduce((best, next) => (best === null || (next !== null && next.ms > best.ms) ? next : best), null)
}
