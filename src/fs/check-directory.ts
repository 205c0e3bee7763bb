// `checkDirectory`: whether a directory is fit for a store, and what is wrong with it if not.

import { dirname, join, resolve } from 'node:path'
import { pathOf } from '../location.ts'
import { assertOptions } from '../misuse.ts'
import { type DirectorySystem, thisSystem } from './directory-system.ts'
import { errorCode, lstatOrNull, statOrNull } from './io.ts'
import { type Answer, judgeFileSystem, judgeFreeSpace, judgeNetwork } from './judge-directory.ts'
import { type Mount, mountOf, parseMounts } from './mounts.ts'
import { nodeFileSystem } from './node.ts'
import type { FileSystem } from './port.ts'
import {
  checkDirectorySync,
  checkExclusiveCreate,
  checkLocks,
  checkOpenFiles,
  checkRename,
  makeProbe,
} from './probe-directory.ts'
import { removeTree } from './temps.ts'

/** The result of one check. */
export interface DirectoryCheck {
  name:
    | 'directory'
    | 'writable'
    | 'exclusive-create'
    | 'rename'
    | 'open-files'
    | 'directory-fsync'
    | 'locks'
    | 'same-file-system'
    | 'free-space'
    | 'file-system'
    | 'network'
  ok: boolean
  /** What was found. */
  detail: string
  /** What to do about it. */
  advice?: string
}

/** What `checkDirectory` found. */
export interface DirectoryReport {
  /** Whether all checks are ok. */
  ok: boolean
  /** The directory that was checked, links resolved: the one given, or its nearest existing parent. */
  path: string
  /** The type of its file system, such as `ext4`; `unknown` where the system does not report it (macOS, Windows). */
  fileSystem: string
  checks: DirectoryCheck[]
  /** Bytes that this user may still write there; null when the system does not report it. */
  freeBytes: number | null
}

const FREE_BYTES_DEFAULT = 64 * 1024 * 1024

/**
 * Checks whether a directory provides what the store relies on: exclusive creation, renames that replace, fsync of
 * directories, locks between processes that end with their process, deleted files that stay readable while open, a
 * single file system, and free space. It also reports the type of the file system, and whether it is a network file
 * system. The checks run in a temporary directory inside the given one, which is removed afterwards. If the directory
 * does not exist yet, its nearest existing parent is checked.
 *
 * It briefly starts one Node process, to contend for a lock. It cannot find out what the hardware does with a flush, or
 * whether locks exclude other machines.
 *
 * @param options.freeBytesMin less free space than this is not `ok`; default 64 MiB
 * @returns a report; failures of the file system are part of it and are not thrown
 * @throws TypeError
 */
export async function checkDirectory(
  dir: string | URL,
  options: { freeBytesMin?: number | undefined } = {},
): Promise<DirectoryReport> {
  assertOptions('checkDirectory', options, { freeBytesMin: 'any' })
  const { freeBytesMin = FREE_BYTES_DEFAULT } = options
  return await inspectDirectory(nodeFileSystem, thisSystem, resolve(pathOf(dir, 'checkDirectory')), freeBytesMin)
}

/** @internal */
export async function inspectDirectory(
  fs: FileSystem,
  system: DirectorySystem,
  wanted: string,
  freeBytesMin: number,
): Promise<DirectoryReport> {
  const report: DirectoryReport = { ok: false, path: wanted, fileSystem: 'unknown', checks: [], freeBytes: null }
  const { checks } = report
  const found = await nearestDirectory(fs, wanted)
  checks.push(found.check)
  report.path = found.path
  if (found.check.ok) {
    const probe = await makeProbe(fs, found.path)
    checks.push({ name: 'writable', ...probe.answer })
    if (probe.path !== null) {
      try {
        checks.push(await attempt('exclusive-create', () => checkExclusiveCreate(fs, probe.path)))
        checks.push(await attempt('rename', () => checkRename(fs, probe.path)))
        checks.push(await attempt('open-files', () => checkOpenFiles(fs, probe.path)))
        checks.push(await attempt('directory-fsync', () => checkDirectorySync(system, probe.path)))
        checks.push(await attempt('locks', () => checkLocks(fs, system, probe.path)))
      } finally {
        await removeTree(fs, probe.path).catch((error: unknown) => {
          const left = `${probe.path}, where this was tried out, could not be removed: ${(error as Error).message}`
          checks.push({ name: 'writable', ok: false, detail: left })
        })
      }
    }
    checks.push(await attempt('same-file-system', () => checkSameFileSystem(fs, found.path)))
    checks.push(
      await attempt('free-space', async () => {
        const free = await system.freeSpace(found.path)
        report.freeBytes = free.bytes
        return judgeFreeSpace(free, freeBytesMin)
      }),
    )
    const mount = await findMount(fs, system, found.path)
    report.fileSystem = mount?.type ?? 'unknown'
    checks.push({ name: 'file-system', ...judgeFileSystem(mount, system.platform) })
    checks.push({ name: 'network', ...judgeNetwork(mount, system.platform, found.path) })
  }
  report.ok = checks.every(({ ok }) => ok)
  return report
}

async function attempt(name: DirectoryCheck['name'], check: () => Promise<Answer>): Promise<DirectoryCheck> {
  try {
    return { name, ...(await check()) }
  } catch (error) {
    // A full disk says nothing about the file system. `free-space` has the advice.
    const code = errorCode(error)
    const isFull = code === 'ENOSPC' || code === 'EDQUOT'
    return { name, ok: false, detail: isFull ? `not tried: no space is left (${code})` : (error as Error).message }
  }
}

async function nearestDirectory(fs: FileSystem, wanted: string): Promise<{ path: string; check: DirectoryCheck }> {
  const name = 'directory'
  let path = wanted
  try {
    while ((await statOrNull(fs, path)) === null) {
      if ((await lstatOrNull(fs, path)) !== null) {
        return { path, check: { name, ok: false, detail: `${path} is a symbolic link that leads nowhere` } }
      }
      path = dirname(path)
    }
    const real = await fs.realpath(path)
    if ((await fs.stat(real)).kind !== 'directory') {
      return { path: real, check: { name, ok: false, detail: `${real} is not a directory` } }
    }
    const detail =
      path === wanted ? 'it exists' : `${wanted} does not exist yet; this is the nearest directory above it`
    return { path: real, check: { name, ok: true, detail } }
  } catch (error) {
    return { path, check: { name, ok: false, detail: (error as Error).message } }
  }
}

/** The directories of a store. Files are renamed between them. */
const STORE_FOLDERS = ['packs', 'tmp', 'files', 'quarantine']

async function checkSameFileSystem(fs: FileSystem, path: string): Promise<Answer> {
  const { dev } = await fs.stat(path)
  const elsewhere: string[] = []
  for (const part of STORE_FOLDERS) {
    const stat = await statOrNull(fs, join(path, part))
    if (stat !== null && stat.dev !== dev) elsewhere.push(part)
  }
  if (elsewhere.length === 0) return { ok: true, detail: 'all of it is on one file system' }
  return {
    ok: false,
    detail: `${elsewhere.join(', ')} ${elsewhere.length === 1 ? 'is' : 'are'} on another file system than ${path}`,
    advice: 'files cannot be renamed between file systems: mount the whole store, not a part of it',
  }
}

async function findMount(fs: FileSystem, system: DirectorySystem, path: string): Promise<Mount | null> {
  try {
    const text = await system.mounts()
    return text === null ? null : mountOf(parseMounts(text), path, (await fs.stat(path)).dev)
  } catch {
    return null
  }
}
