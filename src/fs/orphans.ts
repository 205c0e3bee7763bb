// Removes temporary files that dead writers left outside a store.

import { basename, dirname, join } from 'node:path'
import { ignoreMissing, ioError, lstatOrNull } from './io.ts'
import { isAsideName } from './move-aside.ts'
import type { DirectoryEntry, FileSystem } from './port.ts'
import { isSiblingTemp, isTempName } from './sibling-temps.ts'
import { reapTemp, reapWorkDirectory, type TempFate, workSuffix } from './temps.ts'

/** What was removed, and what was found and kept. */
export interface ReapedOrphans {
  /** Paths removed; a work directory counts with its temp. */
  removed: string[]
  /**
   * `young`: written within the last `olderThanMs`. `in-use`: its writer is alive, whatever its age. `failed`: it could
   * not be removed, for the reason in `error`.
   */
  kept: { path: string; why: 'young' | 'in-use' | 'failed'; error?: unknown }[]
}

interface OrphanOptions {
  olderThanMs: number
  nowMs: number
  patterns: readonly OrphanPattern[]
  /** A temp of ours that can be locked goes however young it is: its writer is dead. Default false. */
  lockedAtAnyAge?: boolean
}

/** Gives the pattern of names of temps for the file called `name`. */
type OrphanPattern = (name: string) => RegExp

/** See `reapOrphans` in `src/durable.ts`. */
export async function reapSiblings(fs: FileSystem, path: string, options: OrphanOptions): Promise<ReapedOrphans> {
  const reaped: ReapedOrphans = { removed: [], kept: [] }
  try {
    for (const place of await placesOf(fs, path)) {
      const foreign = options.patterns.map((pattern) => pattern(basename(place)))
      const entries = (await ignoreMissing(fs.readdir(dirname(place)))) ?? []
      for (const entry of entries) await reapEntry(fs, place, entry, foreign, options, reaped)
    }
  } catch (error) {
    throw ioError(error, `looking for temporary files beside ${path}`)
  }
  return reaped
}

/** Our temps lie beside the file that a link leads to. Temps of other writers may lie beside the link. */
async function placesOf(fs: FileSystem, path: string): Promise<string[]> {
  if ((await lstatOrNull(fs, path))?.kind !== 'link') return [path]
  const target = await ignoreMissing(fs.realpath(path))
  return target === undefined ? [path] : [path, target]
}

async function reapEntry(
  fs: FileSystem,
  place: string,
  entry: DirectoryEntry,
  foreign: readonly RegExp[],
  options: OrphanOptions,
  reaped: ReapedOrphans,
): Promise<void> {
  const name = basename(place)
  if (entry.name === name || isAsideName(entry.name)) return
  const path = join(dirname(place), entry.name)
  try {
    let fate: TempFate | null = null
    if (isSiblingTemp(entry.name, name)) fate = await reapOwn(fs, path, entry, options)
    // Our own temps for another file are never removed here, whatever the patterns match.
    else if (isTempName(entry.name) || !foreign.some((pattern) => pattern.test(entry.name))) return
    else fate = await reapForeign(fs, path, options)
    if (fate === 'removed') reaped.removed.push(path)
    else if (fate === 'young' || fate === 'in-use') reaped.kept.push({ path, why: fate })
  } catch (error) {
    reaped.kept.push({ path, why: 'failed', error: ioError(error, `removing ${path}`) })
  }
}

async function reapOwn(
  fs: FileSystem,
  path: string,
  entry: DirectoryEntry,
  options: OrphanOptions,
): Promise<TempFate | null> {
  if (entry.kind === 'file' && !entry.name.endsWith(workSuffix)) {
    return await reapTemp(fs, path, { ...options, lock: 'if-possible', ageCounts: options.lockedAtAnyAge !== true })
  }
  // A work directory's temp is made before it and removed after it. So a work directory without a temp has no owner,
  // whatever its age.
  const ownerless = entry.kind === 'directory' && entry.name.endsWith(workSuffix)
  return ownerless && (await reapWorkDirectory(fs, path)) ? 'removed' : null
}

/** For temps of other writers only the age is known, so it is checked right before the removal. */
async function reapForeign(
  fs: FileSystem,
  path: string,
  { nowMs, olderThanMs }: OrphanOptions,
): Promise<TempFate | null> {
  const stat = await lstatOrNull(fs, path)
  if (stat?.kind !== 'file') return null
  if (Number(stat.mtimeNs / 1_000_000n) + olderThanMs > nowMs) return 'young'
  return (await ignoreMissing(fs.unlink(path).then(() => true))) === true ? 'removed' : 'gone'
}

const PLACEHOLDERS = /\{name\}|\{digits\}|\{hex\}|\*/g
const wildcards: Readonly<Record<string, string>> = { '{digits}': '[0-9]+', '{hex}': '[0-9a-fA-F]+', '*': '.*' }

/**
 * Compiles one pattern of `reapOrphans`.
 *
 * @throws TypeError when it does not say which file the temps belong to
 */
export function orphanPattern(pattern: string): OrphanPattern {
  if (typeof pattern !== 'string' || !pattern.includes('{name}')) {
    throw new TypeError(
      `reapOrphans: ${JSON.stringify(pattern)} would match temps of other files too; put {name} where the file's name stands`,
    )
  }
  if (pattern.replaceAll(PLACEHOLDERS, '') === '') {
    throw new TypeError(
      `reapOrphans: ${JSON.stringify(pattern)} would match files whose names only begin or end alike; add the letters that mark a temp`,
    )
  }
  const literals = pattern.split(PLACEHOLDERS).map(literally)
  const found = pattern.match(PLACEHOLDERS) ?? []
  return (name) => {
    const between = found.map((each) => (each === '{name}' ? literally(name) : wildcards[each]!))
    return new RegExp(`^${literals.map((literal, index) => literal + (between[index] ?? '')).join('')}$`, 's')
  }
}

function literally(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}
