// What helps where there is no room: whose room it is, how much is to be written, and how much is free.

import { lstatSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, isAbsolute, relative, sep } from 'node:path'
import { sizeText } from '../text.ts'

/** What a command writes outside of its store. */
export interface Target {
  /** Absolute. */
  path: string
  /** What is to be written there; null if that is not known. */
  bytes: number | null
  /** How another place is chosen: `with -o`. */
  elsewhere: string
}

interface Room {
  /** What there is no room for. */
  for: 'store' | 'target' | 'temporary' | 'other'
  /** The directory on whose file system it is. */
  directory: string
  /** What this user may still write there; null if the system does not say. */
  freeBytes: number | null
  neededBytes: number | null
  /** A sentence or two. */
  advice: string
  /** The next command, without the store; null if none of ours helps. */
  next: string | null
}

/** @param path what could not be written, as far as the error says */
export function roomFor(
  path: string | null,
  isQuota: boolean,
  { verb, location, target }: { verb: string | null; location: string | null; target: Target | null },
): Room | null {
  const at = path ?? target?.path ?? location
  if (at === null || !isAbsolute(at)) return null
  const whose = whoseRoom(at, location, target)
  // Not what was made inside of it for the moment.
  const directory = nearestDirectory(whose === 'target' ? target!.path : whose === 'store' ? location! : at)
  const { freeBytes, hasFiles } = freeIn(directory)
  const neededBytes = whose === 'target' ? target!.bytes : null
  const free = isQuota
    ? 'the quota of this user is used up'
    : freeBytes === null
      ? null
      : `${hasFiles ? '' : 'no inodes and '}${sizeText(freeBytes)} are free`
  const needed = neededBytes === null ? null : `about ${sizeText(neededBytes)} are to be written`
  const facts = [free, needed].filter((fact) => fact !== null).join(', and ')
  const where = `On the file system of ${directory} ${facts}. `
  const advice = `${facts === '' ? '' : where}${whatHelps(whose, directory, target)}`
  // A collection needs a little room itself. What is in quarantine can be given up without any.
  const next = whose === 'store' ? (verb === 'gc' ? 'quarantine' : 'gc') : null
  return { for: whose, directory, freeBytes, neededBytes, advice, next }
}

function whoseRoom(path: string, location: string | null, target: Target | null): Room['for'] {
  if (target !== null && (isIn(path, target.path) || isTempOf(path, target.path))) return 'target'
  if (location !== null && isIn(path, location)) return 'store'
  return isIn(path, tmpdir()) ? 'temporary' : 'other'
}

function whatHelps(whose: Room['for'], directory: string, target: Target | null): string {
  switch (whose) {
    case 'store':
      return 'Make room there: gc gives back what nothing needs'
    case 'target':
      return `Make room there, or choose another place ${target!.elsewhere}`
    case 'temporary':
      return 'Make room there, or set TMPDIR to a directory with more'
    default:
      return `Make room in ${directory}`
  }
}

function isIn(path: string, directory: string): boolean {
  const rest = relative(directory, path)
  return rest === '' || (!isAbsolute(rest) && rest.split(sep)[0] !== '..')
}

/** What becomes the target is written beside it under a hidden name. */
function isTempOf(path: string, target: string): boolean {
  const rest = relative(dirname(target), path)
  return !isAbsolute(rest) && rest.startsWith(`.${basename(target).slice(0, 8)}`)
}

function nearestDirectory(path: string): string {
  for (let at = path; ; at = dirname(at)) {
    const stat = lstatOrUndefined(at)
    if (stat?.isDirectory() === true || dirname(at) === at) return at
  }
}

function lstatOrUndefined(path: string): ReturnType<typeof lstatSync> | undefined {
  try {
    return lstatSync(path)
  } catch {
    return undefined
  }
}

function freeIn(directory: string): { freeBytes: number | null; hasFiles: boolean } {
  try {
    const { bavail, bsize, files, ffree } = statfsSync(directory)
    // Some file systems do not count files.
    return { freeBytes: bavail * bsize, hasFiles: files === 0 || ffree > 0 }
  } catch {
    return { freeBytes: null, hasFiles: true }
  }
}
