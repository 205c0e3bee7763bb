// A work directory for an engine's file, made at once: an engine is captured in the turn of the call. It has the names
// of `fs/temps.ts`, in `files/.tmp`, whose reaper removes it when its process is dead.

import { randomBytes } from 'node:crypto'
import { chmodSync, closeSync, lstatSync, mkdirSync, openSync, rmSync, statfsSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { locksAvailable, tryLockDescriptor } from '../fs/lock.ts'
import type { Home } from './saved-file.ts'

const NAME_TRIES = 16

/** The folder of temporary files in the directory of laid-out files. */
export const TEMPS = '.tmp'

/**
 * Null where there can be none: no store yet, no locks, no right to write, a link in the place of a directory.
 *
 * @param directory of laid-out files
 * @param store that it is in; null when it is elsewhere
 */
export function workHome(directory: string, store: string | null): Home | null {
  if (!locksAvailable().available) return null
  try {
    const temps = join(directory, TEMPS)
    if (store !== null) statSync(join(store, 'STORE.json'))
    makeLike(directory, store)
    makeLike(temps, directory)
    for (let tries = 0; tries < NAME_TRIES; tries++) {
      const home = tryMake(join(temps, `${randomBytes(12).toString('hex')}.holdfast-tmp`))
      if (home !== null) return home
    }
    return null
  } catch {
    // Whoever writes there in earnest meets the error.
    return null
  }
}

/** A directory with the bits of `like`. Throws where there is something else, a link to a directory included. */
function makeLike(path: string, like: string | null): void {
  const there = lstatSync(path, { throwIfNoEntry: false })
  if (there?.isDirectory()) return
  if (there !== undefined && (like !== null || !statSync(path).isDirectory())) throw new Error('not a directory')
  if (there !== undefined) return
  const mode = like === null ? 0o700 : statSync(like).mode & 0o777
  mkdirSync(path, { mode, recursive: like === null })
  if ((statSync(path).mode & 0o777) !== mode) chmodSync(path, mode)
}

/** Null: a reaper took it for a dead one. */
function tryMake(temp: string): Home | null {
  const lock = openSync(temp, 'wx+', 0o600)
  const path = `${temp}.d`
  function discard(): void {
    try {
      rmSync(path, { recursive: true, force: true })
      rmSync(temp, { force: true })
    } catch {
      // Left for a reaper.
    }
    release()
  }
  let open = true
  function release(): void {
    if (open) closeSync(lock)
    open = false
  }
  try {
    if (!tryLockDescriptor(lock, 'exclusive') || lstatSync(temp, { throwIfNoEntry: false }) === undefined) {
      release()
      return null
    }
    mkdirSync(path, { mode: 0o700 })
    return {
      path,
      isSystems: false,
      discard,
      async remove() {
        await rm(path, { recursive: true, force: true }).catch(() => undefined)
        discard()
      },
    }
  } catch (error) {
    discard()
    throw error
  }
}

/** Below this a disk counts as full: engines do not look whether all of a file was written. */
const FREE_BYTES_MIN = 1024 * 1024

/** Whether the disk of `path` has no room left. */
export function isFull(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path)
    return bavail * bsize < FREE_BYTES_MIN
  } catch {
    return false
  }
}
