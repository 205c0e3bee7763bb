// Locks of the operating system on open files.

import { HoldfastError } from '../errors.ts'
import { loadedLibc, requireNative, resolveNative, whyNotLoaded } from '../native.ts'
import { errorCode } from './io.ts'

// Only this file imports `fs-native-extensions`. It provides locks that the kernel drops when their process dies:
// open-file-description locks on Linux (fcntl_locking(2)), flock(2) on macOS, LockFileEx on Windows.

/** The byte that is locked. Windows' locks are mandatory, so it lies beyond any content, which stays readable. */
const LOCK_OFFSET = 2 ** 40

/** Returns false if another descriptor holds the lock. Throws the system's error for any other failure. */
type TryLock = (descriptor: number, exclusive: boolean) => boolean

/** The facts that decide which addon to load, if any. */
interface LockEnvironment {
  platform: string
  arch: string
  bun: boolean
  deno: boolean
  musl: boolean
}

/** `raw`: the addon's binding itself, rather than its JavaScript wrapper. */
type LockAddon = { specifier: string; raw: boolean } | { unavailable: string }

/**
 * Decides which module provides locks in an environment.
 *
 * @internal
 */
export function planLockAddon(environment: LockEnvironment): LockAddon {
  // Bun and Deno load the addon, and then crash in it at the first contended lock.
  if (environment.bun) return { unavailable: 'Bun crashes in the lock addon when a lock is contended; write from Node' }
  if (environment.deno)
    return { unavailable: 'Deno crashes in the lock addon when a lock is contended; write from Node' }
  if (environment.musl) {
    // The wrapper looks for a `linux-x64-musl` prebuild, which is not shipped. The glibc one works with musl, too.
    const host = `linux-${environment.arch}`
    return { specifier: `fs-native-extensions/prebuilds/${host}/fs-native-extensions.node`, raw: true }
  }
  return { specifier: 'fs-native-extensions', raw: false }
}

/**
 * Wraps the module named by `plan`, so that both kinds are called in the same way.
 *
 * @internal
 */
export function bindTryLock(plan: { specifier: string; raw: boolean }, module: unknown, platform: string): TryLock {
  const [offset, length] = lockRange(platform)
  const { tryLock } = module as { tryLock?: unknown }
  if (typeof tryLock !== 'function') throw new TypeError(`${plan.specifier} has no tryLock`)
  if (!plan.raw) {
    const wrapped = tryLock as (fd: number, offset: number, length: number, options: { shared: boolean }) => boolean
    return (descriptor, exclusive) => wrapped(descriptor, offset, length, { shared: !exclusive })
  }
  const binding = tryLock as (fd: number, offset: number, length: number, exclusive: boolean) => void
  return (descriptor, exclusive) => {
    binding(descriptor, offset, length, exclusive)
    return true
  }
}

/** flock(2) locks whole files only: with any other range the addon fails with EINVAL. */
function lockRange(platform: string): [offset: number, length: number] {
  return platform === 'darwin' || platform === 'ios' ? [0, 0] : [LOCK_OFFSET, 1]
}

/**
 * Tries to lock an open file, without waiting. An exclusive lock needs a descriptor open for writing. The lock belongs
 * to that open file: another `open` contends with it, in the same process too; closing the descriptor drops it.
 *
 * @returns false when another holds it
 * @throws LOCK_UNAVAILABLE for every other failure
 */
export function tryLockDescriptor(fd: number, mode: 'exclusive' | 'shared'): boolean {
  const state = loadOnce()
  if (!state.available) throw unavailable(state.reason, state.cause)
  try {
    return state.tryLock(fd, mode === 'exclusive')
  } catch (error) {
    if (isHeld(error)) return false
    throw unavailable(lockFailure(error), error)
  }
}

/** Whether this process can lock files. Loads the addon. A file system may still refuse to lock. */
export function locksAvailable(): { available: true } | { available: false; reason: string; cause?: unknown } {
  const state = loadOnce()
  return state.available ? { available: true } : state
}

// After `-e`, Node puts the script's arguments into argv from index 1.
const CHILD_SCRIPT = `
const [, addon, raw, offset, length, path] = process.argv
const { tryLock } = require(addon)
const fd = require('fs').openSync(path, 'r+')
function attempt() {
  try {
    const got = tryLock(fd, Number(offset), Number(length), raw === 'true' ? true : { shared: false })
    return got === false ? 'held' : 'locked'
  } catch (error) {
    return ['EAGAIN', 'EWOULDBLOCK', 'EACCES', 'EBUSY'].includes(error.code) ? 'held' : 'failed: ' + error.message
  }
}
process.stdin.on('data', () => console.log(attempt())).on('end', () => process.exit(0))
console.log('ready')
`

/**
 * Arguments for a Node process that prints `ready`. Each time it then reads a byte, it tries to lock the file at `path`
 * exclusively, and prints `locked`, `held` or `failed: <why>` as a line. It holds the lock until it ends.
 *
 * @throws when the addon cannot be resolved here
 */
export function lockingChildArguments(path: string): string[] {
  const plan = planLockAddon(currentEnvironment())
  if ('unavailable' in plan) throw new Error(plan.unavailable)
  const [offset, length] = lockRange(process.platform)
  const flags = ['--input-type=commonjs', '-e', CHILD_SCRIPT]
  return [...flags, resolveNative(plan.specifier), String(plan.raw), String(offset), String(length), path]
}

type LockState = { available: true; tryLock: TryLock } | { available: false; reason: string; cause?: unknown }

let loaded: LockState | undefined

function loadOnce(): LockState {
  loaded ??= load()
  return loaded
}

function load(): LockState {
  const plan = planLockAddon(currentEnvironment())
  if ('unavailable' in plan) return { available: false, reason: plan.unavailable }
  try {
    return { available: true, tryLock: bindTryLock(plan, requireNative(plan.specifier), process.platform) }
  } catch (cause) {
    return { available: false, reason: whyNotLoaded('fs-native-extensions', cause), cause }
  }
}

function currentEnvironment(): LockEnvironment {
  const bun = process.versions.bun !== undefined
  const deno = 'Deno' in globalThis
  return {
    platform: process.platform,
    arch: process.arch,
    bun,
    deno,
    musl: process.platform === 'linux' && !bun && !deno && isMusl(),
  }
}

function isMusl(): boolean {
  const libc = loadedLibc()
  return libc === null ? isMuslByReport() : libc === 'musl'
}

/** Node's report has the version of glibc, if that is the C library. */
function isMuslByReport(): boolean {
  const report = process.report as (NodeJS.ProcessReport & { excludeNetwork?: boolean }) | undefined
  if (report === undefined) return false
  // Without this (Node 20.13 and later) the report looks up the names of all open connections, which can take seconds.
  const before = report.excludeNetwork
  if (before !== undefined) report.excludeNetwork = true
  try {
    const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } }
    return header !== undefined && header.glibcVersionRuntime === undefined
  } finally {
    if (before !== undefined) report.excludeNetwork = before
  }
}

// POSIX lets fcntl answer EACCES or EAGAIN for a lock that is held; LockFileEx answers ERROR_LOCK_VIOLATION, which
// libuv calls EBUSY. The addon maps them to EAGAIN. All four are accepted here, in case a version of it does not.
const HELD = new Set(['EAGAIN', 'EWOULDBLOCK', 'EACCES', 'EBUSY'])

function isHeld(error: unknown): boolean {
  return HELD.has(errorCode(error) ?? '')
}

const ELSEWHERE =
  "Put the store on a file system with locks, or open it with lock: 'none' if you make sure that there is one writer at a time"

function lockFailure(error: unknown): string {
  const code = errorCode(error)
  const said = code === undefined ? String(error) : `${code}, ${(error as Error).message}`
  switch (code) {
    case 'ENOLCK':
      return `the file system has no lock service (${said}); on NFS, lockd or NFSv4 is needed. ${ELSEWHERE}`
    case 'EINVAL':
    case 'ENOSYS':
    case 'ENOTSUP':
    case 'EOPNOTSUPP':
      return `the file system or the kernel does not support locks (${said}). ${ELSEWHERE}`
    default:
      return `the system refused (${said}). ${ELSEWHERE}`
  }
}

function unavailable(reason: string, cause: unknown): HoldfastError {
  return new HoldfastError(
    'LOCK_UNAVAILABLE',
    `Cannot lock files here: ${reason}. Reading works without locks; nothing was written`,
    { cause, details: { reason } },
  )
}
