// Directories of this process's own for files in between, which native engines save into and load from. They are of no
// worth after a crash: nothing in them is fsynced. What a process leaves that is killed, the next one removes.

import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { lstat, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import { ioError } from '../fs/io.ts'
import { locksAvailable, tryLockDescriptor } from '../fs/lock.ts'
import { nodeFileSystem } from '../fs/node.ts'

/**
 * Of this process's own, 0700, and removed by `remove`. In it is a file that is locked for as long as the process
 * lives: whoever can lock it may remove the directory.
 */
export function makeDirectory(directory: string = tmpdir()): string {
  return attemptSync('making a directory in', directory, () => {
    mkdirSync(directory, { recursive: true })
    if (!reaped.has(directory)) {
      reaped.add(directory)
      reapDirectories(directory).catch(() => undefined)
    }
    for (;;) {
      const home = mkdtempSync(join(directory, PREFIX))
      if (lockDirectory(home)) return home
    }
  })
}

const PREFIX = 'holdfast-scratch-'
/** Beside what a process puts there. */
export const LOCK_FILE = 'lock'
/** Descriptors by directory. */
const locks = new Map<string, number>()
/** Where the leavings of the dead were looked for. Once: most come from the process before this one. */
const reaped = new Set<string>()

/** False: another process, looking for what dead ones left, locked the directory first and removes it. */
function lockDirectory(home: string): boolean {
  // Where nothing can be locked there is no such file, and nobody takes the directory for dead.
  if (!locksAvailable().available) return true
  const path = join(home, LOCK_FILE)
  let lock: number
  try {
    lock = openSync(path, 'wx+', 0o600)
  } catch (error) {
    remove(home)
    throw error
  }
  locks.set(home, lock)
  try {
    if (tryLockDescriptor(lock, 'exclusive') && existsSync(path)) return true
  } catch {
    // This file system has no locks.
    rmSync(path, { force: true })
    return true
  }
  locks.delete(home)
  closeSync(lock)
  return false
}

/** Removes the scratch directories of processes that were killed. */
async function reapDirectories(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith(PREFIX)) await reapDirectory(join(directory, name)).catch(() => undefined)
  }
}

async function reapDirectory(home: string): Promise<void> {
  const { uid, mode } = await lstat(home)
  // Nobody else can put anything into such a one: links least of all.
  if (uid !== (process.getuid?.() ?? uid) || (process.platform !== 'win32' && (mode & 0o777) !== 0o700)) return
  const lock = await nodeFileSystem.open(join(home, LOCK_FILE), 'update')
  try {
    if (lock.tryLock('exclusive')) await rm(home, { recursive: true, force: true })
  } finally {
    await lock.close()
  }
}

/** A file that is this process's own until it exits. */
export function privateFile(directory: string | undefined, name: string): { path: string; discard(): void } {
  const home = makeDirectory(directory)
  if (!listening) process.on('exit', removeHomes)
  listening = true
  homes.add(home)
  return {
    path: join(home, name),
    discard() {
      homes.delete(home)
      remove(home)
    },
  }
}

/** Whether a private file that is still in use lies below `directory`. */
export function holdsPrivateFile(directory: string): boolean {
  return [...homes].some((home) => home.startsWith(directory + sep))
}

const homes = new Set<string>()
let listening = false

function removeHomes(): void {
  for (const home of homes) remove(home)
}

/** Best effort: what is left is for whoever comes next. */
export function remove(home: string): void {
  const lock = locks.get(home)
  locks.delete(home)
  try {
    rmSync(home, { recursive: true, force: true })
  } catch {
    // Somebody has it open.
  }
  if (lock !== undefined) closeSync(lock)
}

/** `work`, with a failure of the system as a `HoldfastError`. */
export function attemptSync<T>(doing: string, path: string, work: (path: string) => T): T {
  try {
    return work(path)
  } catch (error) {
    throw ioError(error, `${doing} ${path}`, path)
  }
}
